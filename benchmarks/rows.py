"""The layers that are measured, a row each.

Where PyG can be spared work that it would repeat in every forward, it is: GCN keeps its normalised edges, TAG gets
weights that are normalised already, and layers with attention get edges with loops.
"""

from __future__ import annotations

from benchmarks.edges import normalized, with_loops
from benchmarks.floor import Product
from benchmarks.plain import PlainSplineConv
from benchmarks.row import LATER, NO_TARGET, Row, StandIn, Target, linears


def _cheb(count: int, target: Target, single: Target = NO_TARGET) -> Row:
    return Row(
        name=f"Cheb {count}",
        layer="ChebConv",
        build=lambda make, i, o: make(i, o, count),
        products=lambda i, o: (Product(i, o, count),),
        target=target,
        single=single,
        settings=f"K = {count}",
    )


def _monet(count: int, name: str, settings: str, target: Target, single: Target = NO_TARGET, general: bool = False):
    return Row(
        name=name,
        layer="GMMConv",
        build=lambda make, i, o: make(i, o, 2, count),
        products=lambda i, o: (Product(i, o, count + 1),),
        target=target,
        single=single,
        dim=2,
        static=False,
        general=general,
        held=lambda i, o: 3 * count * o,
        settings=f"{count} kernels, mean, root weight{settings}",
    )


def _spline(size: int, name: str, settings: str, max_value: float, general: bool = False) -> Row:
    return Row(
        name=name,
        layer="SplineConv",
        build=lambda make, i, o: make(i, o, 2, size, max_value=max_value),
        products=lambda i, o: (Product(i, o, size**2 + 1),),
        target=LATER,
        stand_in=StandIn(PlainSplineConv, "pyg-lib"),
        dim=2,
        general=general,
        held=lambda i, o: 8 * o,
        settings=f"{size}² functions of degree 1, mean, root weight{settings}",
    )


def _attention(layer: str, name: str, products: int, target: Target, single: Target = NO_TARGET) -> Row:
    return Row(
        name=name,
        layer=layer,
        build=lambda make, i, o: make(i, o // 4, heads=4),
        products=lambda i, o: (Product(i, o, products),),
        target=target,
        single=single,
        pyg={"add_self_loops": False},
        edges=with_loops,
        heads=4,
        static=False,
        kinks=True,
        settings="4 heads, joined",
    )


_ALL = (
    Row(
        name="GCN",
        layer="GCNConv",
        build=lambda make, i, o: make(i, o),
        products=lambda i, o: (Product(i, o),),
        target=Target(pyg=1.2, floor=1.4),
        single=Target(pyg=1.5),
        pyg={"cached": True},
    ),
    Row(
        name="SAGE",
        layer="SAGEConv",
        build=lambda make, i, o: make(i, o),
        products=lambda i, o: (Product(i, o, 2),),
        target=Target(pyg=1.2, floor=1.4),
        single=Target(pyg=1.5),
        settings="mean, root weight",
    ),
    Row(
        name="GIN",
        layer="GINConv",
        build=lambda make, i, o: make(linears(i, o, o)),
        products=lambda i, o: (Product(i, o), Product(o, o)),
        target=Target(pyg=1.2, floor=1.4),
        kinks=True,
        settings="Linear, ReLU, Linear",
    ),
    Row(
        name="TAG",
        layer="TAGConv",
        build=lambda make, i, o: make(i, o),
        products=lambda i, o: (Product(i, o, 4),),
        target=Target(pyg=1.2, floor=1.4),
        pyg={"normalize": False},
        edges=normalized,
        settings="K = 3: four products",
    ),
    _cheb(3, Target(pyg=3.0, floor=1.4), Target(pyg=2.0)),
    _cheb(25, Target(pyg=5.0, floor=1.0)),
    Row(
        name="ARMA",
        layer="ARMAConv",
        build=lambda make, i, o: make(i, o, num_stacks=3, num_layers=2, shared_weights=True),
        products=lambda i, o: (Product(i, o, 6), Product(o, o, 3)),
        target=Target(pyg=3.0),
        kinks=True,
        held=lambda i, o: 12 * o,
        settings="3 stacks of 2 layers, shared weights",
    ),
    Row(
        name="SG",
        layer="SGConv",
        build=lambda make, i, o: make(i, o, K=2),
        products=lambda i, o: (Product(i, o),),
        target=LATER,
        single=LATER,
        settings="K = 2, nothing cached",
    ),
    Row(
        name="SSG",
        layer="SSGConv",
        build=lambda make, i, o: make(i, o, alpha=0.1, K=4),
        products=lambda i, o: (Product(i, o),),
        target=LATER,
        settings="K = 4, nothing cached",
    ),
    Row(
        name="APPNP",
        layer="APPNP",
        build=lambda make, i, o: make(K=10, alpha=0.1),
        products=lambda i, o: (),
        target=LATER,
        pyg={"cached": True},
        settings="K = 10, no product",
    ),
    Row(
        name="MixHop",
        layer="MixHopConv",
        build=lambda make, i, o: make(i, o // 4, powers=[0, 1, 2, 3]),
        products=lambda i, o: (Product(i, o),),
        target=LATER,
        settings="powers 0 to 3, a quarter of the channels each",
    ),
    Row(
        name="FeaSt",
        layer="FeaStConv",
        build=lambda make, i, o: make(i, o, heads=4),
        products=lambda i, o: (Product(i, 4 * o), Product(i, 4)),
        target=Target(pyg=3.0),
        pyg={"add_self_loops": False},
        edges=with_loops,
        heads=4,
        static=False,
        held=lambda i, o: 12 * o,
        settings="4 heads",
    ),
    _attention("GATConv", "GAT", 1, Target(pyg=2.0, floor=7.0, compiled=4.0), Target(pyg=3.0)),
    _attention("GATv2Conv", "GATv2", 2, Target(pyg=2.0)),
    Row(
        name="EdgeConv",
        layer="EdgeConv",
        build=lambda make, i, o: make(linears(2 * i, o, o), aggr="max"),
        products=lambda i, o: (Product(i, o, 2), Product(o, o, of_edges=True)),
        target=Target(pyg=2.0),
        kinks=True,
        held=lambda i, o: 4 * i + 5 * o,
        settings="Linear, ReLU, Linear on every edge; maximum",
    ),
    Row(
        name="NNConv",
        layer="NNConv",
        build=lambda make, i, o: make(i, o, linears(2, 8, i * o)),
        products=lambda i, o: (Product(i, o, 10),),
        target=Target(pyg=5.0),
        dim=2,
        static=False,
        kinks=True,
        held=lambda i, o: 3 * i * o,
        settings="a matrix an edge from Linear(2, 8), ReLU, Linear(8, C²); sum, root weight",
    ),
    Row(
        name="GraphConv",
        layer="GraphConv",
        build=lambda make, i, o: make(i, o),
        products=lambda i, o: (Product(i, o, 2),),
        target=LATER,
        settings="sum",
    ),
    Row(
        name="GINE",
        layer="GINEConv",
        build=lambda make, i, o: make(linears(i, o, o), edge_dim=2),
        products=lambda i, o: (Product(i, o), Product(o, o)),
        target=LATER,
        dim=2,
        kinks=True,
        held=lambda i, o: 6 * i,
        settings="Linear, ReLU, Linear; 2 features an edge",
    ),
    Row(
        name="Transformer",
        layer="TransformerConv",
        build=lambda make, i, o: make(i, o // 4, heads=4, bias=False),
        products=lambda i, o: (Product(i, o, 4),),
        target=LATER,
        heads=4,
        static=False,
        held=lambda i, o: 12 * o,
        settings="4 heads, joined; root weight; no biases: the keys' has no say, and its gradient is rounding",
    ),
    Row(
        name="Transformer, edges",
        layer="TransformerConv",
        build=lambda make, i, o: make(i, o // 4, heads=4, edge_dim=2, bias=False),
        products=lambda i, o: (Product(i, o, 4),),
        target=LATER,
        dim=2,
        heads=4,
        static=False,
        held=lambda i, o: 16 * o,
        settings="4 heads, joined; root weight; 2 features an edge; no biases",
    ),
    Row(
        name="ResGated",
        layer="ResGatedGraphConv",
        build=lambda make, i, o: make(i, o),
        products=lambda i, o: (Product(i, o, 4),),
        target=LATER,
        held=lambda i, o: 10 * o,
        settings="sigmoid, root weight",
    ),
    Row(
        name="GatedGraph",
        layer="GatedGraphConv",
        build=lambda make, i, o: make(o, 2),
        products=lambda i, o: (Product(o, o, 2 * (1 + 3 + 3)),),  # a step: weight, weight_ih, weight_hh
        target=LATER,
        static=False,
        held=lambda i, o: 8 * o,
        settings="2 steps",
    ),
    Row(
        name="RGCN",
        layer="RGCNConv",
        build=lambda make, i, o: make(i, o, 8),
        products=lambda i, o: (Product(i, o, 9),),
        target=LATER,
        dim=1,
        types=True,
        static=False,
        held=lambda i, o: 4 * max(i, o),
        settings="8 types: the offsets; mean, root weight",
    ),
    Row(
        name="RGCN bases",
        layer="RGCNConv",
        build=lambda make, i, o: make(i, o, 8, num_bases=2),
        products=lambda i, o: (Product(i, o, 3),),
        target=LATER,
        dim=1,
        types=True,
        static=False,
        held=lambda i, o: 4 * max(i, o),
        settings="8 types of 2 bases: the offsets; mean, root weight",
    ),
    _monet(9, "MoNet 9", "", Target(pyg=5.0, floor=1.2)),
    _monet(25, "MoNet 25", "", Target(pyg=5.0, floor=1.2)),
    _monet(
        25,
        "MoNet 25, general graph",
        "; the same edges, pseudo-coordinates that all differ",
        Target(floor=3.5),
        general=True,
    ),
    _spline(3, "Spline 9", "", 1.0),
    _spline(5, "Spline 25", "", 1.0),
    _spline(5, "Spline 25, general graph", "; pseudo-coordinates that all differ", 2.0, general=True),
    _monet(3, "MoNet 3", "; pseudo-coordinates 1/√degree of either end", Target(), Target(pyg=3.0)),
)

ROWS = {row.name: row for row in _ALL}
GRID = tuple(name for name in ROWS if name != "MoNet 3")
SINGLE = ("GCN", "SAGE", "Cheb 3", "SG", "GAT", "MoNet 3")
