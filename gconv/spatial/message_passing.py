"""A base for layers of one's own, with PyG's hooks: what goes along an edge, how it is reduced, what becomes of it.

    x'_i = update( aggregate over j in N(i) of  message(x_i, x_j, e_ij) )

Symbols: `message`, `aggregate` and `update` are methods, of which a layer overrides those that it needs; `propagate`
calls them with the arguments that they name. Of a tensor `x` that `propagate` was given, `x_j` is its rows at the
sources of the edges, `x_i` at the targets; all others come as they are. Where `message` and `aggregate` are left as
they stand, no message is made: the engine sums rows, weighted by `edge_weight` if that is passed.

Shapes: signals `(N, C)` or `(B, N, C)`, messages `(E, C)` or `(B, E, C)`; with `node_dim=0` `(N, ...)` and `(E, ...)`.
Cost: E · C a signal, and that of the hooks.
Reference: Gilmer, Schoenholz, Riley, Vinyals and Dahl, Neural message passing for quantum chemistry (2017), section 2.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.edgewise import SUMS, check_reduction, edgewise, of_neighbour
from gconv.functional.propagate import propagate
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Size
from gconv.spatial.hooks import Call, arguments_of, begin, collect, joined_signals, parted_signals
from gconv.work import Work, counted, summed

_FLOWS = ("source_to_target", "target_to_source")

# Of the tensor of targets that hooks are given the edges that it belongs to, while these live.
_STRUCTURES: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


class MessagePassing(GraphLayer):
    """`torch_geometric.nn.MessagePassing`: the same hooks, on a `Graph` too, and for many signals on one.

    A layer that is to be bound, exported or built by a recipe tells its `in_channels`, as an attribute of that name;
    signals of another width are then refused.

    Args:
        aggr: 'sum' (or 'add'), 'mean', 'max', 'min', 'median', 'std', 'var' or 'softmax' over the messages into a node;
            several of them, whose results stand side by side; a module that is called as PyG's aggregations are; or
            None, where `aggregate` is overridden.
        flow: 'source_to_target', or 'target_to_source' for messages against the edges.
        node_dim: the axis of the nodes.

    Raises:
        ValueError: for an unknown `aggr` or `flow`.

    >>> class Mine(MessagePassing):
    ...     def __init__(self, in_channels, out_channels):
    ...         super().__init__(aggr="mean")
    ...         self.in_channels = in_channels
    ...         self.lin = nn.Linear(in_channels, out_channels)
    ...
    ...     def forward(self, x, edge_index):
    ...         return self.propagate(edge_index, x=self.lin(x))
    ...
    ...     def message(self, x_i, x_j):
    ...         return (x_j - x_i).relu()
    >>> Mine(16, 32)(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "update(aggregate of message(x, xⱼ, e))"
    cost = "E · C, and that of the hooks"
    reference = "Gilmer et al. (2017), section 2"

    def __init__(
        self,
        aggr: str | list[str] | nn.Module | None = "sum",
        *,
        flow: str = "source_to_target",
        node_dim: int = -2,
    ) -> None:
        super().__init__()
        if flow not in _FLOWS:
            raise ValueError(f"flow is 'source_to_target' or 'target_to_source', got {flow!r}")
        several = aggr if isinstance(aggr, tuple | list) else [aggr]
        for one in several:
            if not isinstance(one, nn.Module | None):
                check_reduction(type(self).__name__, one)
        if isinstance(aggr, tuple | list) and not (aggr and all(isinstance(one, str) for one in aggr)):
            raise ValueError(f"several aggregations are names, at least one; got {aggr!r}")
        self.aggr = list(aggr) if isinstance(aggr, tuple | list) else None if isinstance(aggr, nn.Module) else aggr
        self.aggr_module = aggr if isinstance(aggr, nn.Module) else None
        self.flow, self.node_dim = flow, node_dim
        kind = type(self)
        self._makes_messages = kind.message is not MessagePassing.message
        self._aggregates = kind.aggregate is not MessagePassing.aggregate or self.aggr_module is not None
        self._named = {
            "message": arguments_of(kind.message, 1),
            "aggregate": arguments_of(kind.aggregate, 2),
            "update": arguments_of(kind.update, 2),
            "edge_update": arguments_of(kind.edge_update, 1),
        }
        self.register_forward_pre_hook(_check_signal)

    def propagate(self, edge_index: GraphLike, size: Size = None, **kwargs: Any) -> Tensor:
        """Messages along the edges, put together at the nodes.

        Args:
            edge_index: a `Graph`, a PyG `Data`, an `edge_index`, or a sparse adjacency with a row a target.
            size: (number of sources, number of targets), where tensors do not tell.
            kwargs: what hooks ask for; tensors of nodes, or pairs of those of the sources and of the targets. What the
                graph itself has (`edge_weight`, `edge_attr`) need not be passed.

        Raises:
            TypeError: if a hook asks for what was not passed. ValueError: for sizes that do not fit.
        """
        call = begin(self, edge_index, size, kwargs, ("message", "aggregate", "update"), self._named)
        out = None if self._makes_messages or self._aggregates else self._summed(call)
        if out is None:
            out = self._of_messages(call)
        return self.update(out, **collect(self, call, "update", self._named["update"]))

    def message(self, x_j: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """The message of each edge: the value of its source, times the edge's weight if `propagate` was given any."""
        return x_j if edge_weight is None else edge_weight.reshape(-1, *[1] * (-self.node_dim - 1)) * x_j

    def aggregate(
        self, inputs: Tensor, index: Tensor, ptr: Tensor | None = None, dim_size: int | None = None
    ) -> Tensor:
        """The messages into each node, put together by `aggr`.

        Args:
            inputs: the messages. index: the target of each. dim_size: the number of targets.
        """
        if self.aggr_module is not None:
            return self.aggr_module(inputs, index, ptr=ptr, dim_size=dim_size, dim=self.node_dim)
        known = None if torch.compiler.is_compiling() else _STRUCTURES.get(index)
        structure = None if known is None else known()
        if structure is None or dim_size not in (None, structure.num_targets):
            count = dim_size if dim_size is not None else int(index.max()) + 1 if index.numel() else 0
            structure = Structure(torch.arange(index.numel(), device=index.device), index, index.numel(), count)
        return self._reduced(inputs, structure)

    def update(self, inputs: Tensor) -> Tensor:
        """What becomes of the aggregate: it stays as it is."""
        return inputs

    def edge_updater(self, edge_index: GraphLike, size: Size = None, **kwargs: Any) -> Tensor:
        """What `edge_update` makes for each edge, with arguments as in `propagate`."""
        call = begin(self, edge_index, size, kwargs, ("edge_update",), self._named)
        return self.edge_update(**collect(self, call, "edge_update", self._named["edge_update"]))

    def edge_update(self, **kwargs: Any) -> Tensor:
        """New features of each edge, for layers that call `edge_updater`; to be overridden.

        Raises:
            TypeError: where it is not.
        """
        raise TypeError(f"{type(self).__name__} calls edge_updater, and so needs a method edge_update")

    def work(self, graph: Graph, channels: int) -> Work | None:
        """Counted on one signal: dense products, and for each call of `propagate` its edges, its sum and a hop.

        A layer whose calls stand side by side sees less far, and overrides this. None for one that never calls it, or
        that holds other graph layers: only it can say.
        """
        if any(isinstance(part, GraphLayer) for part in self.modules() if part is not self):
            return None
        twin, calls = copy.deepcopy(self).eval(), []

        def watched(run: Callable[[Call], Tensor | None]) -> Callable[[Call], Tensor | None]:
            def reduce(call: Call) -> Tensor | None:
                out = run(call)
                if out is not None:
                    calls.append((call.structure.num_edges, out.numel() // max(call.structure.num_targets, 1)))
                return out

            return reduce

        vars(twin).update(_summed=watched(twin._summed), _of_messages=watched(twin._of_messages))
        like = next(self.parameters(), torch.empty(0))
        products = counted(lambda: twin(like.new_zeros(graph.num_nodes, channels), graph))
        several = len(self.aggr) if isinstance(self.aggr, list) else 1
        sums = sum(summed(edges, width // several, self.aggr) for edges, width in calls)
        return Work(products + sums, sum(edges for edges, _ in calls), len(calls)) if calls else None

    def _summed(self, call: Call) -> Tensor | None:
        """The sum of rows without messages; None where it is no weighted sum of float rows."""
        x = call.ends.get("x", (None, None))[0]
        if x is None or not x.is_floating_point() or self.aggr not in SUMS:
            return None
        weight = None
        if "edge_weight" in call.given:
            weight = call.given["edge_weight"] if call.given["edge_weight"] is not None else call.own("edge_weight")
            weight = None if weight is None else weight.reshape(-1).to(x.dtype)
        if self.aggr == "mean":
            mean = call.graph.plan.mean_weights(x.dtype, call.structure)
            weight = mean if weight is None else weight * mean
        signals, shape = joined_signals(x, self.node_dim)
        return parted_signals(propagate(signals, call.structure, weight), shape, self.node_dim)

    def _of_messages(self, call: Call) -> Tensor:
        made = self.message(**collect(self, call, "message", self._named["message"]))
        if not self._aggregates:
            return self._reduced(made, call.structure)
        if not torch.compiler.is_compiling():
            _STRUCTURES[call.structure.target] = weakref.ref(call.structure)
        return self.aggregate(made, **collect(self, call, "aggregate", self._named["aggregate"]))

    def _reduced(self, messages: Tensor, structure: Structure) -> Tensor:
        if self.aggr is None:
            raise TypeError(f"{type(self).__name__} has aggr=None, and so needs a method aggregate")
        signals, shape = joined_signals(messages, self.node_dim)
        names = self.aggr if isinstance(self.aggr, list) else [self.aggr]
        found = [parted_signals(_reduce(signals, structure, name), shape, self.node_dim) for name in names]
        return found[0] if len(found) == 1 else torch.cat(found, -1)


def _reduce(messages: Tensor, structure: Structure, aggr: str) -> Tensor:
    """`(S, E, C)` to `(S, N_t, C)`."""
    if messages.shape[1] != structure.num_edges:
        raise ValueError(f"there are {structure.num_edges} edges, but {messages.shape[1]} messages")
    if aggr in SUMS:
        out = propagate(messages, structure.arrivals)
        return out / structure.in_degree.clamp(min=1)[:, None] if aggr == "mean" else out
    nothing = messages.new_zeros(len(messages), structure.num_targets, 0)
    return edgewise(nothing, messages, structure.arrivals, of_neighbour, [], aggr)


def _check_signal(layer: MessagePassing, args: tuple[Any, ...]) -> None:
    """Refuse a signal of another width than `in_channels`, where the layer tells it."""
    if type(layer.in_channels) is int and args and isinstance(args[0], Tensor):
        layer._check_kind(args[0])
        layer._check_width(args[0], layer.in_channels)
