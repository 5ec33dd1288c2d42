"""Figures of signals, filters, learning curves and domains, from plain arrays.

Each function returns a `matplotlib.figure.Figure` made through the object interface: no pyplot, no global state, no
window. `to_svg` makes text of it for an HTML page. Matplotlib is imported where it is used.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, HAIRLINE, NEGATIVE, POSITIVE = "#16202e", "#586474", "#c3cad3", "#0f4c81", "#b23a12"
MOST_PICTURES = 16

_VARIANT_COLOURS = {
    **{"grid": INK, "directional": "#0b72c4", "cheb": "#c8460e", "monet": "#0d8060", "gcn": "#a03a92"},
    **{"spectral": "#957000", "mlp": "#66707d", "linear": "#8f98a5"},
}
_SPARE_COLOURS = ("#0e7490", "#b4233c", "#5b4bb3", "#5f6b1a", "#8a4b2a", "#33691e")
_ACCURACY_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9998, 0.9999)

Run = tuple[Sequence[float], Sequence[float]]


def variant_colours(names: Iterable[str]) -> dict[str, str]:
    """One colour a variant, the same in every figure; `"directional (gather)"` shares `"directional"`'s."""
    colours, ordered = dict(_VARIANT_COLOURS), list(names)
    for base in (name.split(" (")[0] for name in ordered):
        colours.setdefault(base, _SPARE_COLOURS[(len(colours) - len(_VARIANT_COLOURS)) % len(_SPARE_COLOURS)])
    return {name: colours[name.split(" (")[0]] for name in ordered}


def curves(
    runs: Mapping[str, Sequence[Run]], *, x_label: str, y_label: str, accuracy: bool, colours: Mapping[str, str]
) -> Figure:
    """Learning curves: per variant a bold mean and a thin line a run, labelled at the right edge.

    Args:
        runs: variant → its runs (one a seed), each a pair `(x, y)` of equally long sequences. Where variants end more
            than a factor of four apart, and `x > 0`, the horizontal axis is logarithmic and its label says so.
        x_label: what stands under the horizontal axis.
        y_label: what stands over the vertical axis.
        accuracy: `y` lies in 0..1 and its *error* `1 - y` is drawn on a logarithmic axis, better upwards: 99 %
            against 98 % shows as plainly as 60 % against 20 %. A run without any error stands at the top edge.
        colours: variant → colour, as from `variant_colours`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, MaxNLocator, StrMethodFormatter

    lines = {name: [_checked_run(name, run, accuracy) for run in group] for name, group in runs.items()}
    if not lines or not all(lines.values()):
        raise ValueError(f"runs: expected at least one variant and one run for each, got {dict(runs)!r}")
    x_values, y_values = (np.concatenate([run[axis] for group in lines.values() for run in group]) for axis in (0, 1))
    last = [float(x[-1]) for group in lines.values() for x, _ in group]
    smallest = float(np.min(1 - y_values, initial=1.0, where=y_values < 1))

    def height(y: Any) -> Any:
        return -np.log10(np.maximum(1 - np.asarray(y), smallest / 2)) if accuracy else np.asarray(y)

    gutter = min(0.45 + 0.1 * max(map(len, lines)), 2.6)
    figure = Figure(figsize=(6.9, 4.9))
    axes = figure.add_axes((0.1, 0.13, 0.9 - gutter / 6.9, 0.78))
    ends: dict[str, tuple[float, float]] = {}
    for order, (name, group) in enumerate(lines.items()):
        length = min(len(x) for x, _ in group)
        x, y = (np.mean([run[axis][:length] for run in group], axis=0) for axis in (0, 1))
        for run_x, run_y in group if len(group) > 1 else ():
            axes.plot(run_x, height(run_y), color=colours[name], linewidth=0.8, alpha=0.4, zorder=2)
        width, ends[name] = 2.2 if order else 4.6, (float(x[-1]), float(height(y[-1])))
        axes.plot(x, height(y), color=colours[name], linewidth=width, solid_capstyle="round", zorder=3)
        axes.plot(*ends[name], color=colours[name], marker="o", markersize=width + 3, zorder=4)
    axes.xaxis.set_major_locator(MaxNLocator(6, min_n_ticks=1, integer=bool(np.all(x_values == np.round(x_values)))))
    if max(last) > 4 * min(last) and x_values.min() > 0:
        axes.set_xscale("log", subs=[])
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        x_label += " (logarithmic)"
    if accuracy:
        above = [1.0] if y_values.max() == 1 else [t for t in _ACCURACY_TICKS if 0.6 * smallest < 1 - t < smallest][:1]
        marks = [t for t in _ACCURACY_TICKS if y_values.min() <= t <= 1 - smallest] + above
        axes.set_yticks([float(height(t)) for t in marks], [f"{100 * t:g} %" for t in marks])
        axes.set_ylim(height(y_values.min()) - 0.06, height(max([y_values.max(), *above])) + 0.06)
    figure.text(0.002, 0.995, y_label, va="top", fontsize=13.5, color=INK)
    axes.set_xlabel(x_label, fontsize=13.5, color=INK, labelpad=6)
    axes.grid(True, color="#e4e8ed", linewidth=0.9)
    axes.tick_params(colors=MUTED, labelsize=12.5, length=0, pad=6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(HAIRLINE)
    _label_ends(axes, ends, colours)
    return figure


def picture_grid(pictures: np.ndarray, *, columns: int = 8, signed: bool = False, scale: bool = False) -> Figure:
    """Pictures `(count, height, width)` on one scale, around 0 if `signed` or negative; `scale` draws it."""
    stack = np.asarray(pictures, dtype=float)
    if stack.ndim != 3 or not stack.size or columns < 1:
        raise ValueError(f"expected pictures (count, height, width) and columns ≥ 1, got {stack.shape} and {columns}")
    across, style = min(columns, len(stack)), _style(stack, signed)
    tall, right = 0.92 * stack.shape[1] / stack.shape[2], float(across)
    figure, axes = _canvas(right + (0.95 if scale else -0.06), -(-len(stack) // across) * (tall + 0.08) - 0.06)
    for index, picture in enumerate(stack):
        _place(axes, picture, (index % across + 0.01, index // across * (tall + 0.08) + 0.01, 0.92, tall), style)
    if scale:
        low, high = style["vmin"], style["vmax"]
        _place(axes, np.linspace(high, low, 64)[:, None], (right + 0.08, 0.01, 0.13, tall), style)
        for value, at, align in ((high, 0.01, "top"), ((low + high) / 2, tall / 2, "center"), (low, tall, "bottom")):
            text = f"{value:+.2g}".replace("-", "−") if value else "0"
            axes.text(right + 0.29, at, text, va=align, fontsize=12, color=MUTED)
    return figure


def filters(pictures: np.ndarray, *, columns: int = 6) -> Figure:
    """The first 16 kernels or impulse responses of `(count, height, width)`: one scale, white is 0, ends in a bar."""
    return picture_grid(np.asarray(pictures)[:MOST_PICTURES], columns=columns, signed=True, scale=True)


def travel(stages: Sequence[tuple[str, np.ndarray]], classes: Sequence[str] = (), label: int | None = None) -> Figure:
    """One signal through a network: a row a stage, each on a scale of its own where white is 0.

    Args:
        stages: `(name, values)` from the input on; values are feature maps `(channels, height, width)`, of which
            the first 16 are drawn, or a vector: a strip, and at the end, with one value a class, bars.
        classes, label: the classes' names, and which of them is the true one.
    """
    if not stages:
        raise ValueError("stages: expected at least one, got none")
    left, wide, gap, top = 1.62, 5.36, 0.06, 0.01
    figure, axes = _canvas(left + wide + 0.02, 1.0)
    for position, (name, stage) in enumerate(stages):
        values = np.asarray(stage, dtype=float)
        if values.ndim not in (1, 3) or not values.size:
            raise ValueError(f"stage {name!r}: expected (channels, height, width) or (values,), got {values.shape}")
        maps = values[:MOST_PICTURES] if values.ndim == 3 else values[None, None]
        across = len(maps) if len(maps) <= 6 else -(-len(maps) // 2)
        cell = min((wide + gap) / across - gap, 1.3 if across == 1 else 1.0) if values.ndim == 3 else wide
        tall = cell * maps.shape[1] / maps.shape[2] if values.ndim == 3 else 0.34
        if position == len(stages) - 1 and values.shape == (len(classes),):
            tall, maps = 1.45, maps[:0]
            _bars(axes, values, classes, label, (left, top, wide, 0.93))
        for index, picture in enumerate(maps):
            place = left + index % across * (cell + gap), top + index // across * (tall + gap)
            _place(axes, picture, (*place, cell, tall), _style(values))
        shape = " × ".join(map(str, values.shape)) if values.ndim == 3 else f"{len(values)} values"
        shape += f"\nfirst {MOST_PICTURES} shown" if values.ndim == 3 and len(values) > MOST_PICTURES else ""
        title = textwrap.fill(name.replace("→ ", "→\N{NO-BREAK SPACE}"), 14)
        axes.text(0, top + tall / 2, title, va="bottom", fontsize=12.5, fontweight="bold", color=INK)
        axes.text(0, top + tall / 2 + 0.05, shape, va="top", fontsize=11.5, color=MUTED)
        top += max(1, -(-len(maps) // across)) * (tall + gap) + 0.18
    figure.set_size_inches(left + wide + 0.02, top - 0.2)
    axes.set_ylim(top - 0.2, 0)
    return figure


def domain(positions: np.ndarray, edges: np.ndarray, *, values: np.ndarray | None = None) -> Figure:
    """A graph at its nodes' positions, and beside it a part enlarged, with one node's neighbourhood marked.

    Args:
        positions: `(num_nodes, 2)`, row and column as on a picture: the first coordinate runs downwards.
        edges: `(2, num_edges)`; both directions of an edge are drawn as one line, self-loops not at all.
        values: `(num_nodes,)`, the nodes' shades. The enlarged part is where they vary most, else the first corner.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import ConnectionPatch, Rectangle

    points, links = np.asarray(positions, dtype=float), np.asarray(edges)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"positions: expected (num_nodes, 2) with num_nodes ≥ 1, got {points.shape}")
    if links.shape[:1] != (2,) or links.ndim != 2 or not np.isin(links, np.arange(len(points))).all():
        raise ValueError(f"edges: expected (2, num_edges) with indices in 0..{len(points) - 1}, got {links.shape}")
    shades = np.zeros(len(points)) if values is None else np.asarray(values, dtype=float)
    if shades.shape != (len(points),):
        raise ValueError(f"values: expected ({len(points)},), one a node, got {shades.shape}")
    points = points[:, ::-1]
    links = np.unique(np.sort(links[:, links[0] != links[1]].astype(int), axis=0), axis=1)
    lengths = np.linalg.norm(points[links[0]] - points[links[1]], axis=1)
    spacing = float(np.median(lengths)) if lengths.any() else 1.0
    low, high = points.min(axis=0) - 0.7 * spacing, points.max(axis=0) + 0.7 * spacing
    size = float((high - low).max())
    side = min(7 * spacing, size)
    corners = np.clip(points[:: -(-len(points) // 500)] - side / 2, low, np.maximum(high - side, low))
    spread = [shades[((points >= corner) & (points <= corner + side)).all(axis=1)].std() for corner in corners]
    corner = corners[int(np.argmax(spread))]
    chosen = int(np.argmin(np.linalg.norm(points - corner - side / 2, axis=1)))
    around = links[:, (links == chosen).any(axis=0)]
    figure = Figure(figsize=(12.4, 6.2))
    whole, part = figure.add_axes((0.0, 0.0, 0.5, 1.0)), figure.add_axes((0.558, 0.06, 0.44, 0.88))
    for axes, start, extent, across in ((whole, low, size, 446.0), (part, corner, side, 393.0)):
        unit = across * spacing / extent  # one edge length in printer's points
        axes.set(xlim=(start[0], start[0] + extent), ylim=(start[1] + extent, start[1]), xticks=[], yticks=[])
        for pairs, colour, thick in ((links, "#a9b3bf", 0.035), (around, POSITIVE, 0.075)):
            if axes is part or pairs is links:
                trace = np.full((pairs.shape[1], 3, 2), np.nan)
                trace[:, :2] = points[pairs].transpose(1, 0, 2)
                axes.plot(*trace.reshape(-1, 2).T, color=colour, linewidth=thick * unit + 0.2, zorder=1)
        rim: dict[str, Any] = {"linewidths": 0.03 * unit, "edgecolors": "#7a8696"}
        axes.scatter(*points.T, s=(0.56 * unit) ** 2, c=shades, **rim, **_style(shades))
        if axes is part:
            ring = np.union1d(around, chosen)
            rim = {"linewidths": 0.06 * unit, "edgecolors": POSITIVE}
            axes.scatter(*points[ring].T, s=(np.where(ring == chosen, 0.8, 0.56) * unit) ** 2, c="none", **rim)
    part.spines[:].set(color=POSITIVE, linewidth=1.6)
    whole.axis("off")
    whole.add_patch(Rectangle(tuple(corner), side, side, fill=False, edgecolor=POSITIVE, linewidth=2, zorder=5))
    for fraction, down in ((1.0, 0.0), (0.0, side)):
        joint = ((corner[0] + side, corner[1] + down), (0, fraction), "data", "axes fraction")
        figure.add_artist(ConnectionPatch(*joint, axesA=whole, axesB=part, color=POSITIVE, linewidth=1))
    return figure


def to_svg(figure: Figure, *, name: str = "figure", label: str = "") -> str:
    """The same `<svg>` on every call; `name` keeps ids on a page apart, `label` is what a screen reader says."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "gconv", "svg.fonttype": "none", "image.composite_image": False}):
        figure.savefig(buffer, format="svg", transparent=True)
    svg = re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1).strip()


def _checked_run(name: str, run: Run, accuracy: bool) -> tuple[np.ndarray, np.ndarray]:
    x, y = (np.asarray(values, dtype=float) for values in run)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ValueError(f"run of {name!r}: expected x and y of one length ≥ 1, got {x.shape} and {y.shape}")
    if accuracy and not ((y >= 0) & (y <= 1)).all():
        raise ValueError(f"run of {name!r}: expected accuracies in 0..1, got {y.min():g}..{y.max():g}")
    return x, y


def _label_ends(axes: Axes, ends: Mapping[str, tuple[float, float]], colours: Mapping[str, str]) -> None:
    """Write each line's name in the right margin, apart from each other, with a thin line back to its end."""
    points = {name: axes.transAxes.inverted().transform(axes.transData.transform(end)) for name, end in ends.items()}
    names = sorted(points, key=lambda name: points[name][1])
    ramp = 0.062 * np.arange(len(names))
    free = np.array([points[name][1] for name in names]) - ramp  # apart by a step ⇔ not decreasing here
    placed = (np.maximum.accumulate(free) + np.minimum.accumulate(free[::-1])[::-1]) / 2 + ramp
    placed += max(0.0, -placed[0]) - max(0.0, placed[-1] - 1.02)
    for name, y in zip(names, placed, strict=True):
        x, end = points[name]
        style: dict[str, Any] = {"transform": axes.transAxes, "color": colours[name], "clip_on": False}
        axes.plot([x, max(1.0, x), 1.045], [end, end, y], linewidth=0.9, linestyle=":", **style)
        axes.text(1.055, y, name, va="center", fontsize=13, fontweight="bold", **style)


def _style(values: np.ndarray, signed: bool = False) -> dict[str, Any]:
    """Colour map and ends of the scale: from white at 0 to ink, or around 0 where values are negative."""
    from matplotlib.colors import LinearSegmentedColormap

    largest, both = float(np.abs(values).max()) or 1.0, signed or bool(values.min() < 0)
    colours = [NEGATIVE, "#8fb4d3", "#ffffff", "#e5a184", POSITIVE] if both else ["#ffffff", INK]
    return {"cmap": LinearSegmentedColormap.from_list("scale", colours), "vmin": -largest * both, "vmax": largest}


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one invisible axes in inches, downwards from the upper left corner."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    place = {"xlim": (0, width), "ylim": (height, 0), "autoscale_on": False}
    return figure, figure.add_axes((0, 0, 1, 1), frame_on=False, xticks=[], yticks=[], **place)


def _place(axes: Axes, picture: np.ndarray, place: tuple[float, float, float, float], style: dict[str, Any]) -> None:
    left, top, right, bottom = place[0], place[1], place[0] + place[2], place[1] + place[3]
    axes.imshow(picture, extent=(left, right, bottom, top), aspect="auto", interpolation="none", **style)
    axes.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=HAIRLINE, linewidth=0.7)


def _bars(axes: Axes, values: np.ndarray, classes: Sequence[str], label: int | None, place: Sequence[float]) -> None:
    left, top, width, tall = place
    low, high, size = min(0.0, values.min()), max(0.0, values.max()), min(13.0, 60 / max(map(len, classes)))
    unit, zero = tall / ((high - low) or 1.0), top + tall * high / ((high - low) or 1.0)
    axes.plot([left, left + width], [zero, zero], color=HAIRLINE, linewidth=1)
    for index, value in enumerate(values):
        middle, first = left + (index + 0.5) * width / len(values), index == int(np.argmax(values))
        axes.bar(middle, -value * unit, 0.66 * width / len(values), zero, color=INK if first else "#b4bdc8")
        style: dict[str, Any] = {"ha": "center", "color": INK, "fontweight": "bold" if first else "normal"}
        axes.text(middle, top + tall + 0.25, classes[index], fontsize=size, **style)
        if index == label:
            axes.text(middle, top + tall + 0.47, "▲ true", fontsize=11, ha="center", color=MUTED)
