"""Derivatives by the signal and by every parameter, first and second, against finite differences."""

import pytest
import torch
from registry import GRAPHS, ROWS, double, graphs_of, signal
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call


def differentiable(layer, graph):
    """The layer as a function of its signal and parameters, and a point to differentiate at."""
    names = [name for name, _ in layer.named_parameters()]
    point = [signal(graph, 2).requires_grad_(), *(p.detach().clone().requires_grad_() for p in layer.parameters())]

    def function(x, *parameters):
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x, graph))

    return function, tuple(point)


CASES = [(row, name) for row in ROWS for name in (graphs_of(row)[0], graphs_of(row)[-1])]


@pytest.mark.parametrize(("row", "name"), CASES, ids=[f"{row} on {name}" for row, name in CASES])
def test_gradients(row, name):
    function, point = differentiable(double(row), GRAPHS[name]())
    assert gradcheck(function, point, fast_mode=True)
    assert gradgradcheck(function, point, fast_mode=True)


@pytest.mark.parametrize("row", [row for row in ROWS if row.forms], ids=str)
def test_gradients_in_every_form(row):
    from gconv import force_form

    graph, layer = GRAPHS["grid, 8 neighbours"](), double(row)
    x, weights = signal(graph, 2), None
    reference = None
    for form in row.forms:
        point = x.clone().requires_grad_()
        with force_form(form):
            y = layer(point, graph)
        weights = torch.randn_like(y) if weights is None else weights
        found = (y, *torch.autograd.grad((y * weights).sum(), (point, *layer.parameters())))
        reference = reference or found
        for value, expected in zip(found, reference, strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("row", "name"), CASES, ids=[f"{row} on {name}" for row, name in CASES])
def test_transforms_see_the_same_derivatives(row, name):
    """`torch.func.grad` and `jvp` against autograd: the second is the transpose of the first's map."""
    function, (x, *parameters) = differentiable(double(row), GRAPHS[name]())
    y = function(x, *parameters)
    weights, direction = torch.randn_like(y), torch.randn_like(x)
    (expected,) = torch.autograd.grad((y * weights).sum(), x)
    x = x.detach()
    found = torch.func.grad(lambda x: (function(x, *parameters) * weights).sum())(x)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)
    value, along = torch.func.jvp(lambda x: function(x, *parameters), (x,), (direction,))
    torch.testing.assert_close(value, y, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close((along * weights).sum(), (expected * direction).sum(), rtol=1e-8, atol=1e-9)
