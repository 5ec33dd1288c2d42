"""The benchmarks measure what they say: PyG's ways are PyG, wrong results are not timed, pages hold to their JSON."""

import dataclasses
import doctest
import importlib
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from torch_geometric.data import Batch, Data
from torch_geometric.utils import add_remaining_self_loops, to_torch_csr_tensor

import gconv
from benchmarks import contest, harness, layers_grid, plain, tables
from benchmarks.contenders import Result, bit_equal, disagreement, step_of
from benchmarks.edges import Edges, with_loops
from benchmarks.floor import Product, floor_step
from benchmarks.harness import NAMES, ROOT, Options
from benchmarks.row import linears, theirs_of, twins
from benchmarks.rows import ROWS
from benchmarks.single import random_edges
from gconv import grid_graph
from gconv.commands.bench import checkout

QUIET = Options(quick=True, say=lambda _: None)
MODULES = (
    *NAMES, "harness", "contenders", "contest", "edges", "expected", "floor", "plain", "plain_networks", "row", "rows",
    "showing", "single", "tables",
)  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    found = doctest.testmod(
        importlib.import_module(f"benchmarks.{name}"), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert found.failed == 0


def pyg_layer(row, width):
    """PyG's layer as the row makes it for PyG, and as PyG makes it by default, with the same weights."""
    make = theirs_of(row)
    default = row.build(make, width, width)
    spared = row.build(lambda *arguments, **options: make(*arguments, **options, **row.pyg), width, width)
    spared.load_state_dict(default.state_dict())
    return default, spared


@pytest.mark.parametrize("name", ROWS)
def test_what_pyg_is_spared_changes_no_number(name):
    row = ROWS[name]
    default, spared = pyg_layer(row, 8)
    graph = layers_grid.domain(row, 5)
    x, gradient = torch.randn(2, graph.num_nodes, 8).unbind()
    given = (graph.edge_index, graph.edge_attr) if row.dim else (graph.edge_index,)
    expected = step_of(default, [x], [gradient], given)()
    found = step_of(spared, [x], [gradient], contest.arguments(row, row.edges(Edges.of(graph))))()
    assert disagreement(found, expected, row.kinks) == ""


@pytest.mark.parametrize("name", ROWS)
def test_pyg_gives_the_same_numbers_in_each_of_its_ways(name):
    row = ROWS[name]
    _, layer = pyg_layer(row, 8)
    graph = layers_grid.domain(row, 4)

    def theirs():
        other = pyg_layer(row, 8)[1]
        other.load_state_dict(layer.state_dict())
        return other

    x, gradient = torch.randn(2, 3, graph.num_nodes, 8).unbind()
    ways = contest.batch_ways(row, theirs, row.edges(Edges.of(graph)), x, gradient)
    found = contest.contest(ways[0].build(3), ways, 3, QUIET, kinks=row.kinks)
    assert {contest.ONE_BY_ONE, contest.BLOCK} <= found["milliseconds"].keys()
    assert (contest.STATIC in found["milliseconds"]) == row.static
    assert "gives other numbers" not in " ".join(found["left_out"].values())


@pytest.mark.parametrize("name", [row.name for row in ROWS.values() if not row.static])
def test_layers_called_not_static_cannot_take_a_batch(name):
    row = ROWS[name]
    graph = layers_grid.domain(row, 4)
    x, gradient = torch.randn(2, 3, graph.num_nodes, 8).unbind()
    default, layer = pyg_layer(row, 8)
    given = contest.arguments(row, row.edges(Edges.of(graph)))
    expected = step_of(default, list(x), list(gradient), (graph.edge_index, *given[1:]))()
    try:
        found = step_of(layer, [x], [gradient], given)()
    except (RuntimeError, AssertionError, ValueError, IndexError):
        return
    assert disagreement(found, expected) != ""


def test_copies_and_matrices_are_those_of_pyg():
    graph = grid_graph((3, 4))
    edges = Edges.of(graph.having(edge_weight=torch.rand(graph.num_edges)))
    batch = Batch.from_data_list(
        [Data(edge_index=edges.edge_index, w=edges.weight, a=edges.attr, num_nodes=12) for _ in range(3)]
    )
    copies = edges.copies(3)
    assert torch.equal(copies.edge_index, batch.edge_index)
    assert torch.equal(copies.weight, batch.w)
    assert torch.equal(copies.attr, batch.a)
    matrix = to_torch_csr_tensor(edges.edge_index.flip(0), edges.weight, size=(12, 12))
    assert torch.equal(edges.csr().to_dense(), matrix.to_dense())
    looped = with_loops(Edges(torch.tensor([[0, 1, 1], [1, 1, 0]]), 3)).edge_index
    expected, _ = add_remaining_self_loops(torch.tensor([[0, 1, 1], [1, 1, 0]]), num_nodes=3)
    assert sorted(looped.T.tolist()) == sorted(expected.T.tolist())


def test_random_edges_are_distinct_both_ways_and_no_loops():
    edges = random_edges(50, 600)
    pairs = set(map(tuple, edges.T.tolist()))
    assert len(pairs) == 600
    assert all((b, a) in pairs and a != b for a, b in pairs)
    assert torch.equal(edges, random_edges(50, 600))
    with pytest.raises(ValueError, match="even number of edges"):
        random_edges(5, 20)


def test_floor_does_the_products_and_no_others():
    x = torch.randn(2, 9, 4)
    step = floor_step((Product(4, 8, 3), Product(8, 8, of_edges=True)), x, num_edges=20, heads=2)
    counter = FlopCounterMode(display=False)
    with counter:
        step()
    # Forward, and backward by the input and by the matrix: three products each, a multiply-add counted as two.
    assert counter.get_total_flops() == 3 * 2 * (3 * 2 * 9 * 4 * 8 + 2 * 20 * 8 * 8)


@pytest.mark.parametrize(
    "name", ["GCN", "SAGE", "GIN", "TAG", "Cheb 3", "GAT", "GATv2", "FeaSt", "GraphConv", "GatedGraph"]
)
def test_floor_has_the_products_of_pygs_layer(name):
    # PyG multiplies nodes by matrices as the equation does: its multiply-adds on nodes are those of the floor.
    row = ROWS[name]
    layer = row.build(lambda *a, **o: theirs_of(row)(*a, **o, **row.pyg), 8, 8)
    graph = grid_graph((4, 4))
    x = torch.randn(graph.num_nodes, 8)
    given = contest.arguments(row, row.edges(Edges.of(graph)))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x, *given)
    # FeaSt's are the same for all edges of a source, so nodes are enough; PyG repeats them edge by edge.
    times = row.edges(Edges.of(graph)).edge_index.shape[1] if name == "FeaSt" else graph.num_nodes
    assert counter.get_total_flops() == 2 * times * sum(p.count * p.inputs * p.outputs for p in row.products(8, 8))


def result():
    return Result([torch.ones(2, 3, 4)], [torch.ones(2, 3, 4)], {"weight": torch.ones(4, 4)})


def test_agreement_is_of_every_entry():
    assert disagreement(result(), result()) == ""
    for part in ("outputs", "signals"):
        for wrong in (1.001, float("nan"), float("inf")):
            other = result()
            getattr(other, part)[0][1, 2, 3] = wrong
            assert disagreement(other, result()) != "", (part, wrong)
    other = result()
    other.parameters["weight"][0, 0] = 1.001
    assert "gradient of weight" in disagreement(other, result())
    assert "parameters" in disagreement(result()._replace(parameters={}), result())
    assert "shape" in disagreement(result()._replace(outputs=[torch.ones(2, 3, 5)]), result())
    close = result()
    close.outputs[0][0, 0, 0] = 1.00005
    assert disagreement(close, result()) == ""
    assert bit_equal(result(), result())
    assert not bit_equal(close, result())


def test_kinks_excuse_few_entries_of_the_signals_gradient_only():
    many = Result([torch.ones(100, 20)], [torch.ones(100, 20)], {"weight": torch.ones(2)})
    two, three, output = (Result([r.clone() for r in many[0]], [r.clone() for r in many[1]], many[2]) for _ in "123")
    two.signals[0][0, :2] = 5.0
    three.signals[0][0, :3] = 5.0
    output.outputs[0][0, 0] = 5.0
    assert disagreement(two, many, kinks=True) == ""
    assert disagreement(two, many) != ""
    assert disagreement(three, many, kinks=True) != ""
    assert disagreement(output, many, kinks=True) != ""


def test_a_loop_sums_gradients_as_a_batch_does():
    layer = linears(3, 5, 2)
    x, gradient = torch.randn(4, 6, 3), torch.randn(4, 6, 2)
    loop = step_of(layer, list(x), list(gradient), ())()
    assert disagreement(loop, step_of(layer, [x], [gradient], ())()) == ""
    (layer(x) * gradient).sum().backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(loop.parameters[name], parameter.grad)


def test_contest_leaves_out_what_fails_and_stops_if_ours_is_wrong():
    layer, wrong = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    x, gradient = torch.randn(4, 6, 3), torch.randn(4, 6, 2)

    def way(name, net, signals=4, variant=""):
        return contest.Way(
            name, lambda count: step_of(net, list(x[:count]), list(gradient[:count]), ()), signals, variant
        )

    def broken(count):
        raise RuntimeError("No such thing. And more of it.")

    ways = [
        way("reference", layer),
        way("wrong", wrong),
        contest.Way("broken", broken, 4),
        way("half", layer, signals=2),
        way("either", wrong, variant="one"),
        way("either", layer, variant="other"),
    ]
    found = contest.contest(step_of(layer, [x], [gradient], ()), ways, 4, QUIET, lambda: None)
    assert found["milliseconds"].keys() == {"ours", "floor", "reference", "half", "either"}
    assert found["left_out"]["broken"] == "RuntimeError: No such thing"
    assert found["left_out"]["wrong"].startswith("gives other numbers: the output differs by")
    assert found["scaled_from"] == {"half": 2}
    assert found["variants"] == {"either": "other"}
    assert found["bit_equal"]
    assert all(len(entry["rounds"]) == 3 for entry in found["milliseconds"].values())
    with pytest.raises(contest.DisagreementError, match="ours differs from PyG: the output"):
        contest.contest(step_of(wrong, [x], [gradient], ()), ways, 4, QUIET)


def test_scaled_ways_are_scaled():
    assert harness.record((1.0, 2.0, 3.0, 4.0), scale=4.0)["rounds"] == [4.0, 8.0, 12.0, 16.0]


def test_plain_splines_are_the_equations():
    # Functions of degree 1 interpolate: Σ_p B_p(u) f(knot p) is f(u) where f is linear; at a knot one of them is 1.
    points = torch.cat([torch.rand(50, 2), torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.25]])])
    values, numbers = plain.hats(points, 5)
    knots = torch.cartesian_prod(torch.linspace(0, 1, 5), torch.linspace(0, 1, 5)).flip(1)  # the first axis is fastest
    torch.testing.assert_close((values[..., None] * knots[numbers]).sum(1), points)
    torch.testing.assert_close(values.sum(1), torch.ones(54))
    assert values[-4:].sort(1).values[:, -1].tolist() == [1.0] * 4
    assert "gconv" not in Path(plain.__file__).read_text().replace("`gconv`", "")


def test_a_missing_layer_is_left_out_with_a_message(monkeypatch):
    monkeypatch.delattr(gconv, "GCNConv")
    with pytest.raises(LookupError, match="gconv has no GCNConv"):
        twins(ROWS["GCN"], 4, 4)


# Rows that show what a claim does; others take as long again.
DATA = {"layers_cora": "data_dir", "cora": "data_dir", "lecun1989": "data_dir", "degradation": "cifar_dir"}
ON_CORA = ("layers_cora", "cora")
FEW = {
    "cora": ("SGC", "APPNP"),
    "degradation": ("plain20_cifar", "resnet20_cifar"),
    "networks": ("resnet18",),
    "lecun1989": ("lecun1989_net1",),
    "memory": ("MoNet 25",),
    "imports": ("gconv",),
    "scaling": ("GCN against B", "Cheb against K", "plan against E"),
}


@pytest.fixture
def cifar_dir(tmp_path_factory):
    """Noise in CIFAR-10's own layout."""
    folder = tmp_path_factory.mktemp("data")
    made = folder / "cifar-10-batches-py"
    made.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 3072), dtype=np.uint8)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        batch = {b"data": pixels, b"labels": [i % 10 for i in range(40)]}
        (made / name).write_bytes(pickle.dumps(batch, protocol=4))
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_claim_runs(name, tmp_path, request):
    data = request.getfixturevalue(DATA[name]) if name in DATA else Path("data")
    if name in ON_CORA and not (data / "planetoid/Cora/raw").is_dir() and not (data / "Cora/raw").is_dir():
        pytest.skip(f"no Cora under {data}")
    options = dataclasses.replace(QUIET, out=tmp_path, rows=FEW.get(name, ()), data=data)
    found = harness.measure(name, options)
    written = json.loads((tmp_path / f"{name}.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.json"]
    assert written["machine"]["threads"] == torch.get_num_threads()
    assert written["versions"].keys() >= {"torch", "torch-geometric", "python"}
    assert ("calibration" in written) == ("rounds" in written) == (name not in harness.STUDIES)
    repeated = harness.module(name).REPEATED.format(**written)
    assert re.fullmatch(r"\d+ (rounds|seeds|later steps)|one seed|medians of \d processes", repeated)
    assert tables.made_by(written).endswith(f"; {repeated}." if harness.quiet(written) else "was not quiet**.")
    shown = harness.module(name).tables(written)
    assert shown == harness.module(name).tables(json.loads(json.dumps(found)))
    assert any(table.rows for table in shown)
    for table in shown:
        assert all(len(cells) == len(table.headings) for cells in table.rows)
        assert tables.markdown(table).count("\n|") == len(table.rows) + 2
    assert harness.failures(written) == []
    with pytest.raises(ValueError, match="quick run"):
        tables.read(name, tmp_path)


def test_training_on_cora_goes_on_where_it_was_broken_off(tmp_path, data_dir):
    if not (data_dir / "planetoid/Cora/raw").is_dir() and not (data_dir / "Cora/raw").is_dir():
        pytest.skip(f"no Cora under {data_dir}")
    options = dataclasses.replace(QUIET, out=tmp_path, rows=("SGC", "APPNP"), data=data_dir)
    done = {"seed": 0, "test": 12.5, "validation": 1.0, "epoch": 1, "seconds": 0.1}
    harness.write({"quick": True, "runs": {"SGC": [done]}}, tmp_path / "cora.progress.json")
    found = harness.measure("cora", options)
    assert [method["name"] for method in found["methods"]] == ["SGC", "APPNP"]
    assert found["methods"][0]["runs"] == [done]
    assert found["methods"][1]["runs"][0]["test"] > 10
    assert [path.name for path in tmp_path.iterdir()] == ["cora.json"]
    assert "12.5 ± 0.0 %" in tables.markdown(harness.module("cora").tables(found)[0])


def test_where_json_goes():
    assert Options().out == Path("runs/bench")
    before = {path: path.stat().st_mtime_ns for path in harness.RESULTS.iterdir()}
    for partial in (Options(quick=True, out=harness.RESULTS), Options(rows=("GCN",), out=harness.RESULTS)):
        with pytest.raises(ValueError, match="a quick or partial run is no result"):
            harness.measure("layers_grid", partial)
    assert {path: path.stat().st_mtime_ns for path in harness.RESULTS.iterdir()} == before


def test_a_failing_process_says_why():
    with pytest.raises(RuntimeError, match=r"in a process of its own: KeyError: 'nothing'"):
        harness.fresh_process("scale", {"row": "nothing", "width": 8})


def test_a_steps_peak_is_its_own_and_not_the_parents():
    held = torch.ones(2**26)  # 256 MiB here, which the child must not be charged with
    code = (
        "import torch; from gconv.training import measure; measure.step_peak(lambda: torch.ones(8));"
        "print(measure.step_peak(lambda: torch.ones(2**24)), measure.step_peak(lambda: None), measure.resident_peak())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    grown, nothing, peak = map(int, done.stdout.split())
    assert 0.99 * 2**26 < grown < 1.1 * 2**26  # the kernel counts pages in lots
    assert nothing < 2**20
    assert peak > 2**26
    assert held.sum() == 2**26


def bench(*arguments, cwd):
    command = [sys.executable, "-m", "gconv.cli", "bench", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


def test_the_command(tmp_path):
    listed = bench("--list", cwd=tmp_path)
    assert [line.partition(":")[0] for line in listed.stdout.splitlines()] == list(NAMES)
    done = bench("layers_grid", "--quick", "--row", "GCN", "--row", "Cheb 3", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "│ GCN " in done.stdout
    assert "│ Cheb 3 " in done.stdout
    written = json.loads((tmp_path / "here/layers_grid.json").read_text())
    assert written["command"] == "gconv bench layers_grid --quick --row 'GCN' --row 'Cheb 3'"
    assert [row["name"] for row in written["tables"][0]["rows"]] == ["GCN", "Cheb 3"]


def test_bad_names_are_one_line(tmp_path):
    done = bench("layer_grid", "--quick", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: unknown benchmark 'layer_grid': there are {', '.join(NAMES)}"
    assert not list(tmp_path.iterdir())


def test_without_a_checkout_the_command_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(gconv, "__file__", str(tmp_path / "gconv/__init__.py"))
    with pytest.raises(ValueError, match=r"they are in the sources.*pip install -e \."):
        checkout()
