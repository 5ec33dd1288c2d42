"""What PyG's layers hand on to `MessagePassing` by `**kwargs`: flow, aggregation, axis; held to PyG's own numbers."""

import pickle

import pytest
import torch
import torch_geometric.nn as pyg
from registry import random_graph
from test_pyg_layers import assert_equal
from test_pyg_parity import value_and_gradients
from torch import nn

import gconv
from gconv import Graph
from gconv.training.variants import own_layer

NODES, WIDE, FEATURES = 12, 5, 3


def network(wide, narrow):
    return nn.Sequential(nn.Linear(wide, 6), nn.Tanh(), nn.Linear(6, narrow))


# Name, then what a call takes beside the edges: nothing, weights, features, or types of them.
LAYERS = {
    "GCN": (lambda lib, **more: lib.GCNConv(WIDE, 4, **more), "weights"),
    "GCN raw": (lambda lib, **more: lib.GCNConv(WIDE, 4, normalize=False, **more), "weights"),
    "SG": (lambda lib, **more: lib.SGConv(WIDE, 4, K=2, **more), "weights"),
    "SSG": (lambda lib, **more: lib.SSGConv(WIDE, 4, 0.3, K=2, **more), "weights"),
    "TAG": (lambda lib, **more: lib.TAGConv(WIDE, 4, **more), "weights"),
    "APPNP": (lambda lib, **more: lib.APPNP(3, 0.2, **more), "weights"),
    "MixHop": (lambda lib, **more: lib.MixHopConv(WIDE, 4, **more), "weights"),
    "ARMA": (lambda lib, **more: lib.ARMAConv(WIDE, 4, 2, 2, **more), "weights"),
    "FeaSt": (lambda lib, **more: lib.FeaStConv(WIDE, 4, 2, **more), ""),
    "GIN": (lambda lib, **more: lib.GINConv(network(WIDE, 4), 0.3, **more), ""),
    "GINE": (lambda lib, **more: lib.GINEConv(network(WIDE, 4), edge_dim=FEATURES, **more), "features"),
    "GraphConv": (lambda lib, **more: lib.GraphConv(WIDE, 4, **more), "weights"),
    "SAGE": (lambda lib, **more: lib.SAGEConv(WIDE, 4, **more), ""),
    "GAT": (lambda lib, **more: lib.GATConv(WIDE, 4, 2, edge_dim=FEATURES, **more), "features"),
    "GATv2": (lambda lib, **more: lib.GATv2Conv(WIDE, 4, 2, edge_dim=FEATURES, **more), "features"),
    "Transformer": (lambda lib, **more: lib.TransformerConv(WIDE, 4, 2, edge_dim=FEATURES, **more), "features"),
    "NNConv": (lambda lib, **more: lib.NNConv(WIDE, 4, network(FEATURES, WIDE * 4), **more), "features"),
    "GMM": (lambda lib, **more: lib.GMMConv(WIDE, 4, FEATURES, 3, **more), "features"),
    "EdgeConv": (lambda lib, **more: lib.EdgeConv(network(2 * WIDE, 4), **more), ""),
    "RGCN": (lambda lib, **more: lib.RGCNConv(WIDE, 4, 3, **more), "types"),
    "GatedGraph": (lambda lib, **more: lib.GatedGraphConv(6, 2, **more), "weights"),
    "ResGatedGraph": (lambda lib, **more: lib.ResGatedGraphConv(WIDE, 4, edge_dim=FEATURES, **more), "features"),
}
SUMMED_BY_S = ("GCN", "GCN raw", "SG", "SSG", "TAG", "APPNP", "MixHop", "ARMA")
SEVERAL = {"aggr": ["mean", "max", "median", "std", "sum"]}
CASES = [
    *((name, {"flow": "target_to_source"}) for name in LAYERS),
    *((name, {"aggr": "mean"}) for name in SUMMED_BY_S),
    *(("GIN", {"aggr": aggr}) for aggr in ("sum", "mean", "max", "min", "median", "softmax", "std", "var")),
    *((name, {"aggr": "median"}) for name in ("GraphConv", "NNConv", "EdgeConv", "GatedGraph", "GINE")),
    *(("FeaSt", {"aggr": aggr}) for aggr in ("add", "sum", "mean")),
    *(("GMM", {"aggr": aggr}) for aggr in ("max", "min", "median")),
    ("SAGE", SEVERAL),
    ("SAGE", {**SEVERAL, "normalize": True, "root_weight": False}),
    ("GCN", {"aggr": "mean", "flow": "target_to_source"}),
    ("GCN", {"node_dim": 0, "decomposed_layers": 2, "aggr_kwargs": None}),
]


def graph_and_more(kind):
    """Directed edges with loops, isolated and sourceless nodes, and what a call takes beside them."""
    edges = random_graph(10).edge_index
    edges = torch.cat([edges, torch.tensor([[3, 5], [3, 5]])], 1)
    edges = edges[:, (edges[1] != 7)].unique(dim=1)
    count = edges.shape[1]
    more = {
        "": (),
        "weights": (torch.rand(count).double() + 0.1,),
        "features": (torch.rand(count, FEATURES).double(),),
        "types": (torch.arange(count) % 3,),
    }[kind]
    return edges, tuple(t.requires_grad_() if t.is_floating_point() else t for t in more)


def twins(name, more):
    make, kind = LAYERS[name]
    layer, original = make(gconv, **more), make(pyg, **more)
    layer.load_state_dict(original.state_dict(), strict=True)
    make(pyg, **more).load_state_dict(layer.state_dict(), strict=True)
    return layer.double(), original.double(), kind


@pytest.mark.parametrize(("name", "more"), CASES, ids=str)
def test_as_pyg(name, more):
    layer, original, kind = twins(name, more)
    edges, further = graph_and_more(kind)
    x = torch.randn(NODES, WIDE).double().requires_grad_()
    learned = [t for t in further if t.requires_grad]
    found = value_and_gradients(layer, x, (edges, *further), learned)
    for value, expected in zip(found, value_and_gradients(original, x, (edges, *further), learned), strict=True):
        assert_equal(value, expected)
    again = pickle.loads(pickle.dumps(layer))
    assert_equal(again(x, edges, *further), found[0])
    if "node_dim" not in more:
        many = torch.stack([x, -x]).detach()
        assert_equal(layer(many, edges, *further)[1], original(-x, edges, *further))


@pytest.mark.parametrize("name", ["GAT", "GATv2", "Transformer"])
def test_attention_against_the_edges_names_them_as_they_came(name):
    layer, original, kind = twins(name, {"flow": "target_to_source"})
    edges, further = graph_and_more(kind)
    x = torch.randn(NODES, WIDE).double()
    _, (named, alpha) = layer(x, edges, *further, return_attention_weights=True)
    _, (expected, weights) = original(x, edges, *further, return_attention_weights=True)
    assert torch.equal(named, expected)
    assert_equal(alpha, weights)


def test_a_graph_flows_back_too():
    """Also its own weights, and those that are learned with it."""
    edges, (weight,) = graph_and_more("weights")
    x = torch.randn(NODES, WIDE).double()
    layer, original, _ = twins("GCN", {"flow": "target_to_source"})
    for own in (weight, weight.detach()):
        graph = Graph(edges, NODES, own)
        assert_equal(layer(x, graph), original(x, edges, weight))
        assert_equal(layer(x, graph), original(x, edges, weight))
    (gradient,) = torch.autograd.grad(layer(x, Graph(edges, NODES, weight)).sum(), weight)
    assert_equal(gradient, torch.autograd.grad(original(x, edges, weight).sum(), weight)[0])


def test_several_aggregators_of_pairs():
    make = LAYERS["SAGE"][0]
    original = pyg.SAGEConv((WIDE, 2), 4, **SEVERAL)
    layer = gconv.SAGEConv((WIDE, 2), 4, **SEVERAL)
    layer.load_state_dict(original.state_dict(), strict=True)
    edges = torch.tensor([[0, 1, 5, 5, 2], [2, 2, 0, 1, 2]])
    pair = torch.randn(6, WIDE).double(), torch.randn(4, 2).double()
    assert_equal(layer.double()(pair, edges), original.double()(pair, edges))
    for width, x in ((-1, pair[0]), ((-1, -1), pair)):
        open_layer = gconv.SAGEConv(width, 4, **SEVERAL).double()
        assert open_layer(x, edges).shape[1] == 4
        assert open_layer.lin_l.weight.shape == (4, len(SEVERAL["aggr"]) * WIDE)
    loaded = gconv.SAGEConv((-1, -1), 4, **SEVERAL).double()
    loaded.load_state_dict(original.state_dict())
    assert loaded.in_channels == (WIDE, 2)
    assert_equal(loaded(pair, edges), original(pair, edges))
    with pytest.raises(ValueError, match=r"aggr=\['mean', 'lstm'\] needs the width of the sources"):
        gconv.SAGEConv(-1, 4, aggr=["mean", "lstm"])
    with pytest.raises(ValueError, match=r"or a list of such; got \['mean', 'most'\]"):
        make(gconv, aggr=["mean", "most"])


def test_what_has_no_meaning_is_named():
    edges, x = torch.tensor([[0, 1], [1, 2]]), torch.randn(3, WIDE)
    with pytest.raises(TypeError, match=r"GCNConv got an unexpected keyword argument 'agr'; .*flow, node_dim"):
        gconv.GCNConv(WIDE, 4, agr="mean")
    with pytest.raises(TypeError, match=r"SAGEConv got an unexpected keyword argument 'K'"):
        gconv.SAGEConv(WIDE, 4, K=3)
    with pytest.raises(ValueError, match=r"GATConv: aggr is one of 'add', 'sum'; got 'max'.*MessagePassing"):
        gconv.GATConv(WIDE, 4, aggr="max")
    with pytest.raises(ValueError, match=r"GCNConv: flow is 'source_to_target' or 'target_to_source' here, got 'back'"):
        gconv.GCNConv(WIDE, 4, flow="back")
    with pytest.raises(ValueError, match=r"ChebConv: flow is 'source_to_target' here, got 'target_to_source'"):
        gconv.ChebConv(WIDE, 4, 2, flow="target_to_source")
    with pytest.raises(ValueError, match=r"GCNConv: node_dim is -2, or 0 .*got 1"):
        gconv.GCNConv(WIDE, 4, node_dim=1)
    with pytest.raises(ValueError, match="GCNConv: decomposed_layers takes a whole number >= 1, got 0"):
        gconv.GCNConv(WIDE, 4, decomposed_layers=0)
    with pytest.raises(ValueError, match=r"no further arguments; got aggr_kwargs=\{'t': 2.0\}"):
        gconv.SAGEConv(WIDE, 4, aggr="softmax", aggr_kwargs={"t": 2.0})
    with pytest.raises(ValueError, match=r"EdgeConv: aggr is one of .*got \['max', 'mean'\]"):
        gconv.EdgeConv(nn.Linear(2 * WIDE, 4), aggr=["max", "mean"])
    with pytest.raises(ValueError, match=r"GCNConv with node_dim=0 takes one signal \(N, C\), got shape \(2, 3, 5\)"):
        gconv.GCNConv(WIDE, 4, node_dim=0)(torch.stack([x, x]), edges)
    back = gconv.SAGEConv(WIDE, 4, flow="target_to_source")
    with pytest.raises(ValueError, match=r"edges of a pair lead from x_source to x_target.*edge_index.flip\(0\)"):
        back((x, x), edges)
    with pytest.raises(ValueError, match=r"flow='target_to_source' takes no sparse adjacency; pass its transpose"):
        back(x, torch.eye(3).to_sparse())


def drawn(layer):
    """The largest entry of every parameter, which of many draws is the bound of their distribution."""
    return {name: float(parameter.detach().abs().max()) for name, parameter in layer.named_parameters()}


@pytest.mark.parametrize("name", ["GATConv", "GATv2Conv"])
@pytest.mark.parametrize("heads", [1, 8])
def test_attention_is_drawn_as_in_pyg(name, heads):
    options = {"heads": heads, "edge_dim": 7, "residual": True}
    ours, theirs = (getattr(lib, name)(64, 256, **options) for lib in (gconv, pyg))
    assert (ours.heads, ours.residual, ours.edge_dim) == (theirs.heads, theirs.residual, theirs.edge_dim)
    expected = drawn(theirs)
    for parameter, bound in drawn(ours).items():
        assert bound == pytest.approx(expected[parameter], rel=0.06), parameter


def test_nonsense_is_refused_at_once():
    x, edges = torch.randn(4, WIDE), torch.tensor([[0, 1, 2, 3], [1, 0, 3, 2]])
    for layer in (gconv.GATConv, gconv.GATv2Conv):
        with pytest.raises(ValueError, match=r"fill_value is a number, a tensor, or one of mean, .*got 'most'"):
            layer(WIDE, 4, edge_dim=2, fill_value="most")
    with pytest.raises(TypeError, match=r"ARMAConv takes a module or a function as its act, or None; got str"):
        gconv.ARMAConv(WIDE, 4, act="relu")
    with pytest.raises(ValueError, match=r"SAGEConv has the same 4 sources and targets here; got size=\(4, 4, 4\)"):
        gconv.SAGEConv(WIDE, 4)(x, edges, size=(4, 4, 4))
    with pytest.raises(ValueError, match=r"largest eigenvalue of each graph, is positive; got -1.0"):
        gconv.ChebConv(WIDE, 4, 3)(x, edges, None, torch.tensor([0, 0, 1, 1]), torch.tensor([2.0, -1.0]))


def test_a_variant_of_ours_gets_what_it_takes():
    """PyG's `**kwargs` take neither K nor, in attention, a number of terms."""
    for name, kind in (("SAGEConv", gconv.SAGEConv), ("GATConv", gconv.GATConv)):
        assert isinstance(own_layer(f"gconv:{name}")(WIDE, 4, K=9, bias=False), kind)
