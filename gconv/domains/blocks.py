"""How much is worked on at once: on a CPU what stays in its cache, on a GPU what keeps all of it busy.

The engine's block sizes are told for a CPU. A GPU has no cache that a block must fit: what counts there is that a call
is long beside its launch, and what bounds it is memory.
"""

from __future__ import annotations

import torch

# How many times a CPU's block a device takes: on a GPU tables of 2 MiB (2^19 numbers in float32) become 64 MiB.
_TIMES = {"cpu": 1, "cuda": 32}


def at_once(numbers: int, device: torch.device) -> int:
    """The size of a block on a device, where it is `numbers` on a CPU.

    >>> at_once(1 << 18, torch.device("cpu")), at_once(1 << 18, torch.device("cuda")) >> 18
    (262144, 32)
    """
    return numbers * _TIMES.get(device.type, 1)
