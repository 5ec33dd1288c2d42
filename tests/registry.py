"""Every graph layer is a row here, and every law in `laws/` runs over the rows.

A row says how to make the layer (three channels in), on which domains it has a meaning, and which symmetries it has.
To add a layer: add its row; `laws/test_registry.py` fails until it is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import gconv
from gconv import Graph, GraphLayer, grid_graph
from grid_cnn import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d, MinPool2d

CHANNELS = 3


def _network(wide: int, hidden: int, narrow: int) -> nn.Sequential:
    """A smooth network, so that finite differences see its derivatives."""
    return nn.Sequential(nn.Linear(wide, hidden), nn.Tanh(), nn.Linear(hidden, narrow))


class Differences(gconv.MessagePassing):
    """A user's own layer: what differs along the edges, and its spread."""

    kind = "spatial"

    def __init__(self, aggr: str | list[str]) -> None:
        super().__init__(aggr=aggr)
        self.in_channels = CHANNELS
        self.lin = nn.Linear(CHANNELS, 4)

    def forward(self, x: Tensor, edge_index: object = None) -> Tensor:
        return self.propagate(edge_index, x=self.lin(x), own=x)

    def message(self, x_i: Tensor, x_j: Tensor, edge_weight: Tensor | None) -> Tensor:
        moved = (x_j - x_i).tanh()
        return moved if edge_weight is None else edge_weight[:, None] * moved

    def update(self, inputs: Tensor, own: Tensor) -> Tensor:
        return torch.cat([inputs, own], -1)


class Weighted(gconv.MessagePassing):
    """A user's own layer that leaves all to the engine: weighted rows, their mean."""

    def __init__(self, aggr: str) -> None:
        super().__init__(aggr=aggr)
        self.in_channels = CHANNELS
        self.lin = nn.Linear(CHANNELS, 4)

    def forward(self, x: Tensor, edge_index: object = None) -> Tensor:
        return self.propagate(edge_index, x=self.lin(x), edge_weight=None)


@dataclass(frozen=True)
class Row:
    """A layer and what holds for it."""

    name: str
    make: Callable[[], GraphLayer]
    grids_only: bool = False  # the nodes must be the cells of a grid, in order
    undirected: bool = False  # the Laplacian must be symmetric
    equivariant: bool = True  # renumbering the nodes renumbers the result (of a readout: leaves it alone)
    translates: int | None = 1  # on a torus, shifting by so many cells shifts the result; None: it does not
    positional: bool = False  # neighbours come from positions, not from edges
    readout: bool = False  # the result has no nodes
    domainless: bool = False  # may be called without a domain
    alone: bool = True  # of a batch of different graphs each gives what it gives alone
    forms: tuple[str, ...] = ()  # the forms that it can be forced into on a grid's graph

    def __str__(self) -> str:
        return self.name


ROWS = (
    Row(
        "Anisotropic",
        lambda: gconv.AnisotropicConv(CHANNELS, 4, angles=3, scales=(1.0, 2.0), coordinates="cartesian"),
        forms=("fused", "gather", "portable"),
    ),
    Row(
        "Anisotropic, plain sums",
        lambda: gconv.AnisotropicConv(
            CHANNELS, 2, angles=2, normalize=False, coordinates="cartesian", root_weight=False, bias=False
        ),
        forms=("fused", "gather", "portable"),
    ),
    Row("APPNP", lambda: gconv.APPNP(4, 0.2), forms=("fused", "stencil", "gather", "dense", "portable")),
    Row("APPNP raw", lambda: gconv.APPNP(2, 0.5, normalize=False), forms=("fused", "gather")),
    Row(
        "ARMA",
        lambda: gconv.ARMAConv(CHANNELS, 4, num_layers=2, act=nn.Tanh()),
        forms=("fused", "stencil", "gather", "dense", "portable"),
    ),
    Row(
        "ARMA stacks of shared steps",
        lambda: gconv.ARMAConv(CHANNELS, 4, num_stacks=2, num_layers=3, shared_weights=True, act=nn.Tanh()),
        forms=("fused", "gather", "portable"),
    ),
    Row(
        "ARMA stacks of steps",
        lambda: gconv.ARMAConv(CHANNELS, 2, num_stacks=2, num_layers=2, act=None, bias=False),
        forms=("fused", "gather", "portable"),
    ),
    Row("BatchNorm", lambda: gconv.BatchNorm(CHANNELS), domainless=True),
    Row("Cheb K=1", lambda: gconv.ChebConv(CHANNELS, 4, 1), forms=("fused", "eigenbasis")),
    Row("Cheb sym K=4", lambda: gconv.ChebConv(CHANNELS, 4, 4), forms=("fused", "eigenbasis")),
    Row("Cheb rw K=3", lambda: gconv.ChebConv(CHANNELS, 4, 3, normalization="rw", bias=False), forms=("fused",)),
    Row(
        "Cheb combinatorial K=3",
        lambda: gconv.ChebConv(CHANNELS, 4, 3, normalization=None),
        forms=("fused", "eigenbasis"),
    ),
    Row("Directional 1×1", lambda: gconv.DirectionalConv(CHANNELS, 4, 1)),
    Row("Diffusion", lambda: gconv.DiffusionConv(CHANNELS, 4, hops=3), forms=("gather", "dense", "portable")),
    Row("Diffusion alone", lambda: gconv.DiffusionConv(CHANNELS, hops=2, act=None), forms=("gather", "portable")),
    Row(
        "Directional 3×3",
        lambda: gconv.DirectionalConv(CHANNELS, 4, 3),
        positional=True,
        forms=("convolution", "gather"),
    ),
    Row(
        "Directional 3×3 dilated",
        lambda: gconv.DirectionalConv(CHANNELS, 6, 3, dilation=2, groups=3, bias=False),
        positional=True,
        forms=("convolution", "gather"),
    ),
    Row(
        "Directional 5×5 strided",
        lambda: gconv.DirectionalConv(CHANNELS, 4, 5, stride=2),
        grids_only=True,
        equivariant=False,
        translates=2,
        forms=("convolution", "gather"),
    ),
    Row(
        "Directional bilinear",
        lambda: gconv.DirectionalConv(CHANNELS, 4, 3, assignment="bilinear"),
        positional=True,
        forms=("convolution", "gather"),
    ),
    Row(
        "Directional bilinear between cells",
        lambda: gconv.DirectionalConv(CHANNELS, 6, 3, groups=3, assignment="bilinear", spacing=0.75),
        positional=True,
        translates=None,
        forms=("fused", "gather", "portable"),
    ),
    Row(
        "Directional gaussian",
        lambda: gconv.DirectionalConv(CHANNELS, 4, (2, 3), bias=False, assignment="gaussian", sigma=0.4),
        positional=True,
        translates=None,
        forms=("fused", "gather", "portable"),
    ),
    Row("DynamicEdge", lambda: gconv.DynamicEdgeConv(_network(2 * CHANNELS, 5, 4), k=4), domainless=True),
    Row("DynamicEdge sum", lambda: gconv.DynamicEdgeConv(nn.Linear(2 * CHANNELS, 4), 3, "add"), domainless=True),
    Row("Edge max", lambda: gconv.EdgeConv(_network(2 * CHANNELS, 5, 4))),
    Row("Edge mean", lambda: gconv.EdgeConv(_network(2 * CHANNELS, 5, 4), aggr="mean")),
    Row("Edge linear", lambda: gconv.EdgeConv(nn.Linear(2 * CHANNELS, 4), aggr="add")),
    Row(
        "Edge free",
        lambda: gconv.EdgeConv(nn.Sequential(nn.Tanh(), nn.Linear(2 * CHANNELS, 4)), aggr="min"),
    ),
    Row("FeaSt", lambda: gconv.FeaStConv(CHANNELS, 4, heads=3), forms=("fused", "gather", "portable")),
    Row(
        "FeaSt without loops",
        lambda: gconv.FeaStConv(CHANNELS, 4, heads=2, add_self_loops=False, bias=False),
        forms=("fused", "gather", "portable"),
    ),
    Row("GAT", lambda: gconv.GATConv(CHANNELS, 2, heads=3), forms=("fused", "gather", "portable")),
    Row(
        "GAT with edges",
        lambda: gconv.GATConv(CHANNELS, 4, heads=2, concat=False, edge_dim=2, residual=True),
        forms=("fused", "gather", "portable"),
    ),
    Row("GATv2", lambda: gconv.GATv2Conv(CHANNELS, 2, heads=3), forms=("fused", "gather", "portable")),
    Row(
        "GATv2 with edges",
        lambda: gconv.GATv2Conv(
            CHANNELS, 4, heads=2, concat=False, edge_dim=2, share_weights=True, add_self_loops=False
        ),
        forms=("fused", "gather", "portable"),
    ),
    Row(
        "NN",
        lambda: gconv.NNConv(CHANNELS, 4, _network(2, 3, 4 * CHANNELS)),
        forms=("collapsed", "fused", "gather", "portable"),
    ),
    Row(
        "NN mean",
        lambda: gconv.NNConv(CHANNELS, 4, nn.Linear(2, 4 * CHANNELS, bias=False), aggr="mean", root_weight=False),
        forms=("collapsed", "fused", "gather", "portable"),
    ),
    Row("NN max", lambda: gconv.NNConv(CHANNELS, 4, _network(2, 3, 4 * CHANNELS), aggr="max", bias=False)),
    Row("Flatten", gconv.Flatten, readout=True, equivariant=False, translates=None, alone=False),
    Row("GCN", lambda: gconv.GCNConv(CHANNELS, 4), forms=("fused", "stencil", "gather", "dense", "portable")),
    Row(
        "GCN narrowing",
        lambda: gconv.GCNConv(CHANNELS, 2, improved=True),
        forms=("fused", "stencil", "gather", "dense"),
    ),
    Row("GCN without loops", lambda: gconv.GCNConv(CHANNELS, 4, add_self_loops=False, bias=False)),
    Row("GCN raw", lambda: gconv.GCNConv(CHANNELS, 4, normalize=False)),
    Row(
        "Geodesic",
        lambda: gconv.GeodesicConv(CHANNELS, 2, rings=2, rays=4, radius=2.0, coordinates="cartesian"),
        forms=("fused", "gather", "portable"),
    ),
    Row(
        "Geodesic without turns",
        lambda: gconv.GeodesicConv(
            CHANNELS, 4, 1, 4, angular_max_pool=False, normalize=False, coordinates="cartesian", root_weight=False
        ),
        forms=("fused", "gather", "portable"),
    ),
    Row(
        "GIN",
        lambda: gconv.GINConv(_network(CHANNELS, 5, 4), eps=0.25),
        forms=("fused", "stencil", "gather", "dense", "portable"),
    ),
    Row(
        "GIN learned, narrowing",
        lambda: gconv.GINConv(nn.Linear(CHANNELS, 2, bias=False), eps=0.25, train_eps=True),
        forms=("fused", "stencil", "gather", "dense", "portable"),
    ),
    Row(
        "GIN free",
        lambda: gconv.GINConv(nn.Sequential(nn.Tanh(), nn.Linear(CHANNELS, 4)), train_eps=True),
        forms=("stencil", "gather", "dense", "portable"),
    ),
    Row("GMM", lambda: gconv.GMMConv(CHANNELS, 4, 2, 5), forms=("collapsed", "fused", "gather", "portable")),
    Row(
        "GMM sum, no root",
        lambda: gconv.GMMConv(CHANNELS, 4, 2, 3, aggr="add", root_weight=False, bias=False),
        forms=("collapsed", "gather"),
    ),
    Row(
        "GMM separate",
        lambda: gconv.GMMConv(CHANNELS, 4, 2, 3, separate_gaussians=True),
        forms=("collapsed", "gather"),
    ),
    Row("GraphNorm", lambda: gconv.GraphNorm(CHANNELS), domainless=True),
    Row("InstanceNorm", lambda: gconv.InstanceNorm(CHANNELS, affine=True), domainless=True),
    Row(
        "LayerNorm", lambda: gconv.LayerNorm(CHANNELS, eps=0.0), domainless=True
    ),  # where PyG adds ε depends on the batch
    Row("LayerNorm node", lambda: gconv.LayerNorm(CHANNELS, mode="node"), domainless=True),
    Row("MixHop", lambda: gconv.MixHopConv(CHANNELS, 2, [0, 2, 1]), forms=("stencil", "gather", "dense", "portable")),
    Row("MixHop narrowing", lambda: gconv.MixHopConv(CHANNELS, 1, [0, 3], bias=False), forms=("gather", "portable")),
    Row("GlobalAvgPool", gconv.GlobalAvgPool, readout=True),
    Row("GlobalMaxPool", gconv.GlobalMaxPool, readout=True),
    Row(
        "GridPool max",
        lambda: gconv.GridPool(MaxPool2d(2)),
        grids_only=True,
        equivariant=False,
        translates=2,
    ),
    Row(
        "GridPool average",
        lambda: gconv.GridPool(AvgPool2d(2)),
        grids_only=True,
        equivariant=False,
        translates=2,
    ),
    Row(
        "GridPool min",
        lambda: gconv.GridPool(MinPool2d(2)),
        grids_only=True,
        equivariant=False,
        translates=2,
    ),
    Row(
        "PatchySan",
        lambda: gconv.PatchySanConv(CHANNELS, 4, num_selected=12, kernel_size=5, stride=3),
        equivariant=False,
        translates=None,
        forms=("gather", "portable"),
    ),
    Row(
        "PatchySan wl",
        lambda: gconv.PatchySanConv(CHANNELS, 2, num_selected=8, kernel_size=3, labeling="wl", bias=False),
        equivariant=False,
        translates=None,
    ),
    Row("SAGE", lambda: gconv.SAGEConv(CHANNELS, 4), forms=("fused", "stencil", "gather", "dense", "portable")),
    Row(
        "SAGE sum, projected, unit length",
        lambda: gconv.SAGEConv(CHANNELS, 4, aggr="add", normalize=True, project=True),
        forms=("fused", "stencil", "gather", "dense", "portable"),
    ),
    Row(
        "SAGE mean, no root",
        lambda: gconv.SAGEConv(CHANNELS, 2, root_weight=False, bias=False),
        forms=("fused", "gather", "portable"),
    ),
    Row("SAGE max", lambda: gconv.SAGEConv(CHANNELS, 4, aggr="max"), forms=("gather", "portable")),
    Row(  # reads edges in their order, up to the largest degree
        "SAGE LSTM", lambda: gconv.SAGEConv(CHANNELS, 4, aggr="lstm"), translates=None, alone=False
    ),
    Row("SAGE median, projected", lambda: gconv.SAGEConv(CHANNELS, 4, aggr="median", project=True, bias=False)),
    Row("SAGE deviation", lambda: gconv.SAGEConv(CHANNELS, 4, aggr="std")),
    Row("SAGE softmax, no root", lambda: gconv.SAGEConv(CHANNELS, 4, aggr="softmax", root_weight=False)),
    Row("own: differences", lambda: Differences("sum"), forms=("gather", "portable")),
    Row("own: differences, two ways", lambda: Differences(["mean", "max"])),
    Row("own: weighted mean", lambda: Weighted("mean"), forms=("gather", "portable")),
    Row("SAGE min, no root", lambda: gconv.SAGEConv(CHANNELS, 4, aggr="min", root_weight=False), forms=("gather",)),
    Row(
        "GridPool overlapping, padded, rounded up",
        lambda: gconv.GridPool(MaxPool2d(3, 2, 1, ceil_mode=True)),
        grids_only=True,
        equivariant=False,
        translates=None,
    ),
    Row("GridPool near max", lambda: gconv.GridPool(MaxPool2d(3, 1, 1)), equivariant=False, translates=None),
    Row("GridPool near mean", lambda: gconv.GridPool(AvgPool2d(3, 1, 1)), equivariant=False, translates=None),
    Row(
        "GridPool adaptive",
        lambda: gconv.GridPool(AdaptiveAvgPool2d((2, 3))),
        grids_only=True,
        equivariant=False,
        translates=None,
    ),
    Row("LocalResponseNorm", lambda: gconv.LocalResponseNorm(2, 1.0)),
    Row("SG", lambda: gconv.SGConv(CHANNELS, 4, K=2), forms=("fused", "stencil", "gather", "dense", "portable")),
    Row("SG narrowing", lambda: gconv.SGConv(CHANNELS, 2, 3, add_self_loops=False), forms=("fused", "gather")),
    Row("SSG", lambda: gconv.SSGConv(CHANNELS, 4, 0.1, K=3), forms=("fused", "stencil", "gather", "dense", "portable")),
    Row("SSG narrowing", lambda: gconv.SSGConv(CHANNELS, 2, 0.3, K=2, bias=False), forms=("fused", "gather")),
    Row(
        "GatedGraph",
        lambda: gconv.GatedGraphConv(4, 1),
        forms=("fused", "stencil", "gather", "dense", "portable"),
    ),
    Row(
        "GINE",
        lambda: gconv.GINEConv(_network(CHANNELS, 5, 4), 0.25, True, edge_dim=2),
        forms=("fused", "gather", "portable"),
    ),
    Row("Graph", lambda: gconv.GraphConv(CHANNELS, 4), forms=("fused", "stencil", "gather", "dense", "portable")),
    Row("Graph max", lambda: gconv.GraphConv(CHANNELS, 4, "max", bias=False), forms=("gather", "portable")),
    Row("ResGated", lambda: gconv.ResGatedGraphConv(CHANNELS, 4), forms=("fused", "gather", "portable")),
    Row(
        "ResGated with edges",
        lambda: gconv.ResGatedGraphConv(CHANNELS, 4, edge_dim=2, root_weight=False),
        forms=("fused", "gather", "portable"),
    ),
    Row("ResGated tanh", lambda: gconv.ResGatedGraphConv(CHANNELS, 4, nn.Tanh()), forms=("gather", "portable")),
    Row(  # an attribute's type is its place among those of the whole batch
        "RGCN", lambda: gconv.RGCNConv(CHANNELS, 4, 48), alone=False, forms=("collapsed", "gather", "portable")
    ),
    Row(
        "RGCN bases",
        lambda: gconv.RGCNConv(CHANNELS, 4, 48, num_bases=3, aggr="add"),
        alone=False,
        forms=("collapsed", "fused", "gather", "portable"),
    ),
    Row(
        "RGCN blocks",
        lambda: gconv.RGCNConv(CHANNELS, 6, 48, num_blocks=3, root_weight=False),
        alone=False,
        forms=("collapsed", "gather", "portable"),
    ),
    Row("Transformer", lambda: gconv.TransformerConv(CHANNELS, 2, heads=3), forms=("fused", "gather", "portable")),
    Row(
        "Transformer with edges",
        lambda: gconv.TransformerConv(CHANNELS, 4, heads=2, concat=False, beta=True, edge_dim=2),
        forms=("fused", "gather", "portable"),
    ),
    Row("Spectral", lambda: gconv.SpectralConv(CHANNELS, 4, 6), undirected=True),
    Row("Spectral sym", lambda: gconv.SpectralConv(CHANNELS, 4, 2, normalization="sym", bias=False), undirected=True),
    Row(
        "Spectral free",
        lambda: gconv.SpectralConv(CHANNELS, 4, 5, smooth=False),
        undirected=True,
        equivariant=False,
        translates=None,
        alone=False,
    ),
    Row(
        "Spline",
        lambda: gconv.SplineConv(CHANNELS, 4, dim=2, kernel_size=4, max_value=5.0),
        forms=("collapsed", "fused", "gather", "portable"),
    ),
    Row(
        "Spline quadratic, closed, sum",
        lambda: gconv.SplineConv(
            CHANNELS, 4, 2, [5, 3], [True, False], 2, aggr="add", root_weight=False, bias=False, max_value=5.0
        ),
        forms=("collapsed", "fused", "gather", "portable"),
    ),
    Row("Spline max", lambda: gconv.SplineConv(CHANNELS, 4, 2, 4, degree=3, aggr="max", max_value=5.0)),
    Row("TAG", lambda: gconv.TAGConv(CHANNELS, 4), forms=("fused", "stencil", "gather", "dense", "portable")),
    Row("TAG narrowing, raw", lambda: gconv.TAGConv(CHANNELS, 2, K=2, normalize=False, bias=False), forms=("fused",)),
    Row("TAG K=0", lambda: gconv.TAGConv(CHANNELS, 4, K=0), forms=("fused", "gather")),
)


def random_graph(num_nodes: int = 11, *, directed: bool = True, seed: int = 0) -> Graph:
    """Weights, loops, an isolated node, whole-number positions and the offsets along the edges as attributes."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randint(0, num_nodes - 1, (2, 3 * num_nodes), generator=generator)  # the last node stays alone
    pairs = torch.unique(torch.cat([pairs, torch.tensor([[0], [0]])], 1), dim=1)
    weight = torch.rand(pairs.shape[1], generator=generator) + 0.1
    if not directed:
        dense = torch.zeros(num_nodes, num_nodes)
        dense[pairs[0], pairs[1]] = weight
        dense = dense + dense.t()
        pairs = dense.nonzero().t()
        weight = dense[pairs[0], pairs[1]]
    cells = torch.randperm(2 * num_nodes, generator=generator)[:num_nodes]
    pos = torch.stack([cells // 5, cells % 5], 1).float()
    return Graph(pairs, num_nodes, weight, pos[pairs[0]] - pos[pairs[1]], pos)


GRAPHS: dict[str, Callable[[], Graph]] = {
    "grid, 8 neighbours": lambda: grid_graph((4, 6)),
    "grid, 4 neighbours": lambda: grid_graph((4, 6), 4),
    "torus": lambda: grid_graph((4, 6), 4, periodic=True),
    "nearest, weighted": lambda: grid_graph((4, 6), nearest=6),
    "random, directed": random_graph,
    "random, undirected": lambda: random_graph(directed=False),
}


def graphs_of(row: Row) -> list[str]:
    """The domains on which a row's layer has a meaning."""
    return [
        name
        for name in GRAPHS
        if not (row.grids_only and name.startswith("random")) and not (row.undirected and name == "random, directed")
    ]


ON_DOMAINS = [(row, name) for row in ROWS for name in graphs_of(row)]
IDS = [f"{row.name} on {name}" for row, name in ON_DOMAINS]

# Where a layer also has a meaning once the graph has forgotten its grid: the nodes may then be renumbered, or several
# graphs stand side by side. A directional layer sees positions alone, which do not wrap around.
OFF_GRIDS = [(row, name) for row, name in ON_DOMAINS if row.equivariant and not (row.positional and name == "torus")]


def double(row: Row) -> GraphLayer:
    """The row's layer in float64, in evaluation mode."""
    return row.make().double().eval()


def signal(graph: Graph, *leading: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A random signal of the registry's channels."""
    return torch.randn(*leading, graph.num_nodes, CHANNELS, dtype=dtype)
