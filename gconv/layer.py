"""What all graph layers share: how they are called, and what they check."""

from __future__ import annotations

from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.functional.edgewise import check_reduction
from gconv.inherited import SOURCE_TO_TARGET, TARGET_TO_SOURCE, Aggregated, Median, check_inherited
from gconv.lazy import OpenLayer
from gconv.pairs import Ends, Signals, Size, check_pair, is_pair, pair_size
from gconv.resolve import GraphLike, as_graph, as_pair, one_an_edge, turned, with_tensor
from gconv.work import Work


class GraphLayer(OpenLayer):
    """A layer for signals `(N, C)` or `(B, N, C)` on a graph.

    It is called with a `Graph`, with a PyG `Data` or `Batch`, or with `edge_index` and PyG's further arguments in PyG's
    order. The plan of a bare `edge_index` is kept for as long as the tensor lives and stays unedited; an edit in place
    is seen, but not one through `.data` or shared numpy memory, which torch does not count.
    """

    kind: ClassVar[str] = "spatial"
    equation: ClassVar[str] = ""
    cost: ClassVar[str] = ""  # multiply-adds a signal
    transfers: ClassVar[str] = "yes"  # whether a trained layer fits another graph: "yes", "no", or "if ..."
    reference: ClassVar[str] = ""
    takes_sparse: ClassVar[bool] = False  # also a sparse (N, C), which is data: bags of words, one-hot features

    # What PyG's `**kwargs` may say: how messages are put together (the first by default), and whither they go.
    aggregations: ClassVar[tuple[str, ...]] = ()
    flows: ClassVar[tuple[str, ...]] = (SOURCE_TO_TARGET, TARGET_TO_SOURCE)
    aggr: Any = None
    flow: str = SOURCE_TO_TARGET
    node_dim: int = -2
    decomposed_layers: int = 1

    def __init__(self, **kwargs: Unpack[Aggregated]) -> None:
        super().__init__()
        given = check_inherited(type(self).__name__, kwargs, self.aggregations, self.flows)
        if self.aggregations:
            self.reduce_by(given.pop("aggr", self.aggregations[0]))
        for name, value in given.items():
            setattr(self, name, value)

    def reduce_by(self, aggr: object) -> None:
        """Take a reduction over the neighbours as `aggr`, with what PyG's state dicts hold of it.

        Raises:
            ValueError: for what is none.
        """
        check_reduction(type(self).__name__, aggr)
        self.aggr = aggr
        if aggr == "median":
            self.aggr_module = Median()

    def check(self, x: Tensor, graph: Graph) -> None:
        """Refuse a signal that does not fit the graph or the layer.

        Raises:
            TypeError: for what is no tensor of floating numbers. ValueError: for nodes, channels or a device.
        """
        name = type(self).__name__
        self.check_signal(x)
        if x.shape[-2] != graph.num_nodes:
            raise ValueError(
                f"{name}: a signal of {x.shape[-2]} nodes, {tuple(x.shape)}, does not fit {graph!r}: it has a row a "
                "node; pass the graph that the signal lives on"
            )
        if x.device != graph.device:
            raise ValueError(f"{name}: the signal is on {x.device}, the graph on {graph.device}; move one with .to()")

    def check_signal(self, x: Tensor) -> None:
        """Refuse a signal that does not fit the layer, whatever the graph.

        Raises:
            TypeError: for what is no tensor of floating numbers. ValueError: for its shape, its layout or its channels.
        """
        if not isinstance(x, Tensor):
            name = type(self).__name__
            raise TypeError(f"{name} takes one tensor (N, C) or (B, N, C) as its signal, got {type(x).__name__}")
        self._check_kind(x)
        for width in set(self.in_channels) if isinstance(self.in_channels, tuple) else (self.in_channels,):
            self._check_width(x, width)

    def _check_kind(self, x: Tensor) -> None:
        name = type(self).__name__
        if x.dim() not in (2, 3):
            mend = "; pictures (B, C, *size) become signals by gconv.bridge.to_nodes(x)" if x.dim() > 3 else ""
            raise ValueError(f"{name} takes a signal (N, C) or (B, N, C), got shape {tuple(x.shape)}{mend}")
        if x.dim() == 3 and self.node_dim == 0:
            raise ValueError(
                f"{name} with node_dim=0 takes one signal (N, C), got shape {tuple(x.shape)}; many are (B, N, C), "
                "without node_dim"
            )
        if not x.is_floating_point() and not x.is_complex():
            raise TypeError(f"{name} takes a signal of floating numbers, got {x.dtype}; convert it with .float()")
        if x.layout is not torch.strided and not (self.takes_sparse and x.dim() == 2):
            raise ValueError(f"{name} takes no sparse signal of shape {tuple(x.shape)}; pass x.to_dense()")

    def _check_width(self, x: Tensor, width: int | None, end: str = "") -> None:
        if width is not None and x.shape[-1] != width:
            where = f" of the {end}s" * bool(end)
            turned = x.shape[-2] == width
            mend = "pass x.transpose(-1, -2)" if turned else f"pass as many, or make the layer for {x.shape[-1]}"
            raise ValueError(
                f"{type(self).__name__} expects {width} channels{where}, got {x.shape[-1]}: {tuple(x.shape)}; "
                f"channels are the last axis: {mend}"
            )

    def edge_features(self, graph: Graph, edge_attr: Tensor | None, width: int, dtype: torch.dtype) -> Tensor:
        """The features of all edges, `(E, width)`: those of the call, else the graph's own.

        Raises:
            ValueError: if there are none, or they have another width.
        """
        name, given = type(self).__name__, graph.edge_attr if edge_attr is None else edge_attr
        if given is None:
            raise ValueError(
                f"{name} needs edge_attr (E, {width}), features of the edges; {graph!r} has none; "
                "pass them in the call, or keep them with the graph: Graph(edge_index, edge_attr=...)"
            )
        given = given[:, None] if given.dim() == 1 else given
        if given.shape != (graph.num_edges, width):
            raise ValueError(
                f"{name}: edge_attr has shape ({graph.num_edges}, {width}) here, got {tuple(given.shape)}; pass one "
                "row for each edge, in the order of edge_index, and make the layer for its width"
            )
        return given.to(dtype)

    def check_size(self, size: Size, graph: Graph) -> None:
        """Refuse a PyG `size` that means other sources than targets.

        Raises:
            ValueError: if it is not (N, N).
        """
        if size is not None and (len(size) != 2 or any(count not in (None, graph.num_nodes) for count in size)):
            raise ValueError(
                f"{type(self).__name__} has the same {graph.num_nodes} sources and targets here; got size={size!r}; "
                "where they differ, x is a pair (x_source, x_target)"
            )

    def ends(
        self,
        x: Signals,
        graph: GraphLike,
        edge_weight: Tensor | None = None,
        size: Size = None,
        *,
        needs_target: bool = False,
    ) -> Ends:
        """What a call means, in either of PyG's forms: one signal, or a pair `(x_source, x_target)`.

        Args:
            size: (number of sources, number of targets) of a pair; needed where its x_target is None.
            needs_target: whether the layer has no meaning without x_target.

        Raises:
            TypeError: if there is no graph, or x is no signal. ValueError: if something does not fit.
        """
        if not is_pair(x):
            found, learned = self.resolve(x, graph, edge_weight)  # pyright: ignore[reportArgumentType]
            self.check_size(size, found)
            return Ends(x, x, found.structure, found, learned, False)  # pyright: ignore[reportArgumentType]
        name = type(self).__name__
        if self.flow == TARGET_TO_SOURCE:
            raise ValueError(
                f"{name}: the edges of a pair lead from x_source to x_target, with flow={self.flow!r} too; turn both "
                "round, (x_target, x_source) and edge_index.flip(0), without flow"
            )
        source, target = check_pair(name, x, needs_target)
        widths = self.in_channels if isinstance(self.in_channels, tuple) else (self.in_channels,) * 2
        for end, signal, width in zip(("source", "target"), (source, target), widths, strict=True):
            if signal is not None:
                self._check_kind(signal)
                self._check_width(signal, width, end)
        adjacency = isinstance(graph, Tensor) and graph.layout is not torch.strided
        counts = pair_size(name, source, target, size, graph.shape[0] if adjacency else None)
        (structure, joint), edge_weight = as_pair(graph, name, counts, edge_weight)
        if source.device != joint.device or (target is not None and target.device != joint.device):
            places = source.device, None if target is None else target.device
            raise ValueError(f"{name}: the pair is on {places}, the graph on {joint.device}; move one with .to()")
        joint, learned = self._weighted(joint, edge_weight)
        return Ends(source, target, structure, joint, learned, True)

    def resolve(self, x: Tensor, graph: GraphLike, edge_weight: Tensor | None = None) -> tuple[Graph, Tensor | None]:
        """The graph that a call means, checked against `x`; and its weights, if they are being learned.

        Raises:
            TypeError: if there is no graph. ValueError: if something does not fit.
        """
        if isinstance(graph, Graph) and edge_weight is None:
            self.check(x, graph)
            graph = self._flowing(graph)
            own = graph.edge_weight
            return graph, own if own is not None and own.requires_grad else None
        nodes = x.shape[-2] if isinstance(x, Tensor) and x.dim() >= 2 else None
        found, edge_weight = as_graph(graph, type(self).__name__, nodes, edge_weight)
        self.check(x, found)
        if self.flow == TARGET_TO_SOURCE and isinstance(graph, Tensor) and graph.layout is not torch.strided:
            raise ValueError(
                f"{type(self).__name__}: flow={self.flow!r} takes no sparse adjacency; pass its transpose, without flow"
            )
        return self._weighted(self._flowing(found), edge_weight)

    def _flowing(self, graph: Graph) -> Graph:
        """The graph whose edges lead whither messages go."""
        return graph if self.flow == SOURCE_TO_TARGET else turned(graph)

    def _weighted(self, graph: Graph, edge_weight: Tensor | None) -> tuple[Graph, Tensor | None]:
        """The graph with these weights; or the weights themselves, if they are being learned."""
        if edge_weight is None:
            return graph, None
        if edge_weight.requires_grad or torch.compiler.is_compiling():  # no plan is made while tracing
            edge_weight = one_an_edge(edge_weight)
            if edge_weight.shape != (graph.num_edges,):
                raise ValueError(
                    f"{type(self).__name__}: edge_weight has shape ({graph.num_edges},) here; got "
                    f"{tuple(edge_weight.shape)}; pass one number for each edge, in the order of edge_index"
                )
            if not torch.compiler.is_compiling() and not bool(torch.isfinite(edge_weight.detach()).all()):
                name = type(self).__name__
                raise ValueError(f"{name}: edge_weight holds entries that are not finite; remove or replace them")
            return graph, edge_weight
        return with_tensor(graph, "edge_weight", edge_weight), None

    def work(self, graph: Graph, channels: int) -> Work | None:
        """What the layer does for one signal of so many channels, as `gconv.work` counts; None if it does not say.

        Every layer of the package does, beside its equation; `cost` is the same in words.
        """
        return None
