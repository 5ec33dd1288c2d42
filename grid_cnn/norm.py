"""Batch normalisation on grids: torch's, as layers over a domain.

    y[c, p] = γ[c] (x[c, p] - mean[c]) / sqrt(var[c] + ε) + β[c]

with mean and variance over the batch and all cells (in training) or running averages (in evaluation). Shapes:
`(B, C, *size)` to the same. Constructors, buffers and state dicts are torch's. Reference: Ioffe and Szegedy (2015).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from grid_cnn.domain import Domain
from grid_cnn.layer import GridLayer


class _BatchNorm(GridLayer):
    def __init__(self, num_features: int, *args: Any, **kwargs: Any) -> None:
        if isinstance(num_features, bool) or not isinstance(num_features, int) or num_features < 1:
            raise ValueError(f"num_features takes a whole number >= 1, got {num_features!r}")
        super().__init__(num_features, *args, **kwargs)
        self.in_channels = num_features

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.grid(input, domain)
        if input.dim() == self.ndim + 1:
            return super().forward(input.unsqueeze(0)).squeeze(0)
        return super().forward(input)


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """Batch normalisation of signals on a line.

    >>> import torch
    >>> BatchNorm1d(3)(torch.zeros(2, 3, 8)).shape
    torch.Size([2, 3, 8])
    """

    ndim = 1


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """Batch normalisation of pictures.

    >>> import torch
    >>> BatchNorm2d(3)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 3, 8, 8])
    """

    ndim = 2


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """Batch normalisation of volumes.

    >>> import torch
    >>> BatchNorm3d(3)(torch.zeros(2, 3, 4, 4, 4)).shape
    torch.Size([2, 3, 4, 4, 4])
    """

    ndim = 3
