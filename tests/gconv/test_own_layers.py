"""Users' own layers in recipes and on the command line: `module:Class`, and what is said of those that do not fit."""

import subprocess
import sys
import textwrap

import pytest
import torch
from torch import nn

from gconv import GraphOps, grid_graph
from gconv.training import variants
from grid_cnn import Sequential, bind, models

TEN_LINES = """
    from torch import nn
    from gconv import MessagePassing

    class Mine(MessagePassing):
        def __init__(self, in_channels, out_channels):
            super().__init__(aggr="mean")
            self.lin = nn.Linear(in_channels, out_channels)

        def forward(self, x, edge_index):
            return self.propagate(edge_index, x=self.lin(x))

        def message(self, x_i, x_j):
            return (x_j - x_i).relu()

    class Terms(Mine):
        def __init__(self, in_channels, out_channels, K=None, bias=True):
            super().__init__(in_channels, out_channels)
            self.K = K

    class Stranger(nn.Module):
        pass

    class Narrow(Mine):
        def __init__(self, width):
            super().__init__(width, width)

    class Bare(Mine):
        def forward(self, x):
            return self.lin(x)

    class Short(Mine):
        def forward(self, x, edge_index):
            return super().forward(x, edge_index)[..., 1:]

    class Paired(Mine):
        def forward(self, x, edge_index):
            return super().forward(x, edge_index), x

    def dense(in_channels, out_channels, K, bias):
        return nn.Linear(in_channels, out_channels)

    number = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "mine_of_mine.py").write_text(textwrap.dedent(TEN_LINES))
    (tmp_path / "broken_of_mine.py").write_text("import no_such_package")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine_of_mine", None)


def test_in_sequences_and_recipes(own):
    graph = grid_graph((16, 16))
    mine = variants.own_layer("mine_of_mine:Mine")
    net = Sequential(mine(3, 4, 9), nn.ReLU(), mine(4, 2, 9))
    assert net(torch.randn(2, 256, 3), graph).shape == (2, 256, 2)
    recipe = models.lenet5(ops=GraphOps(mine), domain=graph)
    fast = bind(recipe, graph)
    assert fast(torch.randn(2, 256, 1)).shape == (2, 10)
    assert GraphOps(mine).title(5) == "Mine"
    assert variants.own_layer("mine_of_mine.py:Terms")(3, 4, 25).K == 25
    with pytest.raises(TypeError, match=r"made a Linear, which is no layer on a graph; subclass gconv\.MessagePassing"):
        GraphOps(lambda cin, cout, K, bias: nn.Linear(cin, cout)).conv(3, 4, 3)


def test_variants_that_are_not_there(own):
    for variant, message in (
        ("mine_of_mine:Nine", r"has no Nine; did you mean Mine\?"),
        ("mine_of_mine:", "has no class of an empty name"),
        ("no_such_module:Mine", "there is no module 'no_such_module' in"),
        ("no_such_file.py:Mine", "there is no file 'no_such_file.py' in"),
        ("broken_of_mine:Mine", "cannot be imported: No module named 'no_such_package'"),
        ("mine_of_mine:Stranger", "Stranger is no layer on a graph; subclass"),
        ("mine_of_mine:number", "number is a int, and no class that makes layers"),
        ("mine_of_mine:Narrow", r"Narrow\(width\) is called as Narrow\(in_channels, out_channels\): too many"),
        ("mine_of_mine:Bare", r"Bare\.forward\(self, x\) is called as Bare\.forward\(self, x, graph\): too many"),
    ):
        with pytest.raises(ValueError, match=message):
            variants.check([variant])
    with pytest.raises(ValueError, match="given twice"):
        variants.check(["mine_of_mine:Mine"] * 2)


def test_the_command_line(own):
    command = [sys.executable, "-m", "gconv.cli", "compare", "--size", "8x8", "--epochs", "1", "--seeds", "1"]
    done = subprocess.run([*command, "--variants", "mine_of_mine:Mine"], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr
    assert "mine_of_mine:Mine" in (own / "runs/compare/results.json").read_text()
    assert "Mine" in (own / "runs/compare/report.html").read_text()


def test_layers_that_do_not_fit_are_named(own):
    graph = grid_graph((12, 12))
    for name, message in (
        ("dense", "dense made a Linear, which is no layer on a graph; subclass"),
        ("Short", r"Short.forward gave a tensor \(1, 144, 5\) for .* \(1, 144, 1\); expected a tensor \(1, 144, 6\)"),
        ("Paired", r"Paired.forward gave a tuple for a signal \(1, 144, 1\)"),
    ):
        with pytest.raises(ValueError, match=f"variant 'mine_of_mine:{name}': {message}"):
            variants.build(f"mine_of_mine:{name}", "lenet5", graph, 1, 10)
    network = variants.build("mine_of_mine:Mine", "lenet5", graph, 1, 10)
    assert not any(part._forward_hooks for part in network.model.modules())
