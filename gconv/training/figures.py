"""Figures of a training run: losses and accuracies over the epochs, and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from gconv.plotting import HAIRLINE, INK, MUTED, POSITIVE
from gconv.training.session import Epoch

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NAMES = 30
_MOST_COUNTS = 20


def curves(history: Sequence[Epoch], best: int | None = None) -> Figure:
    """Training and validation loss, and accuracy, side by side over the epochs; `best` is marked.

    >>> len(curves([Epoch(1, 1.0, 0.5, 0.8, 0.6, 0.9, 0.1), Epoch(2, 2.0, 0.4, 0.9, 0.5, 0.9, 0.1)]).axes)
    2
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    _lines(left, "loss", [e.epoch for e in history], [e.train_loss for e in history], [e.test_loss for e in history])
    _lines(
        right,
        "accuracy, %",
        [e.epoch for e in history],
        [_percent(e.train_accuracy) for e in history],
        [_percent(e.test_accuracy) for e in history],
    )
    for axes in (left, right):
        if best is not None:
            axes.axvline(best, color=MUTED, linewidth=0.9, linestyle=":")
            axes.text(best, 1.0, " best", transform=axes.get_xaxis_transform(), va="top", fontsize=10, color=MUTED)
    return figure


def confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """The confusion matrix: rows are the true classes, shares of a row as ink, counts as numbers where they fit.

    >>> figure = confusion(np.array([[9, 1], [0, 4]]), ("cat", "dog"))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['9', '1', '4']
    """
    from matplotlib.figure import Figure

    counts = np.asarray(counts)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(3.2 + 0.36 * len(counts), 11.0)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    # Roots, so that a few confused images among thousands can be seen.
    axes.imshow(np.sqrt(shares), cmap="Greys", vmin=0, vmax=1, interpolation="none")
    axes.set_xlabel("taken for", fontsize=12, color=INK)
    axes.set_ylabel("truly", fontsize=12, color=INK)
    if len(counts) <= _MOST_NAMES:
        axes.set_xticks(range(len(counts)), classes, rotation=90 if max(map(len, classes)) > 2 else 0)
        axes.set_yticks(range(len(counts)), classes)
    if len(counts) <= _MOST_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                shade = "white" if shares[row, column] > 0.3 else POSITIVE if row != column else INK
                axes.text(column, row, f"{count}", ha="center", va="center", fontsize=8, color=shade)
    axes.tick_params(colors=MUTED, length=0)
    for spine in axes.spines.values():
        spine.set_color(HAIRLINE)
    return figure


def _lines(
    axes: Axes, title: str, epochs: Sequence[int], train: Sequence[float | None], held_out: Sequence[float | None]
) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, values, colour in (("training", train, MUTED), ("validation", held_out, "#0b72c4")):
        points = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if value is not None]
        if points:
            style = {"marker": "o", "markersize": 3.5} if len(points) < 40 else {}
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.8, label=name, **style)
    axes.set_title(title, loc="left", fontsize=12, color=INK)
    axes.set_xlabel("epoch", fontsize=11, color=INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(True, color="#e4e8ed", linewidth=0.9)
    axes.tick_params(colors=MUTED, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(HAIRLINE)
    axes.legend(frameon=False, fontsize=10, labelcolor=INK)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
