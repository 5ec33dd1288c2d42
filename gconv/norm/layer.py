"""Layer normalisation: over all nodes and channels of each graph, or over the channels of each node.

    graph   y[i, c] = γ[c] (x[i, c] - mean) / √(var + ε) + β[c],   mean and variance over all numbers of a graph
    node    the same with mean and variance over the channels of node i

Each of several signals on one shared graph is a graph of its own. Without a batch ε is added to the deviation instead,
√var + ε, because PyG's layer does so. Symbols: γ, β = `weight`, `bias`.
Shapes: `(N, C)` or `(B, N, C)` to the same. Cost: 3 · N · C multiply-adds a signal.
Reference: Ba, Kiros and Hinton, Layer normalization (2016), equation 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv.domains.batch import Parts
from gconv.domains.graph import Graph
from gconv.functional.segments import part_mean, spread
from gconv.layer import GraphLayer
from gconv.parts import Batch, maybe_parts_of
from gconv.work import Work
from grid_cnn.conv import check_channels


def _by_graph(x: Tensor, parts: Parts | None, eps: float) -> Tensor:
    centred = x - spread(part_mean(x.mean(-1, keepdim=True), parts), parts)
    variance = part_mean(centred.square().mean(-1, keepdim=True), parts)
    deviation = variance.sqrt() + eps if parts is None else (variance + eps).sqrt()
    return centred / spread(deviation, parts)


def _by_node(x: Tensor, parts: Parts | None, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=eps)


MODES: dict[str, Callable[[Tensor, Parts | None, float], Tensor]] = {"graph": _by_graph, "node": _by_node}


class LayerNorm(GraphLayer):
    """`torch_geometric.nn.LayerNorm`: same arguments, same state dict, same numbers, for many signals too.

    Args:
        in_channels: channels of a node. eps: ε. affine: learn γ and β.
        mode: 'graph' or 'node', what is normalised as a whole.

    Raises:
        ValueError: for another mode, or a signal or a graph vector that does not fit.

    >>> LayerNorm(2, mode="node", eps=0.0)(torch.tensor([[1.0, 3.0], [5.0, 1.0]])).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """

    kind = "normalisation"
    equation = "y = γ (x - mean) / √(var + ε) + β, over all numbers of a graph, or of a node"
    cost = "3 · N · C"
    reference = "Ba, Kiros and Hinton (2016), equation 3"

    def __init__(
        self,
        in_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        mode: str = "graph",
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        check_channels(in_channels, in_channels)
        if mode not in MODES:
            raise ValueError(f"LayerNorm: mode is one of {', '.join(map(repr, MODES))}; got {mode!r}")
        self.in_channels, self.eps, self.affine, self.mode = in_channels, eps, affine, mode
        self.weight = nn.Parameter(torch.ones(in_channels, device=device)) if affine else None
        self.bias = nn.Parameter(torch.zeros(in_channels, device=device)) if affine else None

    def reset_parameters(self) -> None:
        """γ of one, β of zero."""
        if self.weight is not None and self.bias is not None:
            nn.init.ones_(self.weight)
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, batch: Batch = None, batch_size: int | None = None) -> Tensor:
        """The normalised signal.

        Args:
            batch: a graph, or the graph of each node, `(N,)`; None where all nodes of a signal are one graph.
            batch_size: how many graphs there are; None for what `batch` says.
        """
        out = MODES[self.mode](x, maybe_parts_of(self, x, batch, batch_size), self.eps)
        return out if self.weight is None or self.bias is None else out * self.weight + self.bias

    def work(self, graph: Graph, channels: int) -> Work:
        """A mean, a variance and a product for every number."""
        return Work(3 * graph.num_nodes * channels, hops=0 if self.mode == "node" else None)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, affine={self.affine}, mode={self.mode!r}"
