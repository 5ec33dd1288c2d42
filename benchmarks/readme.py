"""Write the README's table and picture from the committed results, so that they cannot drift apart.

    gconv compare --out benchmarks/results/compare      # trains, writes results.json (and a report, not committed)
    python -m benchmarks.readme

Replaces what stands between the README's markers, and `results/compare/picture.svg`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from gconv import data, grid_graph, plotting
from gconv.training import files
from gconv.training.report import accuracy_text, number_text

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results/compare/results.json"
PICTURE = RESULTS.with_name("picture.svg")
# Where a variant's name stands beside its point, so that close neighbours keep apart.
_RIGHT = (7, 5)
_LABELS = {"grid": ((-7, 5), "right"), "directional": ((-7, -13), "right"), "spectral": ((7, -12), "left")}
BEGIN, END = "<!-- results: begin (python -m benchmarks.readme) -->", "<!-- results: end -->"


def table(results: dict[str, Any]) -> str:
    """The results as a Markdown table, with what made them."""
    first = results["rows"][0]["variant"]
    lines = [
        f"| variant | domain | convolution | parameters | test accuracy | ms a step | × {first} | MiB a step |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in results["rows"]:
        cells = (
            row["variant"],
            row["domain"],
            row["convolution"],
            f"{row['parameters']:,}",
            accuracy_text(tuple(row["test_accuracy"])),
            number_text(row["step_milliseconds_median"]),
            number_text(row["ratio_to_first"]),
            number_text(row["step_bytes"] / 2**20),
        )
        lines.append(f"| {' | '.join(cells)} |")
    machine, settings = results["machine"], results["settings"]
    lines += [
        "",
        f"Made by `gconv compare` in {results['seconds']:.0f} s: {results['data']}; {settings['epochs']} epochs, "
        f"{settings['seeds']} seeds, mean ± sample standard deviation; batches of {settings['batch_size']}; "
        f"{machine['processor']}, {machine['threads']} threads, torch {results['versions']['torch']}.",
    ]
    return "\n".join(lines)


def with_table(readme: str, results: dict[str, Any]) -> str:
    """The README with the table between its markers.

    Raises:
        ValueError: if the markers are missing.
    """
    head, marker, rest = readme.partition(BEGIN)
    _, closing, tail = rest.partition(END)
    if not marker or not closing:
        raise ValueError(f"README.md lacks the markers {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{table(results)}\n{END}{tail}"


def picture(results: dict[str, Any]) -> str:
    """A digit on a grid, the same digit on the grid's graph, and what each convolution makes of both: SVG."""
    from matplotlib.figure import Figure

    images = data.load("digits", size=(12, 12))
    digit = images.test_images[int((images.test_labels == 5).nonzero()[0]), 0].numpy()
    graph = grid_graph(digit.shape)
    assert graph.pos is not None
    pos, edges = graph.pos.numpy(), graph.edge_index.numpy()
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.55))
    left.imshow(digit, cmap="Greys", vmin=0, vmax=1)
    segments = np.stack([pos[edges[0]], pos[edges[1]]], 1)
    for (y0, x0), (y1, x1) in segments[edges[0] < edges[1]]:
        middle.plot([x0, x1], [y0, y1], color="#9aa5b1", linewidth=0.6, zorder=1)
    middle.scatter(
        pos[:, 1], pos[:, 0], c=digit.ravel(), cmap="Greys", vmin=0, vmax=1, s=62, edgecolors="#52606d", zorder=2
    )
    middle.set_aspect("equal")
    middle.invert_yaxis()
    for axes, title in ((left, "an image is a signal on a grid"), (middle, "a grid is a graph")):
        axes.set_title(title, fontsize=12)
        axes.set_axis_off()
    rows = [row for row in results["rows"] if row["test_accuracy"]]
    colours = plotting.variant_colours([row["variant"] for row in rows])
    for row in rows:
        percent = 100 * row["test_accuracy_mean"]
        spread = 100 * float(np.std(row["test_accuracy"], ddof=1)) if len(row["test_accuracy"]) > 1 else 0.0
        at = row["step_milliseconds_median"], percent
        right.errorbar(*at, yerr=spread, fmt="o", color=colours[row["variant"]], capsize=3)
        (dx, dy), side = _LABELS.get(row["variant"], (_RIGHT, "left"))
        right.annotate(
            row["variant"], at, xytext=(dx, dy), textcoords="offset points", fontsize=10, ha=side,
            color=colours[row["variant"]],
        )  # fmt: skip
    right.set_xscale("log")
    right.set_xticks([0.5, 1, 2, 5, 10, 20], labels=["0.5", "1", "2", "5", "10", "20"])
    right.minorticks_off()
    right.margins(x=0.15)
    right.set_xlabel("milliseconds a training step")
    right.set_ylabel("test accuracy, %")
    right.set_title("one recipe, built for either", fontsize=12)
    right.spines[["top", "right"]].set_visible(False)
    svg = plotting.to_svg(figure, name="picture", label="A digit on a grid, on its graph, and accuracy against cost")
    return svg.replace(">", '><rect width="100%" height="100%" fill="white"/>', 1) + "\n"  # pages may be dark


def main() -> None:
    """Write both."""
    results = json.loads(RESULTS.read_text())
    readme = ROOT / "README.md"
    files.write(readme, with_table(readme.read_text(), results))
    files.write(PICTURE, picture(results))


if __name__ == "__main__":
    main()
