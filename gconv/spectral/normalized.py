"""The operator of GCN and its relatives: the adjacency, normalised by degrees or not, with loops or not.

    S = D̂^{-1/2} Â D̂^{-1/2},   Â = A + I (improved: A + 2 I; without loops: A),   D̂_ii = Σ_j Â_ij

Fixed weights come from the graph's plan; weights that are being learned are normalised anew, differentiably.
Reference: Kipf and Welling, Semi-supervised classification with graph convolutional networks (2017), equation 2.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.operators import Operator, gcn_weights
from gconv.domains.structure import Structure

# How the layers on S put messages together: the sum, and what PyG's `aggr="mean"` makes of it.
AVERAGES = ("add", "sum", "mean")


def normalized_adjacency(
    graph: Graph,
    learned: Tensor | None,
    dtype: torch.dtype,
    *,
    improved: bool = False,
    add_self_loops: bool = True,
    normalize: bool = True,
    aggr: str = "add",
) -> tuple[Operator | Structure, Tensor | None]:
    """S, or A itself without `normalize`: an operator; or a structure and its weights, where `learned` are given.

    With `aggr` 'mean' row by row divided by the number of its entries.

    >>> from gconv import grid_graph
    >>> normalized_adjacency(grid_graph((2, 2)), None, torch.float32)[0].num_nodes
    4
    """
    plan = graph.plan
    if learned is None:
        found = plan.gcn(improved, add_self_loops) if normalize else plan.adjacency()
        return (plan.keep(("mean", found.name), lambda: _averaged(found)) if aggr == "mean" else found), None
    structure, weight = graph.structure, learned.to(dtype)
    if normalize:
        structure, weight = gcn_weights(graph, weight, improved, add_self_loops)
    return structure, weight * _shares(structure, dtype) if aggr == "mean" else weight


def _averaged(operator: Operator) -> Operator:
    """The operator with each row divided by the number of its entries."""
    shares = _shares(operator.structure, operator.weight.dtype)
    return Operator(f"mean of {operator.name}", operator.structure, operator.weight * shares)


def _shares(structure: Structure, dtype: torch.dtype) -> Tensor:
    """One over the number of edges into an edge's target."""
    return structure.in_degree.double().reciprocal()[structure.target].to(dtype)


def check_steps(layer: str, steps: object) -> None:
    """Refuse what is no number of steps.

    Raises:
        ValueError: saying what was given.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise ValueError(f"{layer}: K, the number of steps, is a whole number >= 0; got {steps!r}")


def check_share(layer: str, name: str, share: object) -> None:
    """Refuse what is no share of a whole, or no probability.

    Raises:
        ValueError: saying what was given.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"{layer}: {name} is a number from 0 to 1; got {share!r}")
