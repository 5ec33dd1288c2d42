"""Convolution on graphs, beside convolution on grids, under one layer API."""

from __future__ import annotations

from gconv import bridge, interop
from gconv.domains import FourierBasis, Graph, Operator, grid_graph
from gconv.functional import force_form, propagate
from gconv.layer import GraphLayer
from gconv.norm import BatchNorm, LocalResponseNorm
from gconv.ops import GraphOps
from gconv.pooling import Flatten, GlobalAvgPool, GlobalMaxPool, GridPool
from gconv.spatial import DirectionalConv, EdgeConv, FeaStConv, GATConv, GATv2Conv, GINConv, GMMConv, NNConv, SAGEConv
from gconv.spectral import ARMAConv, ChebConv, GCNConv, SpectralConv, TAGConv

__version__ = "0.1.0"

_LAYERS: tuple[type[GraphLayer], ...] = (
    ARMAConv,
    BatchNorm,
    ChebConv,
    DirectionalConv,
    EdgeConv,
    FeaStConv,
    Flatten,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    GMMConv,
    GlobalAvgPool,
    GlobalMaxPool,
    GridPool,
    LocalResponseNorm,
    NNConv,
    SAGEConv,
    SpectralConv,
    TAGConv,
)


def layers() -> list[type[GraphLayer]]:
    """All graph layers, in alphabetic order; each has its `kind` and its `reference`.

    >>> [layer.__name__ for layer in layers() if layer.kind == "spectral"]
    ['ARMAConv', 'ChebConv', 'GCNConv', 'SpectralConv', 'TAGConv']
    """
    return list(_LAYERS)


__all__ = [
    "ARMAConv",
    "BatchNorm",
    "ChebConv",
    "DirectionalConv",
    "EdgeConv",
    "FeaStConv",
    "Flatten",
    "FourierBasis",
    "GATConv",
    "GATv2Conv",
    "GCNConv",
    "GINConv",
    "GMMConv",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Graph",
    "GraphLayer",
    "GraphOps",
    "GridPool",
    "LocalResponseNorm",
    "NNConv",
    "Operator",
    "SAGEConv",
    "SpectralConv",
    "TAGConv",
    "bridge",
    "force_form",
    "grid_graph",
    "interop",
    "layers",
    "propagate",
]
