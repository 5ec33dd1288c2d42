"""The cost of a training step: milliseconds, in interleaved rounds, the bytes kept for backward, the resident peak."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

Step = Callable[[], Tensor]


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each round, and their ratios to the first one's in the same round."""

    milliseconds: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds, in milliseconds."""
        return statistics.median(self.milliseconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """The first and the third quartile, in milliseconds."""
        if len(self.milliseconds) < 2:
            return self.median, self.median
        first, _, third = statistics.quantiles(self.milliseconds, n=4, method="inclusive")
        return first, third

    @property
    def noisy(self) -> bool:
        """Whether the quartiles lie apart by more than a quarter of the median: something else was running."""
        first, third = self.quartiles
        return third - first > 0.25 * self.median

    @property
    def ratio(self) -> float:
        """The median of the ratios, pair by pair."""
        return statistics.median(self.ratios)


def interleaved(
    steps: Mapping[str, Callable[[], object]], rounds: int = 15, warmup: int = 3, device: torch.device | str = "cpu"
) -> dict[str, Timing]:
    """Time every step once a round, in turn, so that a slow moment of the machine meets all of them.

    Args:
        steps: by name; ratios are to the first. rounds: how many count. warmup: rounds before that do not.

    >>> list(interleaved({"a": lambda: None, "b": lambda: None}, rounds=3))
    ['a', 'b']
    """
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(warmup + rounds):
        for name, step in steps.items():
            _synchronize(device)
            start = time.perf_counter()
            step()
            _synchronize(device)
            if number >= warmup:
                taken[name].append(1e3 * (time.perf_counter() - start))
    first = taken[next(iter(steps))]
    return {
        name: Timing(tuple(times), tuple(t / f for t, f in zip(times, first, strict=True)))
        for name, times in taken.items()
    }


def _synchronize(device: torch.device | str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def step_bytes(forward: Step, device: torch.device | str = "cpu") -> int:
    """The memory that a training step needs beside the network itself, in bytes.

    On the CPU: the storages that autograd keeps for the backward pass, each counted once; those that live on from
    step to step (parameters, inputs, the plans of a graph) are left out. On a GPU: the allocator's peak over forward
    and backward, above what was allocated before.

    Args:
        forward: runs the network on a batch and gives the loss.

    >>> x = torch.ones(10, requires_grad=True)
    >>> step_bytes(lambda: x.exp().sum())
    40
    """
    if torch.device(device).type == "cuda":
        forward().backward()
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        forward().backward()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    _, first = _kept(forward)
    held, second = _kept(forward)
    del held
    return sum(storage.nbytes() for key, storage in second.items() if key not in first)


def _kept(forward: Step) -> tuple[Tensor, dict[int, torch.UntypedStorage]]:
    """A loss, alive, and the storages its graph holds on to, by address."""
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    return loss, storages


def resident_peak() -> int:
    """The most memory that this process has held since it began, or since `step_peak` began a step; in bytes.

    On Linux the kernel's high-water mark of this process alone: what `getrusage` tells may be the parent's.

    >>> resident_peak() > 2**20
    True
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    import resource  # Windows has neither

    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


def step_peak(step: Callable[[], object]) -> int:
    """By how much the resident peak grows over one step, in bytes; meaningful in a process made for it.

    Memory that earlier steps gave back to the allocator, but not to the system, hides growth: run one step only, in a
    fresh process, after a small one that loads what is loaded once.

    >>> step_peak(lambda: torch.ones(2**22)) >= 0
    True
    """
    forget = Path("/proc/self/clear_refs")
    if forget.exists():  # the peak begins again at what is held now
        forget.write_text("5")
    before = resident_peak()
    step()
    return resident_peak() - before


def machine(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """What a figure was measured on."""
    found: dict[str, str | int] = {
        "processor": _processor(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count() or 1,
    }
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def versions() -> dict[str, str]:
    """The versions that a figure was measured with."""
    packages = ("gconv", "torch", "torch-geometric", "numpy", "scipy", "pytorch-ignite")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
