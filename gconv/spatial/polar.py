"""What layers share whose kernels lie in local polar coordinates and are fixed by a formula.

    x'_i = Σ_k [ Σ_{j in N(i)} w_k(ρ_ij, θ_ij) x_j ] Θ_k  +  Θ_root x_i + b

w_k sum to 1 over the neighbours (`normalize`, a patch operator), or stand as they are. See `geodesic`, `anisotropic`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gconv.domains.frames import to_polar
from gconv.domains.graph import Graph
from gconv.functional.kernels import kernel_sum
from gconv.functional.polar_kernels import check_polar, kernel_weights
from gconv.layer import GraphLayer, GraphLike
from gconv.work import Work
from grid_cnn.conv import check_channels

# What edge features may hold, and how (ρ, θ) is read from them.
COORDINATES: dict[str, Callable[[Tensor], Tensor]] = {"polar": lambda given: given, "cartesian": to_polar}


class PolarConv(GraphLayer, ABC):
    """A layer with K kernels of (ρ, θ), fixed by `exponents`, and a matrix for each.

    Args:
        count: K.
        normalize: kernels sum to 1 over the neighbours. coordinates: what edge features hold, 'polar' or 'cartesian'.
        root_weight: add Θ_root x_i. bias: add b.

    Raises:
        ValueError: for coordinates that are neither.
    """

    in_channels: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        count: int,
        normalize: bool,
        coordinates: str,
        root_weight: bool,
        bias: bool,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        if coordinates not in COORDINATES:
            raise ValueError(f"coordinates is one of {', '.join(map(repr, COORDINATES))}; got {coordinates!r}")
        self.in_channels: int = in_channels
        self.out_channels, self.normalize, self.coordinates = out_channels, normalize, coordinates
        self.weight = nn.Parameter(torch.empty(count, in_channels, out_channels))
        self.root = nn.Linear(in_channels, out_channels, bias=False) if root_weight else None
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw Θ as torch's convolutions do, U(±1 / sqrt(K · C_in)); b starts at zero."""
        bound = (self.weight.shape[0] * self.weight.shape[1]) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.root is not None:
            self.root.reset_parameters()
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @abstractmethod
    def exponents(self, polar: Tensor) -> Tensor:
        """f_k, the logarithm of the kernels at `(ρ, θ)`: `(E, 2)` to `(E, K)`."""

    @property
    @abstractmethod
    def formula(self) -> tuple[object, ...]:
        """What fixes the kernels: layers with equal formulas share their plan."""

    def matrices(self) -> Tensor:
        """Θ_k, `(K, C_in, C)`, of as many channels as `finish` takes."""
        return self.weight

    def finish(self, out: Tensor) -> Tensor:
        """The result `(..., N, C_out)` of the sums."""
        return out

    def forward(
        self, x: Tensor, edge_index: GraphLike = None, edge_attr: Tensor | None = None, *, form: str | None = None
    ) -> Tensor:
        """The filtered signal on the same graph.

        Args:
            edge_attr: coordinates of the edges, `(E, 2)`; None for the graph's own.
            form: 'fused', 'gather', 'portable', or None for the engine's choice.
        """
        graph, _ = self.resolve(x, edge_index)
        attributes = self.edge_features(graph, edge_attr, 2, torch.promote_types(x.dtype, torch.float32))
        own = (edge_attr is None or edge_attr is graph.edge_attr) and not attributes.requires_grad
        weight = self._weights(graph, attributes, own, x.dtype)
        signals = x if x.dim() == 3 else x[None]
        choices = graph.plan.choices
        out = kernel_sum(signals, graph.structure, weight, self.matrices(), form=form, choices=choices)
        out = self.finish(out if x.dim() == 3 else out[0])
        out = out if self.root is None else out + self.root(x)
        return out if self.bias is None else out + self.bias

    def _weights(self, graph: Graph, attributes: Tensor, own: bool, dtype: torch.dtype) -> Tensor:
        """w_k of all edges, `(E, K)`: of a graph's own features once, in float64, rounded once."""

        def build(given: Tensor) -> Tensor:
            coordinates = COORDINATES[self.coordinates](given)
            if not torch.compiler.is_compiling():
                check_polar(type(self).__name__, coordinates.detach())
            return kernel_weights(self.exponents(coordinates), graph.structure, self.normalize).to(dtype)

        if not own:
            return build(attributes)
        key = type(self).__name__, *self.formula, self.normalize, self.coordinates, dtype
        return graph.plan.keep(key, lambda: build(self.edge_features(graph, None, 2, torch.float64)))

    def work(self, graph: Graph, channels: int) -> Work:
        """The sums of each kernel before the products with its matrices."""
        nodes, edges, matrices = graph.num_nodes, graph.num_edges, self.matrices()
        root = 0 if self.root is None else nodes * channels * self.out_channels
        return Work(edges * len(matrices) * channels + nodes * matrices.numel() + root, edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, kernels={len(self.weight)}"
