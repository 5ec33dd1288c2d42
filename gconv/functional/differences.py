"""A network on what a node holds and how its neighbour differs, reduced over the neighbours.

    y[t] = reduce_{e into t} h( own[t] ‖ near[source(e)] - own[t] )

Where h begins with a linear layer W = [W_1 W_2], that layer runs on nodes, not on edges: h's first result on an edge is
(W_1 - W_2) own + W_2 near + b; and where it ends with one, and messages are summed, that one runs on nodes too.
Shapes: own `(S, T, C)`, near `(S, n, C)`; y `(S, T, C_out)`. Cost: that of h an edge, but for its linear ends.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gconv.domains.structure import Structure
from gconv.functional.edgewise import ADDITIONS, edgewise, of_difference, of_neighbour, of_sum
from gconv.functional.rowwise import split_first, split_last


def differences(own: Tensor, near: Tensor, structure: Structure, network: nn.Module, aggr: str) -> Tensor:
    """y of the module's docstring.

    >>> import torch
    >>> pair, x = Structure(torch.tensor([0]), torch.tensor([1]), 2, 2), torch.tensor([[[1.0], [5.0]]])
    >>> differences(x, x, pair, nn.Identity(), "max").tolist()
    [[[0.0, 0.0], [5.0, -4.0]]]
    """
    first, rest = split_first(network)
    if first is None:
        return edgewise(own, near, structure, of_difference, [network], aggr, width=4)
    mine, theirs = first.weight.chunk(2, 1)
    own, near = F.linear(own, mine - theirs, first.bias), F.linear(near, theirs)
    adds = aggr in ADDITIONS
    arrived = (structure.in_degree if adds else structure.in_degree > 0).to(own.dtype)[:, None]
    if not rest:
        return edgewise(own, near, structure, of_neighbour, [], aggr) + own * arrived
    body, last = split_last(rest) if adds or aggr == "mean" else (rest, None)
    out = edgewise(own, near, structure, of_sum, body, aggr, width=4)
    if last is None:
        return out
    out = F.linear(out, last.weight)
    return out if last.bias is None else out + arrived * last.bias.to(out.dtype)
