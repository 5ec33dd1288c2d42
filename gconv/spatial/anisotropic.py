"""Anisotropic convolution (ACNN): oriented heat kernels of several scales on a local frame.

    x'_i = Σ_{a, s} [ Σ_{j in N(i)} w_as(u_ij) x_j ] Θ_as  +  Θ_root x_i + b
    w_as(u) ∝ exp( -uᵀ R_a diag(α, 1) R_aᵀ u / (2 t_s²) ),   Σ_j w_as = 1

with u = ρ (cos θ, sin θ) and R_a the turn by θ_a = π a / `angles`. The kernel in the tangent plane stands for the heat
kernel of the surface: exact on a plane, an approximation for short times elsewhere. Half a turn leaves it as it is, so
a frame's direction needs no sign. Symbols: (ρ, θ) = `edge_attr`, `(E, 2)`, θ from the direction of largest curvature
(`gconv.polar`); α = `alpha`, t = `scales`; Θ = `weight`, `(angles · scales, C_in, C_out)`, angle by angle.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: K · E · C_in + N · (K + 1) · C_in · C_out
multiply-adds a signal, K = angles · scales. Reference: Boscaini, Masci, Rodolà and Bronstein, Learning shape
correspondence with anisotropic convolutional neural networks (2016); as kernels: Monti et al. (2017), table 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gconv.spatial.polar import PolarConv


class AnisotropicConv(PolarConv):
    """Convolution with oriented kernels on local frames; `gconv.polar` makes those from positions.

    Args:
        in_channels, out_channels: channels of a node.
        angles: how many directions, over half a turn.
        scales: the widths t of the kernels, in the unit of ρ.
        alpha: the kernel is 1 / sqrt(alpha) times as long in its direction as across; 1 for round ones.
        normalize: each kernel's weights sum to 1 over the neighbours.
        coordinates: 'polar', edge features are (ρ, θ); 'cartesian', offsets in the plane (a grid's graph has those).
        root_weight: add Θ_root x_i.
        bias: add b.

    Raises:
        ValueError: for edge features that are missing or no polar coordinates, or a signal that does not fit.

    >>> from gconv import grid_graph
    >>> layer = AnisotropicConv(1, 6, angles=4, coordinates="cartesian")
    >>> layer(torch.zeros(2, 64, 1), grid_graph((8, 8))).shape
    torch.Size([2, 64, 6])
    """

    kind = "spatial"
    equation = "Σₖ (Σⱼ wₖ(ρ, θ) xⱼ) Θₖ + Θᵣ x + b"
    cost = "K · E · C_in + N · (K + 1) · C_in · C_out, K = angles · scales"
    transfers = "if distances have the same unit"
    reference = "Boscaini et al. (2016); Monti et al. (2017), table 1"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        angles: int = 8,
        scales: Sequence[float] = (1.0,),
        alpha: float = 0.25,
        normalize: bool = True,
        coordinates: str = "polar",
        root_weight: bool = True,
        bias: bool = True,
    ) -> None:
        if isinstance(angles, bool) or not isinstance(angles, int) or angles < 1:
            raise ValueError(f"angles takes a whole number >= 1, got {angles!r}")
        if not isinstance(scales, Sequence) or not scales or not all(scale > 0 for scale in scales):
            raise ValueError(f"scales takes positive numbers, one or more in a sequence; got {scales!r}")
        if not alpha > 0:
            raise ValueError(f"alpha takes a positive number, got {alpha!r}")
        super().__init__(in_channels, out_channels, angles * len(scales), normalize, coordinates, root_weight, bias)
        self.angles, self.scales, self.alpha = angles, tuple(scales), alpha

    @property
    def formula(self) -> tuple[object, ...]:
        return self.angles, self.scales, self.alpha

    def exponents(self, polar: Tensor) -> Tensor:
        rho, theta = polar[:, :1], polar[:, 1:]
        turn = theta - math.pi / self.angles * torch.arange(self.angles, dtype=polar.dtype, device=polar.device)
        squared = rho.square() * (self.alpha * turn.cos().square() + turn.sin().square())
        widths = 2 * polar.new_tensor(self.scales).square()
        return -(squared[:, :, None] / widths).flatten(1)
