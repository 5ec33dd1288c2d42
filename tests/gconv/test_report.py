"""The page that `gconv compare` leaves: self-contained, complete, escaped, whole or not at all."""

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

from gconv.training import report as module
from gconv.training.report import Curve, Disagreement, DomainDrawing, Filters, Report, ReportRow, Stage, Travel

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

VARIANTS = ("grid", "directional", "cheb", "monet", "gcn", "spectral", "mlp", "linear")
SIDE = 6


class Page(HTMLParser):
    """Every tag with its attributes, and the visible text of each table cell, row by row."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.words, self._cell, self._open = [], [], [], None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self._cell = []
            self.rows[-1].append(self._cell)
        self._open = tag

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._open not in ("style", "svg") and data.strip():
            self.words.append(data.strip())
            if self._cell is not None:
                self._cell.append(data.strip())

    def attributes(self, name):
        return [found[name] for _, found in self.tags if name in found]


def disagreement(index, label, **predictions):
    return Disagreement(np.eye(SIDE), label, predictions, index)


def make_report(**changes):
    rng = np.random.default_rng(0)
    row = ReportRow("grid", "grid 6×6", "Conv2d 5×5", 61706, (0.97, 0.99), 12.345, (12.0, 13.06), 1.0, 3 * 2**20 // 2)
    rows = [replace(row, variant=name, ratio=1.0 + place) for place, name in enumerate(VARIANTS)]
    forced = replace(row, variant="directional (gather)", accuracies=(), ratio=16.0, step_ms=1234.5)
    trained = [(name, seed, tuple(rng.uniform(0.5, 0.99, 3))) for name in VARIANTS for seed in (0, 1)]
    curves = tuple(Curve(name, seed, (1, 2, 3), (0.5, 1.0, 1.5), (2.0, 1.0, 0.5), y) for name, seed, y in trained)
    shapes = {"input": (1, SIDE, SIDE), "conv 5×5 → 6": (6, SIDE, SIDE), "flatten": 20, "linear → 10": 10}
    stages = tuple(Stage(name, rng.normal(size=shape)) for name, shape in shapes.items())
    kernels, responses = rng.normal(size=(6, 5, 5)), np.zeros((20, 19, 19))
    responses[:, 7:10, 8:11] = rng.uniform(0.5, 1, (20, 3, 3))
    positions = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1).reshape(-1, 2)
    settings = {
        **{"title": "One recipe", "subtitle": "two seeds", "command": "gconv compare --seeds 2"},
        **{"settings": {"batch_size": 64, "seeds": [0, 1]}, "machine": {"cores": 2}, "versions": {"torch": "2.13.0"}},
        **{"rows": (rows[0], rows[1], forced, *rows[2:]), "curves": curves},
        "travels": (Travel("grid", 7, 7, stages), Travel("cheb", 7, 1, stages)),
        "filters": (Filters("grid", "kernels", kernels), Filters("cheb", "impulse responses", responses)),
        "disagreements": (disagreement(11, 7, grid=7, cheb=1, gcn=7), disagreement(5, 3, grid=8, cheb=5, gcn=3)),
        "domain": DomainDrawing(
            (SIDE, SIDE), positions, np.arange(72).reshape(36, 2).T[:, :18], "36 nodes", np.eye(SIDE)
        ),
        "classes": tuple("0123456789"),
        "test_images": 1360,
    }
    return Report(**{**settings, **changes})


@pytest.fixture(scope="module")
def html():
    return module.render(make_report())


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.mark.parametrize(
    ("accuracies", "text"),
    [((0.97, 0.99), "98.00 ± 1.41 %"), ((0.9, 0.9, 0.96), "92.00 ± 3.46 %"), ((0.975,), "97.50 %"), ((), "–")],
)
def test_accuracy_is_mean_and_sample_deviation_in_percent(accuracies, text):
    assert module.accuracy_text(accuracies) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.03144, "0.0314"), (1, "1.00"), (9.999, "10.0"), (40.16, "40.2"), (999.6, "1,000"), (1234.5, "1,230")],
)
def test_numbers_have_three_significant_digits(value, text):
    assert module.number_text(value) == text


def test_nothing_is_loaded_from_elsewhere(html, page):
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {tag for tag, _ in page.tags}
    targets = page.attributes("src") + page.attributes("href") + page.attributes("xlink:href")
    assert targets
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    assert not re.search(r"@import|@font-face|url\((?!#)", html)
    assert set(re.findall(r"https?://[^\"\s<]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_ids_are_unique_and_every_reference_resolves(html, page):
    identifiers = Counter(page.attributes("id"))
    assert [name for name, count in identifiers.items() if count > 1] == []
    references = {target[1:] for target in page.attributes("href") + page.attributes("xlink:href") if target[0] == "#"}
    references |= set(re.findall(r"url\(#([^)]+)\)", html))
    assert len(references) > 7
    assert references <= set(identifiers)


def test_every_figure_is_there_and_says_what_it_shows(page):
    figures = [found for tag, found in page.tags if tag == "svg"]
    assert all(found["role"] == "img" for found in figures)
    names = ", ".join(VARIANTS)
    assert [found["aria-label"] for found in figures] == [
        f"test accuracy against epoch: {names}",
        f"test accuracy against training seconds: {names}",
        f"training loss against epoch: {names}",
        "Stages of grid: a 7, classified as 7",
        "Stages of cheb: a 7, classified as 1",
        "First-layer kernels of grid",
        "First-layer impulse responses of cheb",
        "test image 5, a 3",
        "test image 11, a 7",
        "36 nodes: nodes and edges, a part enlarged",
    ]


def test_the_table_says_every_value_with_its_unit(page):
    header, *rows = page.rows
    assert [" ".join(cell) for cell in header] == [
        *("network", "domain", "convolution", "parameters", "test accuracy", "time a step", "ratio to grid"),
        "memory a step",
    ]
    cells = [[" ".join(cell) for cell in row] for row in rows]
    assert [row[0] for row in cells] == ["grid", "directional", "directional (gather)", *VARIANTS[2:]]
    assert cells[0] == [
        *("grid", "grid 6×6", "Conv2d 5×5", "61,706", "98.00 ± 1.41 % 2 seeds", "12.3 ms 12.0 – 13.1", "1.00 ×"),
        "1.50 MiB",
    ]
    assert cells[2][4:7] == ["– timed only", "1,230 ms 12.0 – 13.1", "16.0 ×"]


def test_bars_are_proportional_to_the_ratio(html):
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%;background", html)]
    assert widths == [6.25, 12.5, 100.0, 18.75, 25.0, 31.25, 37.5, 43.75, 50.0]


def test_the_headlines_leave_out_what_was_only_timed(page):
    top = page.words[: page.words.index("One recipe, several convolutions")]
    assert ("8.00 ×" in top, "16.0 ×" in top) == (True, False)


def test_how_it_was_measured_stands_below_and_can_be_replaced(html):
    assert all(sentence.replace("'", "&#39;") in html for sentence in module.MEASURED)
    other = module.render(make_report(measured=("Counted by hand.",)))
    assert ("Counted by hand." in other, module.MEASURED[0] in other) == (True, False)


def test_one_variant_has_one_colour_in_table_and_figures(html):
    drawn = html[html.index("<figure><h3>What an epoch") :]
    for name, colour in module.plotting.variant_colours(VARIANTS).items():
        assert f'style="background:{colour}"></span>{name}<' in html
        assert f"stroke: {colour}" in drawn


def test_published_figures_stand_apart(html):
    assert "As published" not in html
    other = Page(module.render(make_report(published=(("LeNet-5", 0.9905, "LeCun 1998"),))))
    assert "As published, not measured here" in other.words
    assert [" ".join(cell) for cell in other.rows[-1]] == ["LeNet-5", "99.05 %", "LeCun 1998"]


def test_filters_settings_machine_versions_and_command_are_there(html, page):
    assert "kernels, 5×5" in page.words
    assert "impulse responses, 5×5 of 19×19, first 16 of 20" in page.words  # cut to where they live
    text = " ".join(page.words)
    assert all(part in text for part in ("batch size 64", "seeds 0, 1", "cores 2", "torch 2.13.0"))
    assert "<code>gconv compare --seeds 2</code>" in html


HOSTILE = "<script>alert('x')</script>\"&"


def test_what_comes_from_outside_is_escaped():
    given = make_report()
    row = replace(given.rows[0], variant=HOSTILE, domain=HOSTILE, convolution=HOSTILE)
    hostile = replace(
        given,
        **dict.fromkeys(("title", "subtitle", "command"), HOSTILE),
        settings={HOSTILE: HOSTILE},
        rows=(row, *given.rows),
        curves=(replace(given.curves[0], variant=HOSTILE),),
        travels=(replace(given.travels[0], variant=HOSTILE, stages=(Stage(HOSTILE, np.ones(10)),)),),
        filters=(replace(given.filters[0], variant=HOSTILE, kind=HOSTILE),),
        disagreements=(Disagreement(np.eye(SIDE), 1, {HOSTILE: 2, "grid": 1}, 0),),
        domain=replace(given.domain, title=HOSTILE),
        classes=(HOSTILE,) * 10,
        published=((HOSTILE, 0.5, HOSTILE),),
    )
    page = Page(module.render(hostile))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.words.count(HOSTILE) >= 12  # the parser decodes it: escaped once, not twice
    assert any(HOSTILE in label for label in page.attributes("aria-label"))


def test_the_same_report_gives_the_same_page(html):
    assert module.render(make_report()) == html


def test_disagreements_name_who_said_what_and_mark_the_wrong_in_words(html, page):
    assert "On <b>2</b> of 1,360 test images" in html
    cases = re.findall(r'<li class="(right|wrong)">.*?aria-label="(\w+)">(.)</span><b>(\d)</b> ([^<]*)</li>', html)
    assert [" ".join(case[1:]) for case in cases] == [
        *("right ✓ 3 gcn", "wrong ✗ 5 cheb", "wrong ✗ 8 grid"),  # image 5
        *("right ✓ 7 grid, gcn", "wrong ✗ 1 cheb"),  # image 11
    ]
    assert all(style == spoken for style, spoken, *_ in cases)


def test_at_most_24_disagreements_are_drawn_the_hardest_first_and_all_counted():
    easy = [disagreement(index, 1, grid=1, cheb=2, gcn=1) for index in range(30)]
    hard = disagreement(99, 1, grid=3, cheb=2, gcn=3)
    text = module.render(make_report(disagreements=(*easy, hard)))
    shown = [int(index) for index in re.findall(r"<small>no\. (\d+)</small>", text)]
    assert shown == [99, *range(23)]
    assert "On <b>31</b>" in text
    assert "Shown: 24," in text


def test_what_there_is_none_of_is_said():
    text = module.render(make_report(disagreements=(), curves=(), travels=(), filters=()))
    assert "None: the networks say the same on every test image (1,360)." in text
    assert all(part in text for part in ("No network was trained.", "No travel was recorded.", "No filters were"))
    assert not re.search('class="cases"|against epoch|Stages of|First-layer', text)


def test_write_leaves_the_page_and_nothing_else(tmp_path, html):
    path = tmp_path / "report.html"
    path.write_text("old")
    module.write(make_report(), path)
    assert path.read_text(encoding="utf-8") == html
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("old", [None, "old"])
@pytest.mark.parametrize("culprit", ["render", "replace"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, old, culprit):
    path = tmp_path / "report.html"
    if old:
        path.write_text(old)
    fail = Mock(side_effect=OSError("no"))
    monkeypatch.setattr(module if culprit == "render" else Path, culprit, fail)
    with pytest.raises(OSError, match="no"):
        module.write(make_report(), path)
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == ({"report.html": old} if old else {})


def test_impossible_parts_are_refused():
    with pytest.raises(ValueError, match=r"'grid': expected shares in 0\.\.1, got \(97\.0,\)"):
        replace(make_report().rows[0], accuracies=(97.0,))
    with pytest.raises(ValueError, match=r"'grid', seed 1: expected .* got \(1, 1, 1, 2\)"):
        Curve("grid", 1, (1,), (0.1,), (2.0,), (0.5, 0.6))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": ()}, "rows: expected at least one"),
        ({"domain": replace(make_report().domain, image=np.eye(5))}, r"expected \(6, 6\).*got \(5, 5\)"),
        ({"disagreements": (Disagreement(np.ones(4), 1, {"grid": 1}, 3),)}, r"test image 3: .*got \(4,\)"),
    ],
)
def test_a_report_that_cannot_be_drawn_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        module.render(make_report(**changes))
