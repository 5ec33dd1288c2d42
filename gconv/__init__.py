"""Convolution on graphs, beside convolution on grids, under one layer API."""

from __future__ import annotations

from gconv import bridge, interop
from gconv.domains import FourierBasis, Graph, Operator, batch_graphs, grid_graph, unbatch
from gconv.domains.frames import cartesian, polar
from gconv.functional import force_form, propagate
from gconv.layer import GraphLayer
from gconv.norm import BatchNorm, GraphNorm, InstanceNorm, LayerNorm, LocalResponseNorm
from gconv.ops import GraphOps
from gconv.pooling import Flatten, GlobalAvgPool, GlobalMaxPool, GridPool
from gconv.spatial import (
    AnisotropicConv,
    DiffusionConv,
    DirectionalConv,
    DynamicEdgeConv,
    EdgeConv,
    FeaStConv,
    GATConv,
    GatedGraphConv,
    GATv2Conv,
    GeodesicConv,
    GINConv,
    GINEConv,
    GMMConv,
    GraphConv,
    MessagePassing,
    NNConv,
    PatchySanConv,
    ResGatedGraphConv,
    RGCNConv,
    SAGEConv,
    SplineConv,
    TransformerConv,
)
from gconv.spectral import APPNP, ARMAConv, ChebConv, GCNConv, MixHopConv, SGConv, SpectralConv, SSGConv, TAGConv

__version__ = "0.1.0"

_LAYERS: tuple[type[GraphLayer], ...] = (
    APPNP,
    ARMAConv,
    AnisotropicConv,
    BatchNorm,
    ChebConv,
    DiffusionConv,
    DirectionalConv,
    DynamicEdgeConv,
    EdgeConv,
    FeaStConv,
    Flatten,
    GATConv,
    GATv2Conv,
    GCNConv,
    GINConv,
    GINEConv,
    GMMConv,
    GatedGraphConv,
    GeodesicConv,
    GlobalAvgPool,
    GlobalMaxPool,
    GraphConv,
    GraphNorm,
    GridPool,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
    MixHopConv,
    NNConv,
    PatchySanConv,
    RGCNConv,
    ResGatedGraphConv,
    SAGEConv,
    SGConv,
    SSGConv,
    SpectralConv,
    SplineConv,
    TAGConv,
    TransformerConv,
)


def layers() -> list[type[GraphLayer]]:
    """All graph layers, in alphabetic order; each has its `kind` and its `reference`.

    >>> [layer.__name__ for layer in layers() if layer.kind == "spectral"]
    ['APPNP', 'ARMAConv', 'ChebConv', 'GCNConv', 'MixHopConv', 'SGConv', 'SSGConv', 'SpectralConv', 'TAGConv']
    """
    return list(_LAYERS)


__all__ = [
    "APPNP",
    "ARMAConv",
    "AnisotropicConv",
    "BatchNorm",
    "ChebConv",
    "DiffusionConv",
    "DirectionalConv",
    "DynamicEdgeConv",
    "EdgeConv",
    "FeaStConv",
    "Flatten",
    "FourierBasis",
    "GATConv",
    "GATv2Conv",
    "GCNConv",
    "GINConv",
    "GINEConv",
    "GMMConv",
    "GatedGraphConv",
    "GeodesicConv",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Graph",
    "GraphConv",
    "GraphLayer",
    "GraphNorm",
    "GraphOps",
    "GridPool",
    "InstanceNorm",
    "LayerNorm",
    "LocalResponseNorm",
    "MessagePassing",
    "MixHopConv",
    "NNConv",
    "Operator",
    "PatchySanConv",
    "RGCNConv",
    "ResGatedGraphConv",
    "SAGEConv",
    "SGConv",
    "SSGConv",
    "SpectralConv",
    "SplineConv",
    "TAGConv",
    "TransformerConv",
    "batch_graphs",
    "bridge",
    "cartesian",
    "force_form",
    "grid_graph",
    "interop",
    "layers",
    "polar",
    "propagate",
    "unbatch",
]
