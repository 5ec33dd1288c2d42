"""`gconv summary` as a user runs it, and what graph builds cost."""

import json
import subprocess
import sys

import pytest

from gconv import GraphOps, grid_graph
from gconv.accounting import summary
from grid_cnn import Grid, models


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
