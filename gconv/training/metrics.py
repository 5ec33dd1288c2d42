"""What a classifier is worth on held-out images: loss, top-1, top-5, confusion matrix, a report for each class.

    precision_c = M_cc / Σ_r M_rc,   recall_c = M_cc / Σ_j M_cj,   F1_c = 2 precision recall / (precision + recall)

M_rc, the confusion matrix, counts the images of class r that were taken for class c; a class that nothing was taken for
has precision 0. They are PyTorch-Ignite's metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine
from ignite.metrics import Accuracy, ConfusionMatrix, Metric, TopKCategoricalAccuracy
from ignite.metrics import Loss as AverageLoss
from torch import Tensor

from gconv.training.losses import Loss, cross_entropy

_TOP = 5


@dataclass(frozen=True, eq=False)
class Scores:
    """What `evaluate` found; shares lie in 0..1.

    Args:
        loss: the mean over the images. top1, top5: the share of images whose class has the largest logit, or one of the
            five largest (None where there are no more than five classes). confusion: `(C, C)` int64, rows are the true
            classes.

    >>> Scores(0.1, 0.75, None, torch.tensor([[2, 0], [1, 1]])).per_class[1]
    {'images': 2, 'precision': 1.0, 'recall': 0.5, 'f1': 0.6666666666666666}
    """

    loss: float
    top1: float
    top5: float | None
    confusion: Tensor

    @property
    def images(self) -> int:
        """How many images were looked at."""
        return int(self.confusion.sum())

    @property
    def per_class(self) -> list[dict[str, float]]:
        """Images, precision, recall and F1 of each class."""
        right = self.confusion.diagonal().double()
        truly, taken = self.confusion.sum(1).double(), self.confusion.sum(0).double()
        precision, recall = (right / total.clamp_min(1) for total in (taken, truly))
        f1 = 2 * right / (truly + taken).clamp_min(1)
        return [
            {"images": int(truly[c]), "precision": float(precision[c]), "recall": float(recall[c]), "f1": float(f1[c])}
            for c in range(len(right))
        ]

    def as_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """Plain values."""
        return {
            "images": self.images,
            "loss": self.loss,
            "top1": self.top1,
            "top5": self.top5,
            "per_class": dict(zip(classes, self.per_class, strict=True)),
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    logits: Callable[[Tensor], Tensor],
    loader: Iterable,
    num_classes: int,
    *,
    loss: Loss = cross_entropy,
    device: torch.device | str = "cpu",
) -> Scores:
    """Look at every image of a loader once.

    Args:
        logits: of a batch of pictures, as `Classifier.logits`. loader: of (pictures, labels) batches.
        num_classes: how many logits there are. loss: of logits and labels.

    >>> loader = [(torch.eye(3), torch.tensor([0, 1, 1]))]
    >>> evaluate(lambda x: x, loader, 3).confusion.tolist()
    [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    """
    metrics: dict[str, Metric] = {
        "loss": AverageLoss(loss),
        "top1": Accuracy(),
        "confusion": ConfusionMatrix(num_classes),
    }
    if num_classes > _TOP:
        metrics["top5"] = TopKCategoricalAccuracy(_TOP)
    found = _run(logits, loader, metrics, device)
    return Scores(float(found["loss"]), float(found["top1"]), found.get("top5"), found["confusion"].cpu().long())


def loss_and_accuracy(
    logits: Callable[[Tensor], Tensor], loader: Iterable, loss: Loss, device: torch.device | str = "cpu"
) -> tuple[float, float]:
    """The mean loss, and the share of inputs whose largest logit is the label's: what is asked after each epoch."""
    found = _run(logits, loader, {"loss": AverageLoss(loss), "accuracy": Accuracy()}, device)
    value = float(found["loss"])
    return value if math.isfinite(value) else math.inf, float(found["accuracy"])


def accuracy(logits: Callable[[Tensor], Tensor], loader: Iterable, device: torch.device | str = "cpu") -> float:
    """The share of inputs whose largest logit is the label's, 0..1."""
    return float(_run(logits, loader, {"accuracy": Accuracy()}, device)["accuracy"])


def _run(
    logits: Callable[[Tensor], Tensor], loader: Iterable, metrics: dict[str, Metric], device: torch.device | str
) -> dict[str, Any]:
    @torch.inference_mode()
    def step(_: Engine, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        inputs, labels = (part.to(device, non_blocking=True) for part in batch)
        return logits(inputs).float(), labels

    evaluator = Engine(step)
    for name, metric in metrics.items():
        metric.attach(evaluator, name)
    return evaluator.run(loader).metrics
