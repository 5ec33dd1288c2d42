"""From a comparison to its report: which pictures stand in it, and of what."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gconv import bridge
from gconv.domains import Graph
from gconv.families import FAMILIES
from gconv.training import report
from gconv.training.compare import Comparison, Row, VariantRun
from gconv.training.variants import Variant, first_filters
from grid_cnn import Grid
from grid_cnn.layer import Stage

# Published elsewhere with other data and settings (MNIST, full 28×28 grid): shown as such, never as measured.
_PUBLISHED = (
    ("LeNet-5 / CNN", 0.9933, "MNIST, Defferrard et al. 2016"),
    ("ChebNet, K = 25", 0.9914, "MNIST, Defferrard et al. 2016"),
    ("MoNet", 0.9919, "MNIST, Monti et al. 2017"),
    ("non-parametric spectral", 0.9628, "MNIST, Defferrard et al. 2016"),
    ("spline spectral", 0.9715, "MNIST, Defferrard et al. 2016"),
)

# How many stages of a network a page can show before those inside its blocks are left out.
MOST_STAGES = 40

NOISY = "Times are noisy (quartiles of the first row: {:.3g} and {:.3g} ms): was the machine busy? Do not quote them."


def page(comparison: Comparison) -> report.Report:
    """Gather all that the report shows."""
    settings, images = comparison.settings, comparison.images
    trained, first = len(images.train_labels), comparison.rows[0].timing
    return report.Report(
        title=f"{settings.model} on a grid and on its graph",
        subtitle=f"{images.title}; {trained:,} training and {len(images.test_labels):,} test images, "
        + (
            "networks that come with gconv, trained on MNIST"
            if settings.pretrained
            else f"{_count(settings.epochs, 'epoch')}, {_count(settings.seeds, 'seed')}"
        ),
        command=settings.command,
        settings=settings.as_json(),
        machine=comparison.machine,
        versions=comparison.versions,
        rows=tuple(_row(row) for row in comparison.rows),
        curves=tuple(_curve(run) for run in comparison.runs if run.history),
        travels=_travels(comparison),
        filters=_filters(comparison),
        disagreements=_disagreements(comparison),
        domain=_drawing(comparison),
        classes=images.classes,
        published=_PUBLISHED if settings.model == "lenet5" else (),
        test_images=len(images.test_labels),
        measured=(*report.MEASURED, *[NOISY.format(*first.quartiles)] * first.noisy),
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _row(row: Row) -> report.ReportRow:
    return report.ReportRow(
        row.variant,
        row.domain,
        row.convolution,
        row.parameters,
        row.accuracies,
        row.timing.median,
        row.timing.quartiles,
        row.timing.ratio,
        row.step_bytes,
    )


def _curve(run: VariantRun) -> report.Curve:
    history = run.history
    return report.Curve(
        run.variant,
        run.seed,
        tuple(epoch.epoch for epoch in history),
        tuple(epoch.seconds for epoch in history),
        tuple(epoch.train_loss for epoch in history),
        tuple(epoch.test_accuracy for epoch in history if epoch.test_accuracy is not None),
    )


def _travels(comparison: Comparison) -> tuple[report.Travel, ...]:
    """One digit through the grid network and through the first network whose convolution is a graph's own."""
    networks = comparison.networks
    graphs = [name for name in (*FAMILIES, "directional") if name in networks]
    chosen = [name for name in ("grid", *graphs[:1]) if name in networks] or list(networks)[:1]
    return tuple(_travel(comparison, networks[name]) for name in chosen)


def _travel(comparison: Comparison, network: Variant) -> report.Travel:
    images, labels = comparison.images.test_images, comparison.images.test_labels
    shown = int((labels == comparison.images.num_classes // 2).nonzero()[0])  # a 5, among digits
    x = comparison.encoded_test(network)[shown : shown + 1]
    stages = [report.Stage("input", images[shown].numpy())]
    with torch.no_grad():
        found = list(network.model.trace(x, network.domain))
    stages += [
        report.Stage(f"{stage.name}: {type(stage.module).__name__}", _pictures(stage.x, stage.domain))
        for stage in gathered(found, network.model)
    ]
    return report.Travel(network.variant, int(labels[shown]), int(found[-1].x.argmax()), tuple(stages))


def gathered(stages: Sequence[Stage], model: nn.Module, most: int = MOST_STAGES) -> list[Stage]:
    """All stages, or, of a deep network, what each of its blocks ends on: of the smallest blocks that are few enough.

    Args:
        stages: as `model.trace` gives them. most: how many there may be; if the outermost blocks are more, they stay.

    >>> from grid_cnn import Conv2d, Sequential
    >>> net = Sequential(Sequential(Conv2d(1, 2, 3), nn.ReLU()), Conv2d(2, 1, 3))
    >>> stages = list(net.trace(torch.zeros(1, 1, 8, 8)))
    >>> [stage.name for stage in gathered(stages, net, most=3)], [stage.name for stage in gathered(stages, net, most=2)]
    (['0.0', '0.1', '1'], ['0', '1'])
    """
    kept, depth = list(stages), max((stage.name.count(".") for stage in stages), default=0)
    while len(kept) > most and depth > 0:
        ends = {}
        for stage in stages:
            name = ".".join(stage.name.split(".")[:depth])
            ends[name] = stage._replace(name=name, module=model.get_submodule(name))
        kept, depth = list(ends.values()), depth - 1
    return kept


def _pictures(x: Tensor, domain: object):
    if isinstance(domain, Graph):
        return bridge.to_images(x, domain)[0].cpu().numpy()
    assert domain is None or isinstance(domain, Grid)
    return x[0].cpu().numpy()


def _filters(comparison: Comparison) -> tuple[report.Filters, ...]:
    found = {name: first_filters(network) for name, network in comparison.networks.items()}
    return tuple(
        report.Filters(name, kind_and_pictures[0], kind_and_pictures[1].numpy())
        for name, kind_and_pictures in found.items()
        if kind_and_pictures is not None
    )


def _disagreements(comparison: Comparison) -> tuple[report.Disagreement, ...]:
    """The test images that not all networks of the first seed read alike."""
    answers = {run.variant: run.predictions for run in comparison.runs if run.seed == 0}
    table = torch.stack(list(answers.values()))
    images, labels = comparison.images.test_images, comparison.images.test_labels
    return tuple(
        report.Disagreement(
            images[i].mean(0).numpy(), int(labels[i]), {name: int(said[i]) for name, said in answers.items()}, i
        )
        for i in (table != table[0]).any(0).nonzero().flatten().tolist()
    )


def _drawing(comparison: Comparison) -> report.DomainDrawing:
    graph = comparison.graph
    assert graph.pos is not None
    size = bridge.grid_of(graph).size
    return report.DomainDrawing(
        (size[0], size[1]),
        graph.pos.cpu().numpy(),
        graph.edge_index.cpu().numpy(),
        f"The {size[0]}×{size[1]} grid as a graph: {graph.num_nodes} nodes, {comparison.settings.neighbors} neighbours",
        comparison.images.test_images[0].mean(0).numpy(),
    )
