"""The self-contained `report.html` of `gconv compare`: one file that opens offline, projects and prints.

A `Report` holds plain numbers and numpy arrays; `write` turns it into the page. No torch is needed for either.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from gconv import plotting
from gconv.training import files

MOST_DISAGREEMENTS = 24

MEASURED = (
    "Test accuracy: share of the held-out images classified correctly after the last epoch; mean ± sample standard "
    "deviation over the seeds.",
    "Milliseconds a step: forward, loss, backward and optimiser on one batch; after warm-up the networks are timed in "
    "interleaved rounds, so that a slow moment of the machine meets all of them. Median, below it the quartiles.",
    "Ratio: the median over the rounds of a network's time divided by the first row's time in the same round. "
    "The bar is proportional to it.",
    "Memory a step: on the CPU the bytes that autograd keeps for the backward pass, counted; on a GPU the allocator's "
    "peak. 1 MiB = 1,048,576 bytes.",
)


@dataclass(frozen=True)
class ReportRow:
    """A line of the table; `accuracies` is empty where the variant was timed only."""

    variant: str
    domain: str
    convolution: str
    parameters: int
    accuracies: tuple[float, ...]
    step_ms: float
    step_ms_quartiles: tuple[float, float]
    ratio: float
    step_bytes: int

    def __post_init__(self) -> None:
        if not all(0 <= accuracy <= 1 for accuracy in self.accuracies):
            raise ValueError(f"accuracies of {self.variant!r}: expected shares in 0..1, got {self.accuracies}")


@dataclass(frozen=True)
class Curve:
    """One variant trained with one seed; `seconds` are cumulative training seconds at the end of each epoch."""

    variant: str
    seed: int
    epochs: tuple[int, ...]
    seconds: tuple[float, ...]
    train_loss: tuple[float, ...]
    test_accuracy: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = tuple(map(len, (self.epochs, self.seconds, self.train_loss, self.test_accuracy)))
        if len(set(lengths)) != 1 or not lengths[0]:
            name = f"curve of {self.variant!r}, seed {self.seed}"
            raise ValueError(f"{name}: expected epochs, seconds, loss, accuracy of one length ≥ 1, got {lengths}")


@dataclass(frozen=True)
class Stage:
    """One step of a digit's travel: `pictures` is `(channels, height, width)`, after flatten `(values,)`."""

    name: str
    pictures: np.ndarray


@dataclass(frozen=True)
class Travel:
    """One test digit through one network, layer by layer."""

    variant: str
    label: int
    prediction: int
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Filters:
    """A first layer's filters `(filters, height, width)`; `kind` is "kernels" or "impulse responses"."""

    variant: str
    kind: str
    pictures: np.ndarray


@dataclass(frozen=True)
class Disagreement:
    """A test image on which the networks' predictions (variant → class) differ; `index` is its place in the set."""

    image: np.ndarray
    label: int
    predictions: Mapping[str, int]
    index: int


@dataclass(frozen=True)
class DomainDrawing:
    """The grid as a graph: `positions` `(N, 2)` (row, column), `edges` `(2, E)`; `image` shades the nodes."""

    size: tuple[int, int]
    positions: np.ndarray
    edges: np.ndarray
    title: str
    image: np.ndarray | None = None


@dataclass(frozen=True)
class Report:
    """All that the page shows. The first row is the network that the others are compared with.

    `published` lists `(method, accuracy, where)` as printed elsewhere; `test_images` is the test set's size;
    `measured` says, a sentence an entry, how the table's figures came about.
    """

    title: str
    subtitle: str
    command: str
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, Any]
    rows: tuple[ReportRow, ...]
    curves: tuple[Curve, ...]
    travels: tuple[Travel, ...]
    filters: tuple[Filters, ...]
    disagreements: tuple[Disagreement, ...]
    domain: DomainDrawing
    classes: tuple[str, ...]
    published: tuple[tuple[str, float, str], ...] = ()
    test_images: int | None = None
    measured: tuple[str, ...] = MEASURED


def write(report: Report, path: Path) -> None:
    """Write the page to `path`: whole or not at all, an older file stays until the new one is complete."""
    files.write(path, render(report))


def render(report: Report) -> str:
    """The page as a string; the same report gives the same string."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    if not report.rows:
        raise ValueError("rows: expected at least one, got none")
    parts = [*report.rows, *report.curves, *report.travels, *report.filters]
    colours = plotting.variant_colours(dict.fromkeys(part.variant for part in parts))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(accuracy=accuracy_text, number=number_text, value=_value_text)
    template = environment.from_string(resources.files("gconv.training").joinpath("report.html.j2").read_text("utf-8"))
    pictures = {f"case{case.index}": _picture(case, report.classes) for case in _hardest(report.disagreements)}
    figures = {**_learning(report.curves, colours), **_figures(report), **pictures}
    return template.render(
        report=report,
        colours=colours,
        figures={name: Markup(svg) for name, svg in figures.items()},
        headlines=_headlines(report.rows),
        filters=[(group, _cut_text(group)) for group in report.filters],
        disagreements=[(case, _answers(case)) for case in _hardest(report.disagreements)],
        palette={"ink": plotting.INK, "negative": plotting.NEGATIVE, "positive": plotting.POSITIVE},
    )


def accuracy_text(accuracies: tuple[float, ...]) -> str:
    """Mean ± sample standard deviation in percent; one run has no deviation, none is a dash.

    >>> accuracy_text((0.97, 0.99)), accuracy_text((0.975,)), accuracy_text(())
    ('98.00 ± 1.41 %', '97.50 %', '–')
    """
    if not accuracies:
        return "–"
    mean = f"{100 * statistics.fmean(accuracies):.2f}"
    return f"{mean} ± {100 * statistics.stdev(accuracies):.2f} %" if len(accuracies) > 1 else f"{mean} %"


def number_text(value: float) -> str:
    """Three significant digits without an exponent, thousands apart: 0.0314, 2.51, 40.2, 1,230."""
    rounded = float(f"{value:.2e}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}" if rounded else "0"


def _value_text(value: Any) -> str:
    """A setting in words: `{"a": [1, 2]}` as `a 1, 2`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value_text(entry)}" for key, entry in value.items())
    return ", ".join(map(_value_text, value)) if isinstance(value, (list, tuple)) else str(value)


def _headlines(rows: tuple[ReportRow, ...]) -> list[tuple[str, str, str]]:
    """Up to three large figures for the top of the page: (value, of which network, what)."""
    first, others = rows[0], rows[1:]
    trained = [row for row in others if row.accuracies]
    cards = [(accuracy_text(first.accuracies), first.variant, "test accuracy")] if first.accuracies else []
    if trained:
        best = max(trained, key=lambda row: statistics.fmean(row.accuracies))
        cards.append((accuracy_text(best.accuracies), best.variant, "best of the others"))
    if others:
        slowest = max(trained or others, key=lambda row: row.ratio)
        cards.append((f"{number_text(slowest.ratio)} ×", slowest.variant, f"slowest step, {first.variant} = 1"))
    return cards


def _learning(curves: tuple[Curve, ...], colours: Mapping[str, str]) -> dict[str, str]:
    """Accuracy against epoch and against seconds, and the loss; nothing where nothing was trained."""
    figures: dict[str, str] = {}
    for name, x_name, x_label, y_name, y_label in (
        ("epochs", "epochs", "epoch", "test_accuracy", "test accuracy (scale: logarithm of the error)"),
        ("seconds", "seconds", "training seconds", "test_accuracy", "test accuracy (scale: logarithm of the error)"),
        ("loss", "epochs", "epoch", "train_loss", "training loss"),
    ):
        runs: dict[str, list[plotting.Run]] = defaultdict(list)
        for curve in curves:
            runs[curve.variant].append((getattr(curve, x_name), getattr(curve, y_name)))
        if runs:
            labels, is_accuracy = {"x_label": x_label, "y_label": y_label}, y_name == "test_accuracy"
            drawn = plotting.curves(runs, **labels, accuracy=is_accuracy, colours=colours)
            text = f"{y_label.split(' (')[0]} against {x_label}: {', '.join(runs)}"
            figures[name] = plotting.to_svg(drawn, name=name, label=text)
    return figures


def _figures(report: Report) -> dict[str, str]:
    figures: dict[str, str] = {}
    for index, travel in enumerate(report.travels):
        stages = [(stage.name, stage.pictures) for stage in travel.stages]
        said = f"a {report.classes[travel.label]}, classified as {report.classes[travel.prediction]}"
        drawn, name = plotting.travel(stages, report.classes, travel.label), f"travel{index}"
        figures[name] = plotting.to_svg(drawn, name=name, label=f"Stages of {travel.variant}: {said}")
    for index, group in enumerate(report.filters):
        drawn, name = plotting.filters(_cut(group)), f"filters{index}"
        figures[name] = plotting.to_svg(drawn, name=name, label=f"First-layer {group.kind} of {group.variant}")
    drawing, image = report.domain, report.domain.image
    if image is not None and image.shape != drawing.size:
        raise ValueError(f"domain image: expected {drawing.size}, the grid's size, got {image.shape}")
    drawn = plotting.domain(drawing.positions, drawing.edges, values=None if image is None else image.ravel())
    figures["domain"] = plotting.to_svg(
        drawn, name="domain", label=f"{drawing.title}: nodes and edges, a part enlarged"
    )
    return figures


def _cut(group: Filters, share: float = 0.02) -> np.ndarray:
    """Impulse responses cut, all alike, with a margin of one, to where any reaches `share` of the largest."""
    pictures = group.pictures
    if group.kind != "impulse responses" or pictures.ndim != 3 or not pictures.any():
        return pictures
    reached = np.argwhere(np.abs(pictures).max(axis=0) >= share * np.abs(pictures).max())
    (top, left), (bottom, right) = np.maximum(reached.min(axis=0) - 1, 0), reached.max(axis=0) + 2
    return pictures[:, top:bottom, left:right]


def _cut_text(group: Filters) -> str:
    (count, height, width), shown, most = group.pictures.shape, _cut(group).shape[1:], plotting.MOST_PICTURES
    text = f"{shown[0]}×{shown[1]}" + (f" of {height}×{width}" if shown != (height, width) else "")
    return text + (f", first {most} of {count}" if count > most else "")


def _hardest(cases: tuple[Disagreement, ...]) -> list[Disagreement]:
    """At most 24, those first on which most networks are wrong."""

    def right(case: Disagreement) -> int:
        return sum(prediction == case.label for prediction in case.predictions.values())

    return sorted(cases, key=lambda case: (right(case), case.index))[:MOST_DISAGREEMENTS]


def _picture(case: Disagreement, classes: tuple[str, ...]) -> str:
    if case.image.ndim != 2:
        raise ValueError(f"test image {case.index}: expected (height, width), got {case.image.shape}")
    drawn, label = plotting.picture_grid(case.image[None]), f"test image {case.index}, a {classes[case.label]}"
    return plotting.to_svg(drawn, name=f"case{case.index}", label=label)


def _answers(case: Disagreement) -> list[tuple[int, list[str]]]:
    """Who said what: (class, variants), the right class first, then by number of votes."""
    said: dict[int, list[str]] = defaultdict(list)
    for variant, prediction in case.predictions.items():
        said[prediction].append(variant)
    return sorted(said.items(), key=lambda answer: (answer[0] != case.label, -len(answer[1]), answer[0]))
