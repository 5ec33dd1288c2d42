"""Relational graph convolution: a matrix for each type of edge.

    x'_i = Θ x_i + Σ_r ( aggr_{j in N_r(i)} x_j ) Θ_r + b

    num_bases     Θ_r = Σ_b c_rb V_b
    num_blocks    Θ_r is block-diagonal

Symbols: Θ = `root`, Θ_r = `weight[r]`; c, V = `comp`, `weight` with bases; b = `bias`; aggr = the mean over N_r(i), the
neighbours along edges of type r, or the sum, the largest ... Signals may be one-hot: then `x` holds the place of each
node's 1, or is None where node n's is n, and rows of the matrices are looked up.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_s)` and `(..., N_t, C_t)` to
`(..., N_t, C_out)`; places `(N,)` to `(N, C_out)`. Cost: E · C_in + (P + N) · C_in · C_out multiply-adds a signal, P
the number of different (type, target). Reference: Schlichtkrull, Kipf, Bloem, van den Berg, Titov and Welling, Modeling
relational data with graph convolutional networks (2018), equations 2 to 4.
"""

from __future__ import annotations

from typing import Unpack, cast

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.domains.relations import Relations
from gconv.domains.structure import Structure
from gconv.functional.edgewise import Reduction
from gconv.functional.relational import composed, embedded_sum, relational_sum
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, is_pair
from gconv.resolve import held_by, with_tensor
from gconv.work import Work, summed
from grid_cnn.conv import check_channels

# Signals, or places of ones, or None for all of them in order; or a pair of such, of sources and of targets.
Features = Tensor | tuple[Tensor | None, Tensor] | None


class RGCNConv(GraphLayer):
    """`torch_geometric.nn.RGCNConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` also (of the sources, of the targets). Of one-hot
            signals: how many places there are.
        num_relations: R, the number of types.
        num_bases: make all matrices of so many.
        num_blocks: so many blocks on the diagonal of every matrix; it divides both numbers of channels.
        aggr: 'mean', 'add', 'max', 'min' or another of `SAGEConv`'s over the neighbours of each type.
        root_weight: add Θ x_i.
        is_sorted: taken for PyG's sake: edges are sorted once, whatever their order.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        ValueError: for bases and blocks at once, blocks that do not divide the channels, types that are missing,
        out of range or unlike in the graphs of a batch, or a signal that does not fit.

    >>> layer = RGCNConv(16, 32, num_relations=2)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([0, 1, 1])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "Θ x + Σᵣ (mean of xⱼ over edges of type r) Θᵣ + b"
    cost = "E · C_in + (P + N) · C_in · C_out, P pairs of type and target"
    transfers = "if it has the same types of edges"
    reference = "Schlichtkrull et al. (2018), equations 2 to 4"

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        num_relations: int,
        num_bases: int | None = None,
        num_blocks: int | None = None,
        aggr: Reduction = "mean",
        root_weight: bool = True,
        is_sorted: bool = False,
        bias: bool = True,
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        source, target = in_channels if isinstance(in_channels, tuple) else (in_channels, in_channels)
        check_channels(source, out_channels)
        check_channels(target, out_channels)
        self.reduce_by(aggr)
        for name, value in (("num_relations", num_relations), ("num_bases", num_bases), ("num_blocks", num_blocks)):
            open_ended = value is None and name != "num_relations"
            if not open_ended and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} takes a whole number >= 1{' or None' * (name[4] == 'b')}, got {value!r}")
        if num_bases is not None and num_blocks is not None:
            raise ValueError(f"RGCNConv takes num_bases or num_blocks; got {num_bases} and {num_blocks}")
        if num_blocks is not None and (source % num_blocks or out_channels % num_blocks):
            raise ValueError(
                f"num_blocks={num_blocks} must divide in_channels={source} and out_channels={out_channels}"
            )
        self.in_channels, self.out_channels, self.num_relations = in_channels, out_channels, num_relations
        self.num_bases, self.num_blocks, self.is_sorted = num_bases, num_blocks, is_sorted
        self._widths = source, target
        shape = (num_relations if num_bases is None else num_bases, source, out_channels)
        if num_blocks is not None:
            shape = num_relations, num_blocks, source // num_blocks, out_channels // num_blocks
        self.weight = nn.Parameter(torch.empty(shape))
        self.comp = None if num_bases is None else nn.Parameter(torch.empty(num_relations, num_bases))
        self.root = nn.Parameter(torch.empty(target, out_channels)) if root_weight else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all matrices by Glorot's rule, each by its own two sides; b starts at zero."""
        lazy.draw(lazy.glorot, self.weight, self.comp, self.root)
        lazy.draw(nn.init.zeros_, self.bias)

    def forward(
        self,
        x: Features,
        edge_index: GraphLike = None,
        edge_type: Tensor | None = None,
        *,
        form: str | None = None,
    ) -> Tensor:
        """The filtered signal on the targets.

        Args:
            x: a signal, places of ones `(N,)`, or None; or a pair of such, of sources and of targets.
            edge_type: `(E,)`, whole numbers from 0 to R - 1; None for `edge_type` of a PyG `Data`, or the graph's own
                `edge_attr`: a single column of whole numbers holds the types themselves; of other attributes each
                different one is a type, in ascending order (in a batch, if all of its graphs have the same ones).
            form: 'collapsed', 'fused' (bases), 'gather', 'portable', or None for the engine's choice.
        """
        (source, near), (target, own) = self._sides(x)
        ends = self.ends((near, own) if is_pair(x) else near, edge_index, needs_target=True)
        edge_type = held_by(edge_index, "edge_type") if edge_type is None else edge_type
        if edge_type is None and isinstance(edge_index, Tensor):  # the values of a sparse adjacency are no types
            raise ValueError(self._without_types())
        relations, graph = self._relations(ends, edge_type)
        if source is None:
            out = relational_sum(
                ends.lift(near), relations, self.weight, self.comp, self.aggr, form=form, choices=graph.plan.choices
            )
        else:
            tables = self.weight if self.comp is None else composed(self.weight, self.comp)
            out = embedded_sum(relations, self._rows(source, x, relations, graph), tables, self.aggr, form)
        out = ends.drop(out)
        if self.root is not None:
            out = out + (own @ self.root if target is None else self.root.index_select(0, target))
        return out if self.bias is None else out + self.bias

    def _sides(self, x: Features) -> tuple[tuple[Tensor | None, Tensor], tuple[Tensor | None, Tensor]]:
        """Of sources and of targets: places of ones if they are such, and the signal, or what stands in for it."""
        if not is_pair(x):
            side = self._side(cast(Tensor | None, x), self._widths[0])
            return side, side
        given = cast(tuple[Tensor | None, Tensor], tuple(cast(tuple[Tensor | None, Tensor], x)))
        if len(given) != 2 or given[1] is None:
            raise ValueError("RGCNConv takes a pair (x_source, x_target), of which x_source may be None")
        return self._side(given[0], self._widths[0]), self._side(given[1], self._widths[1])

    def _side(self, given: Tensor | None, width: int) -> tuple[Tensor | None, Tensor]:
        x = torch.arange(width, device=self.weight.device) if given is None else given
        if not isinstance(x, Tensor) or x.is_floating_point():
            return None, x
        if self.num_blocks is not None:
            raise ValueError("RGCNConv with num_blocks takes signals of numbers, no places of ones (whole numbers)")
        if x.dim() != 1 or x.dtype in (torch.bool, torch.uint8):
            raise ValueError(
                f"RGCNConv takes signals of numbers (N, C) or (B, N, C), or places of ones (N,) as torch.int64; got "
                f"{tuple(x.shape)} of {x.dtype}"
            )
        if x.numel() and not torch.compiler.is_compiling() and not 0 <= int(x.min()) <= int(x.max()) < width:
            raise ValueError(f"RGCNConv: places of ones go from 0 to {width - 1}, got {int(x.min())} to {int(x.max())}")
        return x.long(), self.weight.new_zeros(()).expand(len(x), width)

    def _rows(self, places: Tensor, x: Features, relations: Relations, graph: Graph) -> tuple[Structure, Structure]:
        """Where each edge reads the matrices; kept with the graph where the sources are all places in order."""
        width = self._widths[0]
        if (x[0] if is_pair(x) else x) is None:  # pyright: ignore[reportOptionalSubscript, reportIndexIssue]
            return graph.plan.keep(("rows of matrices", width), lambda: relations.rows_of(places, width))
        return relations.rows_of(places, width)

    def _without_types(self) -> str:
        return f"RGCNConv needs edge_type (E,), a whole number from 0 to {self.num_relations - 1} an edge"

    def _relations(self, ends: Ends, edge_type: Tensor | None) -> tuple[Relations, Graph]:
        """The edges by type, kept with the graph and the tensor of types."""
        graph, name = ends.graph, type(self).__name__
        if edge_type is not None:
            if edge_type.shape != (graph.num_edges,) or edge_type.is_floating_point() or edge_type.is_complex():
                raise ValueError(
                    f"{name}: edge_type has shape ({graph.num_edges},) here, a whole number an edge; got "
                    f"{tuple(edge_type.shape)} of {edge_type.dtype}; pass one for each edge, in the order of "
                    "edge_index, as torch.int64"
                )
            graph = with_tensor(graph, "edge_attr", edge_type)
        if graph.edge_attr is None:
            raise ValueError(self._without_types())
        attributes = graph.edge_attr
        relations = graph.plan.keep("relations", lambda: Relations.of(ends.structure, _types(name, graph, attributes)))
        low, high = relations.range
        if low < 0 or high >= self.num_relations:
            raise ValueError(
                f"{name}: types of edges go from 0 to num_relations - 1 = {self.num_relations - 1}, got {low} to {high}"
            )
        return relations, graph

    def work(self, graph: Graph, channels: int) -> Work:
        """The sums by type before the products; with fewer bases than types the sums are by basis."""
        nodes, edges, size = graph.num_nodes, graph.num_edges, channels * self.out_channels
        x = self.weight.new_zeros(nodes, channels)
        relations, _ = self._relations(Ends(x, x, graph.structure, graph, None, False), None)
        root = 0 if self.root is None else nodes * size
        if self.num_bases is not None and self.num_bases < len(relations.used) and self.aggr in ("add", "sum", "mean"):
            return Work(self.num_bases * (edges * channels + nodes * size) + root, edges, 1)
        products = relations.num_pairs * size // (self.num_blocks or 1)
        return Work(summed(edges, channels, self.aggr) + products + root, edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, num_relations={self.num_relations}"


def _types(layer: str, graph: Graph, attributes: Tensor) -> Tensor:
    """The types that edge attributes mean.

    Raises:
        ValueError: for several graphs whose different attributes would have other numbers in each of them.
    """
    columns = attributes.detach() if attributes.dim() == 2 else attributes.detach()[:, None]
    whole = not columns.is_floating_point() or bool((columns == columns.round()).all())
    if columns.shape[1] == 1 and whole:
        return columns[:, 0].long()
    different, types = columns.unique(dim=0, return_inverse=True)
    if graph.parts is not None:
        owners = graph.parts.batch[graph.edge_index[1]].long()
        held = (owners * len(different) + types).unique().numel()
        if held != len(different) * owners.unique().numel():
            raise ValueError(
                f"{layer}: the graphs of {graph!r} have different edge_attr, {len(different)} in all, so that the "
                "numbers of their types would depend on the batch; pass edge_type (E,), a whole number an edge"
            )
    return types
