"""The Triton kernels: through Triton's interpreter against plain torch, compiled for a GPU, and on one if it is here.

The comparisons themselves are `triton_oracles.py` and, of the engine's forms, `triton_forms.py`; they run in processes
of their own, so that this one stays as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_layers
from benchmarks.layers_grid import domain
from benchmarks.row import twins
from benchmarks.rows import ROWS
from gconv.functional import gpu
from gconv.functional.forms import DEFAULTS, default_form
from gconv.functional.gpu.launch import SIGNALS, Tile, groups

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = (
    "sums",
    "heads",
    "kernels",
    "additive attention",
    "additive attention with edges",
    "dynamic attention",
    "dynamic attention with edges",
)
needs_triton = pytest.mark.skipif(not gpu.available(), reason="Triton is not installed")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def script(*arguments: str, **environment: str) -> str:
    """Run Python in the repository, away from this process's own Triton settings."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=inherited | {"PYTHONPATH": path} | environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def found(mode: str, interpret: str) -> dict[str, dict[str, float | str]]:
    """What the oracles found, a case each."""
    environment = {"TRITON_INTERPRET": "1"} if interpret else {}
    return json.loads(script("tests/gconv/triton_oracles.py", mode, **environment))


def check(cases: dict[str, dict[str, float | str]]) -> None:
    """Nothing raised, nothing is off by more than rounding, and something was looked at."""
    assert cases
    for case, quantities in cases.items():
        assert quantities, case
        for name, excess in quantities.items():
            assert isinstance(excess, float), f"{case}, {name}: {excess}"
            assert excess <= 1, f"{case}, {name}: {excess:.3g} times what rounding allows"


@needs_triton
@pytest.mark.parametrize("family", FAMILIES)
def test_equals_plain_torch_in_float64(family):
    cases = {case: values for case, values in found("cpu", "interpret").items() if case.startswith(f"{family}, ")}
    assert len(cases) == 8
    check(cases)


@cache
def of_forms() -> dict[str, str]:
    """What went wrong in each check of the forms."""
    return json.loads(script("tests/gconv/triton_forms.py", TRITON_INTERPRET="1"))


@needs_triton
@pytest.mark.parametrize(
    "check", ["sums", "heads", "kernels", "registered", "additive", "dynamic", "nothing", "layers", "compiled"]
)
def test_the_engines_form_is_right(check):
    assert len(of_forms()) == 9
    assert not of_forms()[check], of_forms()[check]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_kernels_run_where_a_gpu_or_the_interpreter_is(device):
    code = f"import torch; from gconv.functional import gpu; print(gpu.runs_on(torch.device('{device}')))"
    assert script("-c", code).strip() == "False"
    assert script("-c", code, TRITON_INTERPRET="1").strip() == str(gpu.available() and device == "cpu")
    assert gpu.runs_on(torch.device("cuda")) == gpu.available()


def test_no_device_runs_them_before_they_are_measured_there():
    for device, forms in DEFAULTS.items():
        assert set(forms) == {"sum", "filter", "attention"}, device
        assert "triton" not in forms.values(), "a default that was measured stands in benchmarks/results/gpu.json"
    assert default_form("sum", torch.device("meta")) == "gather"


@needs_triton
def test_every_kernel_compiles_for_a_gpu():
    cases = found("compile", "")
    assert set(cases) == {
        "additive._forward",
        "additive_gradient._columns",
        "additive_gradient._rows",
        "dynamic._forward",
        "dynamic_edge._edges",
        "dynamic_gradient._columns",
        "dynamic_gradient._rows",
        "dot._dot",
        "gather._gather",
        "kernels._gather",
        "kernels._sum",
    }
    check(cases)


@needs_triton
@needs_gpu
def test_on_a_gpu_equals_plain_torch_and_repeats_itself():
    check(found("cuda", ""))


def test_gconv_does_not_load_triton():
    code = "import sys, gconv, gconv.functional.gpu as g; print(g.available(), 'triton' in sys.modules)"
    available, loaded = script("-c", code).split()
    assert loaded == "False"
    assert available == str(gpu.available())


def test_without_triton_a_call_says_what_is_missing():
    code = """
import sys
sys.modules["triton"] = None
import torch
from gconv.functional import gpu
assert not gpu.available()
try:
    gpu.row_gather(torch.ones(1, 2, 3), None, torch.tensor([0, 1]), torch.tensor([0, 1, 2]))
except ImportError as error:
    print(error)
"""
    assert "pip install triton" in script("-c", code)


@pytest.mark.parametrize("channels", [1, 2, 3, 8, 16, 40, 64, 100, 128, 130, 1000])
@pytest.mark.parametrize("columns", [1, 3, 4, 8, 32])
@pytest.mark.parametrize("rows", [1, 7, 784, 100_000])
@pytest.mark.parametrize("whole", [False, True])
def test_tiles_are_powers_of_two_of_a_size_that_a_program_can_hold(rows, columns, channels, whole):
    tile = Tile.of(rows, columns, channels, whole)
    for side in (tile.rows, tile.columns, tile.channels, tile.warps):
        assert side >= 1
        assert side & (side - 1) == 0
    assert tile.rows * tile.columns * tile.channels <= 2048
    assert tile.channels >= channels or not whole
    assert tile.warps <= 8


def test_signals_are_grouped_only_to_fill_the_gpu():
    assert groups(64, 1) == 16
    assert groups(1, 1) == 1
    assert groups(64, 1_000_000) == 1
    assert SIGNALS & (SIGNALS - 1) == 0


INDEX, OFFSETS = torch.tensor([0, 1, 1]), torch.tensor([0, 2, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gpu.row_gather(torch.ones(4, 2), None, INDEX, OFFSETS), r"\(S, n, c\), got \(4, 2\)"),
        (lambda: gpu.row_gather(torch.ones(1, 2, 3), torch.ones(4), INDEX, OFFSETS), r"weight has shape \(3, 1\)"),
        (lambda: gpu.row_gather(torch.ones(1, 2, 3).int(), None, INDEX, OFFSETS), r"x is torch.int32"),
        (lambda: gpu.row_gather(torch.ones(1, 2, 3), None, INDEX[None], OFFSETS), r"index has shape \(E,\)"),
        (lambda: gpu.heads_gather(torch.ones(1, 2, 3), None, INDEX, OFFSETS), r"\(S, n, H, c\), got \(1, 2, 3\)"),
        (lambda: gpu.edge_dot(torch.ones(1, 2, 3), torch.ones(1, 3, 3), INDEX, OFFSETS), r"y has shape \(1, 2, 1, 3\)"),
        (lambda: gpu.edge_dot(torch.ones(1, 2, 3), torch.ones(2, 2, 3), INDEX, OFFSETS), r"got \(1, 2, 3\) and \(2,"),
        (lambda: gpu.kernels_gather(torch.ones(1, 2, 3), torch.ones(3), INDEX, OFFSETS), r"weight \(E, K\)"),
        (lambda: gpu.kernels_sum(torch.ones(1, 2, 3), torch.ones(3, 2), INDEX, OFFSETS), r"\(S, n, K, c\)"),
        (
            lambda: gpu.additive_forward(
                torch.ones(1, 2, 4, 3), torch.ones(1, 2, 4), torch.ones(1, 3, 4), None, INDEX, OFFSETS, 0.2
            ),
            r"score_target has shape \(1, 2, 4\) here, got \(1, 3, 4\)",
        ),
        (
            lambda: gpu.dynamic_forward(
                torch.ones(1, 2, 4, 3), torch.ones(1, 2, 4, 3), None, torch.ones(1, 4, 3), INDEX, OFFSETS, 0.2
            ),
            r"att has shape \(4, 3\) here, got \(1, 4, 3\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_only_the_kernels_names_are_there():
    with pytest.raises(AttributeError, match="no attribute 'scatter'"):
        gpu.scatter  # noqa: B018
    for name in gpu.__all__:
        assert callable(getattr(gpu, name))


@needs_triton
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_benchmark_says_that_there_is_no_gpu(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no GPU here" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("GCN", ["fused", "gather", "sparse", "stencil"]),
        ("GAT", ["fused", "gather", "sparse"]),
        ("GATv2", ["fused", "gather", "sparse"]),
    ],
)
def test_the_benchmark_times_every_form_that_runs(name, forms):
    ours, _ = twins(ROWS[name], 4, 4)
    graph = domain(ROWS[name], 9)
    x = torch.randn(2, graph.num_nodes, 4)
    found = gpu_layers.ways(ours, x, torch.randn_like(x), graph)
    assert list(found) == ["gconv", *(f"gconv, {form}" for form in forms)]
    wanted, *others = (step() for step in found.values())
    for other in others:
        for got, want in zip(other, wanted, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_the_benchmark_names_the_fastest_form_of_each_kind_of_work():
    def row(what: str, **milliseconds: float) -> dict:
        return {"what": what, "times": {f"gconv, {form}": {"milliseconds": t} for form, t in milliseconds.items()}}

    rows = [
        row("GCN", fused=1.0, gather=2.0, sparse=9.0, triton=3.0),
        row("SAGE", fused=4.0, gather=4.0, sparse=1.0, triton=1.0),
        row("Cheb 3", fused=4.0, gather=4.0, sparse=1.0),
        row("MoNet 9", fused=1.0),
        {"what": "GAT", "times": {}},
    ]
    # Geometric means of 1·4·4, 2·4·4 and 9·1·1; 'triton' is not there everywhere; nothing is known of attention.
    assert gpu_layers.fastest(rows) == {"sum": "sparse", "filter": "sparse"}
    assert gpu_layers.fastest([*rows, row("GATv2", fused=2.0, triton=1.0)])["attention"] == "triton"
