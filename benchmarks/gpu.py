"""The Triton kernels on a GPU: whether they are right, and how fast beside what else there is.

    python -m benchmarks.gpu                  on a GPU: tests, then times; writes `results/gpu.json`
    python -m benchmarks.gpu --interpret      the tests alone, on the CPU, through Triton's interpreter

Tests: every kernel against plain torch in float64 (`tests/gconv/triton_oracles.py`), each run twice for the same bits.
Times, in float32 and bfloat16: the kernels against embedding_bag, cuSPARSE, cuDNN's depthwise convolution and plain
torch (`benchmarks.gpu_kernels`); layers, forward and backward, in each form that the engine has for them, against PyG's
and Conv2d (`benchmarks.gpu_layers`). A copy's bandwidth is measured beside them. Exit code 1 if a test failed or if
float32 results differ, 2 without a GPU.

The engine's defaults on a GPU are updated from the JSON by hand: `defaults` names the fastest form of each kind of work
(the least geometric mean over its layers, float32 and bfloat16), and goes into `DEFAULTS["cuda"]` of
`gconv/functional/forms.py`, once `tests` has nothing under `failed`; the JSON is committed with it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_kernels import ROUNDS, attention, many, problems, size, sums, timed
from benchmarks.gpu_layers import fastest, layers
from benchmarks.harness import RESULTS, ROOT, write
from gconv.functional import gpu
from gconv.training import measure

PACKAGES = ("torch", "triton", "torch-geometric", "numpy", "gconv")
DTYPES = (torch.float32, torch.bfloat16)


def oracles(mode: str) -> dict[str, Any]:
    """Every kernel against plain torch, in a process of its own: how many cases, the worst, and what failed."""
    inherited = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "tests/gconv/triton_oracles.py", mode],
        cwd=ROOT, env=inherited | {"PYTHONPATH": path} | ({"TRITON_INTERPRET": "1"} if mode == "cpu" else {}),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {"cases": 0, "quantities": 0, "failed": {"all": done.stderr[-4000:]}}
    found = json.loads(done.stdout)
    every = {f"{case}: {name}": excess for case, row in found.items() for name, excess in row.items()}
    numbers = [excess for excess in every.values() if isinstance(excess, float)]
    return {
        "cases": len(found),
        "quantities": len(every),
        "worst_in_units_of_what_rounding_allows": max(numbers, default=0.0),
        "failed": {name: excess for name, excess in every.items() if not isinstance(excess, float) or excess > 1},
    }


def copy_bandwidth() -> dict[str, Any]:
    """Gigabytes a second that a copy reads and writes, by the size of what is copied."""
    found = {}
    for megabytes in (64, 1024):
        here = torch.empty(megabytes << 18, device="cuda")
        there = torch.empty_like(here)
        (row,) = timed({"copy": lambda here=here, there=there: there.copy_(here)}).values()
        found[f"{megabytes} MiB"] = round(2 * size(here) / row["milliseconds"] / 1e6, 1)
    return found


def versions() -> dict[str, str]:
    """What it ran with; a checkout that is not installed has no version of its own."""
    found = {"python": platform.python_version(), "cuda": str(torch.version.cuda)}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def timings() -> tuple[dict[str, Any], list[str]]:
    """All contests, and where a kernel failed or float32 results differ."""
    copied = copy_bandwidth()
    print(f"copy: {copied} GB/s", flush=True)
    kernels = []
    for problem in problems():
        for dtype in DTYPES:
            print(f"{problem.name}, {str(dtype)[6:]}", flush=True)
            for family in (sums, many, attention):
                rows = family(problem, dtype)
                kernels += [{"problem": problem.name, **row} for row in rows]
                torch.cuda.empty_cache()
    beside = []
    for dtype in DTYPES:
        print(f"layers, 28×28 grid, {str(dtype)[6:]}", flush=True)
        beside += layers(dtype)
    differing = [
        f"{row['what']}, {name}: {why}"
        for row in kernels + beside
        for name, why in row["failed"].items()
        if row["dtype"] == "float32" and (why.startswith("differs") or (_ours(name) and row["times"]))
    ]
    found = {"copy_gigabytes_per_second": copied, "kernels": kernels, "layers": beside, "defaults": fastest(beside)}
    return found, differing


def _ours(name: str) -> bool:
    return name in ("triton", "gconv") or name.startswith("gconv, ")


def main() -> int:
    """Test, measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="The Triton kernels on a GPU.")
    parser.add_argument("--interpret", action="store_true", help="only the tests, through Triton's interpreter")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json", help="where JSON goes (default: %(default)s)")
    options = parser.parse_args()
    if not gpu.available():
        print("Triton is missing: pip install triton", file=sys.stderr)
        return 2
    if not options.interpret and not torch.cuda.is_available():
        print("There is no GPU here; --interpret runs the tests through Triton's interpreter.", file=sys.stderr)
        return 2
    began = time.perf_counter()
    tested = oracles("cpu" if options.interpret else "cuda")
    for name, why in tested["failed"].items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    print(f"{tested['cases']} cases, {tested['quantities']} quantities, {len(tested['failed'])} failed", flush=True)
    if options.interpret:
        return 1 if tested["failed"] else 0
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
    properties = torch.cuda.get_device_properties(0)
    header = {
        "command": "python -m benchmarks.gpu",
        "machine": measure.machine("cuda")
        | {"capability": f"{properties.major}.{properties.minor}", "gib": round(properties.total_memory / 2**30, 1)},
        "versions": versions(),
        "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32},
        "rounds": ROUNDS,
        "tests": tested,
    }
    content, differing = timings()
    for line in differing:
        print(f"failed: {line}", file=sys.stderr)
    found = {**header, "seconds": round(time.perf_counter() - began, 1), **content}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write(found, options.out)
    print(f"{found['seconds']:.0f} s. Wrote {options.out}")
    return 1 if tested["failed"] or differing else 0


if __name__ == "__main__":
    sys.exit(main())
