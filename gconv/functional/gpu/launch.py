"""What all kernels share: Triton if it is there, the shape of a tile, the launch, and the checks of arguments.

A program works on a tile of rows × channels (and signals, heads or kernels), steps through the entries of its rows
side by side, and writes its tile once: no atomic additions, so the same bits from run to run. Offsets into tensors are
64 bits wide, indices as they come (int32 where they suffice).

Triton loads with the first of these modules, and only `gconv.functional.gpu` names them. Without it they can be
imported, and every launch raises. `TRITON_INTERPRET=1`, set before Triton loads, runs all of it on the CPU.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

triton: Any = importlib.import_module("triton") if importlib.util.find_spec("triton") else None
tl: Any = importlib.import_module("triton.language") if triton else None

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)

# Numbers that a warp holds at a time: 16 a thread, which in float32 are four loads of 16 bytes under way at once.
_WARP = 512
_WARPS = 4
# A row's channels in one tile: 512 bytes in float32, past which a longer run is not read any faster.
_CHANNELS = 128
# Rows of one tile run in step, so that the longest sets the pace: few, unless channels leave the warps empty.
_ROWS = 8
# Signals that share the loads of indices and weights in one tile of the gather.
SIGNALS = 4


def jit(kernel: Callable[..., Any]) -> Any:
    """`triton.jit`, or without Triton the function itself, which then is never launched.

    >>> jit(abs) is abs if triton is None else True
    True
    """
    return kernel if triton is None else triton.jit(kernel)


@dataclass(frozen=True)
class Tile:
    """How much one program works on: `rows` × `columns` × `channels`, each a power of two, and the warps for it.

    `columns` are signals, heads or kernels, whichever the kernel has.
    """

    rows: int
    columns: int
    channels: int
    warps: int

    @classmethod
    def of(cls, rows: int, columns: int, channels: int, whole: bool = False) -> Tile:
        """The tile for so many rows, columns and channels.

        Args:
            columns: signals, heads or kernels that one program may take together.
            whole: all channels in one tile (a softmax's score needs them), however many.

        >>> Tile.of(784, SIGNALS, 64)
        Tile(rows=8, columns=4, channels=64, warps=4)
        >>> Tile.of(784, 1, 3)
        Tile(rows=256, columns=1, channels=4, warps=2)
        """
        full = _WARP * _WARPS
        wide = power(channels) if whole else min(power(channels), _CHANNELS)
        deep = min(power(columns), max(1, full // wide))
        area = wide * deep
        few = min(_ROWS, max(1, full // area)) if area * _ROWS >= _WARP else 2 * _WARP // area
        few = min(few, power(rows))
        # A softmax keeps more beside the sum: half as many numbers a thread, or registers run out.
        return cls(few, deep, wide, max(1, min(8, few * area // (_WARP // 2 if whole else _WARP))))


def power(number: int) -> int:
    """The least power of two that is not below `number`.

    >>> [power(n) for n in (0, 1, 3, 64, 65)]
    [1, 1, 4, 64, 128]
    """
    return 1 << max(number - 1, 0).bit_length()


def parts(number: int, size: int) -> int:
    """How many parts of a size cover a number.

    >>> parts(9, 4)
    3
    """
    return -(-number // size)


def groups(signals: int, programs: int) -> int:
    """Into how many groups of signals a sum over signals is split, so that the GPU has programs enough.

    Each group writes a partial result, so there are no more than 16; the partial results are added in order.

    Args:
        programs: how many there are for one group.

    >>> groups(64, 98), groups(64, 100_000), groups(2, 1)
    (16, 1, 2)
    """
    return max(1, min(signals, 16, parts(2048, max(programs, 1))))


def launch(kernel: Any, programs: int, *arguments: Tensor | int | None, warps: int, **constants: Any) -> None:
    """Run so many programs of a kernel, on the device of its first argument.

    Raises:
        ImportError: if Triton is missing.
    """
    _need()
    device = arguments[0].device if isinstance(arguments[0], Tensor) else torch.device("cpu")
    if programs:
        with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
            kernel[(programs,)](*arguments, num_warps=warps, **constants)


def _need() -> None:
    if triton is None:
        raise ImportError("these kernels need Triton: pip install triton, or run the plain torch form")


def accumulator(dtype: torch.dtype) -> Any:
    """Triton's type in which sums of a dtype run: float32, and float64 for float64.

    Raises:
        ImportError: if Triton is missing.
    """
    _need()
    return tl.float64 if dtype == torch.float64 else tl.float32


def wide(dtype: torch.dtype) -> torch.dtype:
    """torch's type in which sums of a dtype run.

    >>> wide(torch.bfloat16), wide(torch.float64)
    (torch.float32, torch.float64)
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def check(index: Tensor, offsets: Tensor, **tensors: tuple[Tensor | None, tuple[int, ...]]) -> None:
    """Refuse what a kernel cannot read: every tensor has its shape, a floating type and the rows' device.

    The values of `index` and `offsets` are the caller's word; to look at them would wait for the GPU.

    Raises:
        ValueError: naming the tensor, what it is and what it should be.

    >>> check(torch.tensor([0, 1]), torch.tensor([0, 1, 2]), x=(torch.ones(1, 2), (1, 3)))
    Traceback (most recent call last):
    ValueError: x has shape (1, 3) here, got (1, 2)
    """
    if index.dim() != 1 or offsets.dim() != 1 or not offsets.numel():
        raise ValueError(
            f"index has shape (E,) and offsets (T + 1,), got {tuple(index.shape)} and {tuple(offsets.shape)}"
        )
    for name, tensor in (("index", index), ("offsets", offsets)):
        if tensor.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"{name} is {tensor.dtype}; rows are told in int32 or int64: convert it with .to()")
    for name, (tensor, shape) in tensors.items():
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} has shape {shape} here, got {tuple(tensor.shape)}")
        if tensor.dtype not in DTYPES:
            names = ", ".join(map(str, DTYPES))
            raise ValueError(f"{name} is {tensor.dtype}; the kernels read {names}: convert it with .to()")
        if tensor.device != offsets.device or index.device != offsets.device:
            raise ValueError(f"{name} is on {tensor.device} and the rows on {offsets.device}: move one with .to()")


def check_back(index: Tensor, offsets: Tensor, entry: Tensor, entries: int, columns: int) -> None:
    """Refuse transposed rows of another size than the rows themselves.

    Raises:
        ValueError: with the sizes.

    >>> check_back(torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([0, 0]), 1, 1)
    Traceback (most recent call last):
    ValueError: index_back (E,), offsets_back (n + 1,) and entry_back (E,) have 1, 2 and 1 numbers here, got 1, 2 and 2
    """
    check(index, offsets)
    got, want = (index.numel(), offsets.numel(), entry.numel()), (entries, columns + 1, entries)
    if got != want:
        raise ValueError(
            "index_back (E,), offsets_back (n + 1,) and entry_back (E,) have {}, {} and {} numbers here, ".format(*want)
            + "got {}, {} and {}".format(*got)
        )


@jit
def place_of(row_tiles, blocks):
    """Which signal tile, row tile and block a program has; neighbouring programs have neighbouring rows."""
    program = tl.program_id(0)
    return program // (row_tiles * blocks), (program // blocks) % row_tiles, program % blocks


@jit
def entries_of(offsets, row, num_rows):
    """The first entry of each row, how many it has, and the most that one has; rows beyond the last have none."""
    inside = row < num_rows
    begin = tl.load(offsets + row, mask=inside, other=0)
    length = tl.load(offsets + row + 1, mask=inside, other=0) - begin
    return begin.to(tl.int64), length, tl.max(length, 0)
