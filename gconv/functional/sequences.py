"""A recurrent network over the neighbours of each node, in the order of the edges.

    y[t] = last output of an LSTM on  x[source(e_1)], ..., x[source(e_d)], 0, ..., 0

with e_1 ... e_d the edges into t, and as many zeros as lengthen the sequence to the largest in-degree of the graph, as
`torch_geometric.nn.LSTMAggregation` has them; so a node without edges reads zeros alone. Shapes: x `(S, n, C)`; y
`(S, T, D)`. Cost: 4 D (C + D) multiply-adds a step, T · (largest in-degree) steps a signal. Reference: Hamilton, Ying
and Leskovec, Inductive representation learning on large graphs (2017), section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.propagate import propagate

# Numbers of the sequences that are made at once.
_PIECE_NUMBERS = 1 << 22


def sequences(structure: Structure) -> tuple[Structure, int]:
    """The edges into the places of a table `(T, largest in-degree)`, in order; and that degree."""
    rows, degrees = structure.rows, structure.in_degree
    longest = int(degrees.max()) if degrees.numel() else 0
    target = structure.target[rows.order]
    place = torch.arange(structure.num_edges, device=target.device) - rows.offsets.long()[target]
    slots = Structure(
        structure.source[rows.order], target * longest + place, structure.num_sources, structure.num_targets * longest
    )
    return slots, longest


def lstm_sum(x: Tensor, parameters: Sequence[Tensor], graph: Graph, structure: Structure) -> Tensor:
    """y of the module's docstring.

    Args:
        x: `(S, n, C)`. parameters: those of a `torch.nn.LSTM` of one layer, in its order.
        graph: keeps the plan of `structure`.

    >>> graph, lstm = Graph(torch.tensor([[0, 1], [2, 2]])), torch.nn.LSTM(3, 5)
    >>> lstm_sum(torch.zeros(1, 3, 3), [*lstm.parameters()], graph, graph.structure).shape
    torch.Size([1, 3, 5])
    """
    width = parameters[1].shape[1]
    key = "neighbours in sequence", structure.num_sources, structure.num_targets
    slots, longest = graph.plan.keep(key, lambda: sequences(structure))
    if not longest or not x.shape[0]:
        return x.new_zeros(x.shape[0], structure.num_targets, width)
    found = []
    for part in x.split(max(1, _PIECE_NUMBERS // (slots.num_targets * x.shape[2]))):
        table = propagate(part, slots).reshape(-1, longest, x.shape[2])
        start = table.new_zeros(1, table.shape[0], width)
        out = torch.lstm(table, (start, start), parameters, True, 1, 0.0, False, False, True)[0]  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType, reportCallIssue]
        found.append(out[:, -1].unflatten(0, (part.shape[0], structure.num_targets)))
    return torch.cat(found)
