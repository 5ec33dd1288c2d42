"""Write the tables of `benchmarks/README.md`, and the short one of `README.md`, from the committed JSON.

    gconv bench                      # measures, writes results/NAME.json
    python -m benchmarks.tables      # writes what stands between the markers of both pages, and figures

So the pages cannot drift from what was measured; a test holds them to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import NAMES, RESULTS, ROOT, Table, module, ratio
from benchmarks.showing import NOTHING, fastest, optional
from gconv import plotting
from gconv.training.report import number_text

PAGE, README = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
SHORT = "benchmarks"
FIGURES = ("degradation",)  # claims that have a figure beside their tables


def markdown(table: Table) -> str:
    """A table as Markdown.

    >>> print(markdown(Table("Two", ("name", "ms"), (("a", "1.0"),), ("A note.",))))
    **Two**
    <BLANKLINE>
    | name | ms |
    |---|--:|
    | a | 1.0 |
    <BLANKLINE>
    A note.
    """
    marks = ["---" if number < table.words else "--:" for number in range(len(table.headings))]
    lines = [f"**{table.title}**", "", f"| {' | '.join(table.headings)} |", f"|{'|'.join(marks)}|"]
    lines += [f"| {' | '.join(cells)} |" for cells in table.rows]
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines)


def read(name: str, folder: Path = RESULTS) -> dict[str, Any] | None:
    """The JSON of a claim; None if it has not been measured.

    Raises:
        ValueError: for a quick or partial run, which is no result.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text())
    if found["quick"] or found["partial"]:
        raise ValueError(f"{path} is of a {'quick' if found['quick'] else 'partial'} run: run gconv bench {name}")
    return found


def section(name: str, found: Mapping[str, Any] | None) -> str:
    """All tables of a claim, and what they were made by."""
    if found is None:
        return f"Not measured yet: `gconv bench {name}`."
    shown = [markdown(table) for table in module(name).tables(found)]
    shown += [f"![{module(name).TITLE}](results/{name}.svg)"] if name in FIGURES else []
    return "\n\n".join([*shown, made_by(found)])


def made_by(found: Mapping[str, Any]) -> str:
    """On what, with what, and how quiet it was."""
    machine, versions = found["machine"], found["versions"]
    noise = "" if found["calibration"]["quiet"] else "; **the machine was not quiet**"
    return (
        f"Made by `{found['command']}` in {found['seconds']:.0f} s: {machine['processor']}, {machine['threads']} "
        f"threads, torch {versions['torch']}, PyG {versions['torch-geometric']}; {found['rounds']} rounds{noise}."
    )


def short(found: Mapping[str, Any] | None) -> str:
    """The README's table: layers on the shared grid, at the largest width."""
    if found is None:
        return section("layers_grid", None)
    part = found["tables"][-1]
    lines = []
    for row in part["rows"]:
        times = row["milliseconds"]
        best = fastest(times)
        gain = ratio(times[best], times["ours"]) if best else None
        floor = ratio(times["ours"], times["floor"])
        median = number_text(times["ours"]["median"])
        lines.append((row["name"], median, optional(floor), optional(gain), best or NOTHING))
    headings = ("layer", "ms", "× floor", "PyG's best / ours", "PyG's best way")
    size = f"{found['side']}×{found['side']} grid, {found['batch']} signals, {part['width']} → {part['width']} channels"
    title = f"Forward and backward on one shared graph: {size}"
    return f"{markdown(Table(title, headings, tuple(lines)))}\n\n{made_by(found)}"


def between(page: str, name: str, text: str) -> str:
    """The page with `text` between the markers of `name`.

    Raises:
        ValueError: if the markers are missing.

    >>> page = "<!-- a: begin (python -m benchmarks.tables) -->old<!-- a: end -->"
    >>> between(page, "a", "new").splitlines()[1]
    'new'
    """
    begin, end = f"<!-- {name}: begin (python -m benchmarks.tables) -->", f"<!-- {name}: end -->"
    head, marker, rest = page.partition(begin)
    _, closing, tail = rest.partition(end)
    if not marker or not closing:
        raise ValueError(f"the page lacks the markers {begin} and {end}")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def with_tables(page: str, folder: Path = RESULTS) -> str:
    """`benchmarks/README.md` with the tables of all claims."""
    for name in NAMES:
        page = between(page, name, section(name, read(name, folder)))
    return page


def with_short(page: str, folder: Path = RESULTS) -> str:
    """`README.md` with the short table."""
    return between(page, SHORT, short(read("layers_grid", folder)))


def drawn(name: str, found: Mapping[str, Any]) -> str:
    """The figure of a claim as SVG, on white, since pages may be dark."""
    claim = module(name)
    svg = plotting.to_svg(claim.figure(found), name=name, label=claim.TITLE)
    return svg.replace(">", '><rect width="100%" height="100%" fill="white"/>', 1) + "\n"


def main() -> None:
    """Write both pages, and the figures."""
    pages: dict[Path, Callable[[str], str]] = {PAGE: with_tables, README: with_short}
    for path, filled in pages.items():
        path.write_text(filled(path.read_text()))
    for name in FIGURES:
        found = read(name)
        if found is not None:
            (RESULTS / f"{name}.svg").write_text(drawn(name, found))


if __name__ == "__main__":
    main()
