"""Every custom operator keeps torch's contract, and derivatives of derivatives are those of the function."""

import pytest
import torch
from engine_oracles import CASES, DOMAINS, FORM_IDS, FORMS
from graph_oracles import assert_close
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gconv import Graph
from gconv.functional.extremes import extreme

# The arguments by which an operator has a derivative; those of no entry have none.
DIFFERENTIABLE = {
    "polynomial": {"x", "weight", "bias"},
    "kernel_sum": {"x", "weight_back", "matrices"},
    "additive_attention": {"x", "a", "b", "r"},
    "dynamic_attention": {"table", "r", "a"},
    "soft_assignment": {"x", "a", "c"},
    "row_extreme": {"x"},
    "extreme_spread": {"grad"},
    "extreme_select": {"v"},
}


class Recorder(TorchDispatchMode):
    """Remembers how the library's operators are called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, tuple] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "gconv":
            self.calls.setdefault(func._schema.name.split("::")[1], (func, args))
        return func(*args, **(kwargs or {}))


def calls_of(dtype: torch.dtype) -> dict[str, tuple]:
    graph = DOMAINS["directed, weighted"]()
    with Recorder() as recorder:
        for case in CASES:
            leaves = tuple(leaf.detach().to(dtype).requires_grad_() for leaf in case.leaves(graph, 3, 2))
            y = case.run(graph, *leaves, form=case.forms[0])
            torch.autograd.grad(y.square().sum(), leaves)
        x = torch.randn(2, 9, 3).to(dtype).requires_grad_()
        (dx,) = torch.autograd.grad(extreme(x, graph).square().sum(), x, create_graph=True)
        dx.square().sum().backward()
    return recorder.calls


CALLS = calls_of(torch.float32)


def test_every_operator_is_called():
    found = {name for name in CALLS if not name.endswith("_backward")}
    assert found >= set(DIFFERENTIABLE)
    for name in ("polynomial", "kernel_sum", "additive_attention", "dynamic_attention", "soft_assignment"):
        assert f"{name}_backward" in CALLS


@pytest.mark.parametrize("name", CALLS)
def test_contract(name):
    func, args = CALLS[name]
    learned = DIFFERENTIABLE.get(name, set())
    given = tuple(
        value.detach().clone().requires_grad_(argument.name in learned) if isinstance(value, Tensor) else value
        for value, argument in zip(args, func._schema.arguments, strict=False)
    )
    torch.library.opcheck(func, given)


@pytest.mark.parametrize("name", [name for name in CALLS if name in DIFFERENTIABLE or name.endswith("_backward")])
def test_contract_where_signals_are_rounder_than_parameters(name):
    """What autocast leaves behind: half the signals, float32 the parameters; and bfloat16 throughout."""
    func, args = CALLS[name]
    for kept in ({"a", "c", "kept"}, {"kept"}):
        given = tuple(
            value.bfloat16()
            if isinstance(value, Tensor) and value.is_floating_point() and argument.name not in kept
            else value
            for value, argument in zip(args, func._schema.arguments, strict=False)
        )
        torch.library.opcheck(func, given, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(("case", "form"), FORMS, ids=FORM_IDS)
def test_second_derivatives(case, form):
    graph = Graph(torch.tensor([[0, 1, 1, 3, 0], [1, 0, 2, 2, 1]]), 4, torch.rand(5, dtype=torch.float64))
    leaves = case.leaves(graph, 2, 2)

    def run(*leaves: Tensor) -> Tensor:
        return case.run(graph, *leaves, form=form)

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_second_derivatives_by_one_input(case):
    """A penalty on the gradient by the signals, learned by the parameters: what a first pass need not keep."""
    graph = DOMAINS["directed, weighted"]()
    leaves = case.leaves(graph, 2, 3)

    def penalty(run) -> tuple[Tensor, ...]:
        (slope,) = torch.autograd.grad((run(graph, *leaves) ** 3).sum(), leaves[0], create_graph=True)
        return torch.autograd.grad(slope.square().sum(), leaves)

    for actual, wanted in zip(
        penalty(lambda *given: case.run(*given, form=case.forms[0])), penalty(case.oracle), strict=True
    ):
        assert_close(actual, wanted, 1e-10)


def test_second_derivatives_of_extremes():
    graph = DOMAINS["directed, weighted"]()
    x = torch.randint(-1, 2, (2, 9, 3)).double().requires_grad_()
    weights = torch.randn(2, 9, 3, dtype=torch.float64)

    def penalty(form: str) -> Tensor:
        y = extreme(x, graph, form=form)
        (slope,) = torch.autograd.grad((weights * y**3).sum(), x, create_graph=True)
        return torch.autograd.grad(slope.square().sum(), x)[0]

    assert_close(penalty("gather"), penalty("portable"))
