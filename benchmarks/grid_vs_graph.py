"""Grid against graph at equal weights: `Conv2d`, the same convolution told on nodes, and graph layers with k² terms.

    gconv bench grid_vs_graph

Kernels 3×3 and 5×5, 32 → 64 and 64 → 64 channels, 64 pictures of 28×28, float32, forward and backward. `Conv2d` runs
in either memory format, and is compared at its faster. `DirectionalConv` has its weights and must give its numbers, in
the form that the engine chooses and in the gather form, as a graph library would do it; ChebNet and MoNet have as many
weights, k² matrices, and are other functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contenders import Result, Step, disagreement, step_of
from benchmarks.expected import Judged, optional
from benchmarks.harness import Options, Table, ratio, timed
from benchmarks.showing import time_text
from gconv import ChebConv, DirectionalConv, GMMConv, Graph, bridge, force_form, grid_graph

TITLE = "Grid against graph, equal weights"
REPEATED = "{rounds} rounds"
CONVOLUTIONS = ("Conv2d", "Conv2d, channels last")
CHOSEN, GATHER, CHEB, MONET = "DirectionalConv, as chosen", "DirectionalConv, gather", "ChebConv", "GMMConv"
TARGETS = {CHOSEN: 1.2, CHEB: 2.5}
# Defferrard, Bresson and Vandergheynst (2016), of the whole network on a CPU.
PUBLISHED = {CHEB: 7.6}


def contenders(cin: int, cout: int, kernel: int, batch: int, graph: Graph) -> dict[str, Step]:
    """Steps of all contenders, on the same signals.

    Raises:
        ValueError: if `DirectionalConv` does not give `Conv2d`'s numbers.
    """
    torch.manual_seed(0)
    conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
    conv_last = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
    conv_last.load_state_dict(conv.state_dict())
    x, gradient = torch.randn(batch, graph.num_nodes, cin), torch.randn(batch, graph.num_nodes, cout)
    pictures = [bridge.to_images(signal, graph).contiguous() for signal in (x, gradient)]
    last = [picture.contiguous(memory_format=torch.channels_last) for picture in pictures]
    directional = step_of(DirectionalConv.from_conv2d(conv), [x], [gradient], (graph,))

    def gather() -> Result:
        with force_form("gather"):
            return directional()

    steps = {
        CONVOLUTIONS[0]: step_of(conv, pictures[:1], pictures[1:], ()),
        CONVOLUTIONS[1]: step_of(conv_last.to(memory_format=torch.channels_last), last[:1], last[1:], ()),
        CHOSEN: directional,
        GATHER: gather,
        CHEB: step_of(ChebConv(cin, cout, kernel**2), [x], [gradient], (graph,)),
        MONET: step_of(GMMConv(cin, cout, 2, kernel**2, root_weight=False), [x], [gradient], (graph,)),
    }
    expected = _on_nodes(steps[CONVOLUTIONS[0]]())
    for name in (CHOSEN, GATHER):
        fault = disagreement(steps[name](), expected)
        if fault:
            raise ValueError(f"{name} differs from Conv2d: {fault}")
    return steps


def _on_nodes(result: Result) -> Result:
    def nodes(pictures: list[Tensor]) -> list[Tensor]:
        return [bridge.to_nodes(picture) for picture in pictures]

    return Result(nodes(result.outputs), nodes(result.signals), result.parameters)


def run(options: Options) -> dict[str, Any]:
    """All kernels and widths."""
    side, batch, widths = (8, 4, ((4, 8),)) if options.quick else (28, 64, ((32, 64), (64, 64)))
    graph = grid_graph((side, side), neighbors=8)
    parts = []
    for cin, cout in widths:
        for kernel in (3, 5):
            times = timed(contenders(cin, cout, kernel, batch, graph), options, warmup=2)
            parts.append({"in": cin, "out": cout, "kernel": kernel, "milliseconds": times})
            figures = ", ".join(f"{name} {entry['median']:.3g}" for name, entry in times.items())
            options.say(f"{cin} → {cout}, {kernel}×{kernel}: {figures} ms")
    return {"side": side, "batch": batch, "parts": parts, "targets": TARGETS, "published": PUBLISHED}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """A table a kernel and width."""
    shown = []
    for part in found["parts"]:
        times, terms = part["milliseconds"], part["kernel"] ** 2
        best = min(CONVOLUTIONS, key=lambda name: times[name]["median"])
        lines, judged = [], []
        for name, entry in times.items():
            times_best = ratio(entry, times[best])
            target = found["targets"].get(name)
            label = f"{name}, {terms} terms" if name in (CHEB, MONET) else name
            verdict = Judged("× Conv2d's faster format", label, times_best, target)
            judged.append(verdict)
            bounds = optional(times_best), optional(target), optional(found["published"].get(name))
            lines.append((label, time_text(entry), *bounds, verdict.met))
        size = f"{found['batch']} pictures of {found['side']}×{found['side']}"
        title = f"{part['kernel']}×{part['kernel']}, {part['in']} → {part['out']} channels, {size}"
        headings = ("layer", "ms (quartiles)", f"× {best}", "at most", "published, CPU", "met")
        shown.append(Table(title, headings, tuple(lines), judged=tuple(judged)))
    return shown
