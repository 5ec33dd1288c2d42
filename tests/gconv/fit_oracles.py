"""A small network, a few batches and a bare loop, to hold `fit` against."""

import itertools

import torch
from torch import nn

INPUTS, LABELS = torch.randn(24, 5, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
BATCHES = [(INPUTS[i : i + 8], LABELS[i : i + 8]) for i in range(0, 24, 8)]


def small():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def loop(model, step, epochs=2):
    """The bare loop: `step(model, x, y, t)` after the gradients were set to nothing."""
    for t, (x, y) in enumerate(itertools.chain(*[BATCHES] * epochs)):
        model.zero_grad()
        step(model, x, y, t)
    return model


def assert_equal(mine, theirs, **tolerance):
    for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, **(tolerance or {"rtol": 1e-6, "atol": 1e-7}))
