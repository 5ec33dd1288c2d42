"""Batch normalisation: channel by channel over all nodes of all signals.

    y[i, c] = γ[c] (x[i, c] - mean[c]) / √(var[c] + ε) + β[c]

with mean and variance over all nodes of all signals (in training) or running averages (in evaluation): on a grid's
graph what it is on the grid. Symbols: γ, β = `module.weight`, `module.bias`.
Shapes: `(N, C)` or `(B, N, C)` to the same. Cost: 2 · N · C multiply-adds a signal.
Reference: Ioffe and Szegedy, Batch normalization: accelerating deep network training by reducing internal covariate
shift (2015), algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.layer import GraphLayer, GraphLike
from gconv.work import Work
from grid_cnn.conv import check_channels


class BatchNorm(GraphLayer):
    """`torch_geometric.nn.BatchNorm`: same arguments, same state dict, same numbers, for many signals too.

    Args:
        in_channels: channels of a node.
        eps: ε. momentum: the weight of a new batch in the running averages. affine: learn γ and β.
        track_running_stats: keep running averages.
        allow_single_element: let a single node in training be normalised by the running averages: it has no variance.

    Raises:
        ValueError: for `allow_single_element` without running averages, or a signal that does not fit.

    >>> import torch
    >>> from gconv import grid_graph
    >>> BatchNorm(3)(torch.ones(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 16, 3])
    """

    kind = "normalisation"
    equation = "y = γ (x - mean) / √(var + ε) + β, over all nodes of all signals"
    cost = "2 · N · C"
    reference = "Ioffe and Szegedy (2015)"

    def __init__(
        self,
        in_channels: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        allow_single_element: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, in_channels)
        if allow_single_element and not track_running_stats:
            raise ValueError("BatchNorm: allow_single_element=True needs track_running_stats=True")
        self.in_channels = in_channels
        self.module = nn.BatchNorm1d(in_channels, eps, momentum, affine, track_running_stats, device=device)
        self.allow_single_element = allow_single_element

    def reset_running_stats(self) -> None:
        """Start the running averages anew."""
        self.module.reset_running_stats()

    def reset_parameters(self) -> None:
        """γ of one, β of zero, and new running averages."""
        self.module.reset_parameters()

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

    def work(self, graph: Graph, channels: int) -> Work:
        """A difference and a product for every number; in evaluation no other node is seen."""
        sees_others = self.module.training or self.module.running_mean is None
        return Work(2 * graph.num_nodes * channels, hops=None if sees_others else 0)
