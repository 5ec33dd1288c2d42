"""Convolution on graphs, beside convolution on grids, under one layer API."""

from __future__ import annotations

from gconv import bridge, interop
from gconv.domains import FourierBasis, Graph, Operator, grid_graph
from gconv.functional import force_form, propagate
from gconv.layer import GraphLayer
from gconv.norm import BatchNorm, LocalResponseNorm
from gconv.ops import GraphOps
from gconv.pooling import Flatten, GlobalAvgPool, GlobalMaxPool, GridPool
from gconv.spatial import DirectionalConv, GMMConv
from gconv.spectral import ChebConv, GCNConv, SpectralConv

__version__ = "0.1.0"

_LAYERS: tuple[type[GraphLayer], ...] = (
    BatchNorm,
    ChebConv,
    DirectionalConv,
    Flatten,
    GCNConv,
    GMMConv,
    GlobalAvgPool,
    GlobalMaxPool,
    GridPool,
    LocalResponseNorm,
    SpectralConv,
)


def layers() -> list[type[GraphLayer]]:
    """All graph layers, in alphabetic order; each has its `kind` and its `reference`.

    >>> [layer.__name__ for layer in layers() if layer.kind == "spectral"]
    ['ChebConv', 'GCNConv', 'SpectralConv']
    """
    return list(_LAYERS)


__all__ = [
    "BatchNorm",
    "ChebConv",
    "DirectionalConv",
    "Flatten",
    "FourierBasis",
    "GCNConv",
    "GMMConv",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Graph",
    "GraphLayer",
    "GraphOps",
    "GridPool",
    "LocalResponseNorm",
    "Operator",
    "SpectralConv",
    "bridge",
    "force_form",
    "grid_graph",
    "interop",
    "layers",
    "propagate",
]
