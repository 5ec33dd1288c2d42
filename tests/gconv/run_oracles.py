"""What the tests of runs share: a tiny run, and when two runs ended alike."""

import torch
from matplotlib.figure import Figure

from gconv.training import checkpoints, figures
from gconv.training.settings import Settings

TINY = Settings(size=(12, 12), epochs=2, batch_size=256, dropout=0.2, ema=0.9, checkpoint_every=2)


def final(folder):
    """All that a run ends with, seconds left out."""
    state = checkpoints.read(folder / "last.safetensors")
    state.pop("seconds")
    for epoch in state["history"]:
        epoch.pop("seconds")
    return state


def assert_same(a, b, place=""):
    assert type(a) is type(b), place
    if isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}/{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{place}/{index}")
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    else:
        assert a == b or (a != a and b != b), (place, a, b)


def without_figures():
    """Drawing takes longer than all else here, and has tests of its own."""
    figures.curves = figures.confusion = lambda *arguments: Figure((1, 1))
