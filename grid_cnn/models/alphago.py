"""AlphaGo's policy network: from a position of the game of Go to a preference for every point of the board.

    conv 5×5 → 192, ReLU; (conv 3×3 → 192, ReLU) × 11; conv 1×1 → 1 with a bias for each point; softmax over the board

All borders are 'same'. Shapes: `(B, 48, 19, 19)` to `(B, 361)`, the logits of the points in row-major order; with
`softmax=True` their probabilities. Multiply-adds: 1.40 ·10⁹. Reference: Silver et al., Mastering the game of Go with
deep neural networks and tree search (2016), methods.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from grid_cnn.domain import Domain
from grid_cnn.models import init
from grid_cnn.models.network import Network, borders, setting
from grid_cnn.ops import Ops


class PointBias(nn.Module):
    """A bias for each point, added to the vector of all points.

    >>> PointBias(361)(torch.zeros(2, 361)).shape
    torch.Size([2, 361])
    """

    def __init__(self, num_points: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_points))

    def forward(self, x: Tensor) -> Tensor:
        """The vector with its biases."""
        return x + self.bias

    def extra_repr(self) -> str:
        return str(self.bias.numel())


def alphago_policy(
    in_channels: int = 48,
    *,
    width: int = 192,
    depth: int = 13,
    softmax: bool = False,
    ops: Ops | None = None,
    domain: Domain | None = None,
) -> Network:
    """The policy network, with as many outputs as the board has points.

    Args:
        in_channels: planes that describe the position. width: channels of every layer but the last.
        depth: layers with weights, the first and the last among them.
        softmax: end in probabilities; without it in logits, as `torch.nn.functional.cross_entropy` takes them.
        ops: the family of layers; `GridOps()` if None. domain: the board; `Grid((19, 19))` if None.

    Raises:
        ValueError: for counts that are not positive, or fewer than two layers.

    >>> net = alphago_policy(width=8, softmax=True)
    >>> bool(net(torch.randn(2, 48, 19, 19)).sum(1).allclose(torch.ones(2)))
    True
    """
    ops, domain, _ = setting(ops, domain, True, small_size=19, in_channels=in_channels, width=width, depth=depth)
    if depth < 2:
        raise ValueError(f"depth takes at least 2 layers, the first and the last; got {depth!r}")
    parts: dict[str, nn.Module] = {}
    for index in range(1, depth):
        kernel, channels = (5, in_channels) if index == 1 else (3, width)
        parts[f"conv{index}"] = ops.conv(channels, width, kernel, padding=borders(ops, kernel // 2))
        parts[f"relu{index}"] = nn.ReLU(inplace=True)
    parts[f"conv{depth}"] = ops.conv(width, 1, 1, padding=borders(ops, 0), bias=False)
    parts |= {"flatten": ops.flatten(), "bias": PointBias(domain.num_nodes)}
    parts |= {"softmax": nn.Softmax(1)} if softmax else {}
    net = Network(parts, name="the policy network", domain=domain, sized=True)
    init.he(net)
    return net
