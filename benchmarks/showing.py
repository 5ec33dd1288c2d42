"""Tables of layers, from the JSON of a contest: ours, the floor, PyG's ways, ratios, targets, and what is met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.contest import COMPILED
from benchmarks.harness import Table, ratio
from benchmarks.row import Target
from gconv.training.report import number_text

NOTHING = "–"
_OURS = ("ours", "floor", COMPILED)


def fastest(times: Mapping[str, Mapping[str, Any]]) -> str | None:
    """PyG's fastest way among the contenders; None if none stands.

    >>> fastest({"ours": {"median": 1}, "static": {"median": 3}, "sparse CSR": {"median": 2}})
    'sparse CSR'
    """
    theirs = {name: entry["median"] for name, entry in times.items() if name not in _OURS}
    return min(theirs, key=lambda name: theirs[name]) if theirs else None


def layers(title: str, part: Mapping[str, Any], ways: Sequence[str]) -> Table:
    """A line a layer.

    Args:
        part: as `rows_of` gives it; each row with `target`, and with `plan` (milliseconds) where that was measured.
        ways: PyG's, a column each.
    """
    lines = []
    for row in part["rows"]:
        lines.append(_line(row["name"], row["milliseconds"], "ours", Target(**row["target"]), ways, row))
        if COMPILED in row["milliseconds"]:
            target = Target(floor=row["target"]["compiled"])
            lines.append(_line(f"{row['name']}, compiled", row["milliseconds"], COMPILED, target, ways, row))
    headings = (
        "layer",
        "ours, ms (quartiles)",
        "floor",
        "ours / floor",
        "at most",
        *ways,
        "PyG's best / ours",
        "at least",
        "met",
    )
    if any("plan" in row for row in part["rows"]):
        lines = [(*line, number_text(row["plan"])) for line, row in zip(lines, part["rows"], strict=True)]
        headings = (*headings, "plan, ms")
    return Table(title, headings, tuple(lines), notes(part))


def _line(
    name: str,
    times: Mapping[str, Mapping[str, Any]],
    ours: str,
    target: Target,
    ways: Sequence[str],
    row: Mapping[str, Any],
) -> tuple[str, ...]:
    best = fastest(times)
    above = ratio(times[ours], times["floor"]) if "floor" in times else None
    gain = ratio(times[best], times[ours]) if best else None
    short = [
        word
        for word, asked, fine in (
            ("floor", target.floor, above is not None and target.floor is not None and above <= target.floor),
            ("PyG", target.pyg, gain is not None and target.pyg is not None and gain >= target.pyg),
        )
        if asked is not None and not fine
    ]
    asked = target.floor is not None or target.pyg is not None
    met = NOTHING if not asked else f"no: {', '.join(short)}" if short else "yes"
    return (
        name,
        time_text(times[ours]),
        number_text(times["floor"]["median"]) if "floor" in times else NOTHING,
        optional(above),
        optional(target.floor),
        *(_way_text(way, best, row) for way in ways),
        optional(gain),
        optional(target.pyg),
        met,
    )


def optional(number: float | None) -> str:
    """A figure, or a dash.

    >>> optional(1.234), optional(None)
    ('1.23', '–')
    """
    return NOTHING if number is None else number_text(number)


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
    return tuple(found)
