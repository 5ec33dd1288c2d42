"""Peak memory of a forward and backward pass: no table of all signals, edges and channels, in a process of its own."""

import subprocess
import sys

import pytest

SIGNALS, NODES, EDGES, CHANNELS = 4, 2000, 60000, 32
TABLE = SIGNALS * EDGES * CHANNELS * 4  # bytes of one (S, E, C) in float32: 29 MiB, the signals themselves are 1
PROGRAM = """
import torch
from torch import nn
import gconv
from gconv.training.measure import step_peak

torch.manual_seed(0)
signals, nodes, edges, channels = {sizes}
layer = {layer}
graph = gconv.Graph(torch.randint(0, nodes, (2, edges)), nodes, edge_attr=torch.randn(edges, 2))
x = torch.randn(signals, nodes, channels, requires_grad=True)

small = gconv.Graph(torch.randint(0, 90, (2, 400)), 90, edge_attr=torch.randn(400, 2))
layer(torch.randn(2, 90, channels), small).sum().backward()  # what is loaded once
with torch.no_grad():
    layer(x, graph)  # the plan of the graph
print(step_peak(lambda: layer(x, graph, form={form!r}).sum().backward()))
"""
LAYERS = {
    "GAT": "gconv.GATConv(channels, channels // 4, heads=4)",
    "NN": "gconv.NNConv(channels, channels, nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, channels ** 2)))",
    "MoNet": "gconv.GMMConv(channels, channels, 2, 5)",
}


def peak(layer: str, form: str | None) -> int:
    sizes = (SIGNALS, NODES, EDGES, CHANNELS)
    program = PROGRAM.format(sizes=sizes, layer=LAYERS[layer], form=form)
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[-1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel's high-water mark can be reset on Linux")
@pytest.mark.parametrize("layer", LAYERS)
def test_no_table_of_signals_edges_and_channels(layer):
    assert peak(layer, None) < TABLE
    assert peak(layer, "portable") > TABLE  # where there is one, it is seen
