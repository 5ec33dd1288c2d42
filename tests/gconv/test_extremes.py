"""The largest and smallest of the neighbours, against loops and sorted tables worked by hand."""

import pytest
import torch
from registry import random_graph

from gconv import Graph, grid_graph
from gconv.functional import extremes
from gconv.functional.extremes import extreme

PARALLEL = Graph(torch.tensor([[0, 0, 1, 2, 2, 3], [1, 1, 2, 0, 0, 3]]), 5)
HUB = Graph(torch.stack([torch.arange(200), torch.zeros(200, dtype=torch.long)]), 200)
GRAPHS = {"random": random_graph(), "parallel": PARALLEL, "hub": HUB, "grid": grid_graph((5, 6))}


def by_loops(x, graph, largest):
    """y, and for each node and channel the mean of its one-hot winners: dy / dx in full, `(N, N, C)`."""
    y, winners = torch.zeros_like(x), x.new_zeros(graph.num_nodes, graph.num_nodes, x.shape[1])
    edges = graph.edge_index.t().tolist()
    for node in range(graph.num_nodes):
        sources = [s for s, t in edges if t == node]
        for channel in range(x.shape[1] if sources else 0):
            values = [float(x[s, channel]) for s in sources]
            best = max(values) if largest else min(values)
            y[node, channel] = best
            equal = [s for s, value in zip(sources, values, strict=True) if value == best]
            for s in equal:
                winners[node, s, channel] += 1 / len(equal)
    return y, winners


@pytest.mark.parametrize("pieces", [None, 64, 1])
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("name", GRAPHS)
def test_values_and_gradients_with_ties(name, largest, pieces, monkeypatch):
    if pieces is not None:  # rows, then neighbours of one row, in several pieces; signals one by one
        monkeypatch.setattr(extremes, "_PIECE_NUMBERS", pieces)
        monkeypatch.setattr(extremes, "_WIDE", 4)
    graph = GRAPHS[name]
    x = torch.randint(-2, 3, (3, graph.num_nodes, 2)).double().requires_grad_()  # zeros among the ties
    y = extreme(x, graph, largest=largest)
    weights = torch.randn_like(y).requires_grad_()
    (dx,) = torch.autograd.grad(y, x, weights, create_graph=True)
    back = torch.randn_like(dx)
    (again,) = torch.autograd.grad(dx, weights, back, retain_graph=True)
    (third,) = torch.autograd.grad(
        torch.autograd.grad(dx, weights, back.requires_grad_(), create_graph=True)[0].sum(), back
    )
    for s in range(3):
        expected, winners = by_loops(x[s].detach(), graph, largest)
        torch.testing.assert_close(y[s], expected)
        torch.testing.assert_close(dx[s], torch.einsum("nc,nmc->mc", weights[s], winners))
        torch.testing.assert_close(again[s], torch.einsum("mc,nmc->nc", back[s], winners))
        torch.testing.assert_close(third[s], winners.sum(0))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_forms_agree(largest, dtype):
    graph = random_graph(40, seed=2)
    x = torch.randn(2, 4, 40, 3).to(dtype).requires_grad_()
    found = []
    for form in ("gather", "portable"):
        y = extreme(x, graph, largest=largest, form=form)
        assert y.dtype == dtype
        found.append((y, *torch.autograd.grad(y.float().square().sum(), x)))
    for value, expected in zip(*found, strict=True):
        torch.testing.assert_close(value, expected)


def test_infinite_numbers_stay_where_they_are():
    x = torch.tensor([[torch.inf], [1.0], [-torch.inf], [0.0], [2.0]], requires_grad=True)
    y = extreme(x, PARALLEL)
    assert y.flatten().tolist() == [-torch.inf, torch.inf, 1.0, 0.0, 0.0]
    (dx,) = torch.autograd.grad(y, x, torch.tensor([[1.0], [torch.inf], [3.0], [4.0], [5.0]]))
    assert dx.flatten().tolist() == [torch.inf, 3.0, 1.0, 4.0, 0.0]


@pytest.mark.parametrize("shape", [(0, 5, 2), (2, 5, 0), (5, 2), (2, 3, 5, 1)])
def test_shapes(shape):
    x = torch.randn(shape, requires_grad=True)
    y = extreme(x, PARALLEL)
    assert y.shape == shape
    assert torch.autograd.grad(y.sum(), x)[0].shape == shape


def test_no_edges():
    x = torch.randn(3, 2, requires_grad=True)
    y = extreme(x, Graph(torch.zeros(2, 0, dtype=torch.long), 3))
    assert not y.any()
    assert not torch.autograd.grad(y.sum(), x)[0].any()


def test_misfits_are_named():
    with pytest.raises(ValueError, match=r"x has shape \(\.\.\., 5, channels\) on this graph, got \(4, 2\)"):
        extreme(torch.zeros(4, 2), PARALLEL)
    with pytest.raises(ValueError, match="form 'dense' cannot run this sum: gather, portable can"):
        extreme(torch.zeros(5, 2), PARALLEL, form="dense")


def test_memory_does_not_grow_with_edges(monkeypatch):
    """No table of neighbours is larger than a piece."""
    seen = []
    index_select = torch.Tensor.index_select

    def watched(self, dim, index):
        out = index_select(self, dim, index)
        seen.append(out.numel())
        return out

    monkeypatch.setattr(extremes, "_PIECE_NUMBERS", 1 << 10)
    monkeypatch.setattr(torch.Tensor, "index_select", watched)
    graph = Graph(torch.randint(0, 100, (2, 3000)), 100)
    x = torch.randn(4, 100, 16, requires_grad=True)
    extreme(x, graph).sum().backward()
    assert seen
    assert max(seen) <= 1 << 10
