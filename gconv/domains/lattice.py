"""The neighbourhoods of a grid's cells: fixed offsets, or the k nearest cells with Gaussian weights."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from grid_cnn import Grid

Offset = tuple[int, ...]


def coordinates(grid: Grid, device: torch.device | str = "cpu") -> Tensor:
    """The whole-number coordinates of all cells in row-major order, `(N, ndim)`."""
    axes = [torch.arange(n, device=device) for n in grid.size]
    return torch.cartesian_prod(*axes).reshape(grid.num_nodes, grid.ndim)


def shifted(coords: Tensor, offset: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """The nodes at `coords + offset`, wrapped on a periodic grid, and which of them are on the grid at all."""
    size = torch.tensor(grid.size, device=coords.device)
    moved = coords + offset
    inside = torch.ones(moved.shape[0], dtype=torch.bool, device=coords.device)
    if grid.periodic:
        moved = moved % size
    else:
        inside = ((moved >= 0) & (moved < size)).all(1)
    strides = torch.tensor([1, *itertools.accumulate(reversed(grid.size[1:]), int.__mul__)][::-1], device=coords.device)
    return (moved * strides).sum(1), inside


@dataclass(frozen=True)
class Lattice:
    """The rule by which a grid becomes a graph; it makes the edges of any grid of as many axes.

    Either `neighbors` fixed offsets (2·ndim along the axes up to 3^ndim - 1 with all diagonals), or, where `nearest`
    is given, the `nearest` closest cells, weighted exp(-d² / σ²).
    """

    grid: Grid
    neighbors: int | None
    nearest: int | None = None
    sigma: float | None = None

    @property
    def offsets(self) -> tuple[Offset, ...]:
        """The offsets from a cell to its neighbours, in row-major order; none where `nearest` rules."""
        if self.neighbors is None:
            return ()
        reach = {count: steps for steps, count in enumerate(neighbor_counts(self.grid.ndim), start=1)}[self.neighbors]
        cube = itertools.product((-1, 0, 1), repeat=self.grid.ndim)
        return tuple(o for o in cube if 0 < sum(map(abs, o)) <= reach)

    def on(self, grid: Grid) -> Lattice:
        """The same rule on another grid."""
        return Lattice(grid, self.neighbors, self.nearest, self.sigma)

    def edges(self) -> tuple[Tensor, Tensor | None, Tensor]:
        """`edge_index` `(2, E)`, weights `(E,)` or None, and offsets from target to source `(E, ndim)`."""
        return self._fixed_edges() if self.nearest is None else self._nearest_edges(self.nearest)

    def _fixed_edges(self) -> tuple[Tensor, None, Tensor]:
        coords = coordinates(self.grid)
        nodes = torch.arange(self.grid.num_nodes)
        sources, targets, moves = [], [], []
        for offset in torch.tensor(self.offsets).reshape(-1, self.grid.ndim):
            source, inside = shifted(coords, offset, self.grid)
            sources.append(source[inside])
            targets.append(nodes[inside])
            moves.append(offset.expand(int(inside.sum()), -1))
        return torch.stack([torch.cat(sources), torch.cat(targets)]), None, torch.cat(moves).float()

    def _nearest_edges(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The `count` nearest of every cell, in both directions (a pair is joined if either lists the other)."""
        grid, coords = self.grid, coordinates(self.grid)
        nodes = torch.arange(grid.num_nodes)
        count = min(count, grid.num_nodes - 1)  # a pooled grid may have no more
        found = torch.zeros(grid.num_nodes, dtype=torch.long)
        furthest = torch.zeros(grid.num_nodes, dtype=torch.float64)
        pairs = [nodes.new_zeros(2, 0)]
        for offset in _by_distance(grid, count):
            source, inside = shifted(coords, torch.tensor(offset), grid)
            taken = inside & (found < count)
            found += taken
            furthest[taken] = math.hypot(*offset)
            pairs.append(torch.stack([source[taken], nodes[taken]]))
        one_way = torch.cat(pairs, 1)
        both = torch.unique(torch.cat([one_way, one_way.flip(0)], 1), dim=1)
        move = coords[both[0]] - coords[both[1]]
        if grid.periodic:
            size = torch.tensor(grid.size)
            move = (move + (size - 1) // 2) % size - (size - 1) // 2
        sigma = float(furthest.mean()) or 1.0 if self.sigma is None else self.sigma
        return both, torch.exp(-move.pow(2).sum(1).double() / sigma**2).float(), move.float()


def _by_distance(grid: Grid, count: int) -> list[Offset]:
    """The offsets among which every cell finds its `count` nearest, the shortest first, each cell once."""
    # A cell in a corner sees one orthant: the least cube of it with `count` others bounds how far the nearest can be.
    side = next(r for r in itertools.count(1) if math.prod(min(n, r + 1) for n in grid.size) > count)
    reach = math.ceil(side * math.sqrt(grid.ndim))
    if grid.periodic:
        axes = [range(-min(reach, (n - 1) // 2), min(reach, n // 2) + 1) for n in grid.size]
    else:
        axes = [range(-min(reach, n - 1), min(reach, n - 1) + 1) for n in grid.size]
    return sorted((o for o in itertools.product(*axes) if any(o)), key=lambda o: (sum(v * v for v in o), o))


def neighbor_counts(ndim: int) -> list[int]:
    """How many neighbours the fixed neighbourhoods of a grid have, least first: [2], [4, 8], [6, 18, 26].

    >>> neighbor_counts(2)
    [4, 8]
    """
    cube = list(itertools.product((-1, 0, 1), repeat=ndim))
    return [sum(1 for o in cube if 0 < sum(map(abs, o)) <= reach) for reach in range(1, ndim + 1)]
