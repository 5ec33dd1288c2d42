"""Results have the dtype and the device of the signal; float32 agrees with float64 to its rounding."""

import copy

import pytest
import torch
from registry import GRAPHS, IDS, ON_DOMAINS, ROWS, double, graphs_of, signal


@pytest.mark.parametrize(("row", "name"), ON_DOMAINS, ids=IDS)
def test_single_precision_agrees_with_double(row, name):
    graph, layer = GRAPHS[name](), double(row)
    x = signal(graph, 2)
    exact = layer(x, graph)
    y = copy.deepcopy(layer).float()(x.float(), graph)
    assert exact.dtype == torch.float64
    assert y.dtype == torch.float32
    scale = exact.abs().max()
    assert (y - exact).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_bfloat16(row):
    graph, layer = GRAPHS[graphs_of(row)[0]](), double(row)
    x = signal(graph, 2).bfloat16()
    exact = layer(x.double(), graph)
    y = copy.deepcopy(layer).bfloat16()(x, graph)
    assert y.dtype == torch.bfloat16
    assert (y - exact).abs().max() <= 0.05 * exact.abs().max()


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_autocast(row):
    graph, layer = GRAPHS[graphs_of(row)[0]](), double(row).float()
    x = signal(graph, 2, dtype=torch.float32).requires_grad_()
    exact = layer(x, graph)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x, graph)
    y.float().sum().backward()
    assert x.grad.isfinite().all()
    assert (y.float() - exact).abs().max() <= 0.05 * exact.abs().max()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize(("row", "name"), ON_DOMAINS, ids=IDS)
def test_gpu_agrees_with_cpu(row, name):
    graph, layer = GRAPHS[name](), double(row)
    x = signal(graph, 2)
    y = copy.deepcopy(layer).cuda()(x.cuda(), graph.to("cuda"))
    assert y.device.type == "cuda"
    torch.testing.assert_close(y.cpu(), layer(x, graph), rtol=1e-9, atol=1e-9)
