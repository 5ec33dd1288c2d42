"""Users' own layers on `MessagePassing`: PyG's hooks and numbers, many signals."""

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn
from torch_geometric.data import Data
from torch_geometric.utils import softmax

from gconv import Graph, MessagePassing

AGGREGATIONS = ("add", "sum", "mean", "max", "min", "median", "std", "var", "softmax", ["mean", "max"])


def differing(base):
    """A layer with hooks of its own on either library's base."""

    class Differing(base):
        def __init__(self, aggr="add", flow="source_to_target"):
            super().__init__(aggr=aggr, flow=flow)
            self.lin = nn.Linear(3, 4)

        def forward(self, x, edge_index, edge_weight=None, size=None):
            x = tuple(None if t is None else self.lin(t) for t in x) if isinstance(x, tuple) else self.lin(x)
            return self.propagate(edge_index, x=x, edge_weight=edge_weight, shift=1.0, size=size)

        def message(self, x_j, x_i, edge_weight, size_i, shift):
            moved = x_j if x_i is None else (x_j - x_i).tanh() * size_i
            return moved if edge_weight is None else edge_weight.view(-1, 1) * moved

        def update(self, inputs, x, shift=2.0):
            return inputs + shift

    return Differing


def plain(base):
    """A layer that leaves all hooks as they are."""

    class Plain(base):
        def forward(self, x, edge_index, size=None):
            return self.propagate(edge_index, x=x, size=size)

    return Plain


def attentive(base):
    """Nodes along axis 0, an edge update, and `aggregate` that asks its base."""

    class Attentive(base):
        def __init__(self):
            super().__init__(node_dim=0, aggr="add")
            self.lin, self.vector = nn.Linear(3, 8), nn.Parameter(torch.randn(2, 4))

        def forward(self, x, edge_index):
            h = self.lin(x).view(-1, 2, 4)
            return self.propagate(edge_index, x=h, alpha=self.edge_updater(edge_index, h=h))

        def edge_update(self, h_i, h_j, index, size_i):
            return softmax(((h_i + h_j).tanh() * self.vector).sum(-1), index, num_nodes=size_i)

        def message(self, x_j, alpha):
            return alpha.unsqueeze(-1) * x_j

        def aggregate(self, inputs, index, dim_size):
            return 2 * super().aggregate(inputs, index, dim_size=dim_size)

    return Attentive


@pytest.fixture
def case():
    edge_index = torch.stack([torch.randint(0, 5, (20,)), torch.randint(0, 4, (20,))])
    return edge_index, torch.rand(20), torch.randn(5, 3), (torch.randn(7, 3), torch.randn(5, 3))


def twins(make, *args, **options):
    original, layer = make(pyg.MessagePassing)(*args, **options), make(MessagePassing)(*args, **options)
    held = original.state_dict()
    held.pop("aggr_module.q", None)  # the 0.5 of the median
    layer.load_state_dict(held)
    return layer, original


@pytest.mark.parametrize("aggr", AGGREGATIONS, ids=str)
def test_hooks_as_in_pyg(case, aggr):
    edge_index, weight, x, (source, target) = case
    layer, original = twins(differing, aggr)
    for given in ((x, edge_index, weight), (x, edge_index), ((source, target), edge_index, weight)):
        torch.testing.assert_close(layer(*given), original(*given))
    given = (source, None), edge_index, weight, (7, 5)
    torch.testing.assert_close(layer(*given), original(*given))
    layer, original = twins(plain, aggr)
    for given in ((x, edge_index), ((source, target), edge_index), ((source, None), edge_index, (7, 5))):
        torch.testing.assert_close(layer(*given), original(*given))


def test_gradients_of_pyg(case):
    edge_index, weight, x, _ = case
    found = []
    for layer in twins(differing, "mean"):
        point, learned = x.clone().requires_grad_(), weight.clone().requires_grad_()
        y = layer(point, edge_index, learned)
        found.append(torch.autograd.grad(y.square().sum(), [point, learned, *layer.parameters()]))
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("aggr", ["add", "max"])
def test_against_the_edges(case, aggr):
    """By hand: PyG bakes the flow of the first instance into its class."""
    edge_index, weight, _, (source, target) = case
    layer = differing(MessagePassing)(aggr, flow="target_to_source")
    at, to = layer.lin(target)[edge_index[1]], layer.lin(source)[edge_index[0]]
    messages = weight[:, None] * (at - to).tanh() * 7
    index = edge_index[0][:, None].expand_as(messages)
    reduction = {"add": "sum", "max": "amax"}[aggr]
    expected = torch.zeros(7, 4).scatter_reduce(0, index, messages, reduction, include_self=False) + 1
    torch.testing.assert_close(layer((source, target), edge_index, weight), expected)
    turned = differing(MessagePassing)(aggr)
    turned.load_state_dict(layer.state_dict())
    torch.testing.assert_close(turned((target, source), edge_index.flip(0), weight), expected)


def test_other_axes_and_edge_updates(case):
    edge_index, _, x, _ = case
    layer, original = twins(attentive)
    torch.testing.assert_close(layer(x, edge_index), original(x, edge_index))
    torch.testing.assert_close(layer(x, Graph(edge_index, 5)), original(x, edge_index))


def test_every_form_of_a_graph(case):
    edge_index, weight, x, _ = case
    edge_index = edge_index.unique(dim=1)
    weight = weight[: edge_index.shape[1]]
    layer, original = twins(differing)
    expected = original(x, edge_index, weight)
    torch.testing.assert_close(layer(x, Graph(edge_index, 5, weight)), expected)
    torch.testing.assert_close(layer(x, Data(edge_index=edge_index, edge_weight=weight, num_nodes=5)), expected)
    adjacency = torch.sparse_coo_tensor(edge_index.flip(0), weight, (5, 5)).coalesce()
    torch.testing.assert_close(layer(x, adjacency), expected)
    torch.testing.assert_close(layer(x, adjacency.to_sparse_csr()), original(x, adjacency.to_sparse_csr()))


@pytest.mark.parametrize("aggr", ["add", "mean", "max", "std"])
def test_many_signals_are_one_by_one(case, aggr):
    edge_index, weight, _, _ = case
    pair = torch.randn(3, 7, 3), torch.randn(3, 5, 3)
    for layer, more in ((differing(MessagePassing)(aggr), (weight,)), (plain(MessagePassing)(aggr), ())):
        alone = torch.stack([layer((s, t), edge_index, *more) for s, t in zip(*pair, strict=True)])
        torch.testing.assert_close(layer(pair, edge_index, *more), alone)
        alone = torch.stack([layer(t, edge_index, *more) for t in pair[1]])
        torch.testing.assert_close(layer(pair[1], edge_index, *more), alone)


def test_untouched_hooks_make_no_messages(case, monkeypatch):
    """The weighted sum is one product of the engine: nothing is as long as the edges."""
    edge_index, weight, x, _ = case

    class Summing(MessagePassing):
        def forward(self, x, edge_index, edge_weight=None):
            return self.propagate(edge_index, x=x, edge_weight=edge_weight)

    dense = torch.zeros(5, 5).index_put((edge_index[1], edge_index[0]), weight, accumulate=True)
    monkeypatch.setattr("gconv.spatial.message_passing._reduce", None)
    torch.testing.assert_close(Summing()(x, edge_index, weight), dense @ x)
    torch.testing.assert_close(Summing()(x, Graph(edge_index, 5, weight)), dense @ x)
    counts = torch.bincount(edge_index[1], minlength=5).clamp(min=1)[:, None]
    torch.testing.assert_close(Summing("mean")(x, edge_index, weight), dense @ x / counts)


def test_an_aggregation_of_pyg_and_one_of_ones_own(case):
    edge_index, _, x, _ = case
    module = plain(MessagePassing)(pyg.SoftmaxAggregation(learn=True))
    expected = plain(pyg.MessagePassing)(pyg.SoftmaxAggregation(learn=True))(x, edge_index)
    torch.testing.assert_close(module(x, edge_index), expected)
    assert [*module.state_dict()] == ["aggr_module.t"]

    class Own(MessagePassing):
        def forward(self, x, edge_index):
            return self.propagate(edge_index, x=x)

        def aggregate(self, inputs, index, dim_size):
            return inputs.new_zeros(dim_size, inputs.shape[1]).index_add(0, index, inputs)

    torch.testing.assert_close(Own(None)(x, edge_index), plain(pyg.MessagePassing)("add")(x, edge_index))


def test_misfits_are_named(case):
    edge_index, _, x, (source, target) = case
    layer = differing(MessagePassing)()
    for given, options, message in (
        ((x, Graph(edge_index, 9)), {}, r"a signal of 5 nodes does not fit Graph\(num_nodes=9"),
        (((source, target), edge_index), {"size": (6, 5)}, r"x has 7 sources, \(7, 4\); expected 6"),
        (((source, target[:2]), edge_index), {}, "leads beyond the last of 2 targets"),
        (((source, target), Graph(edge_index, 5)), {}, "7 sources and 5 targets does not fit Graph"),
    ):
        with pytest.raises(ValueError, match=message):
            layer(*given, **options)
    with pytest.raises(TypeError, match=r"Plain\.message asks for x_j: pass x=\.\.\. to propagate; it was given y"):
        plain(MessagePassing)().propagate(edge_index, y=x)
    with pytest.raises(TypeError, match=r"calls edge_updater, and so needs a method edge_update"):
        layer.edge_updater(edge_index, x=x)
    with pytest.raises(TypeError, match=r"has aggr=None, and so needs a method aggregate"):
        plain(MessagePassing)(None)(x, edge_index)
    with pytest.raises(TypeError, match="without a domain"):
        layer(x, None)
    with pytest.raises(ValueError, match="aggr is one of"):
        MessagePassing("lstm")
    with pytest.raises(ValueError, match="several aggregations are names, at least one; got"):
        MessagePassing([])
    with pytest.raises(ValueError, match="flow is 'source_to_target' or 'target_to_source', got 'back'"):
        MessagePassing(flow="back")
    back = plain(MessagePassing)(flow="target_to_source")
    with pytest.raises(ValueError, match="takes no sparse adjacency; pass its transpose"):
        back(x, torch.eye(5).to_sparse())
    layer.in_channels = 3
    with pytest.raises(ValueError, match="expects 3 channels, got 2"):
        layer(x[:, :2], edge_index)
