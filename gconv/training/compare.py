"""`gconv compare`: one recipe trained on the grid and on its graph, all else equal, and what came of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from gconv import data
from gconv.domains import Graph, grid_graph
from gconv.functional import force_form
from gconv.training import measure, pretrained, variants
from gconv.training.compare_settings import CompareSettings
from gconv.training.fit import Epoch, batches, fit, total_loss
from gconv.training.variants import Variant

# A row of its own, timed but not trained: the directional network's weights in the engine's gather form.
GATHER = "directional (gather)"
_TEST_BATCH = 512


@dataclass(frozen=True)
class VariantRun:
    """One variant trained from one seed: its history (none, if it came trained), its answers to the test images, and
    the share of these that are right.
    """

    variant: str
    seed: int
    history: tuple[Epoch, ...]
    predictions: Tensor
    accuracy: float


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    variant: str
    domain: str
    convolution: str
    parameters: int
    accuracies: tuple[float, ...]
    timing: measure.Timing
    step_bytes: int

    @property
    def mean_accuracy(self) -> float | None:
        """The mean over the seeds; None where nothing was trained."""
        return statistics.fmean(self.accuracies) if self.accuracies else None


@dataclass(frozen=True)
class Comparison:
    """All that a comparison found. `networks` are those of the first seed, trained, in evaluation mode."""

    settings: CompareSettings
    images: data.ImageData
    graph: Graph
    rows: tuple[Row, ...]
    runs: tuple[VariantRun, ...]
    networks: dict[str, Variant]
    encoded_test: Callable[[Variant], Tensor]
    machine: dict[str, Any]
    versions: dict[str, str]
    seconds: float


# Told after every training step: the variant, the loss, and how many steps the variant will have made in the end.
Progress = Callable[[str, float, int], None]
OnRun = Callable[[VariantRun], None]  # told of every run, once it is trained


def compare(settings: CompareSettings, progress: Progress | None = None, on_run: OnRun | None = None) -> Comparison:
    """Train and measure every variant.

    Raises:
        ValueError: for data, model or variants that do not exist or do not fit each other.
    """
    started = time.perf_counter()
    size = pretrained.SIZE if settings.pretrained else settings.size
    images = data.load(settings.data, data_dir=settings.data_dir, size=size, download=settings.download)
    images = pretrained.as_mnist(images) if settings.pretrained else images
    graph = grid_graph(images.size, settings.neighbors, device=settings.device)
    mean, deviation = pretrained.MOMENTS if settings.pretrained else images.moments()
    train, test = (((part.tensors[0] - mean) / deviation, part.labels) for part in (images.train, images.test))
    if settings.pretrained:
        networks, runs = _ready(settings, test)
    else:
        networks, runs = _trained(settings, images, graph, train, test, progress, on_run)
    rows = _measure(networks, runs, settings, train)
    return Comparison(
        settings,
        images,
        graph,
        tuple(rows),
        tuple(runs),
        networks,
        lambda network: network.encode(test[0].to(settings.device)),
        measure.machine(settings.device),
        measure.versions(),
        time.perf_counter() - started,
    )


def steps_per_epoch(images: int, batch_size: int) -> int:
    """How many batches an epoch has, the last one perhaps smaller."""
    return -(-images // batch_size)


Pair = tuple[Tensor, Tensor]
Found = tuple[dict[str, Variant], list[VariantRun]]


def _trained(
    settings: CompareSettings,
    images: data.ImageData,
    graph: Graph,
    train: Pair,
    test: Pair,
    progress: Progress | None,
    on_run: OnRun | None,
) -> Found:
    """The networks of the first seed, and all runs."""
    for variant in settings.variants:  # what cannot be built is said before anything is trained
        variants.build(variant, settings.model, graph, images.in_channels, images.num_classes)
    networks: dict[str, Variant] = {}
    runs = []
    for seed in range(settings.seeds):
        for variant in settings.variants:
            torch.manual_seed(seed)
            network = variants.build(variant, settings.model, graph, images.in_channels, images.num_classes)
            runs.append(_train(network, seed, settings, train, test, progress))
            if on_run is not None:
                on_run(runs[-1])
            networks.setdefault(variant, network)
    return networks, runs


def _ready(settings: CompareSettings, test: Pair) -> Found:
    """The networks that come with gconv, and their answers."""
    networks = {variant: pretrained.network(variant, settings.device) for variant in settings.variants}
    return networks, [_answered(network, 0, (), settings, test) for network in networks.values()]


def _train(
    network: Variant, seed: int, settings: CompareSettings, train: Pair, test: Pair, progress: Progress | None
) -> VariantRun:
    optimizer = torch.optim.Adam(network.module.parameters(), lr=settings.lr)
    total = settings.epochs * steps_per_epoch(len(train[0]), settings.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)

    def attach(trainer: Engine) -> None:
        @trainer.on(Events.ITERATION_COMPLETED)
        def _(engine: Engine) -> None:
            schedule.step()
            if progress is not None:
                progress(network.variant, float(engine.state.output), total * settings.seeds)  # pyright: ignore[reportArgumentType]

    test_loader = batches(network.encode(test[0]), test[1], _TEST_BATCH)
    history = fit(
        network.module,
        batches(network.encode(train[0]), train[1], settings.batch_size, seed),
        test_loader,
        epochs=settings.epochs,
        optimizer=optimizer,
        device=settings.device,
        attach=attach,
    )
    return _answered(network, seed, tuple(history), settings, test)


def _answered(
    network: Variant, seed: int, history: tuple[Epoch, ...], settings: CompareSettings, test: Pair
) -> VariantRun:
    network.module.eval()
    with torch.inference_mode():
        parts = network.encode(test[0]).split(_TEST_BATCH)
        answers = torch.cat([network.module(part.to(settings.device)).argmax(1).cpu() for part in parts])
    return VariantRun(network.variant, seed, history, answers, float((answers == test[1]).double().mean()))


def _measure(
    networks: dict[str, Variant], runs: Sequence[VariantRun], settings: CompareSettings, train: Pair
) -> list[Row]:
    """Time a training step of every network in interleaved rounds, and count what it keeps."""
    images, labels = (part[: settings.batch_size].to(settings.device) for part in train)
    steps: dict[str, Callable[[], object]] = {}
    kept: dict[str, int] = {}
    for variant, network in networks.items():
        network.module.train()
        forward = _forward(network.module, network.encode(images), labels)
        steps[variant], kept[variant] = _step(network.module, forward), measure.step_bytes(forward, settings.device)
        if variant == "directional":
            steps[GATHER] = _in_gather_form(steps[variant])
            with force_form("gather"):
                kept[GATHER] = measure.step_bytes(forward, settings.device)
    timings = measure.interleaved(steps, device=settings.device)
    rows = []
    for name, timing in timings.items():
        network = networks["directional" if name == GATHER else name]
        network.module.eval()
        accuracies = tuple(run.accuracy for run in runs if run.variant == name)
        rows.append(
            Row(name, network.place, network.convolution, network.num_parameters, accuracies, timing, kept[name])
        )
    return rows


def _forward(module: nn.Module, inputs: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    return lambda: total_loss(module(inputs), labels)


def _step(module: nn.Module, forward: Callable[[], Tensor]) -> Callable[[], object]:
    # A rate of zero, so that timing leaves the trained weights as they are, at the cost of a real step.
    optimizer = torch.optim.Adam(module.parameters(), lr=0.0)

    def step() -> None:
        optimizer.zero_grad()
        forward().backward()
        optimizer.step()

    return step


def _in_gather_form(step: Callable[[], object]) -> Callable[[], object]:
    def gather_step() -> None:
        with force_form("gather"):
            step()

    return gather_step
