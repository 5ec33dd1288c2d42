"""The maps between a grid and its graph: of domains, of signals, and of whole networks with their weights.

A picture `(B, C, H, W)` and a signal `(B, H·W, C)` hold the same numbers: both maps below are views of one memory, free
of copies. A network carried over has the same state dict, dense heads included, and gives the same predictions.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import Tensor, nn

from gconv.domains.build import grid_graph
from gconv.domains.graph import Graph
from gconv.norm import BatchNorm, LocalResponseNorm
from gconv.pooling import Flatten, GlobalAvgPool, GlobalMaxPool, GridPool
from gconv.spatial import DirectionalConv
from grid_cnn import Conv1d, Conv2d, Conv3d, Grid, Layer, Sequential, norm, pool, readout
from grid_cnn.join import Join
from grid_cnn.models.inception_resnet import Scale
from grid_cnn.models.network import Network
from grid_cnn.models.resnet_cifar import PadChannels
from grid_cnn.models.wiring import Wired

# Layers that hold layers, and layers that are the same on every domain.
_COMPOSITE = (Sequential, Wired, Join)
_EVERYWHERE = (PadChannels, Scale)


def graph_of(grid: Grid, neighbors: int | None = None, **options: Any) -> Graph:
    """The graph of a grid: `grid_graph` on a `Grid`.

    >>> graph_of(Grid((4, 4)), neighbors=4)
    Graph(4×4 grid, num_nodes=16, num_edges=48)
    """
    return grid_graph(grid, neighbors, **options)


def grid_of(graph: Graph) -> Grid:
    """The grid whose graph this is.

    Raises:
        ValueError: if there is none.

    >>> grid_of(grid_graph((4, 4)))
    Grid((4, 4))
    """
    if graph.grid is None:
        raise ValueError(f"{graph!r} is not the graph of a grid")
    return graph.grid


def to_nodes(images: Tensor) -> Tensor:
    """Pictures as signals on the grid's graph: `(B, C, *size) -> (B, N, C)`, a view.

    Raises:
        ValueError: for fewer than three axes.

    >>> import torch
    >>> to_nodes(torch.zeros(2, 3, 4, 4)).shape
    torch.Size([2, 16, 3])
    """
    if images.dim() < 3:
        raise ValueError(f"to_nodes takes pictures (B, C, *size), got shape {tuple(images.shape)}")
    return images.flatten(2).transpose(1, 2)


def to_images(signals: Tensor, domain: Graph | Grid) -> Tensor:
    """Signals on a grid's graph as pictures: `(B, N, C) -> (B, C, *size)`, a channels-last view.

    Raises:
        ValueError: if there is no grid, or the signal does not fit it.

    >>> import torch
    >>> to_images(torch.zeros(2, 16, 3), grid_graph((4, 4))).shape
    torch.Size([2, 3, 4, 4])
    """
    grid = grid_of(domain) if isinstance(domain, Graph) else domain
    if signals.dim() != 3 or signals.shape[1] != grid.num_nodes:
        raise ValueError(f"to_images takes signals (B, {grid.num_nodes}, C) of {grid!r}, got {tuple(signals.shape)}")
    return signals.transpose(1, 2).unflatten(2, grid.size)


def model_to_graph(model: nn.Module) -> nn.Module:
    """A copy of a trained grid network for the grid's graph, weights included.

    Convolutions become directional, pools pools over blocks; activations and dense heads stay. Residual sums, branches
    and auxiliary heads are carried with all that they hold. The state dict keeps its names and shapes (those of a batch
    normalisation gain a `module.`, as PyG's do, those of a pool with parameters a `pool.`).

    Args:
        model: a grid layer, or a network of such.

    Raises:
        TypeError: for a layer that has no twin.

    >>> from grid_cnn import models
    >>> net = model_to_graph(models.lenet5())
    >>> net.conv1
    DirectionalConv(1, 6, kernel_size=(5, 5))
    """
    return _carry(_checked(model), _graph_twin, 0, {})


def model_to_grid(model: nn.Module) -> nn.Module:
    """A copy of a directional graph network for the grid itself, weights included: the way back.

    Raises:
        TypeError: for a layer that has no twin, such as a spectral convolution.

    >>> from grid_cnn import models
    >>> model_to_grid(model_to_graph(models.lenet5())).conv1
    Conv2d(1, 6, kernel_size=(5, 5), padding='same')
    """
    ndims = {len(m.kernel_size) for m in model.modules() if isinstance(m, DirectionalConv)}
    ndims |= {m.pool.ndim for m in model.modules() if isinstance(m, GridPool)}
    ndim = ndims.pop() if ndims else 2
    return _carry(_checked(model), lambda layer: _grid_twin(layer, ndim), ndim, {})


def _checked(model: nn.Module) -> nn.Module:
    if not isinstance(model, Layer):
        raise TypeError(f"{type(model).__name__} is no layer of grid_cnn or gconv, nor a network of such")
    return model


def _carry(
    model: nn.Module, twin: Callable[[Layer], Layer | None], ndim: int, done: dict[nn.Module, nn.Module]
) -> nn.Module:
    if model in done:  # a module that stands twice stays one module
        return done[model]
    if isinstance(model, _COMPOSITE):
        children = {
            name: _carry(child, twin, ndim, done) for name, child in model._modules.items() if child is not None
        }
        out: nn.Module = _holding(model, children, ndim)
    elif isinstance(model, Layer):
        found = twin(model)
        if found is None:
            raise TypeError(f"{type(model).__name__} has no twin on the other domain; build the recipe with its ops")
        out = found
    elif any(isinstance(module, Layer) for module in model.modules()):
        raise TypeError(
            f"{type(model).__name__} holds layers, but is no Sequential, Concat, Add or other layer of grid_cnn that "
            "does: its twin is not known"
        )
    else:
        out = copy.deepcopy(model)
    if isinstance(model, _COMPOSITE):
        out.training = model.training  # the children keep their own modes: a frozen norm stays frozen
    else:
        out.train(model.training)
        for mine, theirs in zip(out.parameters(), model.parameters(), strict=True):
            mine.requires_grad_(theirs.requires_grad)
    done[model] = out
    return out


def _holding(model: Sequential | Wired | Join, children: Mapping[str, nn.Module], ndim: int) -> Layer:
    """The same arrangement of other children."""
    if isinstance(model, Network):
        return model.of(children, ndim)
    if isinstance(model, Wired):
        return Wired(children, model.way)
    if isinstance(model, Join):
        return type(model)(children, ndim or None)
    return Sequential(OrderedDict(children))


def _graph_twin(layer: Layer) -> Layer | None:
    if isinstance(layer, Conv2d | Conv1d | Conv3d):
        return DirectionalConv.from_conv(layer)
    if isinstance(layer, pool.Pool):
        return GridPool(copy.deepcopy(layer))
    if isinstance(layer, norm.BatchNorm1d | norm.BatchNorm2d | norm.BatchNorm3d):
        twin = BatchNorm(layer.num_features, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
        _like(twin.module, layer)
        return twin
    if isinstance(layer, norm.LocalResponseNorm):
        return LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k)
    if isinstance(layer, _EVERYWHERE):
        return copy.deepcopy(layer)
    readouts = {readout.GlobalAvgPool: GlobalAvgPool, readout.GlobalMaxPool: GlobalMaxPool, readout.Flatten: Flatten}
    return readouts[type(layer)]() if type(layer) in readouts else None


def _like(module: nn.Module, other: nn.Module) -> nn.Module:
    """`module` with the numbers of `other`, its dtype and device first."""
    module.to(next((t for t in other.state_dict().values() if t.is_floating_point()), None))
    module.load_state_dict(other.state_dict())
    return module


def _grid_twin(layer: Layer, ndim: int) -> Layer | None:
    if isinstance(layer, DirectionalConv):
        return layer.to_conv()
    if isinstance(layer, GridPool):
        return copy.deepcopy(layer.pool)
    if isinstance(layer, BatchNorm):
        module = layer.module
        twin = (norm.BatchNorm1d, norm.BatchNorm2d, norm.BatchNorm3d)[ndim - 1](
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        return cast(Layer, _like(twin, module))
    if isinstance(layer, LocalResponseNorm):
        return norm.LocalResponseNorm(layer.size, layer.alpha, layer.beta, layer.k, ndim=ndim)
    if isinstance(layer, _EVERYWHERE):
        return copy.deepcopy(layer)
    readouts = {GlobalAvgPool: readout.GlobalAvgPool, GlobalMaxPool: readout.GlobalMaxPool, Flatten: readout.Flatten}
    return cast(Layer, readouts[type(layer)](ndim)) if type(layer) in readouts else None
