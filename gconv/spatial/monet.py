"""MoNet: Gaussian kernels on the pseudo-coordinates of edges, mixed into a filter.

    x'_i = Σ_{k=1}^{K} [ mean or sum over j in N(i) of  w_k(e_ij) Θ_k x_j ]  +  Θ_root x_i + b
    w_k(e) = exp( -½ Σ_d (e_d - μ_kd)² / (σ_kd² + 1e-15) )

Symbols: e_ij = `edge_attr`, `(E, dim)`; μ, σ = `mu`, `sigma`, `(K, dim)`; Θ = `g`, `(C_in, C_out · K)`; Θ_root =
`root.weight` transposed; b = `bias`. With `separate_gaussians` every pair of channels has Gaussians of its own, μ and σ
of shape `(C_in, C_out, K, dim)`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_s)` and `(..., N_t, C_t)` to
`(..., N_t, C_out)`. Cost: E · K · C_in + N · (K + 1) · C_in · C_out multiply-adds a
signal (sums go before products); where edges have few different pseudo-coordinates, one matrix for each of those, and
on a regular grid's graph that of one 3×3 convolution. Reference: Monti, Boscaini, Masci, Rodolà, Svoboda and Bronstein,
Geometric deep learning on graphs and manifolds using mixture model CNNs (2017), equations 10 and 11.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.edge_matrices import edge_messages
from gconv.functional.edgewise import SUMS, Reduction, edgewise, of_neighbour
from gconv.functional.forms import pick
from gconv.functional.kernels import kernel_sum
from gconv.functional.offsets import collapsed, lattice_offsets
from gconv.functional.product import dense, is_sparse, product
from gconv.functional.propagate import propagate, sum_forms
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals, Size
from gconv.work import Work, summed

_EPSILON = 1e-15


class GMMConv(GraphLayer):
    """`torch_geometric.nn.GMMConv` (MoNet): same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` also (of the sources, of the targets), and -1 for
            what the first call tells.
        dim: the number of pseudo-coordinates of an edge.
        kernel_size: K, the number of Gaussians.
        separate_gaussians: Gaussians of its own for each pair of channels.
        aggr: 'mean', 'add' (or 'sum'), or another of `SAGEConv`'s over the neighbours.
        root_weight: add Θ_root x_i.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        ValueError: for an unknown `aggr`, edge features that are missing or of another width, or a signal that does
            not fit.

    >>> from gconv import grid_graph
    >>> GMMConv(1, 6, dim=2, kernel_size=9)(torch.zeros(2, 64, 1), grid_graph((8, 8))).shape
    torch.Size([2, 64, 6])
    """

    kind = "spatial"
    equation = "mean of Σₖ wₖ(e) Θₖ xⱼ + Θᵣ x + b, w Gaussians"
    cost = "E · K · C_in + N · (K + 1) · C_in · C_out"
    transfers = "if its pseudo-coordinates mean the same"
    reference = "Monti et al. (2017), equations 10 and 11"
    takes_sparse = True
    of_target = frozenset({"root"})

    def __init__(
        self,
        in_channels: lazy.Channels,
        out_channels: int,
        dim: int,
        kernel_size: int,
        separate_gaussians: bool = False,
        aggr: Reduction = "mean",
        root_weight: bool = True,
        bias: bool = True,
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        source, target = lazy.check_widths(in_channels, out_channels)
        for name, value in (("dim", dim), ("kernel_size", kernel_size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} takes a whole number >= 1, got {value!r}")
        self.reduce_by(aggr)
        self.in_channels, self.out_channels, self.dim, self.kernel_size = in_channels, out_channels, dim, kernel_size
        self.separate_gaussians, self.root_weight = separate_gaussians, root_weight
        pairs = (source, out_channels) if separate_gaussians else ()
        self.g = lazy.parameter(self, "g", source, out_channels * kernel_size)
        self.mu = lazy.parameter(self, "mu", *pairs, kernel_size, dim)
        self.sigma = lazy.parameter(self, "sigma", *pairs, kernel_size, dim)
        self.root = lazy.linear(target, out_channels, bias=False) if root_weight else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw Θ, μ and σ by Glorot's rule, as PyG does; b starts at zero."""
        lazy.draw(lazy.glorot, self.g, self.mu, self.sigma)
        lazy.draw(nn.init.xavier_uniform_, self.root)
        lazy.draw(nn.init.zeros_, self.bias)

    def forward(
        self,
        x: Signals,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        size: Size = None,
        *,
        form: str | None = None,
    ) -> Tensor:
        """The filtered signal on the targets.

        Args:
            x: a signal, or a pair (x_source, x_target); without x_target Θ_root adds nothing.
            edge_attr: pseudo-coordinates, `(E, dim)`; None for the graph's own.
            size: (number of sources, number of targets); needed where x_target is None.
            form: 'collapsed' (few different edges), 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        ends = self.ends(x, edge_index, size=size)
        near, graph = ends.source, ends.graph
        pseudo = self.edge_features(graph, edge_attr, self.dim, near.dtype)
        reduces = self.aggr not in SUMS
        own = not ends.paired and not reduces and (edge_attr is None or edge_attr is graph.edge_attr)
        if is_sparse(near) and not self.separate_gaussians and not reduces:
            out = self._of_sparse(near, ends, pseudo)
        else:
            out = ends.drop(self._summed(ends.lift(dense(near)), ends, pseudo, own, form))
        out = out if self.root is None or ends.target is None else out + product(ends.target, self.root.weight)
        return out if self.bias is None else out + self.bias

    def work(self, graph: Graph, channels: int) -> Work:
        """The sums of each kernel before the products; on the edges where all pairs of channels have their own."""
        nodes, edges, size = graph.num_nodes, graph.num_edges, channels * self.out_channels
        root = 0 if self.root is None else nodes * size
        if self.separate_gaussians or self.aggr not in ("add", "sum", "mean"):
            return Work(edges * size + summed(edges, self.out_channels, self.aggr) + root, edges, 1)
        return Work(self.kernel_size * (edges * channels + nodes * size) + root, edges, 1)

    def _summed(self, x: Tensor, ends: Ends, pseudo: Tensor, own: bool, form: str | None) -> Tensor:
        graph, structure = ends.graph, ends.structure
        kinds = graph.plan.edge_kinds() if own else None
        fewer = kinds is not None and (len(kinds) <= self.kernel_size or lattice_offsets(graph, x.dtype) is not None)
        able = ("fused", *sum_forms(x.device)) + ("collapsed",) * (kinds is not None)
        why = "every edge has its own Gaussians" if kinds is None else f"{len(kinds)} different edges"
        what = f"{self.kernel_size} Gaussian kernels, {x.shape[-1]}→{self.out_channels}"
        chosen = pick(form, able, "collapsed" if fewer else "fused", why, graph.plan.choices, what)
        if chosen == "collapsed" and kinds is not None:
            return collapsed(x, graph, kinds, self._filters, self.aggr == "mean")
        mean = graph.plan.mean_weights(x.dtype) if self.aggr == "mean" else None
        if self.separate_gaussians or self.aggr not in SUMS:
            numbers = self.mu[..., 0].numel() + x.shape[-1] * self.out_channels
            messages = edge_messages(x, structure, pseudo, self._filters, numbers)
            if self.aggr in SUMS:
                return propagate(messages, structure.arrivals, mean)
            nothing = messages.new_zeros(len(messages), structure.num_targets, 0)
            return edgewise(nothing, messages, structure.arrivals, of_neighbour, [], self.aggr)
        weight = self._gaussians(pseudo)
        weight = weight if mean is None else weight * mean[:, None]
        return kernel_sum(x, structure, weight, self._matrices(), form=chosen, choices=graph.plan.choices)

    def _of_sparse(self, x: Tensor, ends: Ends, pseudo: Tensor) -> Tensor:
        """Products first, in one pass over the signal's entries; then the sums over neighbours and kernels."""
        weight = self._gaussians(pseudo)
        weight = weight * ends.graph.plan.mean_weights(x.dtype)[:, None] if self.aggr == "mean" else weight
        products = product(x, self.g.t()).view(-1, self.out_channels)
        kernels = ends.structure.flipped.kernels(self.kernel_size).flipped
        return propagate(products, kernels, weight.reshape(-1))

    def _gaussians(self, pseudo: Tensor) -> Tensor:
        """w_k(e) at pseudo-coordinates `(E, dim)`: `(E, K)`, or `(E, C_in, C_out, K)` where separate."""
        pseudo = pseudo.reshape(-1, *[1] * (self.mu.dim() - 1), self.dim)
        return torch.exp((-0.5 * (pseudo - self.mu).pow(2) / (_EPSILON + self.sigma.pow(2))).sum(-1))

    def _matrices(self) -> Tensor:
        """Θ_k: `(K, C_in, C_out)`."""
        if self.separate_gaussians:
            return self.g.unflatten(1, (self.out_channels, self.kernel_size)).permute(2, 0, 1)
        return self.g.unflatten(1, (self.kernel_size, self.out_channels)).transpose(0, 1)

    def _filters(self, pseudo: Tensor) -> Tensor:
        """Σ_k w_k(e) Θ_k: the one matrix that all edges at these pseudo-coordinates share, `(E, C_in, C_out)`."""
        gaussians = self._gaussians(pseudo)
        if self.separate_gaussians:
            return (gaussians * self._matrices().permute(1, 2, 0)).sum(-1)
        return torch.tensordot(gaussians, self._matrices(), dims=1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, dim={self.dim}, kernel_size={self.kernel_size}"
