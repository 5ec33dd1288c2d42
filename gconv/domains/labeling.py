"""Labels that tell nodes apart by the graph alone: by them PATCHY-SAN puts nodes in order.

    degree         the number of neighbours
    betweenness    Σ_{s ≠ v ≠ t} (shortest paths from s to t through v) / (shortest paths from s to t), a pair once
    wl             colours of the Weisfeiler-Lehman test: nodes are alike while their neighbours' colours are

Edges count in both directions, each once; weights and loops do not count. Larger labels come first. Cost: degree E;
betweenness N · E; wl E log E a round, at most N rounds. References: Brandes, A faster algorithm for betweenness
centrality (2001); Weisfeiler and Lehman (1968).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gconv.domains.graph import Graph

# Sources of shortest paths that are followed together.
_TOGETHER = 1 << 21

Neighbors = Sequence[Sequence[int]]


def neighbor_lists(graph: Graph) -> list[list[int]]:
    """The neighbours of every node, whichever way the edges point, each once and in order, without loops."""
    source, target = graph.edge_index
    kept = source != target
    pairs = torch.stack([source[kept], target[kept]])
    both = torch.unique(torch.cat([pairs, pairs.flip(0)], 1), dim=1).cpu()
    counts = torch.bincount(both[0], minlength=graph.num_nodes).tolist()
    return [part.tolist() for part in both[1].split(counts)]


def refine(neighbors: Mapping[int, Iterable[int]], colors: dict[int, int]) -> dict[int, int]:
    """Colours that tell nodes apart by their own colour, then by their neighbours', until no more are told apart.

    Colours are whole numbers from 0; refined ones keep the order of the ones given, and depend on nothing else.

    >>> refine({0: [1], 1: [0, 2], 2: [1]}, {0: 0, 1: 0, 2: 0})
    {0: 0, 1: 1, 2: 0}
    """
    count = len(set(colors.values()))
    while True:
        signatures = {node: (colors[node], sorted(colors[n] for n in near)) for node, near in neighbors.items()}
        names = sorted({(own, *near) for own, near in signatures.values()})
        rank = {name: place for place, name in enumerate(names)}
        colors = {node: rank[own, *near] for node, (own, near) in signatures.items()}
        if len(names) == count:
            return colors
        count = len(names)


def degree(graph: Graph) -> Tensor:
    """How many neighbours each node has, `(N,)`."""
    return torch.tensor([len(near) for near in neighbor_lists(graph)], dtype=torch.float64)


def betweenness(graph: Graph) -> Tensor:
    """How many shortest paths run through each node, `(N,)`; paths of equal length share.

    >>> from gconv import grid_graph
    >>> betweenness(grid_graph(5))
    tensor([0., 3., 4., 3., 0.], dtype=torch.float64)
    """
    import scipy.sparse as sp

    near, nodes = neighbor_lists(graph), graph.num_nodes
    columns = [n for row in near for n in row]
    rows = [node for node, row in enumerate(near) for _ in row]
    matrix = sp.csr_matrix(([1.0] * len(rows), (rows, columns)), shape=(nodes, nodes))
    total = torch.zeros(nodes, dtype=torch.float64)
    for start in range(0, nodes, max(1, _TOGETHER // nodes)):
        sources = torch.arange(start, min(start + max(1, _TOGETHER // nodes), nodes))
        paths = torch.zeros(nodes, len(sources), dtype=torch.float64)
        paths[sources, torch.arange(len(sources))] = 1.0
        front, levels = paths.clone(), [paths.clone()]
        while bool(front.any()):  # the paths that end one step further out
            front = torch.from_numpy(matrix @ front.numpy()).masked_fill(paths > 0, 0.0)
            paths += front
            levels.append(front)
        through = torch.zeros_like(paths)
        for outer, inner in zip(reversed(levels[1:]), reversed(levels[:-1]), strict=True):
            share = torch.where(outer > 0, (1.0 + through) / outer.clamp(min=1.0), 0.0)
            through += torch.from_numpy(matrix @ share.numpy()) * inner
        through[sources, torch.arange(len(sources))] = 0.0
        total += through.sum(1)
    return total / 2


def weisfeiler_lehman(graph: Graph) -> Tensor:
    """The colours that one-dimensional refinement ends in, `(N,)`; those of more neighbours are larger."""
    near = dict(enumerate(neighbor_lists(graph)))
    colors = refine(near, {node: len(row) for node, row in near.items()})
    return torch.tensor([colors[node] for node in range(graph.num_nodes)], dtype=torch.float64)


LABELINGS: dict[str, Callable[[Graph], Tensor]] = {
    "degree": degree,
    "betweenness": betweenness,
    "wl": weisfeiler_lehman,
}


def labels_of(graph: Graph, labeling: str) -> list[int]:
    """The places of the nodes' labels, the largest label at 0; equal labels have equal places.

    Labels that differ by rounding alone count as equal.

    >>> from gconv import grid_graph
    >>> labels_of(grid_graph(5), "betweenness")
    [2, 1, 0, 1, 2]
    """
    labels = LABELINGS[labeling](graph)
    rounded = (labels / max(float(labels.abs().max()), 1e-300) * 1e9).round()
    return torch.unique(-rounded, return_inverse=True)[1].tolist()
