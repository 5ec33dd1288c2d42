"""What every benchmark shares: contenders timed in turn, in one process, and a record of what they were measured on.

    after warm-up, round by round, every contender once; the ratio of two is the median over rounds of t_a / t_b

A claim is a module of this folder with `TITLE`; `run(options)`, which gives plain values for JSON; `tables(found)`,
which makes tables of them; and `REPEATED`, how often its figures were taken, with names of that JSON in braces.
`measure(name, options)` runs one and writes `NAME.json`: whole or not at all, with machine, versions and threads, and,
if anything is timed, whether the machine was quiet when it began. It goes into `runs/bench`; what pages are made of
lies in `benchmarks/results`, and is written over only by who says so.
"""

from __future__ import annotations

import importlib
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.expected import Judged
from gconv.training import files
from gconv.training import measure as clock
from gconv.training.results import writable

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"

# In the order in which they run and stand in the tables.
CLAIMS = (
    "layers_grid",
    "grid_vs_graph",
    "layers_cora",
    "layers_random",
    "superpixels",
    "memory",
    "scaling",
    "scale",
    "single_use",
    "imports",
    "networks",
    "local_fft",
    "fit_overhead",
)
# Those that train, for minutes or hours, and time nothing: they run by name alone.
STUDIES = ("cora", "lecun1989", "degradation")
NAMES = (*CLAIMS, *STUDIES)

SLOW_SECONDS = 2.5  # a step that takes longer is measured once: such ways are tens of times slower than ours
_NOISY = 0.1


@dataclass(frozen=True)
class Options:
    """How benchmarks run.

    Args:
        quick: fewer rounds and smaller sizes: whether it works, not how fast it is.
        out: where JSON goes.
        rows: measure only these rows of a table, by name.
        data: the folder of data sets, with `Cora/raw` or `planetoid/Cora/raw` in it.
        compiled: time our attention under `torch.compile` too.
        say: told of each row when it is done.

    >>> Options(quick=True).rounds, Options().rounds
    (3, 9)
    """

    quick: bool = False
    out: Path = Path("runs/bench")
    rows: tuple[str, ...] = ()
    data: Path = Path("data")
    compiled: bool = False
    say: Callable[[str], None] = print

    @property
    def rounds(self) -> int:
        """How many rounds count."""
        return 3 if self.quick else 9

    def wants(self, row: str) -> bool:
        """Whether a row is to be measured."""
        return not self.rows or row in self.rows


@dataclass(frozen=True)
class Table:
    """Text in rows under headings, with notes below; the first `words` columns are words, the others figures.

    `judged` are the figures of which something was asked.
    """

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    words: int = 1
    judged: tuple[Judged, ...] = ()


def record(milliseconds: tuple[float, ...], scale: float = 1.0) -> dict[str, Any]:
    """Times as they stand in JSON, each multiplied by `scale`.

    >>> record((1.0, 2.0, 3.0))["quartiles"]
    [1.5, 2.5]
    """
    times = tuple(round(scale * t, 5) for t in milliseconds)
    timing = clock.Timing(times, times)
    return {
        "median": timing.median,
        "quartiles": list(timing.quartiles),
        "noisy": timing.noisy,
        "rounds": list(times),
    }


def timed(steps: Mapping[str, Callable[[], object]], options: Options, warmup: int = 1) -> dict[str, dict[str, Any]]:
    """Records of all steps, in interleaved rounds."""
    timings = clock.interleaved(steps, options.rounds, warmup)
    return {name: record(timing.milliseconds) for name, timing in timings.items()}


def ratio(above: Mapping[str, Any], below: Mapping[str, Any]) -> float:
    """The median of the ratios of two records, round by round; of their medians where one was measured once.

    >>> ratio({"rounds": [4.0, 6.0, 9.0], "median": 6.0}, {"rounds": [2.0, 2.0, 3.0], "median": 2.0})
    3.0
    """
    if len(above["rounds"]) != len(below["rounds"]):
        return above["median"] / below["median"]
    return statistics.median(a / b for a, b in zip(above["rounds"], below["rounds"], strict=True))


def seconds(step: Callable[[], object]) -> float:
    """How long one call takes.

    >>> seconds(lambda: time.sleep(0.01)) >= 0.01
    True
    """
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def quietness(repeats: int = 40) -> dict[str, Any]:
    """Whether the same small product always takes as long: the spread of its quartiles, in parts of the median.

    >>> sorted(quietness(4))
    ['milliseconds', 'quiet', 'spread']
    """
    a = torch.randn(384, 384)
    timing = clock.interleaved({"product": lambda: a @ a @ a}, repeats, warmup=10)["product"]
    first, third = timing.quartiles
    spread = (third - first) / timing.median
    return {"milliseconds": timing.median, "spread": round(spread, 4), "quiet": spread < _NOISY}


def measure(name: str, options: Options) -> dict[str, Any]:
    """Run one claim and write its JSON.

    Raises:
        ValueError: for an unknown claim, a folder that cannot be written to, or a quick or partial run among the
            results.
    """
    claim = module(name)
    if (options.quick or options.rows) and options.out.resolve() == RESULTS.resolve():
        raise ValueError(
            f"a quick or partial run is no result, and {options.out} holds those that the pages are made of; leave "
            "out --quick and --row, or choose another folder with --out"
        )
    folder = writable(options.out)
    torch.manual_seed(0)
    flags = "".join(
        f" --{flag}" for flag, on in (("quick", options.quick), ("compiled", options.compiled)) if on
    ) + "".join(f" --row '{row}'" for row in options.rows)  # fmt: skip
    header = {
        "claim": name,
        "title": claim.TITLE,
        "command": f"gconv bench {name}{flags}",
        "quick": options.quick,
        "partial": bool(options.rows),
        "machine": clock.machine(),
        "versions": clock.versions(),
    }
    if name not in STUDIES:
        header |= {"calibration": quietness(), "rounds": options.rounds}
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        content = claim.run(options)
    found = {**header, "seconds": round(time.perf_counter() - began, 1), **content}
    write(found, folder / f"{name}.json")
    return found


def quiet(found: Mapping[str, Any]) -> bool:
    """Whether the machine was quiet when a claim began; what times nothing needs no quiet.

    >>> quiet({"claim": "cora"}), quiet({"claim": "scale", "calibration": {"quiet": False}})
    (True, False)
    """
    return found["claim"] in STUDIES or found["calibration"]["quiet"]


def failures(found: Any) -> list[str]:
    """All that failed in a claim's JSON, wherever it stands.

    >>> failures({"tables": [{"rows": [], "failed": {"GCN": "ours differs"}}]})
    ['GCN: ours differs']
    """
    if isinstance(found, list):
        return [text for entry in found for text in failures(entry)]
    if not isinstance(found, dict):
        return []
    own = [f"{name}: {reason}" for name, reason in found.get("failed", {}).items()]
    return own + [text for name, entry in found.items() if name != "failed" for text in failures(entry)]


def module(name: str) -> Any:
    """The module of a claim.

    Raises:
        ValueError: naming all claims, if there is none of this name.
    """
    if name not in NAMES:
        raise ValueError(f"unknown benchmark {name!r}: there are {', '.join(NAMES)}")
    return importlib.import_module(f"benchmarks.{name}")


def write(found: Mapping[str, Any], path: Path) -> None:
    """Write JSON: whole or not at all."""
    files.write(path, json.dumps(found, indent=1) + "\n")


def fresh_process(name: str, task: Mapping[str, Any]) -> dict[str, Any]:
    """What `child(task)` of a claim gives in a process of its own, with as many threads as this one.

    Raises:
        RuntimeError: if the process fails, with the last line that it wrote.
    """
    command = [sys.executable, "-m", "benchmarks.child", name, str(torch.get_num_threads()), json.dumps(task)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}, without a word: out of memory?"]
        raise RuntimeError(f"{name} {dict(task)} failed in a process of its own: {said[-1]}")
    return json.loads(done.stdout.splitlines()[-1])
