"""`GraphOps`: the family of layers from which a recipe written for pictures is built on a graph."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from gconv.families import FAMILIES, Build
from gconv.norm import BatchNorm, GraphNorm, InstanceNorm, LayerNorm, LocalResponseNorm
from gconv.pooling import Flatten, GlobalAvgPool, GlobalMaxPool, GridPool
from gconv.spatial import DirectionalConv
from grid_cnn import Add, Concat, GridOps, Layer, Sequential
from grid_cnn.arithmetic import Padding, border, per_axis
from grid_cnn.checks import whole
from grid_cnn.names import guess
from grid_cnn.pool import Pool

Size = int | Sequence[int]

Branches = Mapping[str, nn.Module] | Sequence[nn.Module]

# What `GraphOps.norm` may be, made of channels, ε and the momentum of running averages.
NORMS: dict[str, Callable[[int, float, float], Layer]] = {
    "batch": BatchNorm,
    "layer": lambda channels, eps, momentum: LayerNorm(channels, eps),
    "node": lambda channels, eps, momentum: LayerNorm(channels, eps, mode="node"),
    "instance": lambda channels, eps, momentum: InstanceNorm(channels, eps, momentum, affine=True),
    "graph": lambda channels, eps, momentum: GraphNorm(channels, eps),
}


class GraphOps:
    """The layers of a recipe on a graph, with one convolution family throughout.

    Args:
        conv: 'directional' (a matrix for each offset: on a grid's graph exactly the grid's convolution), 'cheb',
            'monet', 'gcn', 'spectral', 'sage', 'gin', 'tag', 'arma', 'spline', 'graph', 'gine', 'transformer',
            'resgated'; or a function `(in_channels, out_channels, K, bias=...)` that makes a layer.
        K: the number of terms of every convolution; None for as many as the kernel has weights (k²).
        ndim: the number of axes that kernels and pools have.
        norm: what recipes normalise with: 'batch' (the grid's own), 'layer' (a whole graph), 'node', 'instance' or
            'graph' (each channel of a graph), by its layer's defaults.
        options: passed to the family's layer (`normalization="sym"`, `aggr="add"` ...).

    Raises:
        ValueError: for an unknown family (with near names), or settings that a family has no meaning for.
        TypeError: for options that its layer, or the function, does not take.

    >>> GraphOps().conv(1, 6, 5)
    DirectionalConv(1, 6, kernel_size=(5, 5))
    """

    def __init__(
        self,
        conv: str | Build = "directional",
        K: int | None = None,
        ndim: int = 2,
        norm: str = "batch",
        **options: Any,
    ) -> None:
        if isinstance(conv, str) and conv != "directional" and conv not in FAMILIES:
            known = ["directional", *FAMILIES]
            hint = guess(conv, known) or f"there are {', '.join(known)}"
            raise ValueError(f"unknown graph convolution {conv!r}: {hint}")
        if norm not in NORMS:
            raise ValueError(f"unknown norm {norm!r}: there are {', '.join(NORMS)}")
        if K is not None:
            whole("K, the number of terms,", K)
        if conv == "directional" and (K is not None or options):
            raise ValueError("a directional convolution takes its terms from the kernel; leave out K and options")
        if conv != "directional":
            _check_options(conv, options)
        self._grid = GridOps(ndim)  # its pools are what GridPool tells on nodes
        self.convolution, self.K, self.ndim, self.options = conv, K, ndim, options
        self.normalization = norm

    channel_axis = -1

    @property
    def has_valid_borders(self) -> bool:
        """Whether `conv` knows `padding='valid'` and numbers: the directional family alone."""
        return self.convolution == "directional"

    def __repr__(self) -> str:
        parts = [repr(self.convolution), f"K={self.K}", *(f"{name}={value!r}" for name, value in self.options.items())]
        parts += [f"norm={self.normalization!r}"] * (self.normalization != "batch")
        return f"GraphOps({', '.join(parts if self.K else [parts[0], *parts[2:]])})"

    def terms(self, kernel_size: Size) -> int:
        """How many terms a convolution of this kernel has."""
        return self.K or math.prod(per_axis(kernel_size, self.ndim, "kernel_size"))

    def title(self, kernel_size: Size) -> str:
        """The convolution in words, for tables."""
        if self.convolution == "directional":
            return f"DirectionalConv {'×'.join(map(str, per_axis(kernel_size, self.ndim, 'kernel_size')))}"
        if isinstance(self.convolution, str):
            return FAMILIES[self.convolution].title.format(K=self.terms(kernel_size))
        return getattr(self.convolution, "__name__", type(self.convolution).__name__)

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Padding = "same",
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> Layer:
        """The family's convolution; a kernel of 1 is a product at each node in every family, exactly the grid's.

        A stride keeps every s-th node along each axis of a grid's graph, and goes to the coarser graph.

        Raises:
            ValueError: for borders, dilation or groups that the family has no meaning for.
        """
        kernel, steps = per_axis(kernel_size, self.ndim, "kernel_size"), per_axis(stride, self.ndim, "stride")
        spread = per_axis(dilation, self.ndim, "dilation")
        if self.convolution == "directional" or all(k == 1 for k in kernel):
            return DirectionalConv(
                in_channels, out_channels, kernel, steps, padding, spread, groups, bias, padding_mode
            )
        given = {
            "groups": groups != 1,
            "dilation": any(d != 1 for d in spread),
            "padding_mode": padding_mode != "zeros",
        }
        given["padding"] = border(kernel, spread, padding) != border(kernel, spread, "same")
        if any(given.values()):
            culprits = ", ".join(name for name, wrong in given.items() if wrong)
            raise ValueError(
                f"{culprits}: has no meaning for {self.convolution!r} on a graph; leave it at its default, or take the "
                "directional family"
            )
        if isinstance(self.convolution, str):
            build = FAMILIES[self.convolution].build
            layer: Layer = build(
                in_channels, out_channels, self.terms(kernel), bias=bias, dim=self.ndim, **self.options
            )
        else:
            layer = self.convolution(in_channels, out_channels, self.terms(kernel), bias=bias, **self.options)
            if not isinstance(layer, Layer):
                raise TypeError(
                    f"conv={self.convolution!r} made a {type(layer).__name__}, which is no layer on a graph; subclass "
                    "gconv.MessagePassing, or gconv.GraphLayer"
                )
            if layer.in_channels is None:
                layer.in_channels = in_channels
        if all(s == 1 for s in steps):
            return layer
        return Sequential(layer, self.max_pool(1, steps))

    def max_pool(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False
    ) -> Layer:
        """The grid's max pool on its graph; elsewhere, with stride 1, over the nodes ⌊k/2⌋ steps away (`GridPool`)."""
        return _pool(self._grid.max_pool(kernel_size, stride, padding, ceil_mode))

    def min_pool(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, ceil_mode: bool = False
    ) -> Layer:
        """The grid's min pool on its graph; elsewhere as `max_pool`."""
        return _pool(self._grid.min_pool(kernel_size, stride, padding, ceil_mode))

    def avg_pool(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> Layer:
        """The grid's average pool on its graph; elsewhere, where nothing is padded, as `max_pool`."""
        return _pool(self._grid.avg_pool(kernel_size, stride, padding, ceil_mode, count_include_pad))

    def adaptive_avg_pool(self, size: Size) -> Layer:
        """The grid's adaptive average pool on its graph; elsewhere size 1 alone, the mean as a graph of one node."""
        return _pool(self._grid.adaptive_avg_pool(size))

    def adaptive_max_pool(self, size: Size) -> Layer:
        """The grid's adaptive max pool on its graph; elsewhere size 1 alone."""
        return _pool(self._grid.adaptive_max_pool(size))

    def global_avg_pool(self) -> Layer:
        """The mean over all nodes."""
        return GlobalAvgPool()

    def global_max_pool(self) -> Layer:
        """The largest value over all nodes."""
        return GlobalMaxPool()

    def norm(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> Layer:
        """The family's normalisation: of a batch over all nodes, or of each graph or node by itself."""
        return NORMS[self.normalization](channels, eps, momentum)

    def local_response_norm(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Layer:
        """Local response normalisation, node by node."""
        return LocalResponseNorm(size, alpha, beta, k)

    def concat(self, branches: Branches) -> Layer:
        """Every branch on the same signal, their results side by side along the last axis."""
        return Concat(branches, None)

    def add(self, branches: Branches) -> Layer:
        """Every branch on the same signal, and the sum of their results."""
        return Add(branches, None)

    def flatten(self) -> Layer:
        """Channel-major, nodes in order."""
        return Flatten()


def _pool(pool: Layer) -> GridPool:
    assert isinstance(pool, Pool)
    return GridPool(pool)


def _check_options(conv: str | Build, options: Mapping[str, Any]) -> None:
    """Refuse options that no layer of the network could be made with.

    Raises:
        TypeError: naming the first, and what there is.
    """
    if isinstance(conv, str):
        known = FAMILIES[conv].options
    else:
        parameters = inspect.signature(conv).parameters.values() if options else ()
        if any(p.kind is p.VAR_KEYWORD for p in parameters):
            return
        known = tuple(p.name for p in parameters if p.name != "bias")[3:]
    for name in options:
        if name not in known:
            hint = guess(name, ("K", "ndim", "norm", *known)) or f"it takes {', '.join(known) or 'none'}"
            raise TypeError(f"GraphOps({conv!r}) got an unexpected option {name!r}: {hint}")
