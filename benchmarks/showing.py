"""Tables of layers, from the JSON of a contest: ours, the floor, PyG's ways, ratios, targets, and what is met.

What is asked of a layer, whether its equation has dense products, and what stands for PyG's layer, are read from its
row in `benchmarks.rows`; all else, settings included, from the JSON.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.contest import COMPILED
from benchmarks.expected import NOTHING, Judged, optional
from benchmarks.harness import Table, ratio
from benchmarks.row import Row, Target
from benchmarks.rows import ROWS
from gconv.training.report import number_text

MARK = "‡"
FLOOR, PYG = "ours / floor", "PyG's best / ours"
_OURS = ("ours", "floor", COMPILED)


def fastest(times: Mapping[str, Mapping[str, Any]]) -> str | None:
    """PyG's fastest way among the contenders; None if none stands.

    >>> fastest({"ours": {"median": 1}, "static": {"median": 3}, "sparse CSR": {"median": 2}})
    'sparse CSR'
    """
    theirs = {name: entry["median"] for name, entry in times.items() if name not in _OURS}
    return min(theirs, key=lambda name: theirs[name]) if theirs else None


def over_floor(row: Mapping[str, Any], ours: str = "ours") -> float | None:
    """How many times the floor a layer takes; None where its equation has no products, or none were timed.

    >>> times = {"ours": {"rounds": [4.0], "median": 4.0}, "floor": {"rounds": [2.0], "median": 2.0}}
    >>> over_floor({"name": "GCN", "milliseconds": times}), over_floor({"name": "APPNP", "milliseconds": times})
    (2.0, None)
    """
    times = row["milliseconds"]
    return ratio(times[ours], times["floor"]) if "floor" in times and ROWS[row["name"]].products(1, 1) else None


def gain(row: Mapping[str, Any], ours: str = "ours") -> float | None:
    """How many times as long PyG's fastest way takes; None if none stands."""
    best = fastest(row["milliseconds"])
    return ratio(row["milliseconds"][best], row["milliseconds"][ours]) if best else None


def marked(name: str) -> str:
    """A row's name, marked where something stands for PyG's layer.

    >>> marked("GCN"), marked("Spline 9")
    ('GCN', 'Spline 9 ‡')
    """
    return name if ROWS[name].stand_in is None else f"{name} {MARK}"


def layers(
    title: str,
    part: Mapping[str, Any],
    ways: Sequence[str],
    asked: Callable[[Row], Target],
    median: float | None = None,
) -> Table:
    """A line a layer.

    Args:
        part: as `rows_of` gives it; each row with `plan` (milliseconds) where that was measured.
        ways: PyG's, a column each.
        asked: what is asked of a row here.
        median: what is asked of the median over PyG's layers; None for nothing.
    """
    lines, judged = [], []
    for row in part["rows"]:
        target = asked(ROWS[row["name"]])
        contenders = {"ours": (marked(row["name"]), target)}
        if COMPILED in row["milliseconds"]:
            contenders[COMPILED] = f"{marked(row['name'])}, compiled", Target(floor=target.compiled)
        for ours, (label, bound) in contenders.items():
            verdicts = _judged(label, row, ours, bound)
            judged += verdicts
            lines.append(_line(label, row, ours, ways, verdicts))
    headings = ("layer", "ours, ms (quartiles)", "floor", FLOOR, "at most", *ways, PYG, "at least", "met")
    if any("plan" in row for row in part["rows"]):
        lines = [(*line, number_text(row["plan"])) for line, row in zip(lines, part["rows"], strict=True)]
        headings = (*headings, "plan, ms")
    said = notes(part)
    gains = {row["name"]: gain(row) for row in part["rows"] if ROWS[row["name"]].stand_in is None}
    known = {name: value for name, value in gains.items() if value is not None}
    if median is not None and known:
        middle = Judged(f"median of {PYG}", "all layers", statistics.median(known.values()), median, least=True)
        slower = ", ".join(name for name, value in known.items() if value < 1) or "none"
        said = (
            f"Median of {PYG} over the {len(known)} lines of PyG's layers: {optional(middle.came)}; at least "
            f"{optional(median)}: {middle.met}. Slower than PyG: {slower}.",
            *said,
        )
        judged.append(middle)
    judged.append(repeatable(part))
    return Table(title, headings, tuple(lines), said, judged=tuple(judged))


def repeatable(part: Mapping[str, Any]) -> Judged:
    """Every layer gives the same bits in every run."""
    uneven = sum(not row["bit_equal"] for row in part["rows"])
    return Judged("layers that are not bit-equal from run to run", "all layers", uneven, 0)


def _judged(label: str, row: Mapping[str, Any], ours: str, target: Target) -> list[Judged]:
    """A line beside its floor, and beside PyG."""
    theirs = PYG if ROWS[row["name"]].stand_in is None else f"plain torch's best / ours {MARK}"
    return [
        Judged(FLOOR, label, over_floor(row, ours), target.floor),
        Judged(theirs, label, gain(row, ours), target.pyg, least=True),
    ]


def _line(
    label: str, row: Mapping[str, Any], ours: str, ways: Sequence[str], verdicts: Sequence[Judged]
) -> tuple[str, ...]:
    times = row["milliseconds"]
    best = fastest(times)
    above, theirs = verdicts
    reached = {"floor": above.reached, "PyG" if theirs.figure == PYG else "plain torch": theirs.reached}
    short = [word for word, fine in reached.items() if fine is False]
    return (
        label,
        time_text(times[ours]),
        number_text(times["floor"]["median"]) if "floor" in times else NOTHING,
        optional(above.came),
        optional(above.asked),
        *(_way_text(way, best, row) for way in ways),
        optional(theirs.came),
        optional(theirs.asked),
        f"no: {', '.join(short)}" if short else "yes" if True in reached.values() else NOTHING,
    )


def time_text(entry: Mapping[str, Any]) -> str:
    """A median with its quartiles, and a tilde where they lie far apart.

    >>> time_text({"median": 2.0, "quartiles": [1.5, 2.5], "noisy": True})
    '2.00 (1.50 – 2.50) ~'
    """
    low, high = map(number_text, entry["quartiles"])
    return f"{number_text(entry['median'])} ({low} – {high}){' ~' if entry['noisy'] else ''}"


def _way_text(way: str, best: str | None, row: Mapping[str, Any]) -> str:
    if way not in row["milliseconds"]:
        return NOTHING
    marks = "\\*" * (way in row["scaled_from"]) + "†" * (way in row["once"])
    text = number_text(row["milliseconds"][way]["median"]) + marks
    return f"**{text}**" if way == best else text


def notes(part: Mapping[str, Any]) -> tuple[str, ...]:
    """What the marks of a table mean, and why something is not in it."""
    rows, found = part["rows"], []
    scaled = [f"{r['name']}, {way}: {n}" for r in rows for way, n in r["scaled_from"].items()]
    if scaled:
        found.append(f"\\* measured on so many signals, to fit in memory, and scaled up: {'; '.join(scaled)}.")
    if any(row["once"] for row in rows):
        found.append("† measured once, since it takes so long.")
    if any(entry["noisy"] for row in rows for entry in row["milliseconds"].values()):
        found.append("~ quartiles apart by more than a quarter of the median.")
    reasons: dict[str, list[str]] = {}
    for row in rows:
        for way, reason in row["left_out"].items():
            reasons.setdefault(f"{way}: {reason}", []).append(row["name"])
    found += [f"– {reason} ({', '.join(names)})." for reason, names in reasons.items()]
    found += [f"Not in the table: {name}: {reason}." for name, reason in part["missing"].items()]
    found += [f"Failed: {name}: {reason}." for name, reason in part["failed"].items()]
    uneven = [row["name"] for row in rows if not row["bit_equal"]]
    if uneven:
        found.append(f"Not bit-equal from run to run: {', '.join(uneven)}.")
    return (*found, *stand_ins([row["name"] for row in rows]))


def stand_ins(names: Sequence[str]) -> tuple[str, ...]:
    """What the mark of a stand-in means, for the rows that have it.

    >>> stand_ins(["GCN"])
    ()
    """
    found: dict[str, list[str]] = {}
    for row in (ROWS[name] for name in names):
        if row.stand_in is not None:
            told = f"PyG's {row.layer} needs {row.stand_in.package}: {row.stand_in.layer.__name__}"
            found.setdefault(told, []).append(row.name)
    return tuple(
        f"{MARK} Against plain torch, not PyG. {told} of this repository (`benchmarks/plain.py`), the same equation as "
        f"one would write it, stands for it in PyG's ways, and counts in no median over PyG ({', '.join(rows)})."
        for told, rows in found.items()
    )


def settings(rows: Iterable[Mapping[str, Any]]) -> str:
    """What the layers were made with, a line each.

    >>> print(settings([{"name": "GCN", "settings": ""}, {"name": "Cheb 3", "settings": "K = 3"}]))
    Made with:
    <BLANKLINE>
    - GCN: the defaults
    - Cheb 3: K = 3
    """
    found = {row["name"]: row["settings"] or "the defaults" for row in rows}
    return "\n".join(("Made with:", "", *(f"- {name}: {text}" for name, text in found.items())))


def with_settings(tables: Sequence[Table], rows: Iterable[Mapping[str, Any]]) -> list[Table]:
    """The tables, with the settings of their rows below the last."""
    *others, last = tables
    return [*others, replace(last, notes=(*last.notes, settings(rows)))]
