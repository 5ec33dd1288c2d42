"""A graph of a million nodes and ten million edges, 64 channels: forward and backward of GCN and GAT.

    gconv bench scale

Each layer runs in a process of its own, which says how long the graph took to make, how long the first step (it builds
the plan), how long the first step of a second layer on the same graph (it should cost what every later one does), how
long steps take after that, and the most memory that the process ever held, all included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.contenders import step_of
from benchmarks.contest import rows_of
from benchmarks.expected import NOTHING, Judged, optional
from benchmarks.harness import Options, Table, fresh_process, record, seconds
from benchmarks.row import twins
from benchmarks.rows import ROWS
from benchmarks.showing import time_text, with_settings
from gconv import Graph
from gconv.training.measure import interleaved, resident_peak
from gconv.training.report import number_text

TITLE = "A million nodes"
STEPS = 7
REPEATED = f"{STEPS} later steps"
NAMES = ("GCN", "GAT")
LIMIT = 12 * 2**30


def child(task: Mapping[str, Any]) -> dict[str, Any]:
    """One layer in this process: `row`, `nodes`, `edges`, `width`, `rounds`."""
    torch.manual_seed(0)
    row, width = ROWS[task["row"]], task["width"]
    layer, other = (twins(row, width, width)[0] for _ in range(2))
    edge_index = torch.randint(task["nodes"], (2, task["edges"]))
    made: list[Graph] = []
    making = seconds(lambda: made.append(Graph(edge_index, task["nodes"])))
    x, gradient = torch.randn(2, task["nodes"], width).unbind()
    step, second = (step_of(each, [x], [gradient], (made[0],)) for each in (layer, other))
    first, again = seconds(step), seconds(second)
    steady = interleaved({"step": step}, task["rounds"], warmup=0)["step"]
    return {
        "graph": 1e3 * making,
        "first": 1e3 * first,
        "second": 1e3 * again,
        "milliseconds": {"ours": record(steady.milliseconds)},
        "bytes": resident_peak(),
    }


def run(options: Options) -> dict[str, Any]:
    """Both layers."""
    nodes, edges, width = (10_000, 100_000, 64) if options.quick else (1_000_000, 10_000_000, 64)
    size = {"nodes": nodes, "edges": edges, "width": width}

    def measured(name: str) -> dict[str, Any]:
        twins(ROWS[name], width, width)  # says here if the layer is missing
        return fresh_process("scale", {"row": name, **size, "rounds": 3 if options.quick else STEPS})

    return {**size, "limit": LIMIT, "part": rows_of(NAMES, options, measured)}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """One table."""
    lines, judged = [], []
    for row in found["part"]["rows"]:
        steady = row["milliseconds"]["ours"]
        verdict = Judged("peak, GiB", row["name"], row["bytes"] / 2**30, found["limit"] / 2**30)
        judged.append(verdict)
        lines.append(
            (
                row["name"],
                *(number_text(row[name]) for name in ("graph", "first", "second")),
                time_text(steady),
                number_text(row["second"] / steady["median"]),
                optional(verdict.came),
                optional(verdict.asked),
                verdict.met,
            )
        )
    headings = (
        "layer",
        "graph, ms",
        "first step",
        "second layer's first step",
        "later steps (quartiles)",
        "second / later",
        "peak, GiB",
        "at most",
        "met",
    )
    missing = {**found["part"]["missing"], **found["part"]["failed"]}
    notes = tuple(f"Not in the table: {name}: {reason or NOTHING}." for name, reason in missing.items())
    title = f"{found['nodes']:,} nodes, {found['edges']:,} edges, {found['width']} → {found['width']} channels"
    settings = [{"name": row["name"], "settings": ROWS[row["name"]].settings} for row in found["part"]["rows"]]
    return with_settings([Table(title, headings, tuple(lines), notes, judged=tuple(judged))], settings)
