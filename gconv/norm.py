"""Normalisation of signals on graphs.

    batch:           y[i, c] = γ[c] (x[i, c] - mean[c]) / sqrt(var[c] + ε) + β[c]
    local response:  y[i, c] = x[i, c] / (k + α/n Σ_{c' near c} x[i, c']²)^β

with mean and variance over all nodes of all signals (in training) or running averages (in evaluation), and with n
channels near each one: on a grid's graph what these are on the grid. Neither reads a neighbour.
Shapes: `(N, C)` or `(B, N, C)` to the same.
References: Ioffe and Szegedy, Batch normalization (2015); Krizhevsky, Sutskever and Hinton (2012), section 3.3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from gconv.layer import GraphLayer, GraphLike
from grid_cnn.conv import check_channels
from grid_cnn.norm import check_response_size


class BatchNorm(GraphLayer):
    """`torch_geometric.nn.BatchNorm`: same arguments, same state dict, same numbers, for many signals too.

    Args:
        in_channels: channels of a node.
        eps: ε. momentum: the weight of a new batch in the running averages. affine: learn γ and β.
        track_running_stats: keep running averages.
        allow_single_element: pass one single node through in training, where it has no variance.

    >>> import torch
    >>> from gconv import grid_graph
    >>> BatchNorm(3)(torch.ones(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 16, 3])
    """

    kind = "normalisation"
    reference = "Ioffe and Szegedy (2015)"

    def __init__(
        self,
        in_channels: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        allow_single_element: bool = False,
    ) -> None:
        super().__init__()
        check_channels(in_channels, in_channels)
        self.in_channels = in_channels
        self.module = nn.BatchNorm1d(in_channels, eps, momentum, affine, track_running_stats)
        self.allow_single_element = allow_single_element

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The normalised signal; a graph may be left out, since no neighbour is read."""
        if edge_index is not None:
            self.resolve(x, edge_index)
        elif x.dim() not in (2, 3) or x.shape[-1] != self.in_channels:
            raise ValueError(f"BatchNorm takes a signal (..., N, {self.in_channels}), got shape {tuple(x.shape)}")
        rows = x.reshape(-1, x.shape[-1])
        if self.allow_single_element and rows.shape[0] <= 1:
            module = self.module
            out = nn.functional.batch_norm(
                rows, module.running_mean, module.running_var, module.weight, module.bias, False, 0.0, module.eps
            )
        else:
            out = self.module(rows)
        return out.reshape(x.shape)


class LocalResponseNorm(GraphLayer):
    """Divide every value by a power of the mean square of its neighbours among the channels, as AlexNet does.

    Args:
        size: n, how many channels count as near. alpha, beta, k: as in `torch.nn.LocalResponseNorm`.

    Raises:
        ValueError: for a `size` that is not a positive whole number.

    >>> import torch
    >>> from gconv import Graph
    >>> graph = Graph(torch.tensor([[0], [1]]))
    >>> LocalResponseNorm(2, alpha=2.0, beta=1.0)(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), graph)
    tensor([[0.5000, 0.3333],
            [0.0000, 0.0000]])
    """

    kind = "normalisation"
    reference = "Krizhevsky, Sutskever and Hinton (2012), section 3.3"

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        check_response_size(size)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The normalised signal."""
        self.resolve(x, edge_index)
        channels_first = x.reshape(-1, x.shape[-1], 1)
        return F.local_response_norm(channels_first, self.size, self.alpha, self.beta, self.k).reshape(x.shape)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
