"""Peak memory of a step on the MNIST grid: by how much a fresh process grows, ours and PyG's.

    gconv bench memory

GAT, MoNet and NNConv as in `layers_grid`. Every contender runs in a process of its own: a step on one signal, which
builds plans and loads libraries, then the resident peak before and after one step on the batch. Signals, weights and
edges are there before and do not count; outputs, gradients and all between do. PyG's batched way keeps everything for
backward at once, as ours does; one by one it holds one signal's share at a time.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from benchmarks.contenders import step_of
from benchmarks.contest import BLOCK, CSR, ONE_BY_ONE, batch_ways, rows_of
from benchmarks.edges import Edges
from benchmarks.expected import NOTHING, Judged, optional
from benchmarks.harness import Options, Table, fresh_process, seconds
from benchmarks.layers_grid import domain
from benchmarks.row import twins
from benchmarks.rows import ROWS
from benchmarks.showing import with_settings
from gconv.training.measure import step_peak
from gconv.training.report import number_text

TITLE = "Peak memory of a step"
PROCESSES = 3
REPEATED = f"medians of {PROCESSES} processes"
NAMES = ("GAT", "MoNet 25", "NNConv")
WAYS = (BLOCK, f"{CSR}, {BLOCK}", ONE_BY_ONE, f"{CSR}, {ONE_BY_ONE}")
SHARES, TARGET = ("ours / block-diagonal", "ours / PyG's fastest way"), 0.25


def child(task: Mapping[str, Any]) -> dict[str, Any]:
    """One contender in this process: `row`, `width`, `batch`, `side`, `way` ('ours', or one of PyG's)."""
    torch.manual_seed(0)
    row, width = ROWS[task["row"]], task["width"]
    ours, theirs = twins(row, width, width)
    graph = domain(row, task["side"])
    x, gradient = torch.randn(2, task["batch"], graph.num_nodes, width).unbind()
    if task["way"] == "ours":
        signals, first = task["batch"], step_of(ours, [x[:1]], [gradient[:1]], (graph,))
        whole = step_of(ours, [x], [gradient], (graph,))
    else:
        ways = batch_ways(row, theirs, row.edges(Edges.of(graph)), x, gradient)
        way = next(w for w in ways if task["way"] == (f"{w.name}, {w.variant}" if w.variant else w.name))
        signals, first, whole = way.signals, way.build(1), way.build(way.signals)
    first()
    taken: list[float] = []
    peak = step_peak(lambda: taken.append(seconds(whole)))
    share = task["batch"] / signals
    return {"bytes": share * peak, "seconds": share * taken[0], "signals": signals}


def measured(name: str, width: int, batch: int, side: int, options: Options) -> dict[str, Any]:
    """Medians over processes, of ours and of each of PyG's ways; `milliseconds` are of one step, not repeated."""
    found: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    twins(ROWS[name], width, width)  # says here if the layer is missing
    for way in ("ours", *WAYS):
        task = {"row": name, "width": width, "batch": batch, "side": side, "way": way}
        try:
            runs = [fresh_process("memory", task) for _ in range(1 if options.quick else PROCESSES)]
        except RuntimeError as error:
            if way == "ours":
                raise
            left_out[way] = str(error).rpartition(": ")[2]
            continue
        middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        found[way] = {"bytes": middle["bytes"], "median": 1e3 * middle["seconds"], "signals": int(middle["signals"])}
    return {"width": width, "milliseconds": found, "left_out": left_out}


def run(options: Options) -> dict[str, Any]:
    """All rows at all widths."""
    side, batch, widths = (8, 4, (8,)) if options.quick else (28, 64, (32, 64))
    parts = []
    for width in widths:
        one = partial(measured, width=width, batch=batch, side=side, options=options)
        parts.append({"width": width, **rows_of(NAMES, options, one)})
    return {"side": side, "batch": batch, "target": TARGET, "parts": parts}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """A table a width."""
    settings = [{"name": row["name"], "settings": ROWS[row["name"]].settings} for row in found["parts"][0]["rows"]]
    return with_settings([_table(found, part) for part in found["parts"]], settings)


def _table(found: Mapping[str, Any], part: Mapping[str, Any]) -> Table:
    lines, notes, judged = [], [], []
    for row in part["rows"]:
        ways = row["milliseconds"]
        theirs = {way: ways[way] for way in WAYS if way in ways}
        best = min(theirs, key=lambda way: theirs[way]["median"]) if theirs else None
        verdicts = [
            Judged(
                figure,
                row["name"],
                ways["ours"]["bytes"] / max(ways[way]["bytes"], 1) if way in ways else None,
                found["target"],
            )
            for figure, way in zip(SHARES, (BLOCK, best), strict=True)
        ]
        judged += verdicts
        shares = (optional(verdict.came) for verdict in verdicts)
        met = ", ".join(verdict.met for verdict in verdicts)
        cells = (
            f"**{_mebibytes(ways, way, found['batch'])}**" if way == best else _mebibytes(ways, way, found["batch"])
            for way in WAYS
        )
        ours = _mebibytes(ways, "ours", found["batch"])
        lines.append((row["name"], ours, *cells, *shares, optional(found["target"]), met))
        notes += [f"– {row['name']}, {way}: {reason}." for way, reason in row["left_out"].items()]
    notes += [f"Not in the table: {name}: {reason}." for name, reason in part["missing"].items()]
    notes += [f"Failed: {name}: {reason}." for name, reason in part["failed"].items()]
    headings = ("layer", "ours, MiB", *WAYS, *SHARES, "at most", "met")
    size = f"{found['side']}×{found['side']} grid, {found['batch']} signals"
    title = f"{size}, {part['width']} → {part['width']} channels; PyG's fastest way in bold"
    return Table(title, headings, tuple(lines), tuple(notes), judged=tuple(judged))


def _mebibytes(ways: Mapping[str, Any], way: str, batch: int) -> str:
    if way not in ways:
        return NOTHING
    fewer = way != "ours" and ways[way]["signals"] != batch
    return number_text(ways[way]["bytes"] / 2**20) + (f" (from {ways[way]['signals']} signals)" if fewer else "")
