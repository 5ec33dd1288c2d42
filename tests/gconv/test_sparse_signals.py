"""Sparse signals `(N, C)`: the same numbers as dense ones, in every layer that takes them."""

import pytest
import torch
from registry import random_graph

import gconv
from gconv import interop
from gconv.functional.product import product

WIDE, NODES = 40, 80  # more nodes than are summed as a dense product
LAYERS = {
    "GCN": lambda: gconv.GCNConv(WIDE, 5),
    "GCN raw": lambda: gconv.GCNConv(WIDE, 5, normalize=False, bias=False),
    "Cheb": lambda: gconv.ChebConv(WIDE, 5, 3),
    "TAG": lambda: gconv.TAGConv(WIDE, 5, 2),
    "SAGE": lambda: gconv.SAGEConv(WIDE, 5),
    "SAGE projected": lambda: gconv.SAGEConv(WIDE, 5, project=True),
    "SAGE max": lambda: gconv.SAGEConv(WIDE, 5, aggr="max"),
    "GAT": lambda: gconv.GATConv(WIDE, 5, heads=2, residual=True),
    "GMM": lambda: gconv.GMMConv(WIDE, 5, 2, 3),
    "GMM sum": lambda: gconv.GMMConv(WIDE, 5, 2, 3, aggr="add", root_weight=False),
    "GMM separate": lambda: gconv.GMMConv(WIDE, 5, 2, 3, separate_gaussians=True),
}


def bag_of_words(nodes: int) -> torch.Tensor:
    """Mostly zeros, one row without any entry."""
    x = torch.rand(nodes, WIDE, dtype=torch.float64) * (torch.rand(nodes, WIDE) < 0.1)
    x[1] = 0
    return x


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_coo])
@pytest.mark.parametrize("name", LAYERS)
def test_same_numbers_and_gradients(name, layout):
    torch.manual_seed(0)
    graph, layer = random_graph(NODES), LAYERS[name]().double()
    x = bag_of_words(NODES)
    sparse = x.to_sparse_csr() if layout is torch.sparse_csr else x.to_sparse_coo()
    wanted, found = layer(x, graph), layer(sparse, graph)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    parameters = list(layer.parameters())
    pull = torch.randn_like(wanted)
    for one, other in zip(
        torch.autograd.grad(found, parameters, pull), torch.autograd.grad(wanted, parameters, pull), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_on_bare_edges():
    graph, layer, x = random_graph(NODES), gconv.GCNConv(WIDE, 5).double(), bag_of_words(NODES)
    data = interop.to_pyg(graph)
    found = layer(x.to_sparse_csr(), data.edge_index, data.edge_weight)
    torch.testing.assert_close(found, layer(x, graph))


def test_the_product_is_differentiable_by_the_values():
    x = torch.randn(4, 3, dtype=torch.float64).to_sparse_csr()
    weight = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: product(x, w), weight)
    values = x.values().clone().requires_grad_()

    def of_values(values):
        signal = torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), values, x.shape)
        return product(signal, weight.detach())

    wanted = torch.autograd.functional.jacobian(
        lambda v: torch.zeros(4, 3, dtype=torch.float64).index_put(tuple(x.to_sparse_coo().indices()), v) @ weight.t(),
        values.detach(),
    )
    torch.testing.assert_close(torch.autograd.functional.jacobian(of_values, values), wanted.detach())


@pytest.mark.parametrize("layer", [gconv.GATv2Conv(WIDE, 5), gconv.FeaStConv(WIDE, 5)], ids=repr)
def test_layers_that_take_none_say_so(layer):
    with pytest.raises(ValueError, match=r"takes no sparse signal.*to_dense"):
        layer(bag_of_words(NODES).float().to_sparse_csr(), random_graph(NODES))
