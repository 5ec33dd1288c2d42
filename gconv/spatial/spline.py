"""Spline convolution: a continuous kernel on the pseudo-coordinates of edges, a tensor product of B-splines.

    x'_i = mean or sum over j in N(i) of  [ Σ_{p} B_p(u_ij) Θ_p ] x_j  +  Θ_root x_i + b

Symbols: u_ij = `edge_attr`, `(E, dim)`, in [0, 1]; B_p = the basis functions of `functional.splines`, K = Π
`kernel_size` in all, of which S = (`degree` + 1)^dim do not vanish on an edge; Θ = `weight`, `(K, C_in, C_out)`;
Θ_root = `lin.weight` transposed; b = `bias`. `aggr` may also be 'max' or 'min' of the edges' terms.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair, sources to targets. Cost: E · S · C_in + N · (K +
1) · C_in · C_out multiply-adds a signal (sums go before products); where edges have few different pseudo-coordinates,
one matrix for each of those, and on a regular grid's graph that of one 3×3 convolution. Reference: Fey, Lenssen,
Weichert and Müller, SplineCNN: Fast geometric deep learning with continuous B-spline kernels (2018), section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.domains.structure import Structure
from gconv.functional.edge_matrices import edge_messages
from gconv.functional.edgewise import EXTREMES, Reduction, edgewise, of_neighbour
from gconv.functional.forms import pick
from gconv.functional.kernel_entries import Assignment, assigned_sum, unsorted_sum
from gconv.functional.kernels import kernel_sum
from gconv.functional.offsets import collapsed, lattice_offsets
from gconv.functional.propagate import sum_forms
from gconv.functional.splines import DEGREES, check_pseudo, dense_basis, spline_basis
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals, Size
from gconv.resolve import with_tensor
from gconv.work import Work


class SplineConv(GraphLayer):
    """`torch_geometric.nn.SplineConv`: same arguments, same state dict; no compiled package is needed.

    Args:
        in_channels, out_channels: channels of a node; a pair for those of sources and targets; -1 for what the first
            call tells.
        dim: the number of pseudo-coordinates of an edge.
        kernel_size: basis functions along each axis, a number or one an axis.
        is_open_spline: whether an axis has two ends; else 0 and 1 are the same point (an angle). One or one an axis.
        degree: of the splines, 1 to 3.
        aggr: 'mean', 'add', 'max' or 'min' over the neighbours.
        root_weight: add Θ_root x_i.
        bias: add b.
        max_value: edge features are offsets in [-max_value, max_value], scaled to [0, 1] here: u = offset / (2
            max_value) + ½. On a grid's graph 1 is the neighbours' offset. None: they lie in [0, 1] as they come.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        ValueError: for edge features that are missing, of another width or out of range, or a signal that does not fit.

    >>> from gconv import grid_graph
    >>> SplineConv(1, 6, dim=2, kernel_size=3, max_value=1.0)(torch.zeros(2, 64, 1), grid_graph((8, 8))).shape
    torch.Size([2, 64, 6])
    """

    of_target = frozenset({"lin"})
    kind = "spatial"
    equation = "mean of Σₚ Bₚ(uᵢⱼ) Θₚ xⱼ + Θᵣ x + b"
    cost = "E · S · C_in + N · (K + 1) · C_in · C_out, S = (degree + 1)^dim"
    transfers = "if its pseudo-coordinates mean the same"
    reference = "Fey et al. (2018), section 3"

    def __init__(
        self,
        in_channels: lazy.Channels,
        out_channels: int,
        dim: int,
        kernel_size: int | Sequence[int],
        is_open_spline: bool | Sequence[bool] = True,
        degree: int = 1,
        aggr: Reduction = "mean",
        root_weight: bool = True,
        bias: bool = True,
        *,
        max_value: float | None = None,
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        source, target = lazy.check_widths(in_channels, out_channels)
        if isinstance(dim, bool) or not isinstance(dim, int) or dim < 1:
            raise ValueError(f"dim, the number of pseudo-coordinates, takes a whole number >= 1, got {dim!r}")
        if degree not in DEGREES:
            raise ValueError(f"degree is {', '.join(map(str, DEGREES[:-1]))} or {DEGREES[-1]}, got {degree!r}")
        self.reduce_by(aggr)
        if max_value is not None and not max_value > 0:
            raise ValueError(f"max_value takes the largest offset, a positive number, or None; got {max_value!r}")
        sizes, opens = _per_axis(kernel_size, dim, "kernel_size"), _per_axis(is_open_spline, dim, "is_open_spline")
        least = [degree if is_open else 1 for is_open in opens]
        if any(isinstance(k, bool) or not isinstance(k, int) or k < n for k, n in zip(sizes, least, strict=True)):
            raise ValueError(
                f"kernel_size takes whole numbers >= {max(least)} for degree {degree}, got {kernel_size!r}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.dim, self.degree, self.max_value = dim, degree, max_value
        self.root_weight = root_weight
        self.register_buffer("kernel_size", torch.tensor(sizes, dtype=torch.long))
        self.register_buffer("is_open_spline", torch.tensor(opens, dtype=torch.uint8))
        self._sizes, self._opens = sizes, tuple(map(bool, opens))  # as whole numbers: the compiler reads no tensors
        self.K = math.prod(sizes)
        self.weight = lazy.parameter(self, "weight", self.K, source, out_channels)
        self.lin = lazy.linear(target, out_channels, bias=False) if root_weight else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw Θ and Θ_root by PyG's rule, U(±1 / sqrt(K · C_in)) and U(±1 / sqrt(C_in)); b starts at zero."""
        lazy.draw(lambda weight: nn.init.uniform_(weight, *_symmetric(weight.shape[0] * weight.shape[1])), self.weight)
        lazy.draw(lambda weight: nn.init.uniform_(weight, *_symmetric(weight.shape[1])), self.lin)
        lazy.draw(nn.init.zeros_, self.bias)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)  # pyright: ignore[reportArgumentType]
        opens = state_dict.get(prefix + "is_open_spline")
        if isinstance(opens, Tensor) and opens.shape == (self.dim,) and not opens.is_meta:
            self._opens = tuple(map(bool, opens.tolist()))
        sizes = state_dict.get(prefix + "kernel_size")
        if isinstance(sizes, Tensor) and sizes.shape == (self.dim,) and not sizes.is_meta:
            self._sizes = tuple(map(int, sizes.tolist()))

    def forward(
        self,
        x: Signals,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        size: Size = None,
        *,
        form: str | None = None,
    ) -> Tensor:
        """The filtered signal on the same graph, or on the targets.

        Args:
            x: a signal, or those of sources and targets, `(x_source, x_target)`; x_target may be None.
            edge_attr: pseudo-coordinates, `(E, dim)`; None for the graph's own.
            size: the numbers of sources and targets.
            form: 'collapsed' (few different edges), 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends(x, edge_index, size=size)
        source, graph = ends.lift(ends.source), ends.graph
        attributes = self.edge_features(graph, edge_attr, self.dim, source.dtype)
        graph.plan.mean_weights(source.dtype)  # of the graph of the call: a compiled one with other features reads them
        own = not attributes.requires_grad
        if own and edge_attr is not None and edge_attr is not graph.edge_attr:
            own = not torch.compiler.is_compiling()
            graph = with_tensor(graph, "edge_attr", edge_attr) if own else graph
        self._check_range(graph, attributes, own)
        out = ends.drop(self._summed(source, ends, graph, attributes, own, form))
        out = out if self.lin is None or ends.target is None else out + self.lin(ends.target)
        return out if self.bias is None else out + self.bias

    def work(self, graph: Graph, channels: int) -> Work:
        """The sums of each basis function before the products; a matrix an edge where the largest counts."""
        nodes, edges, size = graph.num_nodes, graph.num_edges, channels * self.out_channels
        root = nodes * size if self.root_weight else 0
        if self.aggr in ("max", "min"):
            return Work(edges * size + root, edges, 1)
        functions = (self.degree + 1) ** self.dim
        return Work(edges * functions * channels + nodes * self.K * size + root, edges, 1)

    def pseudo(self, attributes: Tensor) -> Tensor:
        """u in [0, 1], of features as they come."""
        return attributes if self.max_value is None else attributes / (2 * self.max_value) + 0.5

    def basis(self, attributes: Tensor) -> tuple[Tensor, Tensor]:
        """Values and indices `(E, S)` of the basis functions that do not vanish, of edge features `(E, dim)`."""
        return spline_basis(self.pseudo(attributes), self._sizes, self._opens, self.degree)

    def _check_range(self, graph: Graph, attributes: Tensor, own: bool) -> None:
        """Refuse what lies outside [0, 1]: a graph's own features once, others in every call."""

        def check() -> str:
            check_pseudo("SplineConv", self.pseudo(attributes.detach()))
            return "in [0, 1]"

        if own:
            graph.plan.keep(("pseudo-coordinates", self.max_value), check)
        elif not torch.compiler.is_compiling():
            check()

    def _summed(self, x: Tensor, ends: Ends, graph: Graph, attributes: Tensor, own: bool, form: str | None) -> Tensor:
        """The sum over the neighbours; `own`: the attributes are the graph's, and what is made of them is kept."""
        if self.aggr in EXTREMES:
            return self._extreme(x, ends.structure, attributes)
        kinds = graph.plan.edge_kinds() if own and not ends.paired else None
        fewer = kinds is not None and (len(kinds) <= self.K or lattice_offsets(graph, x.dtype) is not None)
        able = ("fused", *sum_forms(x.device)) + ("collapsed",) * (kinds is not None)
        why = "an edge has few of the basis functions" if kinds is None else f"{len(kinds)} different edges"
        what, choices = f"{self.K} basis functions, {x.shape[-1]}→{self.out_channels}", graph.plan.choices
        chosen = pick(form, able, "collapsed" if fewer else "fused", why, choices, what)
        if chosen == "collapsed" and kinds is not None:
            return collapsed(x, graph, kinds, self._filters, self.aggr == "mean")
        if own:
            key = "spline basis", self._sizes, self._opens, self.degree, self.max_value, self.aggr == "mean", x.dtype
            assignment = graph.plan.keep(key, lambda: self._assignment(graph, ends.structure, x.dtype))
            return assigned_sum(x, assignment, self.weight, form=chosen, choices=choices)
        values, indices = self.basis(attributes)
        values = values * graph.plan.mean_weights(x.dtype)[:, None] if self.aggr == "mean" else values
        if torch.compiler.is_compiling():
            return unsorted_sum(x, ends.structure, values, indices, self.weight)
        weight = dense_basis(values, indices, self.K)
        return kernel_sum(x, ends.structure, weight, self.weight, form=chosen, choices=choices)

    def _assignment(self, graph: Graph, structure: Structure, dtype: torch.dtype) -> Assignment:
        """Edges shared out among the basis functions; in float64, rounded once."""
        values, indices = self.basis(self.edge_features(graph, None, self.dim, torch.float64))
        if self.aggr == "mean":
            values = values * graph.plan.mean_weights(torch.float64)[:, None]
        edge = torch.arange(graph.num_edges, device=graph.device).repeat_interleave(values.shape[1])
        return Assignment.of(structure, edge, indices.flatten(), values.flatten().to(dtype), self.K)

    def _filters(self, attributes: Tensor) -> Tensor:
        """Σ_p B_p(u) Θ_p: the matrix of edges with these features, `(E, C_in, C_out)`."""
        return torch.tensordot(dense_basis(*self.basis(attributes), self.K), self.weight, dims=1)

    def _extreme(self, x: Tensor, structure: Structure, attributes: Tensor) -> Tensor:
        """The largest or smallest of the edges' terms, channel by channel."""
        size = 2 * self.weight[0].numel()
        messages = edge_messages(x, structure, attributes, self._filters, size)
        nothing = messages.new_zeros(len(messages), structure.num_targets, 0)
        return edgewise(nothing, messages, structure.arrivals, of_neighbour, [], self.aggr)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, dim={self.dim}, kernel_size={list(self._sizes)}"


def _per_axis(value: Any, dim: int, name: str) -> tuple[Any, ...]:
    """One value an axis.

    Raises:
        ValueError: if there are more or fewer.
    """
    values = tuple(value) if isinstance(value, Sequence) else (value,) * dim
    if len(values) != dim:
        raise ValueError(f"{name} takes one value or {dim}, one an axis; got {value!r}")
    return values


def _symmetric(fan: int) -> tuple[float, float]:
    return -(fan**-0.5), fan**-0.5
