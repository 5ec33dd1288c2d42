"""Graphs of grids: `grid_graph`."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gconv.domains.graph import Graph, of_lattice
from gconv.domains.lattice import Lattice, neighbor_counts
from grid_cnn import Grid


def grid_graph(
    size: int | Sequence[int] | Grid,
    neighbors: int | None = None,
    periodic: bool = False,
    *,
    nearest: int | None = None,
    sigma: float | None = None,
    device: torch.device | str = "cpu",
) -> Graph:
    """The graph of a grid: a node a cell, in row-major order, joined to its neighbours.

    Nodes keep their positions (`pos`: whole-number coordinates, axis by axis), edges the offset from target to source
    (`edge_attr`, in cells). On a periodic axis of two cells both ways round lead to the same cell, by two parallel
    edges; on one of a single cell both are loops: so circular convolution stays exact at every size.

    Args:
        size: the cells along each axis (one to three axes), or a `Grid`.
        neighbors: 2 on a line; 4 or 8 on a picture; 6, 18 or 26 in a volume. None: all, diagonals included.
        periodic: wrap around.
        nearest: instead of `neighbors`, join each cell to this many nearest ones (a pair is joined if either cell
            lists the other), with weights exp(-d² / σ²), as ChebNet does with 8.
        sigma: σ in cells; None for the mean distance of the cells to their k-th nearest.
        device: where the graph's tensors live.

    Raises:
        ValueError: for other numbers of axes or neighbours.

    >>> grid_graph((28, 28), neighbors=4)
    Graph(28×28 grid, num_nodes=784, num_edges=3024)
    >>> grid_graph((28, 28), nearest=8).edge_weight.max() < 1
    tensor(True)

    Reference for the weights: Defferrard, Bresson and Vandergheynst (2016), section 5.1.
    """
    grid = Grid(size.size, size.periodic or periodic) if isinstance(size, Grid) else Grid(size, periodic)
    if grid.ndim > 3:
        raise ValueError(f"grid_graph takes one to three axes, got {grid.ndim}: {grid.size}")
    counts = neighbor_counts(grid.ndim)
    if nearest is None:
        if sigma is not None:
            raise ValueError("sigma belongs to nearest=k; fixed neighbourhoods have no weights")
        neighbors = counts[-1] if neighbors is None else neighbors
        if neighbors not in counts:
            wanted = " or ".join(map(str, counts))
            raise ValueError(f"a grid of {grid.ndim} axes has {wanted} neighbors a cell, got {neighbors!r}")
    else:
        if neighbors is not None:
            raise ValueError("pass either neighbors (fixed offsets) or nearest (k nearest cells), not both")
        if isinstance(nearest, bool) or not isinstance(nearest, int) or not 1 <= nearest < grid.num_nodes:
            raise ValueError(f"nearest takes 1 to {grid.num_nodes - 1} on a grid of {grid.num_nodes}, got {nearest!r}")
        if sigma is not None and not sigma > 0:
            raise ValueError(f"sigma takes a positive number of cells, got {sigma!r}")
    return of_lattice(Lattice(grid, neighbors, nearest, sigma), device)
