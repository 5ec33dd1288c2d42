"""Fourier bases of grids with mirror symmetry: even and odd parts, which an operator does not mix, each by itself.

    e[j] = (x[j] + x[n-1-j]) / √2,   o[j] = (x[j] - x[n-1-j]) / √2      along each axis of n cells

An open grid's Laplacian, of whatever neighbourhood, does not change when an axis is turned round: in d dimensions it
falls into 2^d blocks. Solving costs 4^-d, and applying the basis 2^-d, of what the whole would. Reference: Strang, The
discrete cosine transform (1999), on the parities of the cosine basis, of which this is the general case.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from gconv.domains.spectrum import DenseBasis, FourierBasis


class MirrorBasis(FourierBasis):
    """The basis of a grid whose Laplacian does not change when an axis is turned round: even and odd parts apart.

    Along each axis x splits into (x[j] ± x[n-1-j]) / √2; the 2^d blocks of parities do not mix, so each is solved, and
    applied, by itself: a quarter of the work of a dense basis in two dimensions. Eigenvalues lie block by block.
    """

    def __init__(self, size: tuple[int, ...], eigenvalues: Tensor, blocks: list[Tensor]) -> None:
        self.size, self.eigenvalues = size, eigenvalues
        self._kept = {blocks[0].dtype: blocks}

    @classmethod
    def of(cls, size: tuple[int, ...], laplacian: Tensor) -> MirrorBasis | None:
        """Solve block by block; None if the Laplacian does change."""
        count = laplacian.shape[0]
        shaped = laplacian.view(*size, count)
        for axis in range(len(size)):
            turned = shaped.flip(axis).reshape(count, *size).flip(axis + 1).reshape_as(shaped)
            if not torch.allclose(turned, shaped, rtol=0, atol=1e-12 * max(float(laplacian.abs().max()), 1.0)):
                return None
        split = _split(laplacian, size)  # rows, then columns
        both = _split(split.t().contiguous(), size)
        values, blocks, start = [], [], 0
        for width in _widths(size):
            part = slice(start, start + width)
            solved = DenseBasis.of(both[part, part])
            values.append(solved.eigenvalues)
            blocks.append(solved.vectors())
            start += width
        return cls(size, torch.cat(values), blocks)

    def _blocks(self, dtype: torch.dtype) -> list[Tensor]:
        if dtype in self._kept:
            return self._kept[dtype]
        with torch.inference_mode(False):
            blocks = [block.to(dtype) for block in next(iter(self._kept.values()))]
        if not torch.compiler.is_compiling():
            self._kept[dtype] = blocks
        return blocks

    def transform(self, x: Tensor) -> Tensor:
        return self._apply(x, lambda table, blocks: self._each(_split(table, self.size), [b.t() for b in blocks]))

    def inverse(self, spectrum: Tensor) -> Tensor:
        return self._apply(spectrum, lambda table, blocks: _joined(self._each(table, blocks), self.size))

    def _apply(self, x: Tensor, run: Callable[[Tensor, list[Tensor]], Tensor]) -> Tensor:
        if not x.numel():
            return x
        columns = x.movedim(-2, 0)
        return run(columns.flatten(1), self._blocks(x.dtype)).reshape(-1, *columns.shape[1:]).movedim(0, -2)

    @staticmethod
    def _each(table: Tensor, blocks: list[Tensor]) -> Tensor:
        parts = table.split([len(block) for block in blocks])
        return torch.cat([block @ part for block, part in zip(blocks, parts, strict=True)])


def _halves(count: int) -> tuple[int, int]:
    """How many even and odd functions an axis of so many cells has."""
    return (count + 1) // 2, count // 2


def _widths(size: tuple[int, ...]) -> list[int]:
    """The sizes of the blocks of parities, even first, the last axis fastest; empty ones left out."""
    widths = [1]
    for count in size:
        widths = [width * half for width in widths for half in _halves(count)]
    return [width for width in widths if width]


def _split(table: Tensor, size: tuple[int, ...]) -> Tensor:
    """Rows (cells) of `(N, W)` to parities along every axis, block by block."""
    parts = [table.view(*size, -1)]
    for axis in range(len(size)):
        parts = [half for part in parts for half in _fold(part, axis)]
    return torch.cat([part.reshape(-1, table.shape[1]) for part in parts if part.numel()])


def _joined(table: Tensor, size: tuple[int, ...]) -> Tensor:
    """The inverse of `_split`, which is its transpose."""
    halves = [_halves(count) for count in size]
    shapes = [
        tuple(h[p] for h, p in zip(halves, parity, strict=True))
        for parity in itertools.product((0, 1), repeat=len(size))
    ]
    pieces = iter(table.split([math.prod(shape) for shape in shapes]))
    parts = [next(pieces).view(*shape, table.shape[1]) for shape in shapes]
    for axis in reversed(range(len(size))):
        parts = [_unfold(even, odd, axis) for even, odd in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0].reshape(table.shape)


def _fold(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Even and odd part along an axis, orthonormal; a cell in the middle is even by itself."""
    even, odd = _halves(x.shape[axis])
    first, last = x.narrow(axis, 0, odd), x.narrow(axis, even, odd).flip(axis)
    symmetric = (first + last) * math.sqrt(0.5)
    if even > odd:
        symmetric = torch.cat([symmetric, x.narrow(axis, odd, 1)], axis)
    return symmetric, (first - last) * math.sqrt(0.5)


def _unfold(even: Tensor, odd: Tensor, axis: int) -> Tensor:
    count = odd.shape[axis]
    paired = even.narrow(axis, 0, count)
    middle = even.narrow(axis, count, even.shape[axis] - count)
    first, last = (paired + odd) * math.sqrt(0.5), (paired - odd) * math.sqrt(0.5)
    return torch.cat([first, middle, last.flip(axis)], axis)
