"""Batches of different graphs: unions and parts, PyG's own, layers and pools on them, loaders with workers."""

import pickle

import pytest
import torch
import torch_geometric.nn as pyg
from registry import random_graph
from torch import nn
from torch.utils.data import DataLoader
from torch_geometric.data import Batch, Data

import gconv
from gconv import Graph, batch_graphs, grid_graph, interop, unbatch
from gconv.data import Collate, OnSignals, Signals
from gconv.training.fit import accuracy, fit
from grid_cnn import AdaptiveAvgPool2d, AdaptiveMaxPool2d, Sequential, models


def superpixels(number, nodes=75, neighbors=8):
    """A graph like those of superpixels: places in a picture, each joined to the nearest."""
    generator = torch.Generator().manual_seed(number)
    pos = torch.rand(nodes, 2, generator=generator)
    far = torch.cdist(pos, pos).fill_diagonal_(torch.inf)
    source = far.topk(neighbors, largest=False).indices
    edges = torch.stack([source.flatten(), torch.arange(nodes).repeat_interleave(neighbors)])
    return Graph(edges, nodes, edge_attr=pos[edges[0]] - pos[edges[1]], pos=pos)


GRAPHS = [random_graph(7), random_graph(5, seed=1), random_graph(11, directed=False)]


def test_a_union_and_its_parts():
    union = batch_graphs(GRAPHS)
    assert repr(union) == f"Graph(num_nodes=23, num_edges={sum(g.num_edges for g in GRAPHS)}, num_graphs=3, weighted)"
    assert union.batch.bincount().tolist() == [7, 5, 11]
    dense = torch.block_diag(*(interop.to_dense(graph) for graph in GRAPHS))
    assert torch.equal(interop.to_dense(union), dense)
    for part, graph in zip(unbatch(union), GRAPHS, strict=True):
        for name in ("edge_index", "edge_weight", "edge_attr", "pos"):
            assert torch.equal(getattr(part, name), getattr(graph, name))
    nested = batch_graphs([batch_graphs(GRAPHS[:2]), GRAPHS[2]])
    assert torch.equal(nested.batch, union.batch)
    assert nested.num_graphs == 3
    assert unbatch(GRAPHS[0]) == [GRAPHS[0]]
    plain = Graph(GRAPHS[0].edge_index, 7, edge_attr=GRAPHS[0].edge_attr, pos=GRAPHS[0].pos)
    mixed = batch_graphs([plain, GRAPHS[1]])
    assert mixed.edge_weight[: plain.num_edges].unique().tolist() == [1.0]


def test_numbers_of_nodes_may_stand_in_any_order():
    """A union whose nodes are shuffled gives the same results at the same nodes."""
    union, order = batch_graphs(GRAPHS), torch.randperm(23)
    number = order.argsort()
    shuffled = Graph(number[union.edge_index], 23, union.edge_weight, batch=union.batch[order])
    x = torch.randn(23, 4)
    for layer in (gconv.GCNConv(4, 4), gconv.GraphNorm(4)):
        torch.testing.assert_close(layer(x[order], shuffled), layer(x, union)[order])
    for pool in (gconv.GlobalAvgPool(), gconv.GlobalMaxPool()):
        torch.testing.assert_close(pool(x[order], shuffled), pool(x, union))
    assert [part.num_nodes for part in unbatch(shuffled)] == [7, 5, 11]


def test_pyg_batches_in_and_out():
    parts = [interop.to_pyg(graph, torch.randn(graph.num_nodes, 4)) for graph in GRAPHS]
    data = Batch.from_data_list(parts)
    union = interop.from_pyg(data)
    assert torch.equal(union.batch, data.batch)
    out = interop.to_pyg(union, data.x)
    assert isinstance(out, Batch)
    assert out.num_graphs == 3
    assert torch.equal(out.ptr, data.ptr)
    for mine, theirs in zip(out.to_data_list(), parts, strict=True):
        assert torch.equal(mine.x, theirs.x)
        assert torch.equal(mine.edge_index, theirs.edge_index)
    layer = gconv.GCNConv(4, 6)
    torch.testing.assert_close(layer(data.x, data), layer(data.x, union))
    bare = [Data(x=part.x, edge_index=part.edge_index) for part in parts]
    with_empty = Batch.from_data_list([*bare, Data(x=torch.zeros(0, 4), edge_index=torch.zeros(2, 0).long())])
    assert gconv.GlobalAvgPool()(with_empty.x, with_empty).shape == (4, 4)


@pytest.mark.parametrize("name", ["GlobalAvgPool", "GlobalMaxPool"])
def test_pools_are_pygs(name):
    original = {"GlobalAvgPool": pyg.global_mean_pool, "GlobalMaxPool": pyg.global_max_pool}[name]
    pool = getattr(gconv, name)()
    batch = torch.tensor([0, 0, 0, 1, 1, 3])
    x = torch.randn(6, 4, requires_grad=True)
    for size in (None, 5):
        found, expected = pool(x, batch, size), original(x, batch, size)
        torch.testing.assert_close(found, expected)
        gradients = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
        torch.testing.assert_close(*gradients)
    many = torch.randn(3, 6, 4)
    torch.testing.assert_close(pool(many, batch), torch.stack([original(signal, batch) for signal in many]))
    torch.testing.assert_close(pool(many, Graph(torch.zeros(2, 0).long(), 6)), pool(many, torch.zeros(6).long())[:, 0])


def test_adaptive_pools_leave_one_node_a_graph():
    union, x = batch_graphs(GRAPHS), torch.randn(2, 23, 4)
    for pool, whole in ((AdaptiveAvgPool2d(1), gconv.GlobalAvgPool()), (AdaptiveMaxPool2d(1), gconv.GlobalMaxPool())):
        layer = gconv.GridPool(pool)
        y, codomain = layer.step(x, union)
        assert codomain.batch.tolist() == [0, 1, 2]
        torch.testing.assert_close(y, whole(x, union))
        torch.testing.assert_close(gconv.GlobalAvgPool()(y, codomain), y)


def test_a_batch_survives_moves_and_pickles():
    union = batch_graphs(GRAPHS)
    gconv.GlobalMaxPool()(torch.randn(23, 4), union)
    copy = pickle.loads(pickle.dumps(union))
    assert torch.equal(copy.batch, union.batch)
    assert "graphs" in copy.plan._kept
    assert union.having(edge_weight=None).num_graphs == 3
    assert union.having(batch=None).num_graphs == 1


class Pictures(torch.utils.data.Dataset):
    """Superpixel-like graphs: class 1 has brighter nodes."""

    def __len__(self):
        return 128

    def __getitem__(self, index):
        label = index % 2
        graph = superpixels(index)
        return torch.cat([torch.rand(75, 1) + 0.5 * label, graph.pos], 1), graph, label


def network():
    convolutions = gconv.GCNConv(3, 8), nn.ReLU(), gconv.GraphNorm(8), gconv.SAGEConv(8, 8)
    return Sequential(*convolutions, gconv.GlobalAvgPool(), nn.Linear(8, 2))


@pytest.mark.parametrize("workers", [0, 2])
def test_plans_stand_when_a_loaders_worker_has_made_the_batch(workers):
    torch.manual_seed(0)
    net = network()
    loader = DataLoader(Pictures(), batch_size=128, collate_fn=Collate(net), num_workers=workers)
    ((signals, labels),) = loader
    assert isinstance(signals, Signals)
    assert signals.x.shape == (128 * 75, 3)
    assert (signals.graph.num_graphs, signals.graph.num_edges) == (128, 128 * 75 * 8)
    assert labels.tolist() == [0, 1] * 64
    kept = set(signals.graph.plan._kept)
    assert {("gcn", False, True), "mean", "graphs"} <= kept
    logits = net(signals.x, signals.graph)
    assert logits.shape == (128, 2)
    assert set(signals.graph.plan._kept) == kept
    x, graph = signals.x[75 * 5 : 75 * 6], superpixels(5)
    torch.testing.assert_close(net(x, graph), logits[5], rtol=1e-4, atol=1e-5)


def test_a_collate_leaves_every_module_in_its_mode():
    net = Sequential(gconv.GCNConv(3, 8), gconv.BatchNorm(8), gconv.BatchNorm(8), gconv.GlobalAvgPool())
    models.freeze(net, up_to="1")
    assert [module.training for module in net] == [False, False, True, True]
    sample = (torch.ones(7, 3), GRAPHS[0], 0)
    Collate(net)([sample, sample])
    assert [module.training for module in net] == [False, False, True, True]
    assert net.training
    with pytest.raises(ValueError, match="channels"):
        Collate(net)([(torch.ones(7, 4), GRAPHS[0], 0)])
    assert [module.training for module in net] == [False, False, True, True]


def test_a_network_on_many_graphs_is_trained():
    torch.manual_seed(0)
    samples = [(torch.rand(12, 3) + 0.5 * (i % 2), superpixels(i, 12, 4), i % 2) for i in range(40)]
    net = OnSignals(Sequential(gconv.GCNConv(3, 8), nn.ReLU(), gconv.GlobalAvgPool(), nn.Linear(8, 2)))
    loader = DataLoader(samples, batch_size=20, collate_fn=Collate(net.net))
    fit(net, loader, epochs=30, optimizer=torch.optim.Adam(net.parameters(), 0.05))
    assert accuracy(net, loader) > 0.9


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match="at least one graph"):
        batch_graphs([])
    with pytest.raises(ValueError, match="graph 1 of 2 has no edge_attr, others have"):
        batch_graphs([GRAPHS[0], Graph(torch.tensor([[0], [1]]))])
    wide = Graph(torch.tensor([[0], [1]]), edge_attr=torch.zeros(1, 5), pos=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="edge_attr of a batch has one width"):
        batch_graphs([GRAPHS[0], wide])
    edges = torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(ValueError, match=r"edge_index\[:, 1\] = \[1, 2\] joins graphs 0 and 1 of a batch"):
        Graph(edges, batch=torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match=r"batch\[0\] = -1"):
        Graph(edges, batch=torch.tensor([-1, -1, -1]))
    with pytest.raises(ValueError, match="numbered from 0 to 1"):
        Graph(edges, batch=torch.tensor([2, 2, 2]), num_graphs=2)
    with pytest.raises(ValueError, match="num_graphs=2 needs batch"):
        Graph(edges, num_graphs=2)
    with pytest.raises(TypeError, match=r"whole numbers, .* got torch\.float32"):
        Graph(edges, batch=torch.zeros(3))
    with pytest.raises(ValueError, match="graph 1 of 3 has no node"):
        unbatch(Graph(edges, batch=torch.zeros(3).long(), num_graphs=3))
    with pytest.raises(ValueError, match=r"Flatten reads all nodes as one graph, got Graph\(.*num_graphs=3"):
        gconv.Flatten()(torch.zeros(23, 2), batch_graphs(GRAPHS))
    with pytest.raises(ValueError, match=r"sample 1 .* 5 nodes .* signal .* \(3, 4\)"):
        Collate()([(torch.zeros(7, 4), GRAPHS[0], 0), (torch.zeros(3, 4), GRAPHS[1], 0)])
    assert grid_graph((2, 2)).num_graphs == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda: gconv.PatchySanConv(3, 4, num_selected=6, kernel_size=5),
        lambda: gconv.DirectionalConv(3, 4, 3, padding="same", assignment="bilinear", spacing=0.2),
        lambda: gconv.DirectionalConv(3, 4, 3, padding="same", assignment="gaussian", spacing=0.2),
    ],
    ids=["PATCHY-SAN", "bilinear", "gaussian"],
)
def test_what_looks_beyond_edges_stays_within_a_graph(make):
    graphs, layer = [superpixels(n, nodes) for n, nodes in enumerate((20, 12, 30))], make().double()
    parts = [torch.randn(graph.num_nodes, 3, dtype=torch.float64) for graph in graphs]
    union = batch_graphs(graphs)
    out, found = layer(torch.cat(parts), union), layer.codomain(union)
    wanted = torch.cat([layer(x, graph) for x, graph in zip(parts, graphs, strict=True)])
    torch.testing.assert_close(out, wanted)
    assert found.num_graphs == 3
    assert found.num_nodes == len(out)


def test_exact_taps_stay_within_a_graph():
    grids, layer = [grid_graph((3, 4)), grid_graph((5, 2))], gconv.DirectionalConv(2, 3, 3, padding="same").double()
    parts = [torch.randn(graph.num_nodes, 2, dtype=torch.float64) for graph in grids]
    wanted = torch.cat([layer(x, graph) for x, graph in zip(parts, grids, strict=True)])
    torch.testing.assert_close(layer(torch.cat(parts), batch_graphs(grids)), wanted)


def undirected(nodes: int, seed: int) -> Graph:
    matrix = torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).triu(1)
    return interop.from_dense((matrix + matrix.t()) * (seed + 1))


def test_each_graph_has_its_own_largest_eigenvalue():
    graphs, layer = [undirected(5, 0), undirected(9, 3)], gconv.ChebConv(3, 4, 4, normalization=None).double()
    union, parts = batch_graphs(graphs), [torch.randn(nodes, 3, dtype=torch.float64) for nodes in (5, 9)]
    x = torch.cat(parts)
    wanted = torch.cat([layer(part, graph) for part, graph in zip(parts, graphs, strict=True)])
    torch.testing.assert_close(layer(x, union), wanted)
    torch.testing.assert_close(layer(x, union, form="eigenbasis"), wanted)
    learned = union.edge_weight.clone().requires_grad_()
    torch.testing.assert_close(layer(x, union, learned), wanted)
    slope = torch.autograd.grad(layer(x, union, learned).square().sum(), learned)[0]
    for place, (part, graph) in enumerate(zip(parts, graphs, strict=True)):
        alone = graph.edge_weight.clone().requires_grad_()
        own = torch.autograd.grad(layer(part, graph, alone).square().sum(), alone)[0]
        torch.testing.assert_close(slope[union.batch[union.edge_index[0]] == place], own)
    largest = torch.tensor([graph.plan.lambda_max() for graph in graphs], dtype=torch.float64)
    wanted = torch.cat(
        [layer(part, graph, lambda_max=top) for part, graph, top in zip(parts, graphs, largest, strict=True)]
    )
    torch.testing.assert_close(layer(x, union, lambda_max=largest), wanted)  # the union says whose each node is


def test_a_batch_has_a_basis_a_graph():
    graphs = [undirected(4, 0), Graph(torch.zeros(2, 0).long(), 1), undirected(6, 1)]
    union = batch_graphs(graphs)
    order = torch.randperm(11)
    number = torch.argsort(order)
    mixed = Graph(number[union.edge_index], 11, union.edge_weight, batch=union.batch[order], num_graphs=4)  # one empty
    for graph in (union, mixed):
        basis, matrix = graph.plan.fourier("sym"), graph.plan.laplacian("sym").dense()
        vectors = basis.vectors()
        torch.testing.assert_close(vectors.t() @ vectors, torch.eye(11, dtype=torch.float64))
        torch.testing.assert_close(vectors * basis.eigenvalues @ vectors.t(), matrix)
        assert not vectors[graph.batch[:, None] != graph.batch].any()
        x = torch.rand(2, 11, 3)
        torch.testing.assert_close(basis.inverse(basis.transform(x)), x)
    large = Graph(torch.zeros(2, 0).long(), 20_000, batch=torch.arange(20_000) // 19_999)
    with pytest.raises(ValueError, match="2 dense matrices of 19,999×19,999"):
        large.plan.fourier()
