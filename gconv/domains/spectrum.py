"""Fourier bases of graphs: L = U diag(λ) U^H, with transforms x̂ = U^H x and x = U x̂.

The combinatorial Laplacian of a 4-neighbour grid is diagonal in the cosine transform (DCT-II), that of a torus in the
discrete Fourier transform:

    open axis of n cells:      u_k[j] ~ cos(π k (j + 1/2) / n),    λ_k = 2 - 2 cos(π k / n)
    periodic axis of n cells:  u_k[j] ~ exp(2π i k j / n),         λ_k = 2 - 2 cos(2π k / n)

and eigenvalues add up over the axes: both are applied as fast transforms, O(N log N), with no eigen-solver. All other
graphs go through scipy's dense symmetric solver, O(N³) once and O(N²) a signal. References: Strang, The discrete cosine
transform (1999); Makhoul, A fast cosine transform in one and two dimensions (1980).
"""

from __future__ import annotations

import abc
import math

import torch
from torch import Tensor

from grid_cnn import Grid

# A dense basis of N nodes holds N² doubles: 2 GiB at this size, and minutes of solving.
LARGEST_DENSE_BASIS = 16_384


class FourierBasis(abc.ABC):
    """An orthonormal eigenbasis of a graph's Laplacian; frequencies in the basis' own order."""

    eigenvalues: Tensor

    @abc.abstractmethod
    def transform(self, x: Tensor) -> Tensor:
        """x̂ = U^H x: `(..., N, C) -> (..., N, C)`, node axis to frequency axis."""

    @abc.abstractmethod
    def inverse(self, spectrum: Tensor) -> Tensor:
        """x = U x̂: `(..., N, C) -> (..., N, C)`, frequency axis to node axis."""

    def filter(self, x: Tensor, response: Tensor) -> Tensor:
        """U diag(response) U^H x; `response` `(N,)`, real or complex. Real for a real `x`."""
        spectrum = self.transform(x)
        kind = spectrum.dtype.to_complex() if response.is_complex() else spectrum.dtype
        out = self.inverse(response.to(x.device, kind)[:, None] * spectrum)
        return (out.real if out.is_complex() and not x.is_complex() else out).to(x.dtype)

    def vectors(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """U itself, `(N, N)`, a column a frequency. Dense: for small graphs."""
        count = self.eigenvalues.numel()
        return self.inverse(torch.eye(count, dtype=dtype, device=self.eigenvalues.device))

    def __repr__(self) -> str:
        low, high = float(self.eigenvalues.min()), float(self.eigenvalues.max())
        return f"{type(self).__name__}({self.eigenvalues.numel()} frequencies, λ from {low:.3g} to {high:.3g})"


class DenseBasis(FourierBasis):
    """A basis as a matrix, eigenvalues ascending."""

    def __init__(self, eigenvalues: Tensor, matrix: Tensor) -> None:
        self.eigenvalues = eigenvalues
        self._kept = {matrix.dtype: matrix}

    @classmethod
    def of(cls, laplacian: Tensor) -> DenseBasis:
        """Solve for the basis of a dense symmetric matrix.

        Raises:
            ValueError: for more nodes than a dense basis can be kept for.
        """
        from scipy.linalg import eigh

        cls.check(laplacian.shape[0])
        values, vectors = (torch.from_numpy(a).to(laplacian.device) for a in eigh(laplacian.cpu().numpy()))
        # Eigenvectors are known up to their sign: make the largest entry positive, so that runs agree.
        largest = vectors.abs().argmax(0)
        return cls(values, vectors * vectors.gather(0, largest[None]).sign())

    @staticmethod
    def check(num_nodes: int) -> None:
        """Refuse more nodes than a dense basis can be kept for, before any memory is asked for."""
        if num_nodes > LARGEST_DENSE_BASIS:
            raise ValueError(
                f"an exact Fourier basis of {num_nodes:,} nodes is a dense matrix of that size squared (the "
                f"limit is {LARGEST_DENSE_BASIS:,}); take ChebConv, which needs none, or a 4-neighbour grid, whose "
                "basis is a fast transform"
            )

    def transform(self, x: Tensor) -> Tensor:
        return _on_nodes(kept_in(self._kept, x.dtype).t(), x)

    def inverse(self, spectrum: Tensor) -> Tensor:
        return _on_nodes(kept_in(self._kept, spectrum.dtype), spectrum)


def kept_in(kept: dict[torch.dtype, Tensor], dtype: torch.dtype) -> Tensor:
    """A basis' matrix in a dtype, of those kept, to which it is added; the first is the exact one."""
    if dtype in kept:
        return kept[dtype]
    with torch.inference_mode(False):
        matrix = next(iter(kept.values())).to(dtype)
    if not torch.compiler.is_compiling():
        kept[dtype] = matrix
    return matrix


def _on_nodes(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix @ x` over the node axis of `(..., N, C)`, all signals side by side in one product."""
    columns = x.movedim(-2, 0)
    if not x.numel():
        return x
    return (matrix @ columns.flatten(1)).reshape(-1, *columns.shape[1:]).movedim(0, -2)


class _GridBasis(FourierBasis):
    def __init__(self, size: tuple[int, ...], eigenvalues: Tensor) -> None:
        self.size, self.eigenvalues = size, eigenvalues

    def _unfold(self, x: Tensor) -> Tensor:
        return x.unflatten(-2, self.size)

    def _fold(self, x: Tensor) -> Tensor:
        return x.flatten(-1 - len(self.size), -2)

    @property
    def _axes(self) -> range:
        return range(-1 - len(self.size), -1)


class CosineBasis(_GridBasis):
    """The cosine basis of an open grid with neighbours along the axes, frequencies in row-major order."""

    @classmethod
    def of(cls, grid: Grid, device: torch.device | str) -> CosineBasis:
        """The basis of `grid`."""
        return cls(grid.size, _sum_over_axes(grid, math.pi, device))

    def transform(self, x: Tensor) -> Tensor:
        x = self._unfold(x)
        for axis in self._axes:
            x = cosine_transform(x, axis)
        return self._fold(x)

    def inverse(self, spectrum: Tensor) -> Tensor:
        x = self._unfold(spectrum)
        for axis in self._axes:
            x = inverse_cosine_transform(x, axis)
        return self._fold(x)


class TorusBasis(_GridBasis):
    """The complex Fourier basis of a periodic grid with neighbours along the axes, frequencies in row-major order."""

    @classmethod
    def of(cls, grid: Grid, device: torch.device | str) -> TorusBasis:
        """The basis of `grid`."""
        return cls(grid.size, _sum_over_axes(grid, 2 * math.pi, device))

    def transform(self, x: Tensor) -> Tensor:
        if not x.numel():
            return x
        x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        return self._fold(torch.fft.fftn(self._unfold(x), dim=list(self._axes), norm="ortho"))

    def inverse(self, spectrum: Tensor) -> Tensor:
        return self._fold(torch.fft.ifftn(self._unfold(spectrum), dim=list(self._axes), norm="ortho"))


def _sum_over_axes(grid: Grid, turn: float, device: torch.device | str) -> Tensor:
    total = torch.zeros((1,) * grid.ndim, dtype=torch.float64, device=device)
    for axis, n in enumerate(grid.size):
        frequency = torch.arange(n, dtype=torch.float64, device=device)
        shape = [n if a == axis else 1 for a in range(grid.ndim)]
        total = total + (2 - 2 * torch.cos(turn * frequency / n)).reshape(shape)
    return total.flatten()


def _twist(n: int, x: Tensor, sign: int) -> tuple[Tensor, Tensor]:
    """exp(± i π k / 2n), and the factors that make the cosine transform orthonormal."""
    angle = torch.arange(n, dtype=torch.float64, device=x.device) * (sign * math.pi / (2 * n))
    scale = torch.full((n,), math.sqrt(2 / n), dtype=torch.float64, device=x.device)
    scale[0] = math.sqrt(1 / n)
    complex_dtype = torch.complex128 if x.dtype == torch.float64 else torch.complex64
    return torch.polar(torch.ones_like(angle), angle).to(complex_dtype), scale.to(x.dtype)


def cosine_transform(x: Tensor, dim: int) -> Tensor:
    """The orthonormal DCT-II along `dim`, through one FFT of the same length.

    >>> cosine_transform(torch.ones(4), 0)
    tensor([2., 0., 0., 0.])
    """
    if not x.numel():
        return x
    if x.is_complex():
        return torch.complex(cosine_transform(x.real, dim), cosine_transform(x.imag, dim))
    if x.dtype in (torch.bfloat16, torch.float16):
        return cosine_transform(x.float(), dim).to(x.dtype)
    x = x.movedim(dim, -1)
    twist, scale = _twist(x.shape[-1], x, -1)
    folded = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], -1)
    return ((torch.fft.fft(folded) * twist).real * scale).movedim(-1, dim)


def inverse_cosine_transform(spectrum: Tensor, dim: int) -> Tensor:
    """The inverse, which is also the transpose, of `cosine_transform`.

    >>> inverse_cosine_transform(torch.tensor([2.0, 0.0, 0.0, 0.0]), 0)
    tensor([1., 1., 1., 1.])
    """
    if not spectrum.numel():
        return spectrum
    if spectrum.is_complex():
        return torch.complex(*(inverse_cosine_transform(part, dim) for part in (spectrum.real, spectrum.imag)))
    if spectrum.dtype in (torch.bfloat16, torch.float16):
        return inverse_cosine_transform(spectrum.float(), dim).to(spectrum.dtype)
    y = spectrum.movedim(dim, -1)
    n = y.shape[-1]
    twist, scale = _twist(n, y, 1)
    y = y / scale
    mirrored = torch.cat([torch.zeros_like(y[..., :1]), y[..., 1:].flip(-1)], -1)
    folded = torch.fft.ifft(torch.complex(y, -mirrored) * twist).real
    half = (n + 1) // 2
    even, odd = folded[..., :half], folded[..., half:].flip(-1)
    if n % 2:
        odd = torch.cat([odd, odd[..., :0].new_zeros(*odd.shape[:-1], 1)], -1)
    out = torch.stack([even, odd], -1).flatten(-2)[..., :n]
    return out.movedim(-1, dim)
