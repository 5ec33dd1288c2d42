"""Local response normalisation: every value against its neighbours among the channels, as AlexNet has it.

    y[i, c] = x[i, c] / (k + α/n Σ_{c' near c} x[i, c']²)^β

with n channels near each one: on a grid's graph what it is on the grid. Symbols: n = `size`; α, β, k by name.
Shapes: `(N, C)` or `(B, N, C)` to the same. Cost: n · N · C multiply-adds a signal.
Reference: Krizhevsky, Sutskever and Hinton, ImageNet classification with deep convolutional neural networks (2012),
section 3.3.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.layer import GraphLayer, GraphLike
from gconv.work import Work
from grid_cnn.checks import whole


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
    equation = "y[i, c] = x[i, c] / (k + α/n Σ x[i, c']² over n near channels)^β"
    cost = "n · N · C"
    reference = "Krizhevsky, Sutskever and Hinton (2012), section 3.3"

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = whole("size, the number of channels that are near,", size)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, x: Tensor, edge_index: GraphLike = None) -> Tensor:
        """The normalised signal."""
        self.resolve(x, edge_index)
        channels_first = x.reshape(-1, x.shape[-1], 1)
        return F.local_response_norm(channels_first, self.size, self.alpha, self.beta, self.k).reshape(x.shape)

    def work(self, graph: Graph, channels: int) -> Work:
        """The squares of n channels for every number."""
        return Work(self.size * graph.num_nodes * channels)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
