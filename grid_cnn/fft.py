"""Convolution by the Fourier transform: equal to the direct one, and faster for large kernels.

    y[o] = b[o] + F⁻¹( Σ_c F(x[c]) ⊙ conj F(w[o, c]) )

on a torus just large enough that the borders do not reach each other: n ≥ W + P cells an axis, rounded up to a size
that transforms quickly. Symbols: w = `weight`, b = `bias`, P = `padding`, F the discrete Fourier transform (real, so
that half the frequencies are kept). Strides keep every S-th of the results; dilation spreads the kernel with zeros.
Shapes, arguments, parameters: those of `Conv1d/2d/3d`. Cost: O(n^ndim log n) for every channel in, channel out and
kernel, and C_in/groups · C_out complex multiply-adds a frequency, whatever the size of the kernel.
Reference: Mathieu, Henaff and LeCun, Fast training of convolutional networks through FFTs (2014).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from grid_cnn.conv import Conv1d, Conv2d, Conv3d

# Measured on the CPU: numbers in the spectra of the results that are worked on at once, by a loop over channels and by
# one batched product of small complex matrices; up to how many channels in a group the loop is faster; up to how many
# taps an axis is transformed faster by a product with the transform's own matrix, which neither pads nor copies.
_CHUNK, _LARGE_CHUNK = 1 << 18, 1 << 20
_FEW_CHANNELS = 4
_FEW_TAPS = 32

Borders = Sequence[tuple[int, int]]


def quick_size(least: int) -> int:
    """The smallest size from `least` on that transforms quickly: a multiple of 4 without a prime factor above 7.

    >>> quick_size(135), quick_size(128)
    (140, 128)
    """
    size = -(-least // 4) * 4
    while True:
        rest = size
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 4


def fft_convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    borders: Borders,
    dilation: Sequence[int],
    groups: int,
    padding_mode: str,
) -> Tensor:
    """Cross-correlate `x` `(B, C, *size)` with `weight`: `grid_cnn.conv.convolve`, through the Fourier transform.

    >>> x, weight = torch.ones(1, 1, 4), torch.ones(1, 1, 3)
    >>> fft_convolve(x, weight, None, (1,), ((1, 1),), (1,), 1, "zeros").round()
    tensor([[[2., 3., 3., 2.]]])
    """
    if x.dtype in (torch.float16, torch.bfloat16):
        single = x.float(), weight.float(), None if bias is None else bias.float()
        return fft_convolve(*single, stride, borders, dilation, groups, padding_mode).to(x.dtype)
    if padding_mode != "zeros":
        flat = [cells for pair in reversed(borders) for cells in pair]
        x = F.pad(x, flat, mode=padding_mode) if any(flat) else x
        borders = [(0, 0)] * len(borders)
    bias = None if bias is None else bias.to(x.dtype)
    return cast(Tensor, _Correlate.apply(x, weight.to(x.dtype), bias, stride, borders, dilation, groups))


class _Correlate(torch.autograd.Function):
    """y[n, o, p] = b[o] + Σ_{c, m} x[n, c, S p + d m - P] w[o, c, m]: its derivatives are again such correlations."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sequence[int],
        borders: Borders,
        dilation: Sequence[int],
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, borders, dilation, groups
        return _correlate(x, weight, bias, stride, borders, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        stride, borders, dilation, groups = ctx.settings
        grad, ones = grads[0], (1,) * len(stride)
        grad_x = grad_weight = grad_bias = None
        extents = [d * (f - 1) + 1 for f, d in zip(weight.shape[2:], dilation, strict=True)]
        if ctx.needs_input_grad[0]:  # the result spread by the stride, with the kernels flipped and transposed
            counts = [n + sum(pair) - e + 1 for n, pair, e in zip(x.shape[2:], borders, extents, strict=True)]
            back = weight.flip(tuple(range(2, weight.dim()))).unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
            outer = [(e - 1 - before, e - 1 - after) for e, (before, after) in zip(extents, borders, strict=True)]
            grad_x = _Correlate.apply(_spread(grad, counts, stride), back, None, ones, outer, dilation, groups)
        if ctx.needs_input_grad[1]:  # the signal with the result as kernel: batch and channels change places
            across = x.unflatten(1, (groups, -1)).permute(2, 1, 0, *range(3, x.dim() + 1)).flatten(1, 2)
            kernels = grad.transpose(0, 1)
            parts = _Correlate.apply(across, kernels, None, dilation, borders, stride, groups)
            taps = tuple(slice(f) for f in weight.shape[2:])
            grad_weight = cast(Tensor, parts).transpose(0, 1)[(..., *taps)]
        if ctx.needs_input_grad[2]:
            grad_bias = grad.transpose(0, 1).flatten(1).sum(1)
        return cast("Tensor | None", grad_x), grad_weight, grad_bias, None, None, None, None


def _correlate(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    borders: Borders,
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """The correlation itself, a few signals at a time. A negative border cuts cells off."""
    if any(min(pair) < 0 for pair in borders):
        x = F.pad(x, [min(cells, 0) for pair in reversed(borders) for cells in pair])
        borders = [(max(before, 0), max(after, 0)) for before, after in borders]
    extents = [d * (f - 1) + 1 for f, d in zip(weight.shape[2:], dilation, strict=True)]
    counts = [n + sum(pair) - e + 1 for n, pair, e in zip(x.shape[2:], borders, extents, strict=True)]
    # The zeros before the signal serve as the zeros behind it: the torus closes on them.
    axes = zip(x.shape[2:], borders, extents, counts, strict=True)
    torus = [quick_size(max(n + max(pair), extent, count)) for n, pair, extent, count in axes]
    kernels = _taps_spectrum(weight, torus, dilation).unflatten(0, (groups, -1))
    if any(before for before, _ in borders):
        x = F.pad(x, [cells for before, _ in reversed(borders) for cells in (before, 0)])
    chunk = max(1, (_CHUNK if kernels.shape[2] <= _FEW_CHANNELS else _LARGE_CHUNK) // kernels[:, :, 0].numel())
    sizes = [-(-count // step) for count, step in zip(counts, stride, strict=True)]
    out = x.new_empty(x.shape[0], weight.shape[0], *sizes)
    for first in range(0, x.shape[0], chunk):
        part = _products(_spectrum(x[first : first + chunk], torus), kernels)
        target = out[first : first + chunk].copy_(_inverse(part, torus, counts, stride))
        if bias is not None:
            target.add_(bias.view(-1, *[1] * len(torus)))
    return out


def _spread(x: Tensor, sizes: Sequence[int], steps: Sequence[int]) -> Tensor:
    """The cells `steps` apart on axes of `sizes`, zeros between and behind."""
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True), start=2):
        if step != 1:
            where = torch.arange(x.shape[axis], device=x.device) * step
            x = x.new_zeros(*x.shape[:axis], size, *x.shape[axis + 1 :]).index_copy(axis, where, x)
    return x


def _spectrum(x: Tensor, torus: Sequence[int]) -> Tensor:
    """The transform over all axes but two; an axis at a time, so that rows of padding are not transformed."""
    out = torch.fft.rfft(x, n=torus[-1])
    for axis in range(len(torus) - 2, -1, -1):
        out = torch.fft.fft(out, n=torus[axis], dim=axis + 2)
    return out


def _taps_spectrum(weight: Tensor, torus: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """The conjugate of a kernel's spectrum, its taps `dilation` apart."""
    if max(weight.shape[2:]) > _FEW_TAPS:
        extents = [d * (f - 1) + 1 for f, d in zip(weight.shape[2:], dilation, strict=True)]
        return _spectrum(_spread(weight, extents, dilation), torus).conj_physical()
    waves = [
        _waves(f, d, n, n // 2 + 1 if axis == len(torus) - 1 else n, weight)
        for axis, (f, d, n) in enumerate(zip(weight.shape[2:], dilation, torus, strict=True))
    ]
    # The last axis is a product of real numbers; axes that are done lie flat behind the one that follows.
    numbers = weight @ torch.view_as_real(waves[-1].t().contiguous()).flatten(1)
    out = torch.view_as_complex(numbers.unflatten(-1, (-1, 2)))
    for axis in range(len(torus) - 2, -1, -1):
        done = out.shape[axis + 3 :]
        out = torch.matmul(waves[axis], out.flatten(axis + 3)).unflatten(-1, done)
    return out


def _waves(taps: int, dilation: int, size: int, frequencies: int, like: Tensor) -> Tensor:
    """The matrix exp(2πi f m d / n) of the conjugate transform, a row a frequency f and a column a tap m."""
    rows, columns = (torch.arange(count, device=like.device) for count in (frequencies, taps))
    angles = (torch.outer(rows, columns * dilation) % size).double() * (2 * math.pi / size)
    return torch.complex(angles.cos().to(like.dtype), angles.sin().to(like.dtype))


def _products(x: Tensor, kernels: Tensor) -> Tensor:
    """Σ_c x[b, g, c] w[g, o, c] at every frequency: `(B, G · C, ...)` and `(G, O, C, ...)` to `(B, G · O, ...)`."""
    x = x.unflatten(1, (kernels.shape[0], -1))
    if kernels.shape[2] > _FEW_CHANNELS:
        return torch.einsum("bgc...,goc...->bgo...", x, kernels).flatten(1, 2)
    out = x[:, :, None, 0] * kernels[:, :, 0]
    for channel in range(1, kernels.shape[2]):
        out.addcmul_(x[:, :, None, channel], kernels[:, :, channel])
    return out.flatten(1, 2)


def _inverse(spectrum: Tensor, torus: Sequence[int], counts: Sequence[int], stride: Sequence[int]) -> Tensor:
    """The signal of a spectrum: at every stride-th of the first `counts` positions of each axis."""
    for axis in range(len(torus) - 1):
        kept = torch.fft.ifft(spectrum, dim=axis + 2).narrow(axis + 2, 0, counts[axis])
        spectrum = kept[(slice(None),) * (axis + 2) + (slice(None, None, stride[axis]),)]
    return torch.fft.irfft(spectrum, n=torus[-1])[..., : counts[-1] : stride[-1]]


class _FFTConv:
    """Mixed in before a convolution: how it convolves."""

    bias: Tensor | None
    stride: tuple[int, ...]
    borders: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int

    def convolve(self, x: Tensor, weight: Tensor, padding_mode: str) -> Tensor:
        """The cross-correlation of a batch that is known to fit with `weight`."""
        if not x.numel():
            return super().convolve(x, weight, padding_mode)  # pyright: ignore[reportAttributeAccessIssue]
        return fft_convolve(x, weight, self.bias, self.stride, self.borders, self.dilation, self.groups, padding_mode)


class FFTConv1d(_FFTConv, Conv1d):
    """`Conv1d` through the Fourier transform.

    >>> FFTConv1d(1, 2, 31, padding="same")(torch.zeros(1, 1, 100)).shape
    torch.Size([1, 2, 100])
    """


class FFTConv2d(_FFTConv, Conv2d):
    """`Conv2d` through the Fourier transform: same arguments, parameters and results, to rounding.

    On the CPU it pays from kernels of about 15×15 on.

    >>> layer, direct = FFTConv2d(3, 16, 15, padding="same"), Conv2d(3, 16, 15, padding="same")
    >>> layer.load_state_dict(direct.state_dict())
    <All keys matched successfully>
    >>> x = torch.randn(2, 3, 32, 32)
    >>> torch.testing.assert_close(layer(x), direct(x), rtol=1e-4, atol=1e-5)
    """


class FFTConv3d(_FFTConv, Conv3d):
    """`Conv3d` through the Fourier transform.

    >>> FFTConv3d(1, 2, 7, padding="same")(torch.zeros(1, 1, 12, 12, 12)).shape
    torch.Size([1, 2, 12, 12, 12])
    """
