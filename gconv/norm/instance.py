"""Instance normalisation: channel by channel over the nodes of each graph.

    y[i, c] = γ[c] (x[i, c] - mean[c]) / √(var[c] + ε) + β[c]

with mean and variance over the nodes of the graph that node i belongs to, or with `track_running_stats`, in evaluation,
running averages over graphs. Each of several signals on one shared graph is a graph of its own. Symbols: γ, β =
`weight`, `bias`.
Shapes: `(N, C)` or `(B, N, C)` to the same. Cost: 3 · N · C multiply-adds a signal.
Reference: Ulyanov, Vedaldi and Lempitsky, Instance normalization: the missing ingredient for fast stylization (2017),
equation 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconv.domains.batch import Parts
from gconv.domains.graph import Graph
from gconv.functional.segments import part_mean, spread
from gconv.layer import GraphLayer
from gconv.parts import Batch, maybe_parts_of
from gconv.work import Work
from grid_cnn.conv import check_channels


class InstanceNorm(GraphLayer):
    """`torch_geometric.nn.InstanceNorm`: same arguments, same state dict, same numbers, for many signals too.

    Args:
        in_channels: channels of a node.
        eps: ε. momentum: the weight of a new batch in the running averages. affine: learn γ and β.
        track_running_stats: keep running averages, and use them in evaluation.

    Raises:
        ValueError: for a signal or a graph vector that does not fit.

    >>> InstanceNorm(1, eps=0.0)(torch.tensor([[1.0], [3.0], [7.0], [8.0]]), torch.tensor([0, 0, 1, 1])).flatten()
    tensor([-1.,  1., -1.,  1.])
    """

    kind = "normalisation"
    equation = "y = γ (x - mean) / √(var + ε) + β, over the nodes of a graph"
    cost = "3 · N · C"
    reference = "Ulyanov, Vedaldi and Lempitsky (2017), equation 2"

    running_mean: Tensor | None
    running_var: Tensor | None

    def __init__(
        self,
        in_channels: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, in_channels)
        self.in_channels, self.eps, self.momentum = in_channels, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self.weight = nn.Parameter(torch.ones(in_channels, device=device)) if affine else None
        self.bias = nn.Parameter(torch.zeros(in_channels, device=device)) if affine else None
        running = track_running_stats
        self.register_buffer("running_mean", torch.zeros(in_channels, device=device) if running else None)
        self.register_buffer("running_var", torch.ones(in_channels, device=device) if running else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0, device=device) if running else None)

    def reset_running_stats(self) -> None:
        """Start the running averages anew."""
        if self.running_mean is not None and self.running_var is not None:
            nn.init.zeros_(self.running_mean)
            nn.init.ones_(self.running_var)

    def reset_parameters(self) -> None:
        """γ of one, β of zero, and new running averages."""
        self.reset_running_stats()
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, batch: Batch = None, batch_size: int | None = None) -> Tensor:
        """The normalised signal.

        Args:
            batch: a graph, or the graph of each node, `(N,)`; None where all nodes of a signal are one graph.
            batch_size: how many graphs there are; None for what `batch` says.
        """
        parts = maybe_parts_of(self, x, batch, batch_size)
        if not self.training and self.running_mean is not None and self.running_var is not None:
            out = (x - self.running_mean) / (self.running_var + self.eps).sqrt()
        else:
            mean = part_mean(x, parts)
            centred = x - spread(mean, parts)
            variance = part_mean(centred.square(), parts)
            out = centred / spread((variance + self.eps).sqrt(), parts)
            self._track(mean, variance, x.shape[-2], parts)
        return out if self.weight is None or self.bias is None else out * self.weight + self.bias

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, nodes: int, parts: Parts | None) -> None:
        """Blend the means over all graphs into the running averages."""
        if self.running_mean is None or self.running_var is None:
            return
        sizes = torch.full((1,), nodes, device=mean.device) if parts is None else parts.sizes
        unbiased = variance * (sizes / (sizes - 1).clamp(min=1)).to(variance.dtype)[:, None]
        for running, found in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.lerp_(found.reshape(-1, found.shape[-1]).mean(0).to(running.dtype), self.momentum)

    def work(self, graph: Graph, channels: int) -> Work:
        """A mean, a variance and a product for every number; with running averages no other node is seen."""
        sees_others = self.training or self.running_mean is None
        return Work(3 * graph.num_nodes * channels, hops=None if sees_others else 0)

    def extra_repr(self) -> str:
        return f"{self.in_channels}"
