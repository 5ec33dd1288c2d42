"""Write the tables of `benchmarks/README.md`, and the short one of `README.md`, from the committed JSON.

    gconv bench --out benchmarks/results      # measures, writes results/NAME.json
    python -m benchmarks.tables               # writes what stands between the markers of both pages, and figures

So the pages cannot drift from what was measured, tables, medians and verdicts alike; a test holds them to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.expected import NOTHING, Judged, optional
from benchmarks.harness import NAMES, RESULTS, ROOT, Table, module, quiet
from benchmarks.showing import fastest, gain, marked, over_floor, stand_ins
from gconv import plotting
from gconv.training import files
from gconv.training.report import number_text

PAGE, README = ROOT / "benchmarks" / "README.md", ROOT / "README.md"
SHORT, VERDICTS = "benchmarks", "verdicts"
PUBLISH = f"--out {RESULTS.relative_to(ROOT)}"
SETTINGS = (
    "What the layers were made with, what was asked of them, and all of PyG's ways: "
    "[Layers on a shared grid](benchmarks/README.md#layers-on-a-shared-grid)."
)
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
        raise ValueError(
            f"{path} is of a {'quick' if found['quick'] else 'partial'} run: run gconv bench {name} {PUBLISH}"
        )
    return found


def section(name: str, found: Mapping[str, Any] | None) -> str:
    """All tables of a claim, and what they were made by."""
    if found is None:
        return f"Not measured yet: `gconv bench {name} {PUBLISH}`."
    shown = [markdown(table) for table in module(name).tables(found)]
    shown += [f"![{module(name).TITLE}](results/{name}.svg)"] if name in FIGURES else []
    return "\n\n".join([*shown, made_by(found)])


def made_by(found: Mapping[str, Any]) -> str:
    """On what, with what, how often, and how quiet it was."""
    machine, versions = found["machine"], found["versions"]
    noise = "" if quiet(found) else "; **the machine was not quiet**"
    repeated = module(found["claim"]).REPEATED.format(**found)
    return (
        f"Made by `{found['command']} {PUBLISH}` in {found['seconds']:.0f} s: {machine['processor']}, "
        f"{machine['threads']} threads, torch {versions['torch']}, PyG {versions['torch-geometric']}; "
        f"{repeated}{noise}."
    )


def short(found: Mapping[str, Any] | None) -> str:
    """The README's table: layers on the shared grid, at the largest width."""
    if found is None:
        return section("layers_grid", None)
    part = found["tables"][-1]
    lines = []
    for row in part["rows"]:
        median, best = number_text(row["milliseconds"]["ours"]["median"]), fastest(row["milliseconds"])
        ratios = optional(over_floor(row)), optional(gain(row))
        lines.append((marked(row["name"]), median, *ratios, best or NOTHING))
    headings = ("layer", "ms", "× floor", "PyG's best / ours", "PyG's best way")
    size = f"{found['side']}×{found['side']} grid, {found['batch']} signals, {part['width']} → {part['width']} channels"
    title = f"Forward and backward on one shared graph: {size}"
    notes = (*stand_ins([row["name"] for row in part["rows"]]), SETTINGS)
    return f"{markdown(Table(title, headings, tuple(lines), notes))}\n\n{made_by(found)}"


def verdicts(claims: Mapping[str, Mapping[str, Any] | None]) -> str:
    """What was asked, claim by claim, and of what it is reached and of what not, with the figures that fall short.

    Args:
        claims: JSON by name; None of what has not been measured.
    """
    asked: dict[tuple[str, str, str], dict[str, list[Judged]]] = {}
    for name, found in claims.items():
        for judged in [one for table in (module(name).tables(found) if found else ()) for one in table.judged]:
            if judged.reached is not None:
                of = asked.setdefault((module(name).TITLE, judged.figure, judged.asking), {})
                of.setdefault(judged.name, []).append(judged)
    lines = []
    heads = list(dict.fromkeys(key[:2] for key in asked))  # all that is asked of a figure stands together
    for (title, figure, asking), of in sorted(asked.items(), key=lambda entry: heads.index(entry[0][:2])):
        reached = [name for name, figures in of.items() if all(one.reached for one in figures)]
        missed = [f"{name}: {_figures(figures)}" for name, figures in of.items() if name not in reached]
        lines.append((title, figure, asking, "; ".join(reached) or NOTHING, "; ".join(missed) or NOTHING))
    headings = ("claim", "figure", "asked", "reached", "not reached")
    return markdown(Table("What was asked, and what came", headings, tuple(lines), words=5))


def _figures(figures: Sequence[Judged]) -> str:
    return ", ".join(optional(one.came) if one.reached else f"**{optional(one.came)}**" for one in figures)


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
    """`benchmarks/README.md` with the tables of all claims, and what was asked of them."""
    claims = {name: read(name, folder) for name in NAMES}
    for name, found in claims.items():
        page = between(page, name, section(name, found))
    return between(page, VERDICTS, verdicts(claims))


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
        files.write(path, filled(path.read_text()))
    for name in FIGURES:
        found = read(name)
        if found is not None:
            files.write(RESULTS / f"{name}.svg", drawn(name, found))


if __name__ == "__main__":
    main()
