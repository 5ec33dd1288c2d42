"""Sparse adjacencies whose values are features of the edges, and weights `(E, 1)`; held to PyG's numbers."""

import pytest
import torch
import torch_geometric.nn as pyg
from test_inherited import FEATURES, LAYERS, NODES, WIDE, graph_and_more, twins
from test_pyg_layers import assert_equal

import gconv

LAYOUTS = {"coo": lambda t: t.coalesce(), "csr": lambda t: t.coalesce().to_sparse_csr()}
WITH_FEATURES = [name for name, (_, kind) in LAYERS.items() if kind == "features"]
WITH_WEIGHTS = [name for name, (_, kind) in LAYERS.items() if kind == "weights"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", WITH_FEATURES)
def test_values_are_the_edges_features(name, layout):
    layer, original, kind = twins(name, {"add_self_loops": False} if name in ("GAT", "GATv2") else {})
    edges, (features,) = graph_and_more(kind)
    x = torch.randn(NODES, WIDE).double()
    shape = NODES, NODES, FEATURES
    adjacency = LAYOUTS[layout](torch.sparse_coo_tensor(edges.flip(0), features.detach(), shape))
    expected = original(x, edges, features)
    assert_equal(original(x, adjacency), expected)
    assert_equal(layer(x, adjacency), expected)
    assert_equal(layer((x, x), adjacency), expected)
    assert_equal(layer(torch.stack([x, -x]), adjacency)[0], expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_transformers_attention_comes_with_the_adjacency(layout):
    layer, original = gconv.TransformerConv(WIDE, 4, 2), pyg.TransformerConv(WIDE, 4, 2)
    layer.load_state_dict(original.state_dict())
    edges, _ = graph_and_more("")
    x = torch.randn(NODES, WIDE)
    adjacency = LAYOUTS[layout](torch.sparse_coo_tensor(edges.flip(0), torch.ones(edges.shape[1]), (NODES, NODES)))
    _, (given, alpha) = layer(x, adjacency, return_attention_weights=True)
    _, (same, expected) = original(x, adjacency, return_attention_weights=True)
    assert given is adjacency
    assert same is adjacency
    torch.testing.assert_close(alpha, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
@pytest.mark.parametrize("learned", [False, True])
def test_weights_of_two_axes(name, learned):
    layer, original, kind = twins(name, {})
    edges, (weight,) = graph_and_more(kind)
    x, column = torch.randn(NODES, WIDE).double(), weight.detach()[:, None].requires_grad_(learned)
    expected = original(x, edges, column)
    assert_equal(layer(x, edges, column), expected)
    with torch.no_grad():
        column.mul_(2)
    assert_equal(layer(x, edges, column), original(x, edges, column))
    with pytest.raises(ValueError, match=r"edge_weight has shape \(\d+,\) here.*got \(\d+, 2\)"):
        layer(x, edges, torch.cat([column, column], 1))


def test_values_are_no_types():
    layer = LAYERS["RGCN"][0](gconv)
    with pytest.raises(ValueError, match=r"RGCNConv needs edge_type \(E,\), a whole number from 0 to 2 an edge"):
        layer(torch.randn(3, WIDE), torch.eye(3).to_sparse())
    types = torch.tensor([0, 2, 1])
    expected = layer(torch.ones(3, WIDE), torch.arange(3).expand(2, 3), types)
    torch.testing.assert_close(layer(torch.ones(3, WIDE), torch.eye(3).to_sparse(), types), expected)
