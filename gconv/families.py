"""The graph convolutions that recipes can be built with, each with as many terms as a kernel has weights, if it can."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gconv.inherited import inherited_names
from gconv.layer import GraphLayer
from gconv.spatial import (
    GINConv,
    GINEConv,
    GMMConv,
    GraphConv,
    ResGatedGraphConv,
    SAGEConv,
    SplineConv,
    TransformerConv,
)
from gconv.spectral import ARMAConv, ChebConv, GCNConv, SpectralConv, TAGConv
from grid_cnn import Layer
from grid_cnn.conv import check_channels

# A graph convolution as a recipe sees it: channels in and out, and the number of terms K.
Build = Callable[..., Layer]


@dataclass(frozen=True)
class Family:
    """A graph convolution that recipes can be built with.

    Attributes:
        title: in words, for tables. layer: what it is made of. build: how.
        of_recipe: the arguments of the layer that the recipe sets, and its reader cannot.
    """

    name: str
    title: str
    layer: type[GraphLayer]
    build: Build
    of_recipe: tuple[str, ...] = ("in_channels", "out_channels", "K", "bias", "dim", "nn")

    @property
    def options(self) -> tuple[str, ...]:
        """The arguments of the layer that are left to choose.

        >>> FAMILIES["cheb"].options
        ('normalization', 'flow', 'node_dim', 'decomposed_layers', 'aggr_kwargs', 'aggr')
        """
        parameters = inspect.signature(self.layer).parameters.values()
        own = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD and p.name not in self.of_recipe]
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters)
        return (*own, *inherited_names(self.layer.aggregations)) if open_ended else tuple(own)


def _monet(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """K terms: K - 1 Gaussians summed over the neighbours, as in the paper, and the node itself."""
    options = {"aggr": "add", **options}
    layer = GMMConv(in_channels, out_channels, dim, max(K - 1, 1), bias=bias, **options)
    with torch.no_grad():  # spread over the offsets of a cell's neighbours, and wide enough to learn from all of them
        nn.init.uniform_(layer.mu, -1.0, 1.0)
        nn.init.uniform_(layer.sigma, 0.5, 1.0)
    return layer


def _cheb(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    return ChebConv(in_channels, out_channels, K, bias=bias, **options)


def _gcn(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """One term, whatever K: the method has no more."""
    return GCNConv(in_channels, out_channels, bias=bias, **options)


def _spectral(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    return SpectralConv(in_channels, out_channels, K, bias=bias, **options)


def _sage(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """Two terms, whatever K: the node itself, and what its neighbours have in common."""
    return SAGEConv(in_channels, out_channels, bias=bias, **options)


def _gin(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """One term, whatever K: a linear layer on sums; the recipe brings what comes after it."""
    return GINConv(nn.Linear(in_channels, out_channels, bias=bias), **options)


def _tag(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """K terms: K - 1 hops, and the node itself."""
    return TAGConv(in_channels, out_channels, K - 1, bias=bias, **options)


def _arma(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """Stacks and steps as in `options`, whatever K; a single step leaves the activation to the recipe."""
    if options.get("num_layers", 1) == 1:
        options = {"act": None, **options}
    return ARMAConv(in_channels, out_channels, bias=bias, **options)


def _spline(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """K basis functions on the offsets of a grid's neighbours (the nearest number with as many along each axis), and
    the node itself."""
    size = max(round(K ** (1 / dim)), options.get("degree", 1) + 1)
    options = {"kernel_size": size, "max_value": 1.0, **options}
    return SplineConv(in_channels, out_channels, dim, bias=bias, **options)


def _graph(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """Two terms, whatever K: the node itself, and the sum over its neighbours."""
    return GraphConv(in_channels, out_channels, bias=bias, **options)


def _gine(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """One term, whatever K: a linear layer on sums that hear the offsets to the neighbours."""
    options = {"edge_dim": dim, **options}
    return GINEConv(nn.Linear(in_channels, out_channels, bias=bias), **options)


def _transformer(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """Heads as in `options`, whatever K: one of all channels, or several that are averaged; offsets have a say."""
    options = {"edge_dim": dim, "concat": False, **options}
    if options["concat"]:
        heads = options.get("heads", 1)
        check_channels(in_channels, out_channels)
        if out_channels % heads:
            raise ValueError(f"heads={heads} must divide out_channels={out_channels} where they are joined")
        out_channels //= heads
    return TransformerConv(in_channels, out_channels, bias=bias, **options)


def _resgated(in_channels: int, out_channels: int, K: int, *, bias: bool, dim: int, **options: Any) -> Layer:
    """Two terms, whatever K: the node itself, and its neighbours through gates that hear the offsets."""
    options = {"edge_dim": dim, **options}
    return ResGatedGraphConv(in_channels, out_channels, bias=bias, **options)


FAMILIES = {
    family.name: family
    for family in (
        Family("cheb", "ChebConv, K = {K}", ChebConv, _cheb),
        Family(
            "monet",
            "GMMConv, {K} terms",
            GMMConv,
            _monet,
            ("in_channels", "out_channels", "dim", "kernel_size", "bias"),
        ),
        Family("gcn", "GCNConv", GCNConv, _gcn),
        Family("spectral", "SpectralConv, K = {K}", SpectralConv, _spectral),
        Family("sage", "SAGEConv", SAGEConv, _sage),
        Family("gin", "GINConv", GINConv, _gin),
        Family("tag", "TAGConv, {K} terms", TAGConv, _tag),
        Family("arma", "ARMAConv", ARMAConv, _arma),
        Family("spline", "SplineConv, {K} functions", SplineConv, _spline),
        Family("graph", "GraphConv", GraphConv, _graph),
        Family("gine", "GINEConv", GINEConv, _gine),
        Family("transformer", "TransformerConv", TransformerConv, _transformer),
        Family("resgated", "ResGatedGraphConv", ResGatedGraphConv, _resgated),
    )
}
