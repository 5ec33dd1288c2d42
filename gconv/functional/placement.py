"""Which nodes the taps of a kernel read, where nodes do not stand on the kernel's offsets: soft assignment.

    y_t = Σ_m W_m Σ_j a_m(t, j) x_j,   a_m(t, j) = α(v) / max(1, Σ_j' α(v')),   v = (p_j - p_t) / spacing - o_m

    bilinear    α(v) = Π_d max(0, 1 - |v_d|)
    gaussian    α(v) = exp( -|v|² / (2 σ²) ), nothing beyond 4 σ

o_m the offset of tap m, in cells. So a tap reads a mean of the nodes near its place, or, where there are few, less than
one. The sum is continuous in the positions, does not change when all are shifted, and on a lattice of the kernel's
spacing bilinear taps read one node each; gaussian ones do in the limit of small σ. Cost of the plan: taps · 3^d
searches a node. A relative: Thomas et al., KPConv (2019), whose kernel points answer linearly in the distance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.kernel_entries import Assignment

_BEYOND = 4.0  # so many σ away a node is not read


def _bilinear(v: Tensor, sigma: float) -> Tensor:
    return (1 - v.abs()).clamp(min=0).prod(1)


def _gaussian(v: Tensor, sigma: float) -> Tensor:
    squared = v.square().sum(1) / sigma**2
    return torch.where(squared <= _BEYOND**2, torch.exp(-0.5 * squared), 0.0)


# How much of a node a tap reads that lies v cells from it, and how far it reads at most, in cells.
_RULES: dict[str, tuple[Callable[[Tensor, float], Tensor], Callable[[float], float]]] = {
    "bilinear": (_bilinear, lambda sigma: 1.0),
    "gaussian": (_gaussian, lambda sigma: _BEYOND * sigma),
}
ASSIGNMENTS = ("exact", *_RULES)


@dataclass(frozen=True)
class Placement:
    """How nodes at positions answer the taps of a kernel.

    Args:
        assignment: 'exact' (nodes stand on whole multiples of the spacing), 'bilinear' or 'gaussian'.
        spacing: the distance between neighbouring offsets. sigma: σ of 'gaussian', in spacings.

    Raises:
        ValueError: for another assignment, or a spacing or σ that is not positive.
    """

    assignment: str = "exact"
    spacing: float = 1.0
    sigma: float = 0.5

    def __post_init__(self) -> None:
        if self.assignment not in ASSIGNMENTS:
            raise ValueError(f"assignment is one of {', '.join(map(repr, ASSIGNMENTS))}; got {self.assignment!r}")
        for name, value in (("spacing", self.spacing), ("sigma", self.sigma)):
            if not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name} takes a positive number, got {value!r}")

    @property
    def on_cells(self) -> bool:
        """Whether the taps on a grid's graph read one cell each: there it is the grid's convolution."""
        return self.assignment != "gaussian" and self.spacing == 1.0

    @property
    def is_soft(self) -> bool:
        """Whether taps read weighted means."""
        return self.assignment in _RULES

    def steps(self, reach: int, cell: float) -> int:
        """How many cells of this width away the nodes lie at most that soft taps up to `reach` spacings away read.

        >>> Placement("bilinear", spacing=0.75).steps(1, 1.0), Placement("gaussian").steps(1, 1.0)
        (1, 3)
        """
        far = (reach + _RULES[self.assignment][1](self.sigma)) * self.spacing / cell
        return math.ceil(far) - 1 if self.assignment == "bilinear" else math.floor(far)  # bilinear ends in zero


EXACT = Placement()


def apart(graph: Graph, places: Tensor, offsets: Tensor, distance: int) -> tuple[Tensor, Tensor]:
    """Places and offsets with an axis more, along which the graphs of a batch lie so far from each other."""
    if graph.batch is None:
        return places, offsets
    return torch.cat([places, distance * graph.batch[:, None].to(places.dtype)], 1), F.pad(offsets, (0, 1))


def soft_taps(graph: Graph, offsets: Tensor, placement: Placement) -> Assignment:
    """a of the module's docstring, for taps at `offsets` `(taps, d)`, in float64.

    Raises:
        ValueError: for positions so far apart that cells of this spacing cannot be counted.
    """
    assert graph.pos is not None
    rule, reach = _RULES[placement.assignment]
    places = graph.pos.double() / placement.spacing
    steps = math.ceil(reach(placement.sigma))
    places, offsets = apart(graph, places, offsets, steps + 1)
    margin = offsets.abs().amax(0) + steps + 1
    cells = places.floor() - places.min(0).values.floor() + margin
    extent = (cells.max(0).values + margin + 1).tolist()
    if math.prod(extent) >= 2**62:
        raise ValueError(
            f"the positions of {graph!r} span {'×'.join(f'{n:.3g}' for n in extent)} cells of spacing "
            f"{placement.spacing:g}: too many to count; pass the distance between neighbouring nodes as spacing"
        )
    radix = torch.tensor([math.prod(map(int, extent[axis + 1 :])) for axis in range(len(extent))], device=graph.device)
    keys, nodes = (cells.long() * radix).sum(1).sort(stable=True)
    near = itertools.product(range(-steps, steps + 1), repeat=len(extent))
    moves = (torch.tensor(list(near), device=graph.device) * radix).sum(1)
    found = [_read(places, cells, offset, radix, moves, keys, nodes) for offset in offsets]
    sources, targets, parts = [], [], []
    for (source, target), offset in zip(found, offsets, strict=True):
        weight = rule(places[source] - places[target] - offset, placement.sigma)
        total = weight.new_zeros(graph.num_nodes).index_add_(0, target, weight).clamp(min=1)
        kept = weight > 0
        sources.append(source[kept])
        targets.append(target[kept])
        parts.append((weight / total[target])[kept])
    tap = torch.arange(len(offsets), device=graph.device)
    tap = tap.repeat_interleave(torch.tensor([len(part) for part in parts], device=graph.device))
    pairs = Structure(torch.cat(sources), torch.cat(targets), graph.num_nodes, graph.num_nodes)
    edge = torch.arange(pairs.num_edges, device=graph.device)
    return Assignment.of(pairs, edge, tap, torch.cat(parts), len(offsets))


def _read(
    places: Tensor, cells: Tensor, offset: Tensor, radix: Tensor, moves: Tensor, keys: Tensor, nodes: Tensor
) -> tuple[Tensor, Tensor]:
    """Sources and targets of all pairs in which the source lies in a cell near the target's tap at `offset`."""
    wanted = (((cells + offset).long() * radix).sum(1)[:, None] + moves).flatten()  # offsets are whole numbers
    first, last = torch.searchsorted(keys, wanted), torch.searchsorted(keys, wanted, right=True)
    count = last - first
    target = torch.arange(len(places), device=places.device).repeat_interleave(len(moves)).repeat_interleave(count)
    start = (first - (count.cumsum(0) - count)).repeat_interleave(count)
    return nodes[start + torch.arange(len(target), device=places.device)], target
