"""Layers on weights, features and types of edges, beside PyG's numbers: one-hot signals, coefficients, errors."""

import pytest
import torch
from test_pyg_edges import TYPE_COUNT
from test_pyg_layers import assert_equal, exact, twins
from test_pyg_parity import GRAPHS, assert_same, value_and_gradients
from torch import nn
from torch_geometric.data import Data

import gconv
from gconv import Graph, GraphOps, force_form, grid_graph


def typed(graph="directed", types=TYPE_COUNT):
    edge_index, _, nodes = GRAPHS[graph]
    return edge_index, torch.randint(0, types, (edge_index.shape[1],)), nodes


@pytest.mark.parametrize("options", [{}, {"num_bases": 2, "aggr": "add"}, {"aggr": "max", "root_weight": False}])
@pytest.mark.parametrize("places", [False, True])
def test_one_hot_signals(options, places):
    edge_index, types, nodes = typed()
    width = 12 if places else nodes
    layer, original = twins(lambda lib: lib.RGCNConv(width, 7, TYPE_COUNT, **options))
    layer, original = layer.double(), original.double()
    x = torch.randint(0, width, (nodes,)) if places else None
    found, expected = layer(x, edge_index, types), original(x, edge_index, types)
    assert_equal(found, expected)
    weights = torch.randn_like(found)
    both = (found, layer), (expected, original)
    assert_equal(*(torch.autograd.grad((y * weights).sum(), module.weight)[0] for y, module in both))
    dense = torch.eye(width, dtype=torch.float64)[torch.arange(nodes) if x is None else x]
    if "max" not in options.values():  # the largest product is not the product of the largest
        assert_equal(layer(dense, edge_index, types), found)


def test_one_hot_pairs():
    edge_index = torch.stack([torch.randint(0, 9, (20,)), torch.randint(0, 6, (20,))])
    types = torch.randint(0, TYPE_COUNT, (20,))
    layer, original = twins(lambda lib: lib.RGCNConv((9, 6), 7, TYPE_COUNT))
    for pair in ((None, torch.arange(6)), (torch.randint(0, 9, (9,)), torch.randint(0, 6, (6,)))):
        assert_same(layer(pair, edge_index, types), original(pair, edge_index, types))


def test_where_types_come_from():
    edge_index, types, nodes = typed()
    layer, x = gconv.RGCNConv(5, 7, TYPE_COUNT), torch.randn(nodes, 5)
    y = layer(x, edge_index, types)
    for attributes in (types, types[:, None], types.int(), types.float()):
        assert torch.equal(layer(x, Graph(edge_index, nodes, edge_attr=attributes)), y)
    assert torch.equal(layer(x, Data(x=x, edge_index=edge_index, edge_type=types)), y)
    assert torch.equal(layer(x, Data(x=x, edge_index=edge_index, edge_attr=torch.rand(len(types), 2)), types), y)
    edited = types.clone()
    layer(x, edge_index, edited)
    edited[0] = (edited[0] + 1) % TYPE_COUNT
    assert torch.equal(layer(x, edge_index, edited), layer(x, edge_index, edited.clone()))


@pytest.mark.parametrize("neighbors", [4, 8])
def test_a_relation_for_each_offset_is_a_directional_convolution(neighbors):
    graph = grid_graph((4, 5), neighbors)
    layer = gconv.RGCNConv(3, 6, neighbors, aggr="add").double()
    offsets = graph.edge_attr.unique(dim=0).long() + 1
    kernel = torch.zeros(6, 3, 3, 3, dtype=torch.float64)
    kernel[:, :, 1, 1] = layer.root.t()
    for (row, column), matrix in zip(offsets.tolist(), layer.weight, strict=True):
        kernel[:, :, row, column] = matrix.t()
    x = torch.randn(2, 20, 3, dtype=torch.float64)
    picture = nn.functional.conv2d(gconv.bridge.to_images(x, graph), kernel, layer.bias, padding=1)
    assert_equal(layer(x, graph), gconv.bridge.to_nodes(picture))


@pytest.mark.parametrize("options", [{}, {"edge_dim": 3, "beta": True}, {"concat": False, "dropout": 0.5}])
@pytest.mark.parametrize("told", [True, False])
def test_attention_weights_as_pyg_gives_them(options, told):
    layer, original = twins(lambda lib: lib.TransformerConv(5, 3, heads=2, **options))
    layer, original = layer.eval(), original.eval()
    edge_index, _, nodes = GRAPHS["parallel edges, isolated node"]
    more = (torch.randn(edge_index.shape[1], 3),) if "edge_dim" in options else ()
    x = torch.randn(3, nodes, 5)
    y, (edges, alphas) = layer(x, edge_index, *more, return_attention_weights=told)
    assert torch.equal(edges, edge_index)
    for signal, out, alpha in zip(x, y, alphas, strict=True):
        expected, (_, their_alpha) = original(signal, edge_index, *more, return_attention_weights=told)
        assert_same(out, expected)
        assert_same(alpha, their_alpha)


def test_dropout_of_attention_keeps_the_mean():
    torch.manual_seed(0)
    layer = gconv.TransformerConv(5, 3, heads=2, edge_dim=2, dropout=0.4)
    graph = grid_graph((4, 4))
    x = torch.randn(1, 16, 5)
    with torch.no_grad():
        mean = layer.train()(x.expand(4000, -1, -1), graph).mean(0)
        still = layer.eval()(x, graph)[0]
    assert not torch.allclose(layer.train()(x, graph)[0], still)
    assert (mean - still).abs().max() < 0.05 * still.abs().max()


@pytest.mark.parametrize("size", [1.0, 60.0])
def test_large_scores_do_not_overflow(size):
    layer, original = twins(lambda lib: lib.TransformerConv(5, 3, heads=2, edge_dim=3))
    edge_index, _, nodes = GRAPHS["directed"]
    x, features = size * torch.randn(nodes, 5), size * torch.randn(edge_index.shape[1], 3)
    y = layer(x, edge_index, features)
    assert y.isfinite().all()
    torch.testing.assert_close(y, original(x, edge_index, features), rtol=1e-3, atol=1e-3 * size)


@pytest.mark.parametrize("width", [1, 6, 7, 20])
def test_few_features_and_many(width):
    layer, original = twins(lambda lib: lib.TransformerConv(5, 3, heads=2, edge_dim=width))
    edge_index, _, nodes = GRAPHS["directed"]
    x, features = exact((torch.randn(nodes, 5), torch.randn(edge_index.shape[1], width)))
    found = value_and_gradients(layer.double(), x, (edge_index, features), [features])
    theirs = value_and_gradients(original.double(), x, (edge_index, features), [features])
    for value, expected in zip(found, theirs, strict=True):
        assert_equal(value, expected)


def test_many_blocks_are_few():
    """So many signals that they are worked on in several blocks."""
    graph = grid_graph((12, 12))
    for layer in (
        gconv.ResGatedGraphConv(5, 32, edge_dim=2),
        gconv.ResGatedGraphConv(5, 32, torch.tanh),
        gconv.GINEConv(nn.Linear(32, 4), edge_dim=2),
        gconv.TransformerConv(5, 8, heads=8, edge_dim=2),
        gconv.RGCNConv(5, 16, 40, num_blocks=1),
        gconv.GatedGraphConv(32, 2),
    ):
        x = torch.randn(40, 144, 32 if isinstance(layer, gconv.GINEConv) else 5)
        whole = value_and_gradients(layer.double(), x.double().requires_grad_(), (graph,), [])
        halves = [value_and_gradients(layer, half.double().requires_grad_(), (graph,), []) for half in x.split(3)]
        assert_equal(whole[0], torch.cat([half[0] for half in halves]))


def test_double_backward_of_the_steps():
    graph = grid_graph((3, 4))
    learned = graph.having(edge_weight=torch.rand(graph.num_edges).double().requires_grad_())
    for layer in (
        gconv.GINEConv(nn.Linear(3, 2), edge_dim=2, aggr="mean").double(),
        gconv.GraphConv(3, 2, "max").double(),
        gconv.ResGatedGraphConv(3, 2, torch.tanh).double(),
    ):
        (x,) = exact((torch.randn(2, 12, 3),))
        assert torch.autograd.gradgradcheck(lambda x, layer=layer: layer(x, learned), (x,), fast_mode=True)


@pytest.mark.parametrize("form", ["fused", "gather", "portable", "sparse"])
def test_forms_agree_on_pairs(form):
    edge_index = torch.stack([torch.randint(0, 9, (20,)), torch.randint(0, 6, (20,))])
    features, pair = torch.randn(20, 3).double(), (torch.randn(2, 9, 5).double(), torch.randn(2, 6, 4).double())
    for layer in (
        gconv.TransformerConv((5, 4), 3, 2, edge_dim=3).double(),
        gconv.ResGatedGraphConv((5, 4), 3, edge_dim=3).double(),
    ):
        expected = layer(pair, edge_index, features)
        with force_form(form):
            assert_equal(layer(pair, edge_index, features), expected)


@pytest.mark.parametrize("family", ["graph", "gine", "transformer", "resgated"])
def test_families_of_recipes(family):
    graph = grid_graph((6, 6))
    layer = GraphOps(family).conv(3, 8, 3)
    assert layer(torch.randn(2, 36, 3), graph).shape == (2, 36, 8)


def test_bad_arguments_are_named():
    for message, make in (
        (r"aggr is one of 'add'.*got 'most'", lambda: gconv.GraphConv(5, 7, "most")),
        ("heads takes a whole number >= 1, got 0", lambda: gconv.TransformerConv(5, 7, heads=0)),
        ("dropout takes a probability, got 1.5", lambda: gconv.TransformerConv(5, 7, dropout=1.5)),
        ("num_bases or num_blocks; got 2 and 5", lambda: gconv.RGCNConv(5, 10, 3, 2, 5)),
        (r"num_blocks=3 must divide in_channels=5 and out_channels=6", lambda: gconv.RGCNConv(5, 6, 3, num_blocks=3)),
        ("num_relations takes a whole number >= 1, got 0", lambda: gconv.RGCNConv(5, 6, 0)),
        ("num_bases takes a whole number >= 1 or None, got 0", lambda: gconv.RGCNConv(5, 6, 2, 0)),
        ("number of steps, is a whole number >= 0; got -1", lambda: gconv.GatedGraphConv(5, -1)),
        ("must begin with a layer of known in_features", lambda: gconv.GINEConv(nn.Sequential(nn.ReLU()), edge_dim=3)),
        ("edge_dim=3 needs the widths of the nodes", lambda: gconv.ResGatedGraphConv(-1, 7, edge_dim=3)),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    with pytest.raises(TypeError, match="takes a module or a function as its act, got int"):
        gconv.ResGatedGraphConv(5, 7, 3)
    with pytest.raises(TypeError, match="GINEConv takes a torch module as its nn, got int"):
        gconv.GINEConv(3)


def test_bad_calls_are_named():
    edge_index, types, nodes = typed()
    x, count = torch.randn(nodes, 5), edge_index.shape[1]
    wide = torch.randn(count, 4)
    attentive, blocked = gconv.TransformerConv(5, 7, edge_dim=3), gconv.RGCNConv(nodes, 6, 4, num_blocks=3)
    for message, call in (
        (r"needs edge_attr \(E, 3\)", lambda: attentive(x, edge_index)),
        (rf"edge_attr has shape \({count}, 3\) here", lambda: attentive(x, edge_index, wide)),
        ("made without edge_dim.*pass edge_dim=4", lambda: gconv.TransformerConv(5, 7)(x, edge_index, wide)),
        ("made without edge_dim.*pass edge_dim=4", lambda: gconv.ResGatedGraphConv(5, 7)(x, edge_index, wide)),
        (r"needs edge_attr \(E, 5\)", lambda: gconv.GINEConv(nn.Linear(5, 7))(x, edge_index)),
        (rf"edge_attr has shape \({count}, 5\) here", lambda: gconv.GINEConv(nn.Linear(5, 7))(x, edge_index, wide)),
        ("at most out_channels=3 channels, got 5", lambda: gconv.GatedGraphConv(3, 2)(x, edge_index)),
        (r"needs edge_type \(E,\), a whole number from 0 to 3", lambda: gconv.RGCNConv(5, 7, 4)(x, edge_index)),
        (r"go from 0 to num_relations - 1 = 1, got 0 to 3", lambda: gconv.RGCNConv(5, 7, 2)(x, edge_index, types)),
        (r"= 3, got -1 to 2", lambda: gconv.RGCNConv(5, 7, 4)(x, edge_index, (types - 1))),
        (rf"edge_type has shape \({count},\) here", lambda: gconv.RGCNConv(5, 7, 4)(x, edge_index, types[1:])),
        ("a whole number an edge; got", lambda: gconv.RGCNConv(5, 7, 4)(x, edge_index, types.float())),
        ("places of ones go from 0 to 4", lambda: gconv.RGCNConv(5, 7, 4)(torch.arange(nodes), edge_index, types)),
        ("with num_blocks takes signals of numbers", lambda: blocked(None, edge_index, types)),
        ("reads the targets' signal too", lambda: gconv.TransformerConv(5, 7)((x, None), edge_index)),
        ("reads the targets' signal too", lambda: gconv.ResGatedGraphConv(5, 7)((x, None), edge_index)),
        ("of which x_source may be None", lambda: gconv.RGCNConv(5, 7, 4)((x, None), edge_index, types)),
        ("needs edge_attr.*or keep them with the graph", lambda: attentive(x, edge_index)),
        (r"expects 9 channels, got 5: .* make the layer for 5", lambda: gconv.RGCNConv(9, 7, 4)(x, edge_index, types)),
        (rf"expects {nodes} channels.*transpose", lambda: gconv.GCNConv(nodes, 7)(x, edge_index)),
        (r"of 3 nodes.* it has a row a node; pass the graph", lambda: gconv.GCNConv(5, 7)(x[:3], grid_graph((4, 4)))),
        (r"gconv\.bridge\.to_nodes", lambda: gconv.GCNConv(5, 7)(torch.zeros(2, 5, 4, 4), grid_graph((4, 4)))),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            call()


def test_types_of_a_batch_are_those_of_its_graphs():
    """Different attributes are numbered: over a batch as in its graphs, or not at all."""
    layer = gconv.RGCNConv(3, 4, 8).double()
    grids = [grid_graph((3, 3)), grid_graph((4, 5))]
    x = torch.randn(29, 3).double()
    alone = torch.cat([layer(part, graph) for part, graph in zip(x.split([9, 20]), grids, strict=True)])
    assert_equal(layer(x, gconv.batch_graphs(grids)), alone)
    offsets, pos = torch.tensor([[0.0, 1.0], [0.5, 0.0]]), torch.zeros(3, 2)
    line = gconv.Graph(torch.tensor([[0, 1], [1, 2]]), edge_attr=offsets, pos=pos)
    unlike = gconv.batch_graphs([grids[0], line])
    with pytest.raises(ValueError, match=r"RGCNConv: the graphs of .* different edge_attr, 9 in all.*pass edge_type"):
        layer(x[:12], unlike)
    layer(x[:12], unlike, torch.zeros(unlike.num_edges).long())
    whole = [graph.having(edge_attr=torch.full((graph.num_edges,), kind)) for kind, graph in enumerate(grids)]
    alone = torch.cat([layer(part, graph) for part, graph in zip(x.split([9, 20]), whole, strict=True)])
    assert_equal(layer(x, gconv.batch_graphs(whole)), alone)


def test_steps_of_the_gated_cell_are_torchs():
    layer = gconv.GatedGraphConv(4, 1).double()
    graph = grid_graph((3, 3))
    x = torch.randn(9, 4).double()
    sums = torch.zeros(9, 4).double().index_add(0, graph.edge_index[1], (x @ layer.weight[0])[graph.edge_index[0]])
    assert_equal(layer(x, graph), layer.rnn(sums, x))
    assert torch.equal(gconv.GatedGraphConv(4, 0)(x, graph), x)
