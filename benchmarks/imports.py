"""What `import gconv` costs beside `import torch`: fresh processes, in turn, from start to end.

gconv bench imports
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.expected import Judged, optional
from benchmarks.harness import ROOT, Options, Table, ratio, timed
from benchmarks.showing import time_text

TITLE = "Importing"
REPEATED = "{rounds} rounds"
PACKAGES = ("torch", "gconv", "torch_geometric")
TARGETS = {"gconv": 1.25}


def run(options: Options) -> dict[str, Any]:
    """All packages; a round starts a process for each."""

    def start(package: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", f"import {package}"], cwd=ROOT, check=True)

    packages = [name for name in PACKAGES if name == PACKAGES[0] or options.wants(name)]
    return {"milliseconds": timed({name: start(name) for name in packages}, options), "targets": TARGETS}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """One table."""
    times, lines, judged = found["milliseconds"], [], []
    for name, entry in times.items():
        above, target = ratio(entry, times["torch"]), found["targets"].get(name)
        verdict = Judged("× torch", f"`import {name}`", above, target)
        lines.append((verdict.name, time_text(entry), optional(above), optional(target), verdict.met))
        judged.append(verdict)
    headings = ("import", "ms (quartiles)", "× torch", "at most", "met")
    return [Table("Fresh processes", headings, tuple(lines), judged=tuple(judged))]
