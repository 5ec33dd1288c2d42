"""`gconv summary` as a user runs it, and what graph builds cost."""

import csv
import io
import json
import subprocess
import sys

import pytest
from torch import Tensor, nn

from gconv import GCNConv, GraphLayer, GraphOps, MessagePassing, grid_graph
from gconv.accounting import summary
from gconv.commands.summary import closing_lines
from gconv.families import FAMILIES
from gconv.functional import propagate
from gconv.work import Work
from grid_cnn import Concat, Grid, Sequential, models


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "gconv.cli", "summary", *arguments], capture_output=True, text=True, check=False
    )


def test_the_command():
    done = run("lenet5", "--format", "json", "--batch", "16")
    assert done.returncode == 0, done.stderr
    totals = json.loads(done.stdout)["totals"]
    assert (totals["parameters"], totals["batch"]) == (61_706, 16)
    done = run("resnet20_cifar", "--channels", "1", "--classes", "100")
    assert "269,7" not in done.stdout
    assert "memory for a batch of 1:" in done.stdout
    assert run("lenet5", "--conv", "cheb", "--size", "12x12", "--format", "markdown").stdout.count("| ChebConv |") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg17",), "unknown model 'vgg17': did you mean"),
        (("lenet5", "--format", "xml"), "--format is one of table, markdown, csv, json; got 'xml'"),
        (("lenet5", "--size", "12"), "--size takes HEIGHTxWIDTH"),
        (("lenet5", "--size", "4x4"), "the least size that fits is 12×12"),
        (("alphago_policy", "--classes", "5"), "alphago_policy takes no argument 'num_classes'"),
        (("lenet5", "--domain", "torus"), "--domain is grid or graph; got 'torus'"),
        (("lenet5", "--domain", "grid", "--conv", "tag"), "--conv tag is of graphs; take --domain graph"),
        (("lenet5", "--batch", "0"), "--batch takes a whole number >= 1"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_directional_build_costs_what_the_grid_costs():
    graph = grid_graph((28, 28))
    on_grid = summary(models.lenet5(), Grid((28, 28)))
    on_graph = summary(models.lenet5(ops=GraphOps("directional"), domain=graph), graph)
    for mine, theirs in zip(on_graph.rows, on_grid.rows, strict=True):
        assert (mine.units, mine.weights, mine.biases, mine.links, mine.multiply_adds, mine.makes) == (
            theirs.units, theirs.weights, theirs.biases, theirs.links, theirs.multiply_adds, theirs.makes,
        )  # fmt: skip
        assert (mine.field, mine.stride) == (theirs.field, theirs.stride)
    # A 5×5 kernel on 28×28 cells finds 28 · 5 - 6 rows and as many columns; on valid borders all 25 taps.
    assert on_graph.rows[0].edges == (28 * 5 - 6) ** 2
    assert on_graph.rows[3].edges == 100 * 25
    assert on_graph.edges == (28 * 5 - 6) ** 2 + 2_500


def test_graph_families_by_hand():
    graph = grid_graph((12, 12))
    coarse = graph.on(Grid((6, 6)))
    cheb = summary(models.lenet5(ops=GraphOps("cheb"), domain=graph), graph)
    assert cheb.rows[0].edges == 24 * graph.num_edges
    assert cheb.rows[0].multiply_adds == 24 * (graph.num_edges + 144) * 1 + 25 * 144 * 1 * 6
    assert cheb.rows[3].multiply_adds == 24 * (coarse.num_edges + 36) * 6 + 25 * 36 * 6 * 16
    assert cheb.rows[0].field[0] == 49
    gcn = summary(models.lenet5(ops=GraphOps("gcn"), domain=graph), graph)
    assert gcn.rows[0].edges == graph.num_edges + 144
    monet = summary(models.lenet5(ops=GraphOps("monet"), domain=graph), graph)
    assert monet.rows[0].edges == graph.num_edges
    spectral = summary(models.lenet5(ops=GraphOps("spectral"), domain=graph), graph)
    assert spectral.rows[0].multiply_adds == 144 * (144 + 144 * 6) + 144 * 6


# How far the first layer of LeNet-5, of K = 25 terms, sees on the graph.
FIELDS = {"cheb": 49, "tag": 49, "spectral": None, "directional": 5}


@pytest.mark.parametrize("conv", ["directional", *FAMILIES])
def test_every_family_shows_field_edges_and_multiply_adds_in_all_four_ways(conv):
    graph = grid_graph((12, 12))
    table = summary(models.lenet5(ops=GraphOps(conv), domain=graph), graph)
    first, field = table.rows[0], FIELDS.get(conv, 3)
    assert first.field == (None if field is None else (field,) * len(first.field))
    assert first.known
    assert first.multiply_adds >= 144 * 6
    assert first.edges == 0 if conv == "spectral" else first.edges >= graph.num_edges
    shown = "all" if field is None else str(field)
    line = [*table.shown()[1]]
    assert line[10] == shown
    assert line[12] == f"{first.edges:,}"
    assert f"| {shown} | 1 | {first.edges:,} |" in table.markdown()
    row = next(csv.DictReader(io.StringIO(table.csv())))
    assert (row["receptive field"], row["edges"]) == (shown, str(first.edges))
    assert int(row["multiply-adds"]) == first.multiply_adds
    content = json.loads(table.json())["layers"][0]
    assert (content["edges"], content["multiply_adds"]) == (first.edges, first.multiply_adds)


class Rectified(MessagePassing):
    """Two calls of propagate, one on what the other made; a matrix on nodes, and one on edges."""

    def __init__(self, in_channels: int, out_channels: int, K: int = 1, bias: bool = True) -> None:
        super().__init__(aggr="sum")
        self.in_channels = in_channels
        self.near = nn.Linear(in_channels, out_channels, bias=bias)
        self.along = nn.Linear(out_channels, out_channels, bias=False)

    def forward(self, x: Tensor, edge_index: object = None) -> Tensor:
        out = self.propagate(edge_index, x=self.near(x))
        return self.propagate(edge_index, x=out)

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        return self.along(x_j - x_i).relu()


def test_a_layer_of_ones_own_with_messages_is_counted():
    graph = grid_graph((6, 6))
    layer = Rectified(3, 5)
    by_hand = 36 * 3 * 5 + 2 * (graph.num_edges * 5 * 5 + graph.num_edges * 5)
    assert layer.work(graph, 3) == Work(by_hand, 2 * graph.num_edges, 2)
    assert layer.training
    row = summary(Sequential(layer), graph).rows[0]
    assert (row.multiply_adds, row.edges, row.field) == (by_hand, 2 * graph.num_edges, (5,))
    assert row.links == by_hand + 36 * 5


class Silent(GraphLayer):
    """A layer that says nothing of its work."""

    in_channels = 3

    def forward(self, x: Tensor, edge_index: object = None) -> Tensor:
        graph, _ = self.resolve(x, edge_index)
        return propagate(x, graph.plan.mean())


class Held(Rectified):
    """Another graph layer inside, of which a count of its calls of propagate knows nothing."""

    def __init__(self) -> None:
        super().__init__(3, 3)
        self.inner = GCNConv(3, 3)

    def forward(self, x: Tensor, edge_index: object = None) -> Tensor:
        return self.propagate(edge_index, x=self.inner(x, edge_index))


@pytest.mark.parametrize("make", [Silent, Held])
def test_a_layer_that_does_not_say_what_it_does_is_named_and_not_guessed(make):
    graph = grid_graph((6, 6))
    net = Sequential(GCNConv(3, 3), make(), nn.ReLU(), Concat([GCNConv(3, 2), GCNConv(3, 2)], None))
    table = summary(net, graph)
    name = f"1 ({make.__name__})"
    assert table.untold == (name,)
    assert [cells[10] for cells in map(table.cells, table.rows)] == ["3", "–", "–", "–", "–", "–"]
    assert [table.cells(table.rows[1])[place] for place in (6, 7, 12)] == ["–"] * 3
    assert table.edges == 3 * (graph.num_edges + 36)
    assert closing_lines(table, 1)[-1].startswith(f"links, multiply-adds and edges without {name}: give such a layer")
    content = json.loads(table.json())
    assert content["totals"]["untold"] == [name]
    assert [content["layers"][1][key] for key in ("links", "multiply_adds", "edges")] == [None] * 3


def test_a_branch_that_sees_all_sees_all_for_the_sum():
    graph = grid_graph((6, 6))
    both = Concat([GraphOps("spectral").conv(3, 2, 3), GraphOps("gcn").conv(3, 2, 3)], None)
    assert summary(Sequential(both), graph).rows[-1].field is None


def test_a_layer_of_ones_own_by_name(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nfrom gconv import MessagePassing\n\n\nclass Mine(MessagePassing):\n"
        "    def __init__(self, in_channels, out_channels):\n        super().__init__()\n"
        "        self.lin = nn.Linear(in_channels, out_channels)\n\n"
        "    def forward(self, x, edge_index):\n        return self.propagate(edge_index, x=self.lin(x))\n"
    )
    done = run("lenet5", "--domain", "graph", "--conv", f"{tmp_path / 'mine.py'}:Mine", "--size", "12x12")
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if "conv1" in line)
    edges = grid_graph((12, 12)).num_edges
    assert [cell.strip() for cell in line.strip("│").split("│")][-3:] == ["3", "1", f"{edges:,}"]
    assert f"{144 * 6 + edges * 6:,}" in line
