"""What a network costs, layer by layer: shapes, parameters, links, multiply-adds, memory, receptive fields.

    units U = values of the output        links = Σ_units (fan-in + 1 with a bias)        multiply-adds = Σ_units fan-in
    memory: forward 4 U bytes where a layer makes a tensor of its own, backward twice that (its gradient as well)
    field: R' = R + (F - 1) d J        stride: J' = J S        with kernel F, stride S, dilation d, from R = J = 1

Activations, dropout and flatten work in place or on a view, and make no tensor; norms, pools and sums count no
multiply-adds. All figures are of one signal. Sizes are found without computing: on a grid the network runs on torch's
'meta' device, on a graph once on a zero signal. Cost rules are looked up by a layer's class in `cost` and `window`,
to which other packages add (`cost.register`). Reference: Dumoulin and Visin (2016) for fields; Karpathy, CS231n, for
memory.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import singledispatch
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from grid_cnn.adaptive import AdaptivePool
from grid_cnn.domain import Domain, Grid
from grid_cnn.join import Concat, Join
from grid_cnn.layer import Layer, Sequential, is_elementwise
from grid_cnn.lecun import RBF, Subsampling2d
from grid_cnn.local import LocallyConnected1d, LocallyConnected2d, PositionBias
from grid_cnn.models.auxiliary import AuxiliaryNetwork
from grid_cnn.models.fit import fitted
from grid_cnn.models.wiring import Wired
from grid_cnn.pool import Pool
from grid_cnn.readout import Flatten
from grid_cnn.separable import PartialConv2d
from grid_cnn.tables import UNKNOWN, Row, Table

Field = tuple[int, ...] | None
Window = tuple[Sequence[int], Sequence[int], Sequence[int]]

POINT: Window = (1,), (1,), (1,)


class Cost(NamedTuple):
    """What one layer does for one signal; `edges`: how many values of neighbours it reads on a graph.

    `known` is False of a layer that nobody can tell it of: then none of its numbers counts.
    """

    multiply_adds: int = 0
    links: int = 0
    edges: int | None = None
    known: bool = True


class Flow(NamedTuple):
    """A signal on its way: where it lives, what a value of it sees of the input, and how far two values lie apart."""

    x: Tensor
    domain: Domain | None
    field: Field
    stride: Field


def fan_in(units: int, weights: int, bias: bool, edges: int | None = None) -> Cost:
    """The cost of units that have so many weights each, and a bias or none."""
    return Cost(units * weights, units * (weights + bias), edges)


@singledispatch
def cost(layer: nn.Module, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    """What `layer` does to turn one signal `x` on `domain` into `y`; add classes with `cost.register`.

    A layer that is not known counts each matrix of weights once for every place of its output.
    """
    matrices = sum(p.numel() for p in layer.parameters(recurse=True) if p.dim() >= 2)
    if not matrices:
        return Cost()
    reached = layer.codomain(domain) if isinstance(layer, Layer) else None
    places = reached.num_nodes if reached is not None else 1
    return Cost(matrices * places, matrices * places)


@cost.register(nn.Conv1d)
@cost.register(nn.Conv2d)
@cost.register(nn.Conv3d)
@cost.register(nn.Linear)
def _(layer: Any, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    return fan_in(y.numel(), layer.weight[0].numel(), layer.bias is not None)


@cost.register(nn.ConvTranspose1d)
@cost.register(nn.ConvTranspose2d)
@cost.register(nn.ConvTranspose3d)
def _(layer: Any, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    links = x.numel() * layer.weight[0].numel()
    return Cost(links, links + y.numel() * (layer.bias is not None))


@cost.register(LocallyConnected1d)
@cost.register(LocallyConnected2d)
def _(layer: Any, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    return fan_in(y.numel(), layer.in_channels * math.prod(layer.kernel_size), layer.bias is not None)


@cost.register
def _(layer: PartialConv2d, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    cells = y[0, 0].numel()
    products = cells * layer.weight.numel()
    return Cost(products, products + y.numel() * (layer.bias is not None))


@cost.register
def _(layer: Subsampling2d, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    return Cost(y.numel(), y.numel() * (math.prod(layer.kernel_size) + 1))


@cost.register
def _(layer: RBF, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    return fan_in(y.numel(), layer.in_features, bias=False)


@cost.register
def _(layer: PositionBias, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    return Cost(0, y.numel())


@singledispatch
def window(layer: nn.Module, x: Tensor, domain: Domain | None) -> Window | None:
    """Kernel, stride and dilation of the window through which a layer looks at `x` on `domain`.

    `POINT` for a layer that looks at a point, as all do that are not known; None for one that sees the whole domain.
    """
    return POINT


@window.register(nn.Conv1d)
@window.register(nn.Conv2d)
@window.register(nn.Conv3d)
@window.register(LocallyConnected1d)
@window.register(LocallyConnected2d)
@window.register(PartialConv2d)
def _(layer: Any, x: Tensor, domain: Domain | None) -> Window:
    return layer.kernel_size, layer.stride, layer.dilation


@window.register
def _(layer: Pool, x: Tensor, domain: Domain | None) -> Window:
    assert isinstance(domain, Grid)
    return layer.window(domain)


@singledispatch
def is_view(layer: nn.Module) -> bool:
    """Whether a layer only reads its input in another shape."""
    return False


@is_view.register
def _(layer: Flatten) -> bool:
    return True


def summary(model: Layer, domain: Domain, in_channels: int | None = None) -> Table:
    """The table of a network on a domain.

    Args:
        model: any layer, such as `models.create` builds. domain: where its input lives.
        in_channels: channels of the input; None for what the model asks for.

    Raises:
        ValueError: if the model does not fit the domain.

    >>> from grid_cnn import models
    >>> table = summary(models.lenet5(), Grid((28, 28)))
    >>> table.parameters, table.multiply_adds
    (61706, 416520)
    >>> table.rows[3].name, table.rows[3].shape, table.rows[3].field
    ('conv2', (16, 10, 10), (14, 14))
    """
    channels = in_channels or model.in_channels or 1
    fitted(type(model).__name__, model, domain)
    twin = copy.deepcopy(model).eval()
    device, dtype = torch.device("cpu"), next((p.dtype for p in twin.parameters()), torch.float32)
    if isinstance(domain, Grid):
        device, twin = torch.device("meta"), twin.to("meta")
    x = domain.zeros(channels, dtype=dtype, device=device)
    rows: list[Row] = []
    with torch.no_grad():
        walk(twin, "", Flow(x, domain, (1,), (1,)), rows)
    return Table(tuple(rows), tuple(x.shape[1:]), x.numel(), dtype.itemsize)


@singledispatch
def walk(layer: nn.Module, name: str, flow: Flow, rows: list[Row]) -> Flow:
    """The signal behind `layer`, whose rows are added to `rows`; composite layers walk through their parts."""
    x, domain, field, stride = flow
    y, reached = layer.step(x, domain) if isinstance(layer, Layer) else (layer(x), domain)
    spent, looks = cost(layer, x, y, domain), window(layer, x, domain)
    if reached is None:
        field = stride = None
    elif not spent.known:
        field = UNKNOWN
    elif looks is None:
        field = None
    elif stride is not None:
        field, stride = _seen(field, stride, *looks)
    identity = isinstance(layer, AdaptivePool) and y.shape == x.shape
    makes = not (is_elementwise(layer) or identity or is_view(layer))
    rows.append(_row(layer, name, y, spent, makes, field, stride))
    return Flow(y, reached, field, stride)


@walk.register
def _(layer: Sequential, name: str, flow: Flow, rows: list[Row]) -> Flow:
    for key, child in layer.named_children():
        flow = walk(child, f"{name}.{key}" if name else key, flow, rows)
    return flow


@walk.register
def _(layer: AuxiliaryNetwork, name: str, flow: Flow, rows: list[Row]) -> Flow:
    for key, child in layer.trunk.items():
        flow = walk(child, f"{name}.{key}" if name else key, flow, rows)
        for head, read in layer.heads.items():
            if read == key:
                walk(layer.get_submodule(head), f"{name}.{head}" if name else head, flow, rows)
    return flow


@walk.register
def _(layer: Wired, name: str, flow: Flow, rows: list[Row]) -> Flow:
    return layer.fold(
        flow,
        lambda part, state: walk(layer.get_submodule(part), f"{name}.{part}" if name else part, state, rows),
        lambda fork, states: _joined(layer, name, fork.concat, states, rows),
    )


@walk.register
def _(layer: Join, name: str, flow: Flow, rows: list[Row]) -> Flow:
    ends = [walk(branch, f"{name}.{key}" if name else key, flow, rows) for key, branch in layer.branches.items()]
    return _joined(layer, name, isinstance(layer, Concat), ends, rows)


def _joined(layer: Layer, name: str, concat: bool, ends: list[Flow], rows: list[Row]) -> Flow:
    """Several ways laid side by side or added up: a tensor of its own, that sees what the widest of them sees."""
    axis = -1 - ends[0].domain.ndim if isinstance(ends[0].domain, Grid) else -1
    y = torch.cat([end.x for end in ends], axis) if concat else ends[0].x
    field = _widest([end.field for end in ends])
    strides = [end.stride for end in ends if end.stride is not None]
    stride = max(strides, key=len) if strides else None
    rows.append(
        Row(name, "concat" if concat else "add", tuple(y.shape[1:]), y.numel(), makes=True, field=field, stride=stride)
    )
    return Flow(y, ends[0].domain, field, stride)


def _row(layer: nn.Module, name: str, y: Tensor, spent: Cost, makes: bool, field: Field, stride: Field) -> Row:
    biases = sum(p.numel() for key, p in layer.named_parameters() if key.rpartition(".")[2] == "bias")
    return Row(
        name=name,
        kind=type(layer).__name__,
        shape=tuple(y.shape[1:]),
        units=y.numel(),
        weights=sum(p.numel() for p in layer.parameters()) - biases,
        biases=biases,
        links=spent.links,
        multiply_adds=spent.multiply_adds,
        makes=makes,
        field=field,
        stride=stride,
        edges=spent.edges,
        known=spent.known,
    )


def _axes(value: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    return value * ndim if len(value) == 1 else value


def _widest(fields: Sequence[Field]) -> Field:
    """What is seen by several ways together: all, if one of them sees all."""
    if None in fields or UNKNOWN in fields:
        return None if None in fields else UNKNOWN
    known = [field for field in fields if field is not None]
    ndim = max(map(len, known))
    return tuple(max(_axes(field, ndim)[i] for field in known) for i in range(ndim))


def _seen(
    field: Field, stride: tuple[int, ...], kernel: Sequence[int], steps: Sequence[int], spread: Sequence[int]
) -> tuple[Field, tuple[int, ...]]:
    """Field and stride behind a window; a field that is all, or not known, stays so."""
    ndim = max(map(len, (field or stride, stride, kernel)))
    axes = zip(*(_axes(tuple(value), ndim) for value in (field or stride, stride, kernel, steps, spread)), strict=True)
    pairs = [(r + (f - 1) * d * j, j * s) for r, j, f, s, d in axes]
    return tuple(r for r, _ in pairs) if field else field, tuple(j for _, j in pairs)
