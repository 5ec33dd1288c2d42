"""The classic networks against the same networks written in plain torch: the library costs nothing beside torch.

    gconv bench networks

ResNet-18, VGG-16 and GoogLeNet at 224×224, 1,000 classes, training mode without dropout, forward and backward by the
parameters, float32; each in torch's own memory format and in channels last. Both start from the same weights, and must
give the same logits before anything is timed. A ratio above 1 by no more than the spread of the measurement is none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import plain_networks
from benchmarks.expected import Judged
from benchmarks.harness import Options, Table, ratio, timed
from benchmarks.showing import time_text
from gconv.training.report import number_text
from grid_cnn import models

TITLE = "Classic networks, against plain torch"
REPEATED = "{rounds} rounds"
BATCH = {"resnet18": 8, "vgg16": 2, "googlenet": 8}
FORMATS = {"NCHW": torch.contiguous_format, "channels last": torch.channels_last}
OURS, THEIRS = "ours", "plain torch"
_TOLERANCE = 1e-4


def twins(name: str) -> tuple[nn.Module, nn.Module]:
    """The library's network and the plain one, with the same weights, neither with dropout.

    Raises:
        ValueError: if they do not hold the same tensors in the same order.
    """
    torch.manual_seed(0)
    ours, theirs = models.create(name, dropout=0.0), plain_networks.NETS[name]()
    weights, places = ours.state_dict(), theirs.state_dict()
    shapes = [[tuple(tensor.shape) for tensor in state.values()] for state in (weights, places)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"the plain {name} holds other tensors than the library's: {shapes[1]} against {shapes[0]}")
    theirs.load_state_dict(dict(zip(places, weights.values(), strict=True)))
    return ours, theirs


def check(name: str, ours: nn.Module, theirs: nn.Module, images: Tensor) -> None:
    """Hold the logits of both to each other.

    Raises:
        ValueError: if they differ by more than 1e-4 of their spread.
    """
    with torch.no_grad():
        logits, expected = ours(images), theirs(images)
    apart = float((logits - expected).abs().max() / expected.std())
    if not apart <= _TOLERANCE:
        raise ValueError(f"{name}: the logits differ from plain torch's by {apart:.2g} of their spread")


def step(net: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """One forward and backward pass."""

    def run_once() -> None:
        net.zero_grad()
        nn.functional.cross_entropy(net(images), labels).backward()

    return run_once


def run(options: Options) -> dict[str, Any]:
    """All networks, in both formats; the four contenders of a network take turns."""
    nets = []
    for name, batch in filter(lambda item: options.wants(item[0]), BATCH.items()):
        count, side = (2, 64) if options.quick else (batch, 224)
        images, labels = torch.randn(count, 3, side, side), torch.arange(count)
        steps: dict[str, Callable[[], object]] = {}
        for title, memory_format in FORMATS.items():
            laid = images.contiguous(memory_format=memory_format)
            pair = [net.to(memory_format=memory_format) for net in twins(name)]  # pyright: ignore[reportCallIssue]
            check(name, *pair, laid)
            steps |= {f"{who}, {title}": step(net, laid, labels) for who, net in zip((OURS, THEIRS), pair, strict=True)}
        times = timed(steps, options)
        nets.append({"name": name, "batch": count, "side": side, "milliseconds": times})
        medians = (f"{key} {entry['median']:.4g}" for key, entry in times.items())
        options.say(f"{name}: {', '.join(medians)} ms")
    return {"nets": nets}


def spread(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[float, float]:
    """The least and the largest ratio of two records, round by round.

    >>> spread({"rounds": [4.0, 6.0]}, {"rounds": [2.0, 6.0]})
    (1.0, 2.0)
    """
    ratios = [a / b for a, b in zip(ours["rounds"], theirs["rounds"], strict=True)]
    return min(ratios), max(ratios)


def tables(found: Mapping[str, Any]) -> list[Table]:
    """A line a network and format."""
    lines, judged = [], []
    for net in found["nets"]:
        for title in FORMATS:
            ours, theirs = (net["milliseconds"][f"{who}, {title}"] for who in (OURS, THEIRS))
            low, high = spread(ours, theirs)
            verdict = Judged("ours / plain torch, the least of all rounds", net["name"], low, 1.0)
            judged.append(verdict)
            lines.append(
                (
                    net["name"],
                    f"{title}, {net['batch']} × {net['side']}²",
                    time_text(ours),
                    time_text(theirs),
                    f"{number_text(ratio(ours, theirs))} ({number_text(low)} – {number_text(high)})",
                    verdict.met,
                )
            )
    headings = (
        "network",
        "format, pictures",
        "ours, ms (quartiles)",
        "plain torch",
        "ours / plain (least – largest)",
        "no slower beyond the spread",
    )
    return [Table("Forward and backward", headings, tuple(lines), words=2, judged=tuple(judged))]
