"""One weight matrix an offset: y[o, t] = b[o] + Σ_{c, m} w[o, c, m] x[c, neighbour of t at offset m].

On a grid's graph this is the grid's convolution, tap for tap. Two forms, equal to rounding:

    convolution   the signal read as a channels-last picture, torch's convolution            graphs of a grid
    gather        a table of neighbours, found from positions, one product over all taps     graphs with positions

Where nodes do not stand on the offsets of the kernel, taps read weighted means of the nodes near them (`placement`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.lattice import coordinates
from gconv.functional.forms import pick
from gconv.functional.kernel_entries import Assignment, assigned_sum
from gconv.functional.placement import EXACT, Placement, apart, soft_taps
from gconv.functional.propagate import sum_forms
from grid_cnn.conv import convolve, output_grid


@dataclass(frozen=True)
class Window:
    """Where the taps of a kernel lie, an entry an axis: what a convolution's constructor fixes."""

    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    borders: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    padding_mode: str

    @property
    def is_point(self) -> bool:
        """Whether there is a single tap, at the node itself, for every node."""
        ones = all(v == 1 for v in (*self.kernel_size, *self.stride))
        return ones and not any(cells for pair in self.borders for cells in pair)

    @property
    def reach(self) -> int:
        """How many cells away from its place a window's farthest tap lies."""
        spans = zip(self.borders, self.dilation, self.kernel_size, strict=True)
        return max(max(before, d * (f - 1) - before) for (before, _), d, f in spans)

    @property
    def keeps_size(self) -> bool:
        """Whether every node has an output: stride 1 and a border that makes up for the kernel ('same')."""
        spans = [d * (f - 1) for f, d in zip(self.kernel_size, self.dilation, strict=True)]
        full = all(sum(pair) == span for pair, span in zip(self.borders, spans, strict=True))
        return full and all(s == 1 for s in self.stride)

    def codomain(self, graph: Graph, placement: Placement = EXACT) -> Graph:
        """The graph of the window's positions.

        Raises:
            ValueError: if the graph has no positions, or none that this window can step over.
        """
        if self.is_point:
            return graph
        if graph.grid is not None and placement.on_cells:
            _check_axes(graph.grid.ndim, self)
            window = self.kernel_size, self.stride, self.borders, self.dilation, self.padding_mode
            return graph.on(output_grid(graph.grid, *window))
        if graph.pos is None:
            raise ValueError(f"a directional convolution needs positions, and {graph!r} has none; pass pos=(N, d)")
        _check_axes(graph.pos.shape[1], self)
        if not self.keeps_size or self.padding_mode != "zeros":
            raise ValueError(
                f"{graph!r} is not the graph of a grid with taps on its cells: a directional convolution there has "
                "stride 1, padding='same' and padding_mode='zeros'"
            )
        return graph


def _check_axes(ndim: int, window: Window) -> None:
    if len(window.kernel_size) != ndim:
        raise ValueError(f"a kernel of {len(window.kernel_size)} axes, {window.kernel_size}, on positions of {ndim}")


def directional(
    x: Tensor,
    graph: Graph,
    weight: Tensor,
    bias: Tensor | None,
    window: Window,
    groups: int = 1,
    form: str | None = None,
    placement: Placement = EXACT,
) -> Tensor:
    """The convolution of the module's docstring.

    Args:
        x: `(B, N, C_in)`. weight: `(C_out, C_in / groups, *kernel_size)`. bias: `(C_out,)` or None.
        form: 'convolution', 'gather', or None for the engine's choice; of soft taps that of a sum of kernels.
        placement: how nodes answer the taps; by default on a grid's graph each reads one cell.

    Returns:
        `(B, N', C_out)` on `window.codomain(graph)`.
    """
    out = window.codomain(graph, placement)
    if window.is_point and groups == 1:
        return torch.nn.functional.linear(x, weight.flatten(1), bias)
    on_cells = graph.grid is not None and placement.on_cells
    if placement.is_soft and not on_cells:
        return _softly(x, graph, weight, bias, window, groups, form, placement)
    able = ("convolution", "gather") if on_cells else ("gather",)
    why = "a signal on a grid's graph is a picture" if len(able) == 2 else "not a grid's graph"
    if pick(form, able, able[0], why, graph.plan.choices, f"directional {window.kernel_size}") == "convolution":
        return _as_picture(x, graph, weight, bias, window, groups)
    key = "neighbours", window, placement
    table = graph.plan.keep(key, lambda: neighbours(graph, out, window, placement))
    padded = torch.cat([x, x.new_zeros(x.shape[0], 1, x.shape[2])], 1)
    taps = padded[:, table].unflatten(-1, (groups, -1))
    kernels = weight.flatten(2).unflatten(0, (groups, -1))
    y = torch.einsum("btmgc,gocm->btgo", taps, kernels).flatten(2)
    return y if bias is None else y + bias.to(y.dtype)


def _as_picture(x: Tensor, graph: Graph, weight: Tensor, bias: Tensor | None, window: Window, groups: int) -> Tensor:
    assert graph.grid is not None
    picture = x.unflatten(1, graph.grid.size).movedim(-1, 1)
    mode = "circular" if graph.grid.periodic else window.padding_mode
    y = convolve(picture, weight, bias, window.stride, window.borders, window.dilation, groups, mode)
    return y.movedim(1, -1).flatten(1, -2)


def _softly(
    x: Tensor,
    graph: Graph,
    weight: Tensor,
    bias: Tensor | None,
    window: Window,
    groups: int,
    form: str | None,
    placement: Placement,
) -> Tensor:
    why, what = f"taps are {placement.assignment}", f"directional {window.kernel_size}"
    chosen = pick(form, ("fused", *sum_forms(x.device)), "fused", why, graph.plan.choices, what)
    taps = _taps(graph, window, placement, x.dtype)
    matrices = weight.flatten(2).unflatten(0, (groups, -1)).permute(0, 3, 2, 1)
    parts = [
        assigned_sum(part, taps, kernel, form=chosen, choices=graph.plan.choices)
        for part, kernel in zip(x.chunk(groups, -1), matrices, strict=True)
    ]
    y = torch.cat(parts, -1)
    return y if bias is None else y + bias.to(y.dtype)


def _taps(graph: Graph, window: Window, placement: Placement, dtype: torch.dtype) -> Assignment:
    """What the taps read, kept with the graph."""
    key = "soft taps", window.kernel_size, window.dilation, placement
    exact = graph.plan.keep(key, lambda: soft_taps(graph, _offsets(window, graph.device), placement))
    return graph.plan.keep((*key, dtype), lambda: replace(exact, weight=exact.weight.to(dtype)))


def reads(graph: Graph, window: Window, placement: Placement) -> int:
    """How many nodes the taps of all outputs read, together."""
    if window.is_point:
        return 0
    if placement.is_soft and not (graph.grid is not None and placement.on_cells):
        return _taps(graph, window, placement, torch.float64).weight.numel()

    def found() -> int:
        return int((neighbours(graph, window.codomain(graph, placement), window, placement) < graph.num_nodes).sum())

    return graph.plan.keep(("nodes that taps find", window, placement), found)


def neighbours(graph: Graph, out: Graph, window: Window, placement: Placement = EXACT) -> Tensor:
    """For every output node and tap the input node it reads, `(N', taps)`; N stands for a zero beyond the border."""
    if window.is_point:
        return torch.arange(graph.num_nodes, device=graph.device)[:, None]
    if graph.grid is None or not placement.on_cells:
        return _by_position(graph, window, placement.spacing)
    assert out.grid is not None
    mode = "circular" if graph.grid.periodic else window.padding_mode
    centres = coordinates(out.grid, graph.device)
    table = torch.zeros(1, 1, dtype=torch.long, device=graph.device).expand(out.num_nodes, 1)
    outside = torch.zeros_like(table, dtype=torch.bool)
    for axis, n in enumerate(graph.grid.size):
        taps = torch.arange(window.kernel_size[axis], device=graph.device) * window.dilation[axis]
        cells = centres[:, axis, None] * window.stride[axis] + taps - window.borders[axis][0]
        beyond = (cells < 0) | (cells >= n)
        if mode == "circular":
            cells = cells % n
        elif mode == "replicate":
            cells = cells.clamp(0, n - 1)
        elif mode == "reflect":
            cells = (n - 1) - (cells.abs() - (n - 1)).abs()
        else:
            outside = (outside[:, :, None] | beyond[:, None, :]).flatten(1)
        table = (table[:, :, None] * n + cells[:, None, :]).flatten(1)
        outside = outside if outside.shape == table.shape else torch.zeros_like(table, dtype=torch.bool)
    return table.masked_fill(outside, graph.num_nodes)


def _by_position(graph: Graph, window: Window, spacing: float) -> Tensor:
    """Neighbours looked up by position, for nodes that stand on multiples of the spacing in any order, gaps allowed."""
    assert graph.pos is not None
    places = graph.pos / spacing
    coords = places.round().long()
    if bool(((places - coords).abs() > 1e-3).any()):
        node = int(((places - coords).abs() > 1e-3).any(1).nonzero()[0])
        raise ValueError(
            f"node {node} of {graph!r} is at {graph.pos[node].tolist()}: a directional convolution off a grid's graph "
            f"needs positions that are whole multiples of spacing={spacing:g}; pass the spacing of the cells, or "
            "assignment='bilinear' for nodes that stand anywhere"
        )
    coords, offsets = apart(graph, coords, _offsets(window, graph.device), 1)
    spans = torch.tensor([d * (f - 1) for f, d in zip(window.kernel_size, window.dilation, strict=True)])
    spans = F.pad(spans, (0, coords.shape[1] - len(spans))).to(graph.device)
    coords = coords - coords.min(0).values + spans
    extent = (coords.max(0).values + 1 + spans).tolist()
    radix = torch.tensor([math.prod(extent[axis + 1 :]) for axis in range(len(extent))], device=graph.device)
    keys, nodes = (coords * radix).sum(1).sort()
    if bool((keys[1:] == keys[:-1]).any()):
        twin = int((keys[1:] == keys[:-1]).nonzero()[0])
        raise ValueError(f"nodes {int(nodes[twin])} and {int(nodes[twin + 1])} of {graph!r} have the same position")
    wanted = (coords * radix).sum(1, keepdim=True) + offsets.mul(radix).sum(1)
    place = torch.searchsorted(keys, wanted).clamp(max=keys.numel() - 1)
    return torch.where(keys[place] == wanted, nodes[place], graph.num_nodes)


def _offsets(window: Window, device: torch.device) -> Tensor:
    axes: Sequence[Tensor] = [
        torch.arange(f, device=device) * d - before
        for f, d, (before, _) in zip(window.kernel_size, window.dilation, window.borders, strict=True)
    ]
    return torch.cartesian_prod(*axes).reshape(-1, len(axes))
