"""What `gconv compare` is to do, checked, and the command that says the same."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gconv.training import checks, pretrained, variants


@dataclass(frozen=True)
class CompareSettings:
    """What a comparison is to do.

    Args:
        model: the recipe, one of `models.names()`. data: one of `data.names()`, looked for under `data_dir` and
            downloaded if absent and `download`. size: (height, width) to resize pictures to; None for the data's own.
        variants: some of `variants.names()`. neighbors: of a cell in the grid's graph, 4 or 8.
        epochs, batch_size, lr: Adam, its rate falling from `lr` to 0 along a cosine, on batches drawn anew each epoch.
        seeds: how many runs, with seeds 0, 1, ...: each draws weights and data order, the same for all variants.
        device: 'cpu' or 'cuda'. out: the run folder.
        pretrained: train nothing, and take the networks that come with gconv (`pretrained.VARIANTS`).

    Raises:
        ValueError: for a setting that is out of range, by name.
    """

    model: str = "lenet5"
    data: str = "digits"
    data_dir: Path = Path("data")
    download: bool = False
    size: tuple[int, int] | None = None
    variants: tuple[str, ...] = field(default_factory=variants.usual)
    neighbors: int = 8
    epochs: int = 20
    batch_size: int = 64
    lr: float = 2e-3
    seeds: int = 4
    device: str = "cpu"
    out: Path = Path("runs/compare")
    pretrained: bool = False

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name.replace('_', '-')} takes a whole number >= 1, got {getattr(self, name)}")
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr takes a positive number, got {self.lr}")
        variants.check(self.variants)
        if self.pretrained:
            pretrained.check(self.model, self.variants, self.neighbors, self.size)
        expected = checks.device(self.device)
        if expected is not None:
            raise ValueError(f"device takes {expected}; got {self.device!r}")

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}

    @property
    def command(self) -> str:
        """The command that makes this comparison: what differs from the defaults."""
        words = ["gconv", "compare"]
        for name, value in asdict(self).items():
            if value == asdict(CompareSettings())[name]:
                continue
            flag = f"--{name.replace('_', '-')}"
            if name == "size":
                words += [flag, "x".join(map(str, value))]
            elif value is True:
                words.append(flag)
            else:
                words += [flag, ",".join(value) if isinstance(value, tuple) else str(value)]
        return shlex.join(words)
