"""Whatever is worked on at once, however the inputs lie in memory, whenever it runs: the same numbers."""

import pytest
import torch
from engine_oracles import CASES, DOMAINS, FORM_IDS, FORMS, value_and_gradients
from graph_oracles import assert_close
from torch import nn

import gconv
from gconv import Graph
from gconv.domains import structure
from gconv.functional import edge_matrices, edge_tables, edgewise, extremes, fused, kernels
from gconv.functional.attention import dynamic, softmax
from gconv.functional.extremes import extreme

# The constants of every blocking path, and values with which small inputs take it.
SMALL = {
    "one signal of a filter": [(fused, "_BLOCK_NUMBERS", 1)],
    "two signals of a filter": [(fused, "_BLOCK_NUMBERS", 2 * 9 * 4)],
    "filters never side by side": [(fused, "NARROW", 0)],
    "filters always side by side": [(fused, "NARROW", 1000), (fused, "_BLOCK_NUMBERS", 3 * 9 * 4)],
    "one row of kernels": [(kernels, "_BLOCK_NUMBERS", 1)],
    "some rows of kernels": [(kernels, "_BLOCK_NUMBERS", 30)],
    "two signals of kernels": [(kernels, "_BLOCK_NUMBERS", 2 * 9 * 12)],
    "one signal of attention": [(edge_tables, "_BLOCK_NUMBERS", 1)],
    "two signals of attention": [(edge_tables, "_BLOCK_NUMBERS", 2 * 30 * 3)],
    "heads one by one": [(softmax, "_LONG", 1)],
    "always a maximum off": [(softmax, "_SAFE", -1.0)],
    "one edge of dynamic scores": [(dynamic, "_CHUNK_NUMBERS", 1)],
    "some edges of dynamic scores": [(dynamic, "_CHUNK_NUMBERS", 7 * 6)],
    "one signal of a network": [(edgewise, "_PIECE_NUMBERS", 1)],
    "one row of a network": [(structure, "_PIECE_ENTRIES", 1)],
    "index for one signal": [(structure, "_BLOCK_ENTRIES", 1)],
    "index for two signals": [(structure, "_BLOCK_ENTRIES", 60)],
    "matrices one by one": [(edge_matrices, "_CHUNK_NUMBERS", 1)],
}
SIGNALS, CHANNELS = 5, 3


def fresh() -> Graph:
    """A new graph: what it keeps depends on the constants."""
    return DOMAINS["directed, weighted"]()


@pytest.mark.parametrize("small", SMALL)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_blocks(case, small, monkeypatch):
    leaves = case.leaves(fresh(), SIGNALS, CHANNELS)
    whole = value_and_gradients(case.run, fresh(), leaves, form=case.forms[0])
    for module, name, value in SMALL[small]:
        monkeypatch.setattr(module, name, value)
    for actual, wanted in zip(value_and_gradients(case.run, fresh(), leaves, form=case.forms[0]), whole, strict=True):
        assert_close(actual, wanted)


def test_the_constants_reach_their_loops(monkeypatch):
    """Were a constant not read any more, the test above would prove nothing."""
    calls = []
    counted = torch.nn.functional.embedding_bag
    monkeypatch.setattr(nn.functional, "embedding_bag", lambda *a, **k: (calls.append(1), counted(*a, **k))[1])

    def count(case) -> int:
        graph = fresh()
        leaves = case.leaves(graph, SIGNALS, CHANNELS)
        value_and_gradients(case.run, graph, leaves, form=case.forms[0])  # plans stand
        calls.clear()
        value_and_gradients(case.run, graph, leaves, form=case.forms[0])
        return len(calls)

    by_name = {case.name: case for case in CASES}
    for small, name in (
        ("one signal of a filter", "filter"),
        ("one row of kernels", "kernels"),
        ("one signal of attention", "additive"),
        ("heads one by one", "additive"),
        ("one signal of attention", "assignment"),
        ("one edge of dynamic scores", "dynamic"),
        ("one row of a network", "edge max"),
    ):
        before = count(by_name[name])
        with monkeypatch.context() as patch:
            for module, constant, value in SMALL[small]:
                patch.setattr(module, constant, value)
            if small == "one signal of a filter":  # else they lie side by side, a block as wide as it takes
                patch.setattr(fused, "NARROW", 0)
            assert count(by_name[name]) > before, small


@pytest.mark.parametrize(("wide", "numbers"), [(1, 1), (6, 5), (1, 1000), (1000, 1)])
def test_blocks_of_extremes(wide, numbers, monkeypatch):
    monkeypatch.setattr(extremes, "_WIDE", wide)
    monkeypatch.setattr(extremes, "_PIECE_NUMBERS", numbers)
    monkeypatch.setattr(structure, "_PIECE_ENTRIES", 3)
    graph = DOMAINS["star"]()
    x = torch.randint(-2, 3, (3, graph.num_nodes, 2)).double().requires_grad_()
    y, wanted = (extreme(x, graph, form=form) for form in ("gather", "portable"))
    assert_close(y, wanted)
    assert_close(*(torch.autograd.grad(v.square().sum() + v.sum(), x)[0] for v in (y, wanted)))


def test_blocks_of_matrices(monkeypatch):
    graph = fresh()
    layer = gconv.GMMConv(3, 4, 2, 5, separate_gaussians=True).double()
    x = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    given = x, torch.randn(30, 2, dtype=torch.float64, requires_grad=True), *layer.parameters()

    def run():
        y = layer(x, graph, given[1])
        return y, *torch.autograd.grad(y.square().sum(), given)

    whole = run()
    monkeypatch.setattr(edge_matrices, "_CHUNK_NUMBERS", 150)
    for actual, wanted in zip(run(), whole, strict=True):
        assert_close(actual, wanted)


def scattered(leaf: torch.Tensor) -> torch.Tensor:
    """The same numbers, axes the other way round in memory, and every second place left out."""
    turned = leaf.detach().permute(*range(leaf.dim() - 1, -1, -1)).repeat_interleave(2, 0)
    return turned[::2].permute(*range(leaf.dim() - 1, -1, -1)).requires_grad_()


@pytest.mark.parametrize(("case", "form"), FORMS, ids=FORM_IDS)
def test_inputs_that_are_not_contiguous(case, form):
    graph = fresh()
    leaves = case.leaves(graph, SIGNALS, CHANNELS)
    others = tuple(scattered(leaf) for leaf in leaves)
    assert not others[0].is_contiguous()
    wanted = value_and_gradients(case.run, graph, leaves, form=form)
    for actual, value in zip(value_and_gradients(case.run, graph, others, form=form), wanted, strict=True):
        assert_close(actual, value)


@pytest.mark.parametrize(("case", "form"), FORMS, ids=FORM_IDS)
def test_one_signal_seen_several_times(case, form):
    """An expanded signal, all of whose copies are the same memory."""
    graph = fresh()
    x, *rest = case.leaves(graph, 1, CHANNELS)
    if case.name == "assignment":
        rest[0] = rest[0].expand(3, -1, -1)
    y = case.run(graph, x.expand(3, *x.shape[1:]), *rest, form=form)
    (found,) = torch.autograd.grad(y.square().sum(), x)
    copied = case.run(graph, x.repeat(3, *[1] * (x.dim() - 1)), *rest, form=form)
    (wanted,) = torch.autograd.grad(copied.square().sum(), x)
    assert_close(y, copied)
    assert_close(found, wanted)


@pytest.mark.parametrize(("case", "form"), [f for f in FORMS if f[1] != "portable"], ids=str)
def test_the_same_bits_from_run_to_run(case, form):
    graph = DOMAINS["star"]()
    leaves = tuple(leaf.detach().float().requires_grad_() for leaf in case.leaves(graph, 40, 8))
    first = value_and_gradients(case.run, graph, leaves, form=form)
    for again in (graph, DOMAINS["star"]()):  # with the same plan, and with one made anew
        for actual, wanted in zip(value_and_gradients(case.run, again, leaves, form=form), first, strict=True):
            assert torch.equal(actual, wanted)
