"""How time grows with the batch B, nodes N, edges E, channels C and terms K, with fitted exponents.

    time ≈ a · size^b,   b by least squares on log time against log size

    gconv bench scaling

Forward and backward, float32; all sizes of a series take turns in the same rounds. An exponent below 1 says that a
fixed cost, or a better use of the processor, is in it; dense products grow with C², sums over edges with C.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import gconv
from benchmarks.contenders import step_of
from benchmarks.contest import rows_of
from benchmarks.harness import Options, Table, timed
from benchmarks.row import twins
from benchmarks.rows import ROWS
from benchmarks.single import random_edges
from gconv import Graph, grid_graph
from gconv.training.report import number_text

TITLE = "Scaling"
REPEATED = "{rounds} rounds"


@dataclass(frozen=True)
class Size:
    """What a step is made of; a series varies one of them."""

    B: int = 8
    N: int = 1024
    E: int = 16_384
    C: int = 32
    K: int = 3


@dataclass(frozen=True)
class Series:
    """A layer, and one size that grows; on grids (N cells) or on random graphs (E edges)."""

    layer: str
    varied: str
    sizes: tuple[int, ...]
    grid: bool = False

    @property
    def name(self) -> str:
        """As it stands in the table."""
        return f"{self.layer} against {self.varied}"


def _all_series() -> dict[str, Series]:
    found = []
    for layer in ("GCN", "GAT"):
        found += [
            Series(layer, "B", (2, 8, 32, 128), grid=True),
            Series(layer, "N", (256, 1024, 4096, 16_384), grid=True),
            Series(layer, "E", (8_192, 32_768, 131_072, 262_144)),
            Series(layer, "C", (16, 32, 64, 128, 256), grid=True),
        ]
    found += [Series(layer, "K", (2, 4, 8, 16, 32)) for layer in ("Cheb", "MoNet")]
    found += [Series("plan", "E", (8_192, 32_768, 131_072, 262_144))]
    return {series.name: series for series in found}


SERIES = _all_series()


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """The slope of log time against log size.

    >>> round(exponent([1, 2, 4], [3.0, 12.0, 48.0]), 6)
    2.0
    """
    xs, ys = [math.log(size) for size in sizes], [math.log(time) for time in times]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / sum((x - mean_x) ** 2 for x in xs)


def _step(series: Series, size: Size) -> Callable[[], object]:
    if series.grid:
        side = math.isqrt(size.N)
        graph = grid_graph((side, side), neighbors=8)
    else:
        edge_index = random_edges(size.N, size.E)
        graph = Graph(edge_index, size.N, edge_attr=torch.rand(size.E, 2))
    if series.layer == "plan":
        layer, x = gconv.GCNConv(1, 1), torch.zeros(size.N, 1, requires_grad=True)
        parts = graph.edge_index, graph.num_nodes
        return lambda: layer(x, Graph(*parts)).sum().backward()
    make = {
        "Cheb": lambda: gconv.ChebConv(size.C, size.C, size.K),
        "MoNet": lambda: gconv.GMMConv(size.C, size.C, 2, size.K),
    }.get(series.layer, lambda: twins(ROWS[series.layer], size.C, size.C)[0])
    x, gradient = torch.randn(2, size.B, graph.num_nodes, size.C).unbind()
    return step_of(make(), [x], [gradient], (graph,))


def measured(name: str, options: Options) -> dict[str, Any]:
    """One series."""
    torch.manual_seed(0)
    series = SERIES[name]
    sizes = series.sizes[:2] if options.quick else series.sizes
    base = Size(N=4096) if series.varied == "E" else Size()
    fixed = {key: value for key, value in vars(base).items() if key != series.varied}
    steps = {str(n): _step(series, Size(**{**fixed, series.varied: n})) for n in sizes}
    times = timed(steps, options, warmup=2)
    slope = exponent(sizes, [times[str(n)]["median"] for n in sizes])
    return {"varied": series.varied, "sizes": list(sizes), "milliseconds": times, "exponent": slope}


def run(options: Options) -> dict[str, Any]:
    """All series."""
    return rows_of(tuple(SERIES), options, partial(measured, options=options))


def tables(found: Mapping[str, Any]) -> list[Table]:
    """A line a series."""
    lines = []
    for row in found["rows"]:
        times = row["milliseconds"]
        sizes = ", ".join(f"{n:,}" for n in row["sizes"])
        medians = ", ".join(number_text(times[str(n)]["median"]) for n in row["sizes"])
        lines.append((row["name"], sizes, medians, f"{row['exponent']:.2f}"))
    base, edges = Size(), Size(N=4096)
    missing = {**found["missing"], **found["failed"]}
    notes = (
        f"The rest: B = {base.B}, N = {base.N:,} ({edges.N:,} against E), E = {base.E:,} (grids: 8 neighbours), "
        f"C = {base.C}. Plan: making the graph, its plan, and a step of one channel. "
        f"GAT: {ROWS['GAT'].settings}; Cheb and MoNet on random graphs.",
        *(f"Not in the table: {name}: {reason}." for name, reason in missing.items()),
    )
    return [Table("Time and size", ("series", "sizes", "ms", "exponent"), tuple(lines), notes)]
