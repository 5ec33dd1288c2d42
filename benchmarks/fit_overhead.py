"""What `fit` costs beside a bare torch loop with the same work.

    gconv bench fit_overhead

ResNet-20 on batches of 128 pictures of 32×32 in three channels, SGD with momentum, a cosine schedule; a round is an
epoch of four batches by each. The bare loop does what `fit` does (loss as a number, accuracy counted) and nothing else.
A third contender is `fit` as `gconv train` calls it: pictures normalised, a running average, and a checkpoint.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.expected import Judged, optional
from benchmarks.harness import Options, Table, ratio, timed
from benchmarks.showing import time_text
from gconv.training.fit import Checkpoints, batches, fit
from grid_cnn import models

TITLE = "fit against a bare loop"
REPEATED = "{rounds} rounds"
TARGETS = {"fit": 1.05}
BATCHES = 4


def contenders(batch: int, size: int, folder: Path) -> dict[str, Callable[[], object]]:
    """An epoch each, every one with a network of its own and the same weights at the beginning."""
    images, labels = torch.rand(BATCHES * batch, 3, size, size), torch.arange(BATCHES * batch) % 10
    loader = batches(images, labels, batch, seed=0)

    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        torch.manual_seed(0)
        net = models.resnet20_cifar()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        return net, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10_000)

    def bare() -> Callable[[], object]:
        net, optimizer, schedule = made()

        def epoch() -> tuple[float, int]:
            net.train()
            total, right = 0.0, torch.zeros((), dtype=torch.int64)
            for inputs, targets in loader:
                optimizer.zero_grad()
                logits = net(inputs)
                loss = torch.nn.functional.cross_entropy(logits, targets)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
                right += (logits.argmax(1) == targets).sum()
            return total, int(right)

        return epoch

    def fitted(**options: Any) -> Callable[[], object]:
        net, optimizer, schedule = made()
        return lambda: fit(net, loader, epochs=1, optimizer=optimizer, schedule=schedule, **options)

    def normalized(pictures: Tensor) -> Tensor:
        return (pictures - 0.5) / 0.3

    whole = fitted(prepare=normalized, ema=0.99, checkpoints=Checkpoints(folder))
    return {"bare loop": bare(), "fit": fitted(), "fit, as gconv train calls it": whole}


def run(options: Options) -> dict[str, Any]:
    """All contenders in turn."""
    batch, size = (8, 8) if options.quick else (128, 32)
    with tempfile.TemporaryDirectory() as folder:
        found = timed(contenders(batch, size, Path(folder)), options)
    return {"milliseconds": found, "batch": batch, "size": size, "batches": BATCHES, "targets": TARGETS}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """One table."""
    times, lines, judged = found["milliseconds"], [], []
    for name, entry in times.items():
        above, target = ratio(entry, times["bare loop"]), found["targets"].get(name)
        verdict = Judged("× bare", name, above, target)
        lines.append((verdict.name, time_text(entry), optional(above), optional(target), verdict.met))
        judged.append(verdict)
    title = f"An epoch of {found['batches']} batches of {found['batch']} pictures, {found['size']}×{found['size']}"
    headings = ("training", "ms (quartiles)", "× bare", "at most", "met")
    return [Table(title, headings, tuple(lines), judged=tuple(judged))]
