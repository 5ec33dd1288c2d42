"""The modes of a network's modules, kept while it is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation within, so that no running statistic moves and no random number is drawn; after it each module as
    it was, frozen ones too, whatever was raised.

    >>> model = nn.Sequential(nn.BatchNorm1d(2), nn.ReLU())
    >>> model[0].training = False
    >>> with evaluating(model):
    ...     model.training
    False
    >>> model.training, model[0].training
    (True, False)
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
