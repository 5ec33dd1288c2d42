"""Weights and pictures that two programs can make alike without sharing a file: numbers hashed from their places.

Every number is a hash of its index, so nothing depends on a library's random generators. Kernels and dense weights get
He's spread, norms gains near 1 and variances above ½, so that signals neither vanish nor explode on the way.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

PERIOD = 65_537  # prime, so that no row of a matrix repeats the one before


def numbers(seed: int, count: int) -> Tensor:
    """`count` numbers in [-1, 1), the same everywhere."""
    x = torch.arange(min(count, PERIOD), dtype=torch.int64) + seed * 1_000_003 + 1
    for _ in range(2):
        x = ((x ^ (x >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    x = x ^ (x >> 16)
    values = (x.double() / 2**31 - 1).float()
    return values.repeat(-(-count // len(values)))[:count]


def pictures(batch: int, channels: int, side: int) -> Tensor:
    return numbers(0, batch * channels * side * side).reshape(batch, channels, side, side)


def seeded(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the same names and shapes, filled by the place of each entry."""
    out = {}
    for place, (name, tensor) in enumerate(state.items(), 1):
        values = numbers(place, max(tensor.numel(), 1))[: tensor.numel()].reshape(tensor.shape)
        if name.endswith("num_batches_tracked"):
            out[name] = torch.zeros_like(tensor, device="cpu")
        elif name.endswith("running_var"):
            out[name] = 1 + values / 2
        elif tensor.dim() >= 2:
            out[name] = values * math.sqrt(6 / tensor[0].numel())
        elif name.endswith("weight"):
            out[name] = 1 + values / 10
        else:
            out[name] = values / 10
    return out


NORM = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]


def packed(shapes: Mapping[str, tuple[int, ...]]) -> object:
    """Names and shapes as a tree; a batch normalisation as 'norm C'."""
    tree: dict = {}
    for name, shape in shapes.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = "x".join(map(str, shape))

    def shorten(node: object) -> object:
        if not isinstance(node, dict):
            return node
        if list(node) == NORM:
            return f"norm {node['weight']}"
        return {key: shorten(value) for key, value in node.items()}

    return shorten(tree)


def unpacked(tree: object, prefix: str = "") -> list[tuple[str, tuple[int, ...]]]:
    """The names and shapes that `packed` was given, in their order."""
    if isinstance(tree, dict):
        return [entry for key, value in tree.items() for entry in unpacked(value, f"{prefix}.{key}" if prefix else key)]
    assert isinstance(tree, str)
    if tree.startswith("norm "):
        channels = (int(tree[5:]),)
        return [(f"{prefix}.{name}", channels if name != NORM[-1] else ()) for name in NORM]
    return [(prefix, tuple(int(n) for n in tree.split("x")) if tree else ())]
