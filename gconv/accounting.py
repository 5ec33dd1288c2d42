"""The costs of graph layers, so that `summary` counts a network on a graph as it counts one on a grid.

    directional: N' taps C_in C_out multiply-adds, one edge a tap that finds a node
    cheb:  (K - 1) E C_in + K N C_in C_out        gcn:  N C_in C_out + (E + N) C_out
    monet: N C_in K C_out + E K C_out (+ the root's)    spline: E S C_in + N C_in K C_out (+ the root's)
    polar kernels: E K C_in + N C_in K C_out turns (+ the root's)    spectral: N² (C_in + C_out) + N C_in C_out

with E edges, N nodes. Edges are the values of neighbours that a layer reads, one for each channel-wide row; a spectral
layer reads none, since it works on the Fourier basis. A field off the grid is in hops: h hops count as 2h + 1 cells.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from gconv.domains.graph import Graph
from gconv.functional.directional import reads
from gconv.pooling import Flatten, GridPool
from gconv.spatial import DirectionalConv, GMMConv, SplineConv
from gconv.spatial.polar import PolarConv
from gconv.spectral import ChebConv, GCNConv, SpectralConv
from grid_cnn.accounting import Cost, cost, is_view, summary, window
from grid_cnn.domain import Domain
from grid_cnn.pool import WindowPool

__all__ = ["summary"]

Window = tuple[Sequence[int], Sequence[int], Sequence[int]]


def _with_bias(multiply_adds: int, y: Tensor, bias: Tensor | None, edges: int) -> Cost:
    return Cost(multiply_adds, multiply_adds + y.numel() * (bias is not None), edges)


def _graph(domain: Domain | None) -> Graph:
    assert isinstance(domain, Graph)
    return domain


@cost.register
def _(layer: DirectionalConv, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    edges = reads(_graph(domain), layer.window, layer.placement)
    return _with_bias(y.numel() * layer.weight[0].numel(), y, layer.bias, edges)


@cost.register
def _(layer: ChebConv, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    graph, terms = _graph(domain), len(layer.lins)
    edges, channels = (terms - 1) * graph.num_edges, x.shape[-1]
    return _with_bias(edges * channels + terms * x.numel() * layer.out_channels, y, layer.bias, edges)


@cost.register
def _(layer: GCNConv, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    graph = _graph(domain)
    edges = graph.num_edges + graph.num_nodes
    return _with_bias(x.numel() * layer.out_channels + edges * layer.out_channels, y, layer.bias, edges)


@cost.register
def _(layer: GMMConv, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    graph, width = _graph(domain), layer.kernel_size * layer.out_channels
    root = 0 if layer.root is None else x.numel() * layer.out_channels
    return _with_bias(x.numel() * width + graph.num_edges * width + root, y, layer.bias, graph.num_edges)


@cost.register
def _(layer: SplineConv, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    graph, functions = _graph(domain), (layer.degree + 1) ** layer.dim
    products = x.numel() * layer.out_channels * (layer.K + layer.root_weight)
    return _with_bias(graph.num_edges * functions * x.shape[-1] + products, y, layer.bias, graph.num_edges)


@cost.register
def _(layer: PolarConv, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    graph, matrices = _graph(domain), layer.matrices()
    root = 0 if layer.root is None else x.numel() * layer.out_channels
    multiply_adds = graph.num_edges * len(matrices) * x.shape[-1] + graph.num_nodes * matrices.numel() + root
    return _with_bias(multiply_adds, y, layer.bias, graph.num_edges)


@cost.register
def _(layer: SpectralConv, x: Tensor, y: Tensor, domain: Domain | None) -> Cost:
    nodes = _graph(domain).num_nodes
    return _with_bias(nodes * (x.numel() + y.numel()) + x.numel() * layer.out_channels, y, layer.bias, 0)


@window.register
def _(layer: DirectionalConv) -> Window:
    return layer.window.kernel_size, layer.window.stride, layer.window.dilation


@window.register
def _(layer: GridPool) -> Window | None:
    return window(layer.pool) if isinstance(layer.pool, WindowPool) else None


def _hops(hops: int) -> Window:
    return (2 * hops + 1,), (1,), (1,)


@window.register
def _(layer: ChebConv) -> Window:
    return _hops(len(layer.lins) - 1)


@window.register(GCNConv)
@window.register(GMMConv)
@window.register(PolarConv)
@window.register(SplineConv)
def _(layer: object) -> Window:
    return _hops(1)


@is_view.register
def _(layer: Flatten) -> bool:
    return True
