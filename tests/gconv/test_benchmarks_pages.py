"""What the benchmarks' pages say is what their JSON says: tables, verdicts, stand-ins, medians, footers."""

import dataclasses
import json

import pytest
import torch

from benchmarks import contest, expected, harness, showing, tables
from benchmarks.harness import NAMES, Options
from benchmarks.row import LATER, Target
from benchmarks.rows import GRID, ROWS, SINGLE

QUIET = Options(quick=True, say=lambda _: None)


def entry(*rounds):
    return harness.record(rounds)


def test_tables_say_what_is_met():
    row = {
        "name": "GAT",
        "milliseconds": {
            "ours": entry(4.0, 4.0, 8.0),
            contest.COMPILED: entry(2.0, 2.0, 2.0),
            "floor": entry(1.0, 1.0, 1.0),
            "static": entry(10.0, 10.0, 16.0),
            "sparse CSR": entry(9.0, 9.0, 9.0),
        },
        "left_out": {"block-diagonal": "no memory"},
        "scaled_from": {"static": 16},
        "once": [],
        "bit_equal": False,
    }
    part = {"rows": [row], "missing": {"GIN": "gconv has no GINConv"}, "failed": {"TAG": "ours differs"}}
    asked = Target(pyg=2.0, floor=3.5, compiled=2.0)
    table = showing.layers("T", part, ("block-diagonal", "static", "sparse CSR"), lambda _: asked)
    first, second = (dict(zip(table.headings, cells, strict=True)) for cells in table.rows)
    assert first["ours / floor"] == "4.00"
    assert first["PyG's best / ours"] == "2.25"
    assert (first["sparse CSR"], first["static"], first["block-diagonal"]) == ("**9.00**", "10.0\\*", "–")
    assert first["met"] == "no: floor"
    assert second["layer"] == "GAT, compiled"
    assert (second["ours / floor"], second["at most"], second["met"]) == ("2.00", "2.00", "yes")
    notes = "\n".join(table.notes)
    for words in ("GAT, static: 16", "no memory (GAT)", "no GINConv", "Failed: TAG", "Not bit-equal", "~"):
        assert words in notes


def timed_row(name, ours, floor, theirs):
    times = {"ours": entry(ours), "floor": entry(floor), "static": entry(theirs)}
    about = {"settings": "", "left_out": {}, "scaled_from": {}, "once": [], "bit_equal": True}
    return {"name": name, "milliseconds": times, **about}


def test_what_stands_for_pyg_is_marked_and_in_no_median():
    given = {"GCN": 3.0, "SAGE": 0.5, "GIN": 5.0, "Spline 9": 100.0, "APPNP": 4.0}
    rows = [timed_row(name, 1.0, 0.5, gain) for name, gain in given.items()]
    part = {"rows": rows, "missing": {}, "failed": {}}
    table = showing.layers("T", part, ("static",), lambda row: row.target, median=4.0)
    lines = {cells[0]: dict(zip(table.headings, cells, strict=True)) for cells in table.rows}
    assert lines.keys() == {"GCN", "SAGE", "GIN", "Spline 9 ‡", "APPNP"}
    assert lines["GCN"]["ours / floor"] == "2.00"
    assert lines["Spline 9 ‡"]["met"] == "yes"
    slow = showing.layers(
        "T", {**part, "rows": [timed_row("Spline 9", 1.0, 0.5, 0.9)]}, ("static",), lambda r: r.target
    )
    assert slow.rows[0][-1] == "no: plain torch"
    assert lines["APPNP"]["ours / floor"] == "–"  # no product, no floor to be compared with
    # Of 0.5, 3, 4 and 5, and not of Spline's 100.
    assert table.notes[0].startswith(
        "Median of PyG's best / ours over the 4 lines of PyG's layers: 3.50; at least 4.00: no"
    )
    assert table.notes[0].endswith("Slower than PyG: SAGE.")
    (told,) = (note for note in table.notes if note.startswith("‡"))
    assert "PyG's SplineConv needs pyg-lib: PlainSplineConv of this repository" in told
    assert told.endswith("(Spline 9).")
    figures = {judged.figure for judged in table.judged if judged.name == "Spline 9 ‡"}
    assert figures == {"ours / floor", "plain torch's best / ours ‡"}
    short = tables.markdown(showing.with_settings([table], rows)[0])
    assert "- GCN: the defaults" in short


def test_what_is_reached_is_said_claim_by_claim():
    parts = [
        {"width": width, "rows": [timed_row(name, 1.0, 1.0, gain) for name, gain in gains.items()]}
        for width, gains in ((32, {"GCN": 2.0, "SG": 0.9}), (64, {"GCN": 1.2, "SG": 1.1}))
    ]
    for part in parts:
        part |= {"missing": {}, "failed": {}}
    lines = tables.verdicts({"layers_grid": {"side": 28, "batch": 64, "tables": parts}, "cora": None}).splitlines()
    title = "| Layers on a shared grid | PyG's best / ours "
    assert f"{title}| ≥ 1.20 | GCN | – |" in lines
    assert f"{title}| ≥ 1.00 | – | SG: **0.900**, 1.10 |" in lines
    assert (
        "| Layers on a shared grid | median of PyG's best / ours | ≥ 4.00 | – | all layers: **1.45**, **1.15** |"
        in lines
    )


def test_bounds_hold_unrounded():
    assert expected.Judged("a", "b", 1.4004, 1.4).met == "no"
    assert expected.Judged("a", "b", 1.1996, 1.2, least=True).met == "no"
    assert expected.Judged("a", "b", 1.2, 1.2, least=True).met == expected.Judged("a", "b", 1.2, 1.2).met == "yes"
    assert expected.Judged("a", "b", None, 1.2).met == expected.Judged("a", "b", 1.2, None).met == "–"


def test_later_layers_are_asked_the_same():
    first = {"GCN", "SAGE", "GIN", "TAG", "Cheb 3", "Cheb 25", "ARMA", "FeaSt", "GAT", "GATv2", "EdgeConv", "NNConv"}
    first |= {"MoNet 9", "MoNet 25", "MoNet 25, general graph"}
    assert {name for name in GRID if ROWS[name].target == LATER} == set(GRID) - first


def test_targets_cover_every_layer_of_the_table():
    assert set(GRID) | set(SINGLE) == set(ROWS)
    for name in GRID:
        assert ROWS[name].target != Target(), name
    for name in SINGLE:
        assert ROWS[name].single.pyg is not None, name


def test_pages_are_those_of_the_results():
    page, readme = tables.PAGE.read_text(), tables.README.read_text()
    assert tables.with_tables(page) == page
    assert tables.with_short(readme) == readme
    assert "## Expectations and what came" in page


def test_pages_are_filled_from_json_and_markers_are_needed(tmp_path):
    found = harness.measure("layers_grid", dataclasses.replace(QUIET, out=tmp_path, rows=("GCN",)))
    path = tmp_path / "layers_grid.json"
    path.write_text(json.dumps({**found, "quick": False, "partial": False}))
    filled = tables.with_tables(tables.PAGE.read_text(), tmp_path)
    assert "| GCN | " in filled
    assert f"torch {torch.__version__.partition('+')[0]}" in filled
    assert filled.count("Not measured yet") == len(NAMES) - 1
    assert "| GCN | " in tables.with_short(tables.README.read_text(), tmp_path)
    assert tables.with_tables(filled, tmp_path) == filled
    with pytest.raises(ValueError, match="lacks the markers"):
        tables.with_short("no markers", tmp_path)


def test_studies_say_how_often_and_not_how_quiet():
    found = json.loads((harness.RESULTS / "cora.json").read_text())
    assert found["methods"][0]["runs"][19]["seed"] == 19
    assert tables.made_by(found).endswith("; 20 seeds.")
    assert "`gconv bench cora --out benchmarks/results`" in tables.made_by(found)
