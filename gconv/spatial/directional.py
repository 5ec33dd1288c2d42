"""Directional convolution: a k×k convolution told on a graph, one weight matrix for each offset of the kernel.

    y_t = b + Σ_m W_m x_{n(t, m)}

with n(t, m) the node at offset m from t, found from positions and kernel, never from the edges (8 neighbours cannot
hold a 5×5 kernel); a tap that finds no node reads zero. Symbols: W_m = `weight[:, :, m]`, b = `bias`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N', C_out)`. Cost: taps · C_in / groups · C_out multiply-adds a node,
as on the grid. On a grid's graph it equals `Conv2d` with the same weights, borders, strides, dilations and groups; on
any other graph with positions it has stride 1 and 'same' borders. There nodes stand on whole multiples of the spacing
of the kernel's offsets, or anywhere: then a tap reads a mean of the nodes near its place (`functional.placement`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.directional import Window, directional, reads
from gconv.functional.placement import Placement
from gconv.layer import GraphLayer, GraphLike
from gconv.work import Work
from grid_cnn import Conv1d, Conv2d, Conv3d, Domain
from grid_cnn.arithmetic import Padding, border, per_axis
from grid_cnn.conv import PADDING_MODES, check_channels


class DirectionalConv(GraphLayer):
    """A k×k convolution on a graph; parameters are `Conv2d`'s, by name and shape.

    Args:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode: as in
            `torch.nn.Conv2d`, but `padding` is 'same' by default. A kernel size given as a sequence sets the number of
            axes: `(3,)` on a line, `(3, 3, 3)` in a volume; a whole number means two.
        assignment: 'exact' where nodes stand on whole multiples of the spacing; 'bilinear' or 'gaussian' where they
            stand anywhere, and share in the offsets near them. On a grid's graph bilinear is exact.
        spacing: the distance between neighbouring offsets, in the unit of the positions: on a grid's graph of cells.
        sigma: the width of 'gaussian', in spacings.

    Raises:
        ValueError: for a graph without positions, or one that the window cannot step over.

    >>> from gconv import grid_graph
    >>> graph = grid_graph((28, 28))
    >>> layer = DirectionalConv(1, 6, 5, stride=2)
    >>> layer(torch.zeros(3, 784, 1), graph).shape
    torch.Size([3, 196, 6])
    >>> layer.codomain(graph)
    Graph(14×14 grid, num_nodes=196, num_edges=1404)
    """

    kind = "spatial"
    equation = "Σₘ Wₘ x at offset m + b"
    cost = "N · taps · C_in / groups · C_out"
    transfers = "if positions have the same spacing"
    reference = "LeCun et al. (1998), told on nodes"

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Padding = "same",
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        assignment: str = "exact",
        spacing: float = 1.0,
        sigma: float = 0.5,
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels, groups)
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode is one of {', '.join(PADDING_MODES)}; got {padding_mode!r}")
        ndim = 2 if isinstance(kernel_size, int) else len(kernel_size)
        kernel, spread = per_axis(kernel_size, ndim, "kernel_size"), per_axis(dilation, ndim, "dilation")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.padding = padding
        self.placement = Placement(assignment, spacing, sigma)
        borders = border(kernel, spread, padding)
        self.window = Window(kernel, per_axis(stride, ndim, "stride"), borders, spread, padding_mode)
        self.weight = nn.Parameter(
            torch.empty(out_channels, in_channels // groups, *kernel, device=device, dtype=dtype)
        )
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps an axis."""
        return self.window.kernel_size

    @property
    def stride(self) -> tuple[int, ...]:
        """Steps from one output node to the next, an axis."""
        return self.window.stride

    @property
    def dilation(self) -> tuple[int, ...]:
        """Steps from one tap to the next, an axis."""
        return self.window.dilation

    @property
    def padding_mode(self) -> str:
        """What lies beyond the border."""
        return self.window.padding_mode

    def reset_parameters(self) -> None:
        """Draw weights as torch's convolutions do, U(±1 / sqrt(taps · C_in / groups))."""
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def codomain(self, domain: Domain | None) -> Graph | None:
        """The graph of output nodes: `domain`, or a grid's graph again after a stride or without a border."""
        return self.window.codomain(domain, self.placement) if isinstance(domain, Graph) else None

    def forward(self, x: Tensor, edge_index: GraphLike = None, *, form: str | None = None) -> Tensor:
        """The convolved signal.

        Args:
            form: 'convolution' (grids), 'gather', or None for the engine's choice; of soft taps also 'fused'.
        """
        graph, _ = self.resolve(x, edge_index)
        signals = x if x.dim() == 3 else x[None]
        out = directional(signals, graph, self.weight, self.bias, self.window, self.groups, form, self.placement)
        return out if x.dim() == 3 else out[0]

    def work(self, graph: Graph, channels: int) -> Work:
        """The product of all taps, as on the grid; a tap that finds no node counts, and touches none."""
        window, nodes = self.window, self.window.codomain(graph, self.placement).num_nodes
        edges, on_cells = reads(graph, window, self.placement), graph.grid is not None and self.placement.on_cells
        cell = 1.0 if graph.grid is not None else self.placement.spacing
        exact = on_cells or not self.placement.is_soft
        hops = window.reach if exact else self.placement.steps(window.reach, cell)
        cells = (window.kernel_size, window.stride, window.dilation) if exact else None
        soft = 0 if exact else edges * channels
        return Work(soft + nodes * channels // self.groups * self.weight[:, 0].numel(), edges, hops, cells)

    @classmethod
    def from_conv2d(cls, conv: nn.Conv2d, **placement: Any) -> DirectionalConv:
        """The layer that does on a grid's graph what `conv` does on the grid, with a copy of its weights.

        Args:
            placement: `assignment`, `spacing` and `sigma`, for other graphs.

        >>> conv = Conv2d(1, 2, 3, padding=1)
        >>> DirectionalConv.from_conv2d(conv).load_state_dict(conv.state_dict())
        <All keys matched successfully>
        """
        return cls.from_conv(conv, **placement)

    @classmethod
    def from_conv(cls, conv: nn.Conv1d | nn.Conv2d | nn.Conv3d, **placement: Any) -> DirectionalConv:
        """`from_conv2d`, for a convolution of any number of axes."""
        padding = conv.padding if isinstance(conv.padding, str | int) else tuple(conv.padding)
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            tuple(conv.kernel_size),
            tuple(conv.stride),
            padding,
            tuple(conv.dilation),
            conv.groups,
            conv.bias is not None,
            conv.padding_mode,
            conv.weight.device,
            conv.weight.dtype,
            **placement,
        )
        layer.load_state_dict(conv.state_dict())
        if isinstance(conv, Conv1d | Conv2d | Conv3d) and conv.true_convolution:
            with torch.no_grad():
                layer.weight.copy_(conv.weight.flip(tuple(range(2, conv.weight.dim()))))
        return layer.train(conv.training)

    def to_conv2d(self) -> Conv2d:
        """The grid's layer with a copy of these weights.

        Raises:
            ValueError: for a kernel that has not two axes.
        """
        conv = self.to_conv()
        if not isinstance(conv, Conv2d):
            raise ValueError(f"to_conv2d needs a kernel of two axes, this one is {self.window.kernel_size}")
        return conv

    def to_conv(self) -> Conv1d | Conv2d | Conv3d:
        """`to_conv2d`, for a kernel of any number of axes."""
        window = self.window
        conv = (Conv1d, Conv2d, Conv3d)[len(window.kernel_size) - 1](
            self.weight.shape[1] * self.groups,
            self.out_channels,
            window.kernel_size,
            window.stride,
            self.padding,
            window.dilation,
            self.groups,
            self.bias is not None,
            window.padding_mode,
            self.weight.device,
            self.weight.dtype,
        )
        conv.load_state_dict(self.state_dict())
        return conv.train(self.training)

    def extra_repr(self) -> str:
        window, parts = self.window, [f"{self.in_channels}, {self.out_channels}, kernel_size={self.window.kernel_size}"]
        ones = (1,) * len(window.kernel_size)
        parts += [f"stride={window.stride}"] * (window.stride != ones)
        parts += [f"dilation={window.dilation}"] * (window.dilation != ones)
        parts += [f"groups={self.groups}"] * (self.groups != 1)
        parts += [f"padding={self.padding!r}"] * (self.padding != "same")
        parts += [f"padding_mode={window.padding_mode!r}"] * (window.padding_mode != "zeros")
        parts += ["bias=False"] * (self.bias is None)
        parts += [f"assignment={self.placement.assignment!r}"] * self.placement.is_soft
        parts += [f"spacing={self.placement.spacing}"] * (self.placement.spacing != 1.0)
        return ", ".join(parts)
