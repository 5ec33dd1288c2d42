"""The figures of `gconv.plotting`: what is drawn, on which scale, and what is refused."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gconv import plotting

pytest.importorskip("matplotlib")


def images(figure):
    return [image for axes in figure.axes for image in axes.images]


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def panels(*arguments, **keywords) -> Any:
    return plotting.domain(*arguments, **keywords).axes


def lattice(side):
    """An 8-neighbour grid, both directions of each edge, with a self-loop at every node."""
    positions = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    distance = np.abs(positions[:, None] - positions[None]).max(axis=-1)
    return positions, np.stack(np.nonzero(distance <= 1))


def two_variants(**changes):
    runs = {
        "grid": [([1, 2, 3], [0.5, 0.9, 0.99]), ([1, 2, 3], [0.7, 0.9, 0.97])],
        "cheb": [([1, 2, 3], [0.2, 0.6, 0.8])],
    }
    settings = {"x_label": "epoch", "y_label": "accuracy", "accuracy": True, "colours": plotting.variant_colours(runs)}
    return plotting.curves(runs, **{**settings, **changes})


def lines(figure, name) -> list[Any]:
    colour = plotting.variant_colours([name])[name]
    return [line for line in figure.axes[0].lines if line.get_color() == colour and line.get_linestyle() == "-"]


def test_matplotlib_is_imported_where_used_and_pyplot_never():
    code = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("plotting", {str(Path(plotting.__file__))!r})
module = importlib.util.module_from_spec(spec)
sys.modules["plotting"] = module
spec.loader.exec_module(module)
assert not [name for name in sys.modules if name.startswith("matplotlib")]
import matplotlib, numpy
names = ("svg.hashsalt", "svg.fonttype", "image.composite_image")
before = [matplotlib.rcParams[name] for name in names]
module.to_svg(module.filters(numpy.eye(3)[None]))
assert [matplotlib.rcParams[name] for name in names] == before
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_colours_are_fixed_and_shared_by_forms_of_a_variant():
    colours = plotting.variant_colours(["new", "cheb", "directional (gather)", "directional", "other"])
    assert colours["directional (gather)"] == colours["directional"]
    assert colours["cheb"] == plotting.variant_colours(["cheb"])["cheb"]
    assert len(set(colours.values())) == 4


def test_curves_draw_the_mean_and_each_seed_on_a_logarithm_of_the_error():
    drawn = lines(two_variants(), "grid")
    seeds, mean = drawn[:2], drawn[2]
    np.testing.assert_allclose(mean.get_ydata(), -np.log10([0.4, 0.1, 0.02]))
    np.testing.assert_allclose(seeds[1].get_ydata(), -np.log10([0.3, 0.1, 0.03]))
    assert len(lines(two_variants(), "cheb")) == 2  # one seed: its mean and the dot at its end


def test_curves_label_accuracy_and_lose_no_run():
    axes = two_variants().axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["50 %", "80 %", "90 %", "95 %", "98 %", "99 %"]
    bottom, top = axes.get_ylim()
    assert all(
        bottom < y < top for name in ("grid", "cheb") for line in lines(two_variants(), name) for y in line.get_ydata()
    )


def test_a_run_without_error_stands_at_the_top_and_is_called_100_percent():
    runs = {"grid": [([1, 2], [0.95, 1.0])]}
    colours = plotting.variant_colours(runs)
    figure = plotting.curves(runs, x_label="epoch", y_label="accuracy", accuracy=True, colours=colours)
    axes = figure.axes[0]
    assert axes.get_yticklabels()[-1].get_text() == "100 %"
    assert lines(figure, "grid")[0].get_ydata()[-1] == pytest.approx(axes.get_yticks()[-1])
    assert axes.get_yticks()[-1] > -np.log10(0.05)


def test_labels_of_lines_that_end_together_stand_apart_within_the_figure():
    names = ["grid", "directional", "cheb", "monet", "gcn", "spectral", "mlp", "linear"]
    runs = {name: [([1, 2], [2.0, 0.01])] for name in names}
    colours = plotting.variant_colours(names)
    axes = plotting.curves(runs, x_label="epoch", y_label="loss", accuracy=False, colours=colours).axes[0]
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert {text.get_text() for text in axes.texts} == set(names)
    assert min(np.diff(heights)) > 0.06
    assert heights[0] >= 0
    assert heights[-1] <= 1.03


def test_a_single_epoch_has_a_single_tick():
    runs = {"grid": [([1], [0.9])]}
    axes = plotting.curves(runs, x_label="epoch", y_label="", accuracy=True, colours={"grid": "black"}).axes[0]
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1.0]


@pytest.mark.parametrize(("factor", "scale"), [(10.0, "log"), (2.0, "linear")])
def test_times_far_apart_get_a_logarithmic_axis_that_says_so(factor, scale):
    runs = {"grid": [([1.5, 2.0], [0.5, 0.9])], "cheb": [([1.5 * factor, 2.0 * factor], [0.5, 0.9])]}
    colours = plotting.variant_colours(runs)
    axes = plotting.curves(runs, x_label="seconds", y_label="accuracy", accuracy=True, colours=colours).axes[0]
    assert axes.get_xscale() == scale
    assert axes.get_xlabel() == ("seconds (logarithmic)" if scale == "log" else "seconds")


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ({}, "at least one variant"),
        ({"grid": []}, "at least one variant"),
        ({"grid": [([1, 2], [0.5])]}, r"'grid'.*\(2,\) and \(1,\)"),
        ({"grid": [([], [])]}, r"length ≥ 1, got \(0,\)"),
        ({"grid": [([1], [97.0])]}, r"0\.\.1, got 97\.\.97"),
        ({"grid": [([1], [float("nan")])]}, r"0\.\.1, got nan"),
    ],
)
def test_curves_refuse(runs, message):
    with pytest.raises(ValueError, match=message):
        plotting.curves(runs, x_label="", y_label="", accuracy=True, colours={"grid": "black"})


def test_filters_share_one_scale_around_zero_and_stop_at_sixteen():
    pictures = np.random.default_rng(0).uniform(0.5, 1, (20, 5, 4))
    pictures[2, 1, 1] = -3.0
    figure = plotting.filters(pictures)
    drawn = images(figure)
    assert len(drawn) == 16 + 1  # and the bar
    assert {image.get_clim() for image in drawn} == {(-3.0, 3.0)}
    assert texts(figure) == ["+3", "0", "−3"]
    np.testing.assert_array_equal(drawn[2].get_array(), pictures[2])
    assert images(plotting.filters(np.full((1, 2, 2), 2.0)))[0].get_clim() == (-2.0, 2.0)


def test_pictures_without_negative_values_start_at_white():
    drawn = images(plotting.picture_grid(np.full((3, 2, 2), 4.0), columns=2))
    assert [image.get_clim() for image in drawn] == [(0.0, 4.0)] * 3
    assert drawn[0].get_cmap()(0.0)[:3] == (1.0, 1.0, 1.0)
    assert drawn[0].get_extent()[3] < drawn[2].get_extent()[3]  # the third starts a second row


@pytest.mark.parametrize("shape", [(5, 5), (0, 5, 5), (2, 3, 5, 5)])
def test_pictures_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"(count, height, width) and columns ≥ 1, got {shape}")):
        plotting.filters(np.ones(shape))


def test_travel_draws_a_row_a_stage():
    rng = np.random.default_rng(0)
    stages = [("input", rng.random((1, 8, 8))), ("conv → 20", rng.normal(size=(20, 8, 8))), ("flatten", rng.random(30))]
    scores = np.array([-1.0, 3.0, 0.5])
    figure = plotting.travel([*stages, ("linear → 3", scores)], classes="abc", label=2)
    assert len(images(figure)) == 1 + 16 + 1
    assert len({image.get_clim() for image in images(figure)[1:17]}) == 1
    bars: Any = figure.axes[0].patches
    assert [np.sign(-bar.get_height()) for bar in bars] == [-1, 1, 1]  # inches run downwards
    assert bars[1].get_facecolor() != bars[0].get_facecolor() == bars[2].get_facecolor()
    written = texts(figure)
    assert {"input", "1 × 8 × 8", "20 × 8 × 8\nfirst 16 shown", "30 values", "3 values", "▲ true"} <= set(written)
    true = next(text for text in figure.axes[0].texts if text.get_text() == "▲ true")
    assert true.get_position()[0] == pytest.approx(bars[2].get_x() + bars[2].get_width() / 2)


def test_travel_leaves_no_row_outside_and_none_upon_another():
    figure = plotting.travel([("input", np.ones((1, 4, 4))), ("conv", np.ones((16, 4, 4))), ("flatten", np.ones(9))])
    extents = [image.get_extent() for image in images(figure)]
    width, height = figure.get_size_inches()
    assert all(0 <= left < right <= width and 0 <= top < bottom <= height for left, right, bottom, top in extents)
    overlaps = [
        (a, b)
        for a in extents
        for b in extents
        if a is not b and a[0] < b[1] and b[0] < a[1] and a[3] < b[2] and b[3] < a[2]
    ]
    assert overlaps == []


@pytest.mark.parametrize(
    ("stages", "message"),
    [([], "at least one, got none"), ([("pool", np.ones((4, 4)))], r"stage 'pool'.*got \(4, 4\)")],
)
def test_travel_refuses(stages, message):
    with pytest.raises(ValueError, match=message):
        plotting.travel(stages)


def test_domain_draws_nodes_where_they_are_and_each_edge_once():
    positions, edges = lattice(9)
    values = np.zeros(81)
    values[40:] = np.arange(41)
    whole, part = panels(positions, edges, values=values)
    np.testing.assert_array_equal(whole.collections[0].get_offsets(), positions[:, ::-1])
    np.testing.assert_array_equal(whole.collections[0].get_array(), values)
    assert whole.get_ylim()[0] > whole.get_ylim()[1]  # rows run downwards
    assert np.isnan(whole.lines[0].get_xdata()).sum() == 2 * 8 * 9 + 2 * 8 * 8
    assert len(part.collections[1].get_offsets()) == 9  # a node and its eight neighbours


def test_domain_enlarges_the_part_where_the_values_vary():
    positions, edges = lattice(20)
    values = np.zeros((20, 20))
    values[14:, 14:] = np.random.default_rng(0).normal(size=(6, 6))
    part = panels(positions, edges, values=values.ravel())[1]
    assert part.get_xlim()[0] > 10
    assert part.get_ylim()[1] > 10


@pytest.mark.parametrize("count", [1, 3])
def test_domain_draws_a_graph_without_edges(count):
    figure = plotting.domain(np.arange(2 * count).reshape(count, 2), np.empty((2, 0), dtype=int))
    assert np.shape(figure.axes[0].collections[0].get_offsets()) == (count, 2)
    plotting.to_svg(figure)


@pytest.mark.parametrize(
    ("positions", "edges", "values", "message"),
    [
        (np.ones((4, 3)), np.zeros((2, 1), int), None, r"\(num_nodes, 2\).*got \(4, 3\)"),
        (np.ones((4, 2)), np.zeros((3, 1), int), None, r"\(2, num_edges\).*got \(3, 1\)"),
        (np.ones((4, 2)), np.array([[0], [4]]), None, r"indices in 0\.\.3"),
        (np.ones((4, 2)), np.array([[0], [1]]), np.ones(5), r"\(4,\), one a node, got \(5,\)"),
    ],
)
def test_domain_refuses(positions, edges, values, message):
    with pytest.raises(ValueError, match=message):
        plotting.domain(positions, edges, values=values)


def test_svg_is_the_same_each_time_and_carries_no_date_or_metadata():
    first, second = (plotting.to_svg(two_variants(), name="curve", label='a "b" <c>') for _ in range(2))
    assert first == second
    assert first.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c&gt;"')
    assert first.endswith("</svg>")
    assert "<metadata" not in first
    assert "directional" not in first
    assert ">cheb</text>" in first


def test_svg_ids_of_two_figures_do_not_meet():
    one, other = (plotting.to_svg(two_variants(), name=name) for name in ("one", "other"))
    identifiers = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (one, other)]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', one))
    assert used
    assert {first or second for first, second in used} <= identifiers[0]
