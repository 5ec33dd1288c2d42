"""A graph that is used once: sorting its edges first, against sums that need no plan.

    gconv bench single_use

One signal of 64 channels, forward and backward by the signal, weighted edges, and every round another graph: planned (a
`Graph`, checked and sorted, then the row-gather), without a plan (`index_select` and `index_add`, the portable form),
and the planned sum on a graph whose plan stands.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import Options, Table, ratio, timed
from benchmarks.showing import time_text
from gconv import Graph, propagate
from gconv.domains.structure import Structure
from gconv.training.report import number_text

TITLE = "Graphs used once"
REPEATED = "{rounds} rounds"
SIZES = {"small": (2_000, 20_000), "medium": (10_000, 160_000), "large": (100_000, 1_600_000)}
WIDTH = 64


def contenders(nodes: int, edges: int) -> dict[str, Callable[[], object]]:
    """A step each; those that meet a new graph draw it from a list made beforehand."""
    x, weight = torch.randn(nodes, WIDTH, requires_grad=True), torch.rand(edges)
    known = Graph(torch.randint(nodes, (2, edges)), nodes)

    def gradient(y: Tensor) -> None:
        torch.autograd.grad(y, x, x.detach())

    def fresh() -> Tensor:
        return torch.randint(nodes, (2, edges))

    def planned() -> None:
        gradient(propagate(x, Graph(fresh(), nodes), weight))

    def without() -> None:
        source, target = fresh()
        gradient(propagate(x, Structure(source, target, nodes, nodes), weight, form="portable"))

    def again() -> None:
        fresh()  # as the others do
        gradient(propagate(x, known, weight))

    return {"planned": planned, "without a plan": without, "plan at hand": again}


def run(options: Options) -> dict[str, Any]:
    """All sizes."""
    sizes = {name: size for name, size in SIZES.items() if options.wants(name)}
    sizes = dict(list(sizes.items())[:1]) if options.quick else sizes
    rows = {}
    for name, (nodes, edges) in sizes.items():
        torch.manual_seed(0)
        rows[name] = {"nodes": nodes, "edges": edges, "milliseconds": timed(contenders(nodes, edges), options)}
        options.say(f"{name}: " + ", ".join(f"{k} {v['median']:.3g} ms" for k, v in rows[name]["milliseconds"].items()))
    return {"rows": rows}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """One table."""
    lines = []
    for row in found["rows"].values():
        times = row["milliseconds"]
        gain = ratio(times["without a plan"], times["planned"])
        size = f"{row['nodes']:,} nodes, {row['edges']:,} edges"
        lines.append((size, *(time_text(entry) for entry in times.values()), number_text(gain)))
    headings = ("graph", "planned, ms (quartiles)", "without a plan", "plan at hand", "without / planned")
    return [Table("One sum, forward and backward, on a graph seen once", headings, tuple(lines))]
