"""What layers with weighted edges share: sums, means and other reductions of e_ji x_j over the neighbours."""

from __future__ import annotations

from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.operators import Operator, edge_weights
from gconv.domains.structure import Structure
from gconv.functional.edgewise import EXTREMES, edgewise, of_neighbour
from gconv.functional.extremes import extreme
from gconv.functional.messages import reduced
from gconv.functional.propagate import propagate
from gconv.pairs import Ends


def weighted_operator(ends: Ends, aggr: str) -> tuple[Operator | Structure, Tensor | None]:
    """The weighted sum, or mean, over neighbours, as `polynomial` and `propagate` take it."""
    graph, weight = ends.graph, ends.weight
    if weight is None and graph.edge_weight is None:
        return ends.mean() if aggr == "mean" else ends.sum()
    if weight is None and not ends.paired:
        plan = graph.plan
        return plan.keep("weighted mean", lambda: _mean(graph)) if aggr == "mean" else plan.adjacency(), None
    weight = graph.edge_weight if weight is None else weight
    assert weight is not None
    weight = weight.to(ends.source.dtype)
    return ends.structure, weight * graph.plan.mean_weights(weight.dtype) if aggr == "mean" else weight


def _mean(graph: Graph) -> Operator:
    return Operator("weighted mean", graph.structure, edge_weights(graph) * graph.plan.mean().weight)


def weighted_reduction(x: Tensor, ends: Ends, aggr: str) -> Tensor:
    """Any other reduction of the sources' signals `(..., N_s, C)`, weighted: `(..., N_t, C)`."""
    weight = ends.graph.edge_weight if ends.weight is None else ends.weight
    structure = ends.structure
    if weight is None:
        return reduction(x, ends, aggr)
    return ends.drop(reduced(_weighted, None, ends.lift(x), weight.to(x.dtype)[:, None], structure, aggr))


def reduction(x: Tensor, ends: Ends, aggr: str) -> Tensor:
    """A reduction of the sources' signals, whatever the weights: the mean, or what is no sum."""
    structure = ends.structure
    if aggr == "mean":
        return propagate(x, *ends.mean())
    if aggr in EXTREMES:
        return extreme(x, structure, largest=aggr == "max", choices=ends.graph.plan.choices)
    signals = ends.lift(x)
    nothing = signals.new_zeros(signals.shape[0], structure.num_targets, 0)
    return ends.drop(edgewise(nothing, signals, structure, of_neighbour, [], aggr))


def _weighted(own: Tensor | None, near: Tensor, edge: Tensor | None) -> Tensor:
    return near if edge is None else near * edge
