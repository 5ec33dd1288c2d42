"""Normalisation on grids: torch's, as layers over a domain.

    batch:           y[c, p] = γ[c] (x[c, p] - mean[c]) / sqrt(var[c] + ε) + β[c]
    local response:  y[c, p] = x[c, p] / (k + α/n Σ_{c' near c} x[c', p]²)^β

with mean and variance over the batch and all cells (in training) or running averages (in evaluation), and with n
channels near each one, c - ⌊n/2⌋ to c + ⌊(n - 1)/2⌋, those beyond the ends counted as zero. Shapes: `(B, C, *size)` to
the same. Constructors, buffers and state dicts are torch's. Local response normalisation has no parameters.
References: Ioffe and Szegedy (2015); Krizhevsky, Sutskever and Hinton (2012), section 3.3, whose α is torch's α/n.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from grid_cnn.checks import whole
from grid_cnn.domain import Domain
from grid_cnn.layer import GridLayer, check_ndim


class _BatchNorm(GridLayer):
    def __init__(self, num_features: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(whole("num_features", num_features), *args, **kwargs)
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


class LocalResponseNorm(GridLayer):
    """Divide every value by a power of the mean square of its neighbours among the channels, as AlexNet does.

    Args:
        size: n, how many channels count as near. alpha, beta, k: as in `torch.nn.LocalResponseNorm`.
        ndim: the number of axes of the grids that it works on.

    Raises:
        ValueError: for a `size` that is not a positive whole number.

    >>> import torch
    >>> LocalResponseNorm(2, alpha=2.0, beta=1.0)(torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)).flatten()
    tensor([0.5000, 0.3333])
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, ndim: int = 2) -> None:
        super().__init__()
        self.size = whole("size, the number of channels that are near,", size)
        self.alpha, self.beta, self.k = alpha, beta, k
        self.ndim = check_ndim(type(self).__name__, ndim)

    def forward(self, input: Tensor, domain: Domain | None = None) -> Tensor:
        self.grid(input, domain)
        batch = input if input.dim() == self.ndim + 2 else input.unsqueeze(0)
        out = F.local_response_norm(batch, self.size, self.alpha, self.beta, self.k)
        return out if batch is input else out.squeeze(0)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
