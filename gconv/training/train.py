"""`gconv train`: one network trained from settings, in a run folder that a kill at any moment leaves fit to go on."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn

from gconv import plotting
from gconv.data.skipped import Skipped, report
from gconv.training import checkpoints, figures, files, gradient_check, measure, metrics, random_state, runs
from gconv.training.augmentation import Augmentation
from gconv.training.blueprint import Blueprint
from gconv.training.feeds import Feeds, feeds
from gconv.training.fit import Checkpoints, Epoch, fit
from gconv.training.losses import loss
from gconv.training.metrics import Scores
from gconv.training.optimizers import optimizer
from gconv.training.schedules import Schedule, Shape
from gconv.training.settings import Settings, flag, from_mapping, names, read_yaml
from gconv.training.tensorboard import logged
from gconv.training.variants import Variant

_SPARE = 2**20
_CHECKED_IMAGES = 2


@dataclass(frozen=True)
class Watch:
    """Who is told what happens; all of it may be left out.

    Args:
        say: of a line of text. attach: Ignite's trainer, before it runs. on_epoch: the history, after every epoch.
    """

    say: Callable[[str], None] = lambda text: None
    attach: Callable[[Engine], None] = lambda trainer: None
    on_epoch: Callable[[list[Epoch]], None] = lambda history: None


@dataclass(frozen=True)
class Outcome:
    """What came of a training: its folder, its history, and what the best weights are worth on the test images.

    Args:
        left_out: pictures that could not be read, those that turned out to be damaged while they were needed too.
    """

    folder: Path
    history: list[Epoch]
    best_epoch: int
    test: Scores
    classes: tuple[str, ...]
    seconds: float
    left_out: tuple[Skipped, ...] = ()


def train(settings: Settings, out: Path | None = None, watch: Watch | None = None) -> Outcome:
    """Train a network.

    Args:
        settings: what to do. out: the run folder, which must hold no run; None for one of its own under `runs/`.
        watch: who is told.

    Raises:
        ValueError: for data, a network or a folder that cannot be used, before anything is trained.
        DivergedError: for a loss that is not finite. OSError: for a full disk. Checkpoints stay whole in both cases.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.
    """
    watch = watch or Watch()
    random_state.seed(settings.seed)
    found = feeds(settings)
    blueprint = found.blueprint(settings)
    network = blueprint.build(settings.weights)
    place = settings.conv if settings.domain == "graph" else "grid"
    folder = out or runs.free_folder(settings.model, settings.data, place)
    _try_augmentation(settings, found)
    if settings.gradient_check:
        _check_gradients(network, blueprint, found, settings, watch)
    runs.begin(folder, settings, blueprint)
    return _train(settings, folder, found, blueprint, network, Checkpoints(folder, settings.checkpoint_every), watch)


def resume(
    folder: Path, changes: Mapping[str, Any] | None = None, checkpoint: str = "last", watch: Watch | None = None
) -> Outcome:
    """Go on with a run, to the same bits as if it had never stopped (on a CPU, with as many threads).

    Args:
        folder: of the run. changes: settings that are to differ; those that no figure hangs on may, and `epochs` may
            grow where the schedule does not depend on it. checkpoint: 'last', or 'before' for the one before it.

    Raises:
        ValueError: for a folder that is no run, settings that would change what is trained (all of them listed), a
            damaged checkpoint, data that have changed.
    """
    watch = watch or Watch()
    kept = runs.read_settings(folder)
    settings = _changed(kept, changes or {}, folder, watch)
    random_state.seed(settings.seed)
    found = feeds(settings)
    blueprint = Blueprint.read(folder / runs.NETWORK)
    if found.blueprint(settings) != blueprint:
        theirs, ours = asdict(blueprint), asdict(found.blueprint(settings))
        told = ", ".join(
            f"{name} {theirs[name]} then and {ours[name]} now" for name in ours if ours[name] != theirs[name]
        )
        raise ValueError(f"the data of the run {folder} have changed: {told}; put back what it was trained on")
    if settings != kept:
        files.write(folder / runs.SETTINGS, settings.as_yaml())
    anew = not any((folder / name).exists() for name in (checkpoints.LAST, checkpoints.BEFORE))
    if anew:
        watch.say("nothing was saved yet: the run begins anew")
    network = blueprint.build(settings.weights if anew else None)
    places = Checkpoints(folder, settings.checkpoint_every, resume=True, name=checkpoint)
    return _train(settings, folder, found, blueprint, network, places, watch)


def _changed(kept: Settings, changes: Mapping[str, Any], folder: Path, watch: Watch) -> Settings:
    wanted = from_mapping({**kept.as_json(), **changes}, "the command line")
    differences = kept.differences(wanted)
    known = names()
    longer = "epochs" in differences and wanted.epochs > kept.epochs and kept.schedule != "cosine"
    fixed = [name for name in differences if not known[name].metadata["free"] and not (name == "epochs" and longer)]
    told = [f"{name.replace('_', '-')} {old} in the run, {new} now" for name, (old, new) in differences.items()]
    if fixed:
        listed = ", ".join(text for name, text in zip(differences, told, strict=True) if name in fixed)
        raise ValueError(
            f"the run {folder} has other settings: {listed}; leave them out to go on with it, or begin another run "
            f"with --config {folder / runs.SETTINGS} {' '.join(f'{flag(name)} ...' for name in fixed)}"
        )
    if told:
        watch.say(f"goes on with other settings: {', '.join(told)}")
    return wanted


def _train(
    settings: Settings,
    folder: Path,
    found: Feeds,
    blueprint: Blueprint,
    network: Variant,
    places: Checkpoints,
    watch: Watch,
) -> Outcome:
    began = time.perf_counter()
    module = network.module.to(settings.device)
    if settings.channels_last:
        module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if settings.compile:
        module.compile()
    read = blueprint.reader(network, channels_last=settings.channels_last)
    batches = len(found.train)
    steps = -(-batches // settings.accumulate)
    chosen = optimizer(module.parameters(), settings)
    shape = Shape(
        settings.schedule,
        steps,
        settings.epochs,
        settings.warmup,
        settings.decay,
        settings.step_epochs,
        settings.patience,
    )
    watch.say(
        f"{settings.model} on {network.place}, {network.convolution}: {network.num_parameters:,} parameters; "
        f"{found.data.title}; {found.counts['train']:,} images to train on, {found.counts['validation']:,} to choose "
        f"by, {found.counts['test']:,} to test; {settings.epochs} epochs of {batches:,} batches into {folder}"
    )
    for line in report(found.data.skipped, f"{folder / runs.RESULTS} in the end"):
        watch.say(line)
    _warn_of_space(folder, module, watch)

    with logged(folder / runs.LOGS, chosen, settings.tensorboard) as log:

        def attach(trainer: Engine) -> None:
            watch.attach(trainer)
            log.attach(trainer)

        def on_epoch(history: list[Epoch]) -> None:
            files.write(folder / runs.HISTORY, runs.as_csv(history))
            log.epoch(history)
            watch.on_epoch(history)

        random_state.seed(settings.seed)  # whatever was loaded and drawn to get here
        history = fit(
            module,
            found.train,
            found.validation,
            epochs=settings.epochs,
            optimizer=chosen,
            schedule=Schedule(chosen, shape),
            loss=loss(settings.loss, settings.label_smoothing),
            auxiliary_weight=settings.auxiliary_weight,
            l1=settings.l1,
            accumulate=settings.accumulate,
            clip_norm=settings.clip_norm,
            clip_value=settings.clip_value,
            precision=settings.precision,
            ema=settings.ema,
            early_stopping=settings.early_stopping,
            augment=_augment(settings, len(blueprint.classes)),
            prepare=read,
            checkpoints=places,
            device=settings.device,
            attach=attach,
            on_epoch=on_epoch,
        )
    files.write(folder / runs.HISTORY, runs.as_csv(history))
    return _finish(settings, folder, found, history, time.perf_counter() - began)


def _finish(settings: Settings, folder: Path, found: Feeds, history: list[Epoch], seconds: float) -> Outcome:
    """Test the best weights, and write what came of it."""
    run, best = runs.trained(folder, settings.device)
    scores = metrics.evaluate(
        run.logits, found.test, len(run.classes), loss=loss(settings.loss), device=settings.device
    )
    left_out = found.data.skipped
    results = {
        "command": f"gconv train --config {folder / runs.SETTINGS}",
        "settings": settings.as_json(),
        "data": found.data.title,
        "images": found.counts,
        "left_out": [skipped.why for skipped in left_out],
        "parameters": run.classifier.network.num_parameters,
        "best_epoch": best["epoch"],
        "validation": {"top1": best["test_accuracy"], "loss": best["test_loss"]},
        "test": scores.as_json(run.classes),
        "epochs": [runs.row(epoch) for epoch in history],
        "machine": measure.machine(settings.device),
        "versions": measure.versions(),
        "seconds": seconds,
    }
    title = f"{settings.model} on {settings.data}"
    curves = figures.curves(history, int(best["epoch"]))
    confusion = figures.confusion(scores.confusion.numpy(), run.classes)
    files.write(folder / runs.CURVES, plotting.to_svg(curves, name="curves", label=f"loss and accuracy of {title}"))
    files.write(folder / runs.CONFUSION, plotting.to_svg(confusion, name="confusion", label=f"confusion of {title}"))
    files.write(folder / runs.RESULTS, json.dumps(results, indent=1) + "\n")
    return Outcome(folder, history, int(best["epoch"]), scores, run.classes, seconds, left_out)


def _augment(settings: Settings, classes: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None:
    change = Augmentation.parse(settings.augment)
    if not change:
        return None
    return lambda pictures, labels: change(pictures, labels, classes)


def _try_augmentation(settings: Settings, found: Feeds) -> None:
    """Find out before a folder is made whether the changes fit the pictures."""
    augment = _augment(settings, found.data.num_classes)
    if augment is not None:
        with random_state.kept():
            augment(torch.zeros(2, found.data.in_channels, *found.data.size), torch.tensor([0, 1]))


def _check_gradients(network: Variant, blueprint: Blueprint, found: Feeds, settings: Settings, watch: Watch) -> None:
    pictures, labels = found.test.dataset[list(range(_CHECKED_IMAGES))]
    with random_state.kept():
        inputs = blueprint.reader(network)(pictures)
        entries = gradient_check.check(
            network.module, inputs, labels, loss=loss(settings.loss, settings.label_smoothing), seed=settings.seed
        )
    gradient_check.require(entries)
    worst = max(entries, key=lambda entry: entry.error)
    watch.say(
        f"gradients hold: {len(entries)} entries of {len({entry.parameter for entry in entries})} parameters, largest "
        f"relative error {worst.error:.1e} ({worst.parameter})"
    )


def _warn_of_space(folder: Path, module: nn.Module, watch: Watch) -> None:
    """Say beforehand that a disk will be full: three checkpoints, each with averages and an optimiser's state."""
    weights = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    needed, free = 10 * weights + _SPARE, shutil.disk_usage(folder).free
    if free < needed:
        watch.say(f"{folder} has {free / 2**20:,.0f} MiB left, and checkpoints may take {needed / 2**20:,.0f} MiB")


def configured(config: Path | None, given: Mapping[str, Any]) -> Settings:
    """Settings from a file, if there is one, and what was given beside it, which goes before.

    Raises:
        ValueError: for unknown keys, each with near names, and for values that are refused.
    """
    if config is None:
        return Settings(**given)
    return replace(from_mapping(read_yaml(config), str(config)), **given)
