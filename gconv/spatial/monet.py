"""MoNet: Gaussian kernels on the pseudo-coordinates of edges, mixed into a filter.

    x'_i = Σ_{k=1}^{K} [ mean or sum over j in N(i) of  w_k(e_ij) Θ_k x_j ]  +  Θ_root x_i + b
    w_k(e) = exp( -½ Σ_d (e_d - μ_kd)² / (σ_kd² + 1e-15) )

Symbols: e_ij = `edge_attr`, `(E, dim)`; μ, σ = `mu`, `sigma`, `(K, dim)`; Θ = `g`, `(C_in, C_out · K)`; Θ_root =
`root.weight` transposed; b = `bias`. With `separate_gaussians` every pair of channels has Gaussians of its own, μ and σ
of shape `(C_in, C_out, K, dim)`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: E · K · C_in + N · K · C_in · C_out multiply-adds a
signal (sums go before products); on a regular grid's graph, whose edges have few different pseudo-coordinates, that of
one 3×3 convolution. Reference: Monti, Boscaini, Masci, Rodolà, Svoboda and Bronstein, Geometric deep learning on
graphs and manifolds using mixture model CNNs (2017), equations 10 and 11.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.domains.lattice import Lattice
from gconv.domains.operators import inverse_power
from gconv.domains.structure import Structure
from gconv.functional.directional import Window, directional
from gconv.functional.forms import pick
from gconv.functional.propagate import propagate
from gconv.layer import GraphLayer, GraphLike
from grid_cnn.conv import check_channels

_EPSILON = 1e-15
# Numbers of the per-edge matrices of separate Gaussians that are made at once.
_CHUNK = 1 << 22


class GMMConv(GraphLayer):
    """`torch_geometric.nn.GMMConv` (MoNet): same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node.
        dim: the number of pseudo-coordinates of an edge.
        kernel_size: K, the number of Gaussians.
        separate_gaussians: Gaussians of its own for each pair of channels.
        aggr: 'mean' or 'add' over the neighbours.
        root_weight: add Θ_root x_i.
        bias: add b.

    Raises:
        ValueError: for edge features that are missing or of another width, or a signal that does not fit.

    >>> from gconv import grid_graph
    >>> GMMConv(1, 6, dim=2, kernel_size=9)(torch.zeros(2, 64, 1), grid_graph((8, 8))).shape
    torch.Size([2, 64, 6])
    """

    kind = "spatial"
    reference = "Monti et al. (2017), equations 10 and 11"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dim: int,
        kernel_size: int,
        separate_gaussians: bool = False,
        aggr: str = "mean",
        root_weight: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        for name, value in (("dim", dim), ("kernel_size", kernel_size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} takes a whole number >= 1, got {value!r}")
        if aggr not in ("mean", "add", "sum"):
            raise ValueError(f"aggr is 'mean' or 'add'; got {aggr!r}")
        self.in_channels, self.out_channels, self.dim, self.kernel_size = in_channels, out_channels, dim, kernel_size
        self.separate_gaussians, self.aggr = separate_gaussians, aggr
        pairs = (in_channels, out_channels) if separate_gaussians else ()
        self.g = nn.Parameter(torch.empty(in_channels, out_channels * kernel_size))
        self.mu = nn.Parameter(torch.empty(*pairs, kernel_size, dim))
        self.sigma = nn.Parameter(torch.empty(*pairs, kernel_size, dim))
        self.root = nn.Linear(in_channels, out_channels, bias=False) if root_weight else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Θ, μ and σ by Glorot's rule, as PyG does; b starts at zero."""
        for parameter in (self.g, self.mu, self.sigma):
            nn.init.uniform_(parameter, *_glorot(parameter))
        if self.root is not None:
            nn.init.xavier_uniform_(self.root.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor,
        edge_index: GraphLike = None,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
        *,
        form: str | None = None,
    ) -> Tensor:
        """The filtered signal on the same graph.

        Args:
            edge_attr: pseudo-coordinates, `(E, dim)`; None for the graph's own.
            size: taken for PyG's sake: (N, N), since sources and targets are the same nodes.
            form: 'convolution' (regular grids), 'gather', 'portable', or None for the engine's choice.
        """
        graph, _ = self.resolve(x, edge_index)
        if size is not None and tuple(size) != (graph.num_nodes,) * 2:
            raise ValueError(f"GMMConv has the same {graph.num_nodes} sources and targets here; got size={size!r}")
        pseudo = graph.edge_attr if edge_attr is None else edge_attr
        if pseudo is None:
            raise ValueError(f"GMMConv needs edge_attr (E, {self.dim}), the pseudo-coordinates; {graph!r} has none")
        if pseudo.shape != (graph.num_edges, self.dim):
            raise ValueError(f"edge_attr has shape ({graph.num_edges}, {self.dim}) here, got {tuple(pseudo.shape)}")
        regular = edge_attr is None and graph.lattice is not None and bool(graph.lattice.offsets)
        regular = regular and self.dim == len(graph.lattice.grid.size if graph.lattice else ())
        able = ("gather", "portable") + ("convolution",) * regular
        chosen = pick(form, able, able[-1] if regular else "gather")
        signals = x if x.dim() == 3 else x[None]
        if chosen == "convolution":
            out = self._collapsed(signals, graph)
        elif self.separate_gaussians:
            out = self._separate(signals, graph, pseudo.to(x.dtype))
        else:
            weight = self._gaussians(pseudo.to(x.dtype))
            if self.aggr == "mean":
                weight = weight * _per_edge_mean(graph, x.dtype)[:, None]
            sums = propagate(signals, graph, weight, kernels=True, form=chosen)
            out = sums.flatten(-2) @ self._matrices().flatten(0, 1)
        out = out if x.dim() == 3 else out[0]
        out = out if self.root is None else out + self.root(x)
        return out if self.bias is None else out + self.bias

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

    def _collapsed(self, x: Tensor, graph: Graph) -> Tensor:
        """On a regular grid every edge has one of a few offsets: a convolution with a matrix for each of them."""
        assert graph.lattice is not None
        lattice = graph.lattice
        key = ("offsets", x.dtype)
        offsets = graph.plan.keep(key, lambda: torch.tensor(lattice.offsets, dtype=x.dtype, device=x.device))
        ndim = lattice.grid.ndim
        place = graph.plan.keep("offset places", lambda: _places(lattice).to(x.device))
        filters = self._filters(offsets)
        taps = filters.new_zeros(3**ndim, *filters.shape[1:]).index_copy(0, place, filters)
        kernel = taps.permute(2, 1, 0).unflatten(2, (3,) * ndim)
        ones = (1,) * ndim
        out = directional(x, graph, kernel, None, Window((3,) * ndim, ones, ((1, 1),) * ndim, ones, "zeros"))
        return out * _inverse_in_degree(graph, x.dtype)[:, None] if self.aggr == "mean" else out

    def _separate(self, x: Tensor, graph: Graph, pseudo: Tensor) -> Tensor:
        """A matrix an edge, made and applied for so many edges at a time."""
        structure = graph.structure
        if not structure.num_edges:
            return x.new_zeros(*x.shape[:-1], self.out_channels)
        mean = _per_edge_mean(graph, x.dtype) if self.aggr == "mean" else None
        edges = max(1, _CHUNK // (self.mu[..., 0].numel()))
        messages = [
            torch.einsum("sec,eco->seo", x.index_select(1, source), self._filters(part))
            for source, part in zip(structure.source.split(edges), pseudo.split(edges), strict=True)
        ]
        arrivals = graph.plan.keep("arrivals", lambda: _arrivals(structure))
        return propagate(torch.cat(messages, 1), arrivals, mean)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, dim={self.dim}, kernel_size={self.kernel_size}"


def _places(lattice: Lattice) -> Tensor:
    """Where the offsets lie in a kernel of three taps an axis, counted row by row."""
    radix = 3 ** torch.arange(lattice.grid.ndim - 1, -1, -1)
    return ((torch.tensor(lattice.offsets) + 1) * radix).sum(1)


def _arrivals(structure: Structure) -> Structure:
    """Edges as sources of themselves: summing messages, one an edge, at their targets."""
    edges = torch.arange(structure.num_edges, device=structure.source.device)
    return Structure(edges, structure.target, structure.num_edges, structure.num_targets)


def _inverse_in_degree(graph: Graph, dtype: torch.dtype) -> Tensor:
    def build() -> Tensor:
        return inverse_power(torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).double(), -1.0).to(dtype)

    return graph.plan.keep(("inverse in-degree", dtype), build)


def _per_edge_mean(graph: Graph, dtype: torch.dtype) -> Tensor:
    return graph.plan.keep(("mean", dtype), lambda: _inverse_in_degree(graph, dtype)[graph.edge_index[1]])


def _glorot(parameter: Tensor) -> tuple[float, float]:
    bound = (6.0 / (parameter.shape[-2] + parameter.shape[-1])) ** 0.5
    return -bound, bound
