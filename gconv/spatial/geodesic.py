"""Geodesic convolution (GCNN): Gaussians on rings and rays of a local polar patch, turned to where they answer most.

    (D x)_i(r, a) = Σ_{j in N(i)} w_ra(ρ_ij, θ_ij) x_j
    w_ra(ρ, θ) ∝ exp( -(ρ - ρ_r)² / (2 σ_ρ²) ) exp( -|θ - θ_a|² / (2 σ_θ²) ),   Σ_j w_ra = 1
    x'_i = max over turns Δ of  Σ_{r, a} (D x)_i(r, a) Θ_{r, a + Δ}   +  Θ_root x_i + b

Angles differ by the short way round; a neighbour at distance 0 lies in every direction. Symbols: (ρ, θ) = `edge_attr`,
`(E, 2)`; ρ_r = `radius` · r / `rings`, θ_a = 2π a / `rays`; Θ = `weight`, `(rings · rays, C_in, C_out)`, ring by ring.
Without `angular_max_pool` there is the one turn Δ = 0, for frames that mean something. Where the directions of frames
are arbitrary, the maximum makes the result the same for all of them that differ by whole rays.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: K · E · C_in + N · (K · turns + 1) · C_in · C_out
multiply-adds a signal, K = rings · rays. Reference: Masci, Boscaini, Bronstein and Vandergheynst, Geodesic
convolutional neural networks on Riemannian manifolds (2015); as kernels: Monti et al. (2017), table 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gconv.spatial.polar import PolarConv


class GeodesicConv(PolarConv):
    """Geodesic convolution on local polar coordinates; `gconv.polar` makes them from positions.

    Args:
        in_channels, out_channels: channels of a node.
        rings, rays: how many Gaussians along ρ and θ.
        radius: where the last ring lies, in the unit of ρ.
        sigma_rho, sigma_theta: their widths; None for half the distance between neighbouring ones.
        angular_max_pool: take the largest answer over all turns of the kernel by whole rays, channel by channel.
        normalize: each Gaussian's weights sum to 1 over the neighbours.
        coordinates: 'polar', edge features are (ρ, θ); 'cartesian', offsets in the plane (a grid's graph has those).
        root_weight: add Θ_root x_i.
        bias: add b.

    Raises:
        ValueError: for edge features that are missing or no polar coordinates, or a signal that does not fit.

    >>> from gconv import grid_graph, polar
    >>> GeodesicConv(1, 6, rings=2, rays=8)(torch.zeros(2, 64, 1), polar(grid_graph((8, 8)))).shape
    torch.Size([2, 64, 6])
    """

    kind = "spatial"
    equation = "largest over turns Δ of Σₖ (Σⱼ wₖ(ρ, θ) xⱼ) Θₖ₊Δ + Θᵣ x + b"
    cost = "K · E · C_in + N · (K · turns + 1) · C_in · C_out, K = rings · rays"
    transfers = "if distances have the same unit"
    reference = "Masci et al. (2015); Monti et al. (2017), table 1"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        rings: int = 5,
        rays: int = 16,
        radius: float = 1.0,
        sigma_rho: float | None = None,
        sigma_theta: float | None = None,
        angular_max_pool: bool = True,
        normalize: bool = True,
        coordinates: str = "polar",
        root_weight: bool = True,
        bias: bool = True,
    ) -> None:
        for name, count in (("rings", rings), ("rays", rays)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} takes a whole number >= 1, got {count!r}")
        sigma_rho = 0.5 * radius / rings if sigma_rho is None else sigma_rho
        sigma_theta = math.pi / rays if sigma_theta is None else sigma_theta
        for name, value in (("radius", radius), ("sigma_rho", sigma_rho), ("sigma_theta", sigma_theta)):
            if not value > 0:
                raise ValueError(f"{name} takes a positive number, got {value!r}")
        super().__init__(in_channels, out_channels, rings * rays, normalize, coordinates, root_weight, bias)
        self.rings, self.rays, self.radius, self.angular_max_pool = rings, rays, radius, angular_max_pool
        self.sigma_rho, self.sigma_theta = sigma_rho, sigma_theta

    @property
    def formula(self) -> tuple[object, ...]:
        return self.rings, self.rays, self.radius, self.sigma_rho, self.sigma_theta

    def exponents(self, polar: Tensor) -> Tensor:
        rho, theta = polar[:, :1], polar[:, 1:]
        steps = torch.arange(max(self.rings, self.rays), dtype=polar.dtype, device=polar.device)
        along = (rho - self.radius / self.rings * (steps[: self.rings] + 1)) / self.sigma_rho
        turn = theta - 2 * math.pi / self.rays * steps[: self.rays]
        turn = torch.remainder(turn + math.pi, 2 * math.pi) - math.pi
        around = torch.where(rho > 0, turn / self.sigma_theta, torch.zeros_like(turn))
        return -0.5 * (along[:, :, None].square() + around[:, None, :].square()).flatten(1)

    def matrices(self) -> Tensor:
        """Θ for every turn, side by side: `(K, C_in, turns · C_out)`."""
        if not self.angular_max_pool:
            return self.weight
        kernel = self.weight.unflatten(0, (self.rings, self.rays))
        return torch.cat([kernel.roll(-turn, 1) for turn in range(self.rays)], -1).flatten(0, 1)

    def finish(self, out: Tensor) -> Tensor:
        """The largest over the turns; equal ones share the gradient."""
        return out.unflatten(-1, (self.rays, self.out_channels)).amax(-2) if self.angular_max_pool else out
