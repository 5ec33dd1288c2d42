"""One row of a table of layers: ours, the floor, and each of PyG's ways, checked against each other and then timed.

The first way is the reference: PyG's layer on one signal at a time, or on the only one. Ours must agree with it, or
nothing is timed; a way of PyG's that fails, or gives other numbers, is left out and says why. Of several variants of a
way (sparse CSR: block-diagonal or one by one) the faster one is timed. A way that would not fit in memory runs on fewer
signals and is scaled up; one that takes very long is measured once.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from benchmarks.contenders import EXACT_TOLERANCE, Result, Step, bit_equal, disagreement, step_of
from benchmarks.edges import Edges
from benchmarks.harness import SLOW_SECONDS, Options, record, seconds, timed
from benchmarks.row import Row
from gconv import Graph

MEMORY = 8 * 2**30  # what one step of PyG's may hold, as estimated
ONE_BY_ONE, BLOCK, STATIC, CSR = "one by one", "block-diagonal", "static", "sparse CSR"
COMPILED = "ours, compiled"


class DisagreementError(Exception):
    """Ours does not give PyG's numbers: there is nothing to time."""


@dataclass(frozen=True)
class Way:
    """One way to run PyG's layer: its column, how to make a step on so many signals, on how many, which variant."""

    name: str
    build: Callable[[int], Step]
    signals: int
    variant: str = ""


def arguments(row: Row, edges: Edges, csr: bool = False) -> tuple[Any, ...]:
    """What PyG's layer is called with, after the signal."""
    first = edges.csr() if csr else edges.edge_index
    if row.dim:
        return first, edges.attr
    return (first,) if csr or edges.weight is None else (first, edges.weight)


def batch_ways(row: Row, theirs: Callable[[], Module], edges: Edges, x: Tensor, gradient: Tensor) -> list[Way]:
    """PyG's ways for a batch `(B, N, C)` on one graph: one by one, block-diagonal, static, sparse CSR.

    Args:
        theirs: makes PyG's layer. edges: of one graph, as this layer takes them. gradient: of the loss by the output.
    """
    batch = x.shape[0]
    held = 4 * edges.edge_index.shape[1] * row.held(x.shape[2], gradient.shape[2])
    fits = batch
    while fits > 1 and held * fits > MEMORY:
        fits //= 2

    def loop(csr: bool) -> Callable[[int], Step]:
        given = arguments(row, edges, csr)
        return lambda count: step_of(theirs(), list(x[:count]), list(gradient[:count]), given)

    def block(csr: bool) -> Callable[[int], Step]:
        def build(count: int) -> Step:
            given = arguments(row, edges.copies(count), csr)
            return step_of(theirs(), [x[:count].flatten(0, 1)], [gradient[:count].flatten(0, 1)], given)

        return build

    def static(count: int) -> Step:
        if not row.static:
            raise ValueError(f"PyG's {row.layer} takes one signal (N, C) only")
        return step_of(theirs(), [x[:count]], [gradient[:count]], arguments(row, edges))

    return [
        Way(ONE_BY_ONE, loop(False), batch),
        Way(BLOCK, block(False), fits),
        Way(STATIC, static, fits),
        Way(CSR, loop(True), batch, ONE_BY_ONE),
        Way(CSR, block(True), fits, BLOCK),
    ]


def single_ways(
    row: Row, theirs: Callable[[], Module], edges: Edges, x: Tensor, gradient: Tensor, data: str = ""
) -> list[Way]:
    """PyG's ways for one signal `(N, C)`: `edge_index`, and sparse CSR.

    Args:
        data: what to call `x` where it is data, without a gradient.
    """

    def build(csr: bool) -> Callable[[int], Step]:
        return lambda count: step_of(theirs(), [x], [gradient], arguments(row, edges, csr), not data)

    prefix = f"{data} x, " if data else ""
    return [Way(f"{prefix}edge_index", build(False), 1), Way(f"{prefix}{CSR}", build(True), 1)]


def prove(row: Row, ours: Module, theirs: Callable[[], Module], graph: Graph, edges: Edges, x: Tensor) -> None:
    """Hold a layer with kinks to PyG's in float64, on signals `(B, N, C)`, where rounding decides nothing.

    Raises:
        DisagreementError: if it does not give PyG's numbers.
    """
    if not row.kinks:
        return
    original, exact = theirs().double(), edges.double()
    signals, layer = x.double(), copy.deepcopy(ours).double()
    with torch.no_grad():
        gradient = torch.randn_like(layer(signals, graph))
    truth = step_of(original, list(signals), list(gradient), arguments(row, exact))()
    fault = disagreement(step_of(layer, [signals], [gradient], (graph,))(), truth, tolerance=EXACT_TOLERANCE)
    if fault:
        raise DisagreementError(f"ours differs from PyG in float64: {fault}")


def contest(
    ours: Step,
    ways: Sequence[Way],
    batch: int,
    options: Options,
    floor: Callable[[], None] | None = None,
    compiled: Step | None = None,
    kinks: bool = False,
) -> dict[str, Any]:
    """Check all contenders, then time them in turn.

    Args:
        ours: on the whole batch. ways: PyG's, the reference first. floor, compiled: contenders beside ours.
        kinks: see `disagreement`.

    Raises:
        DisagreementError: if ours does not give the reference's numbers.
    """
    truth = {batch: ways[0].build(batch)()}
    result = ours()
    fault = disagreement(result, truth[batch], kinks)
    if fault:
        raise DisagreementError(f"ours differs from PyG: {fault}")
    repeated = bit_equal(result, ours())
    del result
    steps: dict[str, Callable[[], object]] = {"ours": ours}
    left_out: dict[str, str] = {}
    if floor is not None:
        steps["floor"] = floor
    if compiled is not None:
        reason, _ = _trial(compiled, truth[batch], kinks)
        left_out |= {COMPILED: reason} if reason else {}
        steps |= {} if reason else {COMPILED: compiled}
    stand: dict[str, tuple[float, Way, Step]] = {}
    for way in ways:
        if way.signals not in truth:
            truth[way.signals] = ways[0].build(way.signals)()
        step, reason, taken = None, "", 0.0
        try:
            step = way.build(way.signals)
        except Exception as error:  # whatever PyG says to a way that it does not know
            reason = _said(error)
        if step is not None:
            reason, taken = _trial(step, truth[way.signals], kinks)
        if step is None or reason:
            left_out[way.name] = reason
        elif way.name not in stand or taken / way.signals < stand[way.name][0] / stand[way.name][1].signals:
            stand[way.name] = taken, way, step
    truth.clear()
    quick = {name: step for name, (taken, _, step) in stand.items() if taken <= SLOW_SECONDS}
    found = timed({**steps, **quick}, options)
    for name, (taken, way, _) in stand.items():
        times = found[name]["rounds"] if name in quick else (1e3 * taken,)
        found[name] = record(tuple(times), batch / way.signals)
    return {
        "milliseconds": found,
        "bit_equal": repeated,
        "left_out": {name: reason for name, reason in left_out.items() if name not in stand},
        "scaled_from": {name: way.signals for name, (_, way, _) in stand.items() if way.signals != batch},
        "once": [name for name in stand if name not in quick],
        "variants": {name: way.variant for name, (_, way, _) in stand.items() if way.variant},
    }


def _trial(step: Step, expected: Result, kinks: bool) -> tuple[str, float]:
    """Why a step cannot stand, or '' and how many seconds it takes: once warm, unless that would take too long."""
    try:
        began = time.perf_counter()
        result = step()
        taken = time.perf_counter() - began
        fault = disagreement(result, expected, kinks)
        if fault:
            return f"gives other numbers: {fault}", 0.0
        del result
        return "", taken if taken > SLOW_SECONDS else seconds(step)
    except Exception as error:  # whatever PyG, or a compiler, says
        return _said(error), 0.0


def _said(error: Exception) -> str:
    text = " ".join(str(error).split()).partition(". ")[0]
    text = text if len(text) <= 140 else text[:140] + " …"
    plain = (ValueError, LookupError, DisagreementError)
    return text if type(error) in plain else f"{type(error).__name__}: {text}"


def rows_of(names: Sequence[str], options: Options, measured: Callable[[str], Mapping[str, Any]]) -> dict[str, Any]:
    """The rows of these names that are wanted; which are missing, since gconv lacks the layer; which have failed.

    A row that fails leaves the others standing: what an hour of measuring has found is not thrown away.
    """
    rows, missing, failed = [], {}, {}
    for name in filter(options.wants, names):
        try:
            found = measured(name)
        except LookupError as error:
            missing[name] = _said(error)
            options.say(f"{name} left out: {missing[name]}")
        except Exception as error:  # ours is at fault, and the command says so with its exit code
            failed[name] = _said(error)
            options.say(f"{name} FAILED: {failed[name]}")
        else:
            rows.append({"name": name, **found})
            times = (f"{way} {entry['median']:.3g}" for way, entry in found["milliseconds"].items())
            options.say(f"{name}: {', '.join(times)} ms")
    return {"rows": rows, "missing": missing, "failed": failed}
