"""PATCHY-SAN's plan: which nodes are looked at, and which k nodes each of them sees, in which order.

    sequence    all nodes by label, largest first; every `stride`-th of them, `count` in all, the rest empty
    field       nodes around one, by breadth-first search until there are k or no more are reached
    order       by distance from the root, then by label, then by what refinement of the field tells apart; the first k

Nodes that are alike even then (their part of the graph looks the same from either) go by their number: so the order
does not depend on how nodes are numbered, unless a graph has such nodes. Fields of fewer than k nodes end in empty
places. Cost: of the field's nodes and edges times log, a root. Reference: Niepert, Ahmed and Kutzkov, Learning
convolutional neural networks for graphs (2016), algorithms 1 to 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gconv.domains.batch import batch_graphs, unbatch
from gconv.domains.build import grid_graph
from gconv.domains.graph import Graph
from gconv.domains.labeling import Neighbors, labels_of, neighbor_lists, refine
from gconv.domains.structure import Structure


@dataclass(frozen=True, eq=False)
class Fields:
    """Receptive fields: `table` `(count, k)` of nodes, -1 where a place is empty; `slots` reads them; `line` is the
    graph of the selected nodes, one after the other."""

    table: Tensor
    slots: Structure
    line: Graph

    def __repr__(self) -> str:
        return f"{self.table.shape[0]} receptive fields of {self.table.shape[1]} nodes"


def receptive_fields(graph: Graph, count: int, size: int, stride: int, labeling: str) -> Fields:
    """The plan of the module's docstring.

    >>> receptive_fields(grid_graph(5), 3, 3, 1, "betweenness").table
    tensor([[2, 1, 3],
            [1, 2, 0],
            [3, 2, 4]])
    """
    if graph.batch is not None:
        return _of_batch(graph, [receptive_fields(part, count, size, stride, labeling) for part in unbatch(graph)])
    near, places = neighbor_lists(graph), labels_of(graph, labeling)
    sequence = node_sequence(near, places)[::stride][:count]
    rows = [receptive_field(near, places, root, size) for root in sequence]
    rows = [row + [-1] * (size - len(row)) for row in rows] + [[-1] * size] * (count - len(rows))
    return _fields(torch.tensor(rows, device=graph.device), graph, grid_graph(count, device=graph.device))


def _fields(table: Tensor, graph: Graph, line: Graph) -> Fields:
    flat = table.flatten()
    filled = (flat >= 0).nonzero().squeeze(1)
    return Fields(table, Structure(flat[filled], filled, graph.num_nodes, flat.numel()), line)


def _of_batch(graph: Graph, parts: list[Fields]) -> Fields:
    """The fields of all graphs of a batch, one graph after the other; their lines are a batch again."""
    assert graph.batch is not None
    tables = []
    for number, part in enumerate(parts):
        nodes = (graph.batch == number).nonzero().squeeze(1)
        tables.append(torch.where(part.table >= 0, nodes[part.table], -1))
    return _fields(torch.cat(tables), graph, batch_graphs([part.line for part in parts]))


def node_sequence(neighbors: Neighbors, places: list[int]) -> list[int]:
    """All nodes by the place of their label, equal ones by what refinement tells apart, then by number."""
    colors = refine(dict(enumerate(neighbors)), dict(enumerate(places)))
    return sorted(range(len(places)), key=lambda node: (colors[node], node))


def receptive_field(neighbors: Neighbors, places: list[int], root: int, size: int) -> list[int]:
    """The `size` nodes that `root` sees, in order; fewer if fewer are reached.

    >>> receptive_field([[1], [0, 2], [1, 3], [2]], [1, 0, 0, 1], root=1, size=3)
    [1, 2, 0]
    """
    distance, front = {root: 0}, [root]
    while front and len(distance) < size:
        reached = sorted({n for node in front for n in neighbors[node]} - distance.keys())
        distance.update(dict.fromkeys(reached, distance[front[0]] + 1))
        front = reached
    inside = {node: [n for n in neighbors[node] if n in distance] for node in distance}
    pairs = sorted({(distance[node], places[node]) for node in distance})
    rank = {pair: place for place, pair in enumerate(pairs)}
    colors = refine(inside, {node: rank[distance[node], places[node]] for node in distance})
    while True:
        order = sorted(distance, key=lambda node: (colors[node], node))
        tied = next((a for a, b in pairwise(order[: size + 1]) if colors[a] == colors[b]), None)
        if tied is None:
            return order[:size]
        # The first of them goes before its likes, and what follows from that is worked out.
        colors = refine(inside, {n: 2 * c + (c == colors[tied] and n != tied) for n, c in colors.items()})
