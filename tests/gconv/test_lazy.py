"""Widths left open: the first call tells them, or a state dict; what stood before stays."""

import copy
import io

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn

import gconv
from gconv import grid_graph
from grid_cnn import Sequential, bind

EDGE_INDEX = torch.tensor([[0, 1, 2, 3, 3], [1, 0, 3, 1, 2]])
FEATURES = torch.rand(5, 2)
SIGNAL = torch.randn(4, 3)

LAYERS = {
    "ARMA": (lambda lib, width: lib.ARMAConv(width, 4, num_stacks=2, num_layers=2), ()),
    "Cheb": (lambda lib, width: lib.ChebConv(width, 4, 3), ()),
    "GCN": (lambda lib, width: lib.GCNConv(width, 4), ()),
    "TAG": (lambda lib, width: lib.TAGConv(width, 4), ()),
    "SAGE": (lambda lib, width: lib.SAGEConv(width, 4), ()),
    "SAGE max": (lambda lib, width: lib.SAGEConv(width, 4, aggr="max"), ()),
    "GAT": (lambda lib, width: lib.GATConv(width, 4, residual=True), ()),
    "GATv2": (lambda lib, width: lib.GATv2Conv(width, 4, share_weights=True, residual=True), ()),
    "GMM": (lambda lib, width: lib.GMMConv(width, 4, 2, 3), (FEATURES,)),
    "GMM separate": (lambda lib, width: lib.GMMConv(width, 4, 2, 3, separate_gaussians=True), (FEATURES,)),
    "FeaSt": (lambda lib, width: lib.FeaStConv(width, 4, heads=2), ()),
}
PAIRS = {
    "SAGE": lambda lib, widths: lib.SAGEConv(widths, 4),
    "GAT": lambda lib, widths: lib.GATConv(widths, 4, residual=True),
    "GATv2": lambda lib, widths: lib.GATv2Conv(widths, 4, residual=True),
}


def shapes(layer):
    return {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}


@pytest.mark.parametrize("name", LAYERS)
def test_the_first_call_tells(name):
    make, more = LAYERS[name]
    layer = make(gconv, -1)
    assert layer.in_channels == -1
    torch.manual_seed(0)
    y = layer(SIGNAL, EDGE_INDEX, *more)
    assert layer.in_channels == 3
    assert shapes(layer) == shapes(make(gconv, 3))
    assert all(type(m) is nn.Linear for m in layer.modules() if isinstance(m, nn.Linear))
    assert all(parameter.abs().sum() > 0 for key, parameter in layer.named_parameters() if "bias" not in key)
    torch.testing.assert_close(layer(SIGNAL, EDGE_INDEX, *more), y)
    original = make(pyg, 3)
    original.load_state_dict(layer.state_dict(), strict=True)
    torch.testing.assert_close(original(SIGNAL, EDGE_INDEX, *more), y)
    with pytest.raises(ValueError, match="expects 3 channels, got 2"):
        layer(SIGNAL[:, :2], EDGE_INDEX, *more)


@pytest.mark.parametrize("name", LAYERS)
def test_a_state_dict_tells(name):
    make, more = LAYERS[name]
    original, layer = make(pyg, 3), make(gconv, -1)
    layer.load_state_dict(original.state_dict(), strict=True)
    assert layer.in_channels == 3
    expected = original(SIGNAL, EDGE_INDEX, *more)
    torch.testing.assert_close(layer(SIGNAL, EDGE_INDEX, *more), expected)
    torch.testing.assert_close(layer(SIGNAL, EDGE_INDEX, *more), expected)


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name):
    original = PAIRS[name](pyg, (3, 6))
    pair = SIGNAL, torch.randn(4, 6)
    expected = original(pair, EDGE_INDEX)
    for widths in ((-1, -1), (3, -1), (-1, 6)):
        fresh = PAIRS[name](gconv, widths)
        fresh(pair, EDGE_INDEX)
        assert fresh.in_channels == (3, 6)
        assert shapes(fresh) == shapes(original)
        loaded = PAIRS[name](gconv, widths)
        loaded.load_state_dict(original.state_dict(), strict=True)
        assert loaded.in_channels == (3, 6)
        torch.testing.assert_close(loaded(pair, EDGE_INDEX), expected)


def test_the_matrix_of_missing_targets_waits():
    layer = gconv.SAGEConv((-1, -1), 4)
    first = layer((SIGNAL, None), EDGE_INDEX, (4, 4))
    assert layer.in_channels == (3, -1)
    kept = layer.lin_l.weight.detach().clone()
    layer((SIGNAL, torch.randn(4, 6)), EDGE_INDEX)
    assert layer.in_channels == (3, 6)
    assert torch.equal(layer.lin_l.weight, kept)
    torch.testing.assert_close(layer((SIGNAL, None), EDGE_INDEX, (4, 4)), first)


def test_what_stands_already_stays():
    network = nn.Linear(2, 12)
    layer = gconv.NNConv((3, -1), 4, network)
    with torch.no_grad():
        layer.bias.fill_(7.0)
    kept = network.weight.detach().clone()
    layer((SIGNAL, torch.randn(4, 6)), EDGE_INDEX, FEATURES)
    assert torch.equal(network.weight, kept)
    assert (layer.bias == 7.0).all()
    assert layer.lin.weight.shape == (4, 6)


def test_copies_moves_and_files():
    layer = gconv.GMMConv(-1, 4, 2, 3)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    double = copy.deepcopy(layer).double()
    for other in (layer, double, torch.load(file, weights_only=False)):
        dtype = other.mu.dtype
        assert other(SIGNAL.to(dtype), EDGE_INDEX, FEATURES).dtype == dtype
        assert other.g.shape == (3, 12)
    assert double.mu.dtype == torch.float64
    assert not torch.equal(double.g.float(), layer.g)
    assert "g" in gconv.GMMConv(-1, 4, 2, 3).state_dict()


def test_in_a_sequence_and_bound():
    graph = grid_graph((3, 4))
    net = Sequential(gconv.SAGEConv(-1, 4), nn.ReLU(), gconv.GCNConv(-1, 2))
    with pytest.raises(ValueError, match="in_channels=-1 does not tell; call a layer of open width once"):
        bind(net, graph)
    y = net(torch.ones(2, 12, 3), graph)
    torch.testing.assert_close(bind(net, graph)(torch.ones(2, 12, 3)), y)
    with pytest.raises(ValueError, match=r"in_channels=\(3, 6\) does not tell"):
        bind(gconv.SAGEConv((3, 6), 4), graph)


def test_widths_that_cannot_stay_open():
    for options in ({"project": True}, {"aggr": "lstm"}):
        with pytest.raises(ValueError, match="needs the width of the sources; got in_channels=-1"):
            gconv.SAGEConv(-1, 4, **options)
    for width in (-2, 0, 1.5, True):
        with pytest.raises(ValueError, match=r"in_channels takes a whole number >= 1, got"):
            gconv.GCNConv(width, 4)


@pytest.mark.parametrize("name", ["SAGEConv", "GraphConv", "GATv2Conv", "TransformerConv", "ResGatedGraphConv"])
def test_one_open_number_opens_both_ends(name):
    """As in PyG, -1 stands for both widths, and a pair may bring different ones."""
    original = getattr(pyg, name)(-1, 4)
    pair, edges = (torch.randn(5, 6), torch.randn(3, 2)), torch.tensor([[0, 1, 4], [2, 0, 0]])
    expected = original(pair, edges)
    called, loaded = getattr(gconv, name)(-1, 4), getattr(gconv, name)(-1, 4)
    called(pair, edges)
    for layer in (called, loaded):
        layer.load_state_dict(original.state_dict())
        assert layer.in_channels == (6, 2)
        torch.testing.assert_close(layer(pair, edges), expected)
