"""Local fields against dense layers, and convolution by the Fourier transform against the direct one.

    gconv bench local_fft

A locally connected layer is timed against a dense one of the same multiply-adds on the same signals: the dense layer
reads each weight once, in one large product, and is the floor. `FFTConv2d` is timed against `Conv2d` in both memory
formats, 3 → 16 channels on 128×128 cells, and compared with the faster. Forward alone, and forward and backward by
signals and parameters, float32. The transforms must give the direct layer's numbers before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.expected import Judged
from benchmarks.harness import Options, Table, ratio, timed
from benchmarks.showing import time_text
from gconv.training.report import number_text
from grid_cnn import Conv2d, FFTConv2d, LocallyConnected2d

TITLE = "Local fields, and transforms"
REPEATED = "{rounds} rounds"
LIMIT = 3.0
PASSES = {"forward": "forward", "both": "forward and backward"}


class Local(NamedTuple):
    """A locally connected layer: signals, channels in and out, cells and taps an axis."""

    batch: int
    cin: int
    cout: int
    side: int
    kernel: int


LOCAL = (Local(64, 3, 16, 32, 5), Local(64, 16, 32, 16, 3), Local(128, 8, 8, 28, 3), Local(64, 64, 64, 8, 3))
KERNELS, BATCHES = (11, 15, 17, 23, 31), (1, 2, 8)
FIRST = 15  # from this kernel on, the transform is to be faster
_TOLERANCE = 1e-4


def passes(layer: nn.Module, x: Tensor) -> dict[str, Callable[[], object]]:
    """The forward pass, and forward and backward."""
    with torch.no_grad():
        gradient = torch.randn_like(layer(x))

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def both() -> None:
        layer.zero_grad()
        layer(x.detach().requires_grad_()).backward(gradient)

    return {"forward": forward, "both": both}


def contest(layers: Mapping[str, tuple[nn.Module, Tensor]], options: Options) -> dict[str, Any]:
    """Records of all layers, for each pass."""
    steps = {name: passes(*pair) for name, pair in layers.items()}
    return {
        which: timed({name: step[which] for name, step in steps.items()}, options, warmup=2)
        for which in ("forward", "both")
    }


def local(case: Local, options: Options) -> dict[str, Any]:
    """One locally connected layer and its dense twin."""
    x = torch.randn(case.batch, case.cin, case.side, case.side)
    layer = LocallyConnected2d(case.cin, case.cout, case.side, case.kernel, padding=case.kernel // 2)
    dense = nn.Linear(case.cin * case.side**2, case.cout * case.kernel**2)  # as many weights, each used once a signal
    assert dense.weight.numel() == layer.weight.numel()
    return {**case._asdict(), **contest({"local": (layer, x), "dense": (dense, x.flatten(1))}, options)}


def transform(kernel: int, batch: int, side: int, options: Options) -> dict[str, Any]:
    """One kernel on one batch.

    Raises:
        ValueError: if the transform does not give the direct layer's numbers.
    """
    direct, fast = (kind(3, 16, kernel, padding="same") for kind in (Conv2d, FFTConv2d))
    fast.load_state_dict(direct.state_dict())
    last = Conv2d(3, 16, kernel, padding="same").to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    x = torch.randn(batch, 3, side, side)
    with torch.no_grad():
        expected = direct(x)
        apart = float((fast(x) - expected).abs().max() / expected.abs().max())
    if not apart <= _TOLERANCE:
        raise ValueError(f"kernel {kernel}: the transform differs by {apart:.2g} of the largest entry")
    layers = {
        "transform": (fast, x),
        "direct": (direct, x),
        "direct, channels last": (last, x.contiguous(memory_format=torch.channels_last)),
    }
    return {"kernel": kernel, "batch": batch, **contest(layers, options)}


def run(options: Options) -> dict[str, Any]:
    """All layers."""
    torch.manual_seed(0)
    cases = (Local(4, 2, 3, 8, 3),) if options.quick else LOCAL
    kernels, batches, side = ((5,), (1,), 32) if options.quick else (KERNELS, BATCHES, 128)
    fields, transforms = [], []
    for case in cases:
        fields.append(local(case, options))
        options.say(f"{case}: {_medians(fields[-1])}")
    for kernel in kernels:
        for batch in batches:
            transforms.append(transform(kernel, batch, side, options))
            options.say(f"kernel {kernel}, batch {batch}: {_medians(transforms[-1])}")
    return {"local": fields, "transforms": transforms, "side": side, "limit": LIMIT, "first": FIRST}


def _medians(entry: Mapping[str, Any]) -> str:
    parts = ((which, ", ".join(f"{k} {v['median']:.3g}" for k, v in entry[which].items())) for which in PASSES)
    return "; ".join(f"{PASSES[which]}: {text} ms" for which, text in parts)


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Local layers, then transforms."""
    lines, judged = [], []
    for case in found["local"]:
        for which, title in PASSES.items():
            ours, dense = case[which]["local"], case[which]["dense"]
            above = ratio(ours, dense)
            size = f"{case['kernel']}×{case['kernel']} on {case['side']}², {case['batch']} signals"
            shape = f"{case['cin']} → {case['cout']}, {size}"
            verdict = Judged("local / dense", shape, above, found["limit"])
            lines.append((shape, title, time_text(ours), time_text(dense), number_text(above), verdict.met))
            judged.append(verdict)
    headings = ("layer", "pass", "local, ms (quartiles)", "dense", "local / dense", f"at most {found['limit']:g}")
    about = "Locally connected, against dense with the same multiply-adds"
    first = Table(about, headings, tuple(lines), words=2, judged=tuple(judged))
    lines, judged = [], []
    for case in found["transforms"]:
        for which, title in PASSES.items():
            times = dict(case[which])
            fast = times.pop("transform")
            best = min(times, key=lambda name: times[name]["median"])
            gain = ratio(times[best], fast)
            name = f"{case['kernel']}×{case['kernel']}, {case['batch']} signals"
            asked = 1.0 if case["kernel"] >= found["first"] else None
            verdict = Judged("direct / transform", name, gain, asked, least=True)
            lines.append((name, title, time_text(fast), time_text(times[best]), best, number_text(gain), verdict.met))
            judged.append(verdict)
    headings = ("kernel", "pass", "transform, ms (quartiles)", "direct", "which", "direct / transform", "faster")
    side = found["side"]
    about = f"3 → 16 channels on {side}×{side} cells"
    return [first, Table(about, headings, tuple(lines), words=2, judged=tuple(judged))]
