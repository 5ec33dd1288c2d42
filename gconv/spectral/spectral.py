"""The exact spectral convolution: a multiplier for every eigenvalue of the Laplacian, on the Fourier basis itself.

    X' = U [Σ_c g_{o,c}(λ) X̂_c] + b,   X̂ = U^T X,   L = U diag(λ) U^T

    smooth   g_{o,c}(λ) = Σ_k θ_{o,c,k} B_k(λ / λmax), with cubic B-splines B_k: local in space, and a function of λ
             alone: independent of which basis of an eigenspace was found, and carried over to other graphs. Each graph
             of a batch has its own λmax
    free     one multiplier θ_{o,c,k} for each of the K lowest frequencies, none for the rest (Bruna's first layers);
             with K = N the non-parametric filter. It belongs to one basis, and so to one graph

Symbols: θ = `weight`, `(C_out, C_in, K)`; b = `bias`. Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`.
Cost: N² (C_in + C_out) + N · C_in · C_out multiply-adds a signal; N log N for N² on 4-neighbour grids with
normalization None. Reference: Bruna, Zaremba, Szlam and LeCun, Spectral networks and locally connected networks on
graphs (2014), equations 3.2 and 3.5 (spline smoothing).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.domains.operators import Normalization, largest_of
from gconv.domains.plan import check_normalization
from gconv.functional.chebyshev import spectral_filter
from gconv.layer import GraphLayer, GraphLike
from gconv.work import Work
from grid_cnn.conv import check_channels


class SpectralConv(GraphLayer):
    """The spectral networks' convolution on the exact Fourier basis of an undirected graph.

    Args:
        in_channels, out_channels: channels of a node.
        K: the number of coefficients of a filter.
        smooth: splines over λ, or free multipliers of the K lowest frequencies (module docstring).
        normalization: of the Laplacian: 'sym' or None (combinatorial).
        bias: add b.

    Raises:
        ValueError: for a directed graph, one with fewer nodes than K or a batch when not smooth, or one too large for a
            dense basis; for normalization 'rw', whose Laplacian is not symmetric.

    >>> from gconv import grid_graph
    >>> SpectralConv(1, 6, K=25)(torch.zeros(2, 64, 1), grid_graph((8, 8))).shape
    torch.Size([2, 64, 6])
    """

    kind = "spectral"
    equation = "X' = U g(Λ) Uᵀ X + b, g a spline of λ for each pair of channels"
    cost = "N² · (C_in + C_out) + N · C_in · C_out"
    transfers = "if smooth=True: its splines of λ are read at the other graph's eigenvalues"
    reference = "Bruna, Zaremba, Szlam and LeCun (2014), equations 3.2 and 3.5"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int,
        smooth: bool = True,
        normalization: Normalization = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        check_normalization(normalization)
        if normalization == "rw":
            raise ValueError("SpectralConv takes normalization None or 'sym'; 'rw' has no orthonormal basis")
        if isinstance(K, bool) or not isinstance(K, int) or K < 1:
            raise ValueError(f"K, the number of spectral coefficients, is a whole number >= 1; got {K!r}")
        self.in_channels, self.out_channels, self.K = in_channels, out_channels, K
        self.smooth = smooth
        self.normalization: Normalization = normalization
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, K))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw multipliers from U(±1 / sqrt(C_in)), the gain of torch's convolutions at every frequency."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The filtered signal on the same graph."""
        graph, learned = self.resolve(x, edge_index, edge_weight)
        if learned is not None:
            raise ValueError("SpectralConv cannot learn edge weights: the basis is solved for once; detach them")
        key = ("spectral response", self.normalization, self.K, self.smooth, x.dtype)
        basis = graph.plan.keep(key, lambda: self._basis(graph).to(x.dtype))
        response = torch.einsum("nk,oik->nio", basis, self.weight)
        out = spectral_filter(x, graph, self.normalization, response)
        return out if self.bias is None else out + self.bias

    def _basis(self, graph: Graph) -> Tensor:
        """How the K coefficients make the multiplier of each frequency, `(N, K)`."""
        eigenvalues = graph.plan.fourier(self.normalization).eigenvalues
        if self.smooth:
            frequencies = torch.arange(graph.num_nodes, device=graph.device)
            return frequency_splines(eigenvalues, self.K, largest_of(eigenvalues, frequencies, graph.parts))
        if graph.num_graphs > 1:
            raise ValueError(f"free multipliers belong to one graph's basis, got {graph!r}; take smooth=True")
        if graph.num_nodes < self.K:
            raise ValueError(f"K={self.K} free multipliers on {graph!r}: there are only {graph.num_nodes} frequencies")
        lowest = torch.argsort(eigenvalues, stable=True)[: self.K]
        chosen = eigenvalues.new_zeros(graph.num_nodes, self.K)
        chosen[lowest, torch.arange(self.K, device=chosen.device)] = 1.0
        return chosen

    def work(self, graph: Graph, channels: int) -> Work:
        """There and back on a dense Fourier basis, and a matrix for each frequency.

        All nodes are seen, but for up to four splines: those have no knot inside, and are polynomials of degree K - 1.
        """
        nodes, out = graph.num_nodes, self.out_channels
        hops = self.K - 1 if self.smooth and self.K <= 4 else None
        return Work(nodes * nodes * (channels + out) + nodes * channels * out, 0, hops)

    def extra_repr(self) -> str:
        kind = "" if self.smooth else ", smooth=False"
        return f"{self.in_channels}, {self.out_channels}, K={self.K}{kind}, normalization={self.normalization!r}"


def frequency_splines(eigenvalues: Tensor, count: int, lambda_max: Tensor) -> Tensor:
    """`count` B-splines on equal knots over [0, λmax], cubic where there are enough, at each eigenvalue: `(N, count)`.

    Rows sum to one. λmax is a number, or one an eigenvalue.

    >>> eigenvalues = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    >>> frequency_splines(eigenvalues, 4, eigenvalues.max()).sum(1)
    tensor([1., 1., 1.], dtype=torch.float64)
    """
    import numpy as np
    from scipy.interpolate import BSpline

    degree = min(3, count - 1)
    inner = np.linspace(0.0, 1.0, count - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)])
    # An eigenvalue may miss 0 by a rounding error, on either side.
    points = torch.where(lambda_max > 0, eigenvalues / lambda_max, eigenvalues).clamp(0.0, 1.0)
    design = BSpline.design_matrix(points.cpu().numpy(), knots, degree).toarray()
    return torch.from_numpy(design).to(eigenvalues.device)
