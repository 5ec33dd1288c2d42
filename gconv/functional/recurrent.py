"""The last half of a gated recurrent cell, a few rows at a time, as a custom operator that stores nothing on its way.

    (r, z, ·) = σ( m + k ),   n = tanh( m_n + r ⊙ k_n ),   h' = (1 - z) ⊙ n + z ⊙ h

Symbols: m, what arrives, and k, what the state gives, each of three parts side by side, of which the last are m_n, k_n.
Shapes: m and k `(..., 3 C)`; h and h' `(..., C)`. Cost: 12 operations a number; the backward pass makes r, z and n
again. Reference: Cho et al., Learning phrase representations using RNN encoder-decoder for statistical
machine translation (2014), equations 5 to 8, in torch's variant.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gconv.domains.blocks import at_once
from gconv.functional.custom import differentiable, operator
from gconv.functional.forms import plain_operations

# Numbers of `found` that are worked on at once: they and what is made of them fit into the cache (on a GPU: `at_once`).
_BLOCK_NUMBERS = 1 << 18


def _parts(arrived: Tensor, own: Tensor, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """r, z, n and k_n."""
    reset, update = (arrived[:, : 2 * width] + own[:, : 2 * width]).sigmoid_().chunk(2, -1)
    kept = own[:, 2 * width :]
    return reset, update, torch.addcmul(arrived[:, 2 * width :], reset, kept).tanh_(), kept


def _steps(arrived: Tensor, own: Tensor, state: Tensor) -> Tensor:
    _, update, fresh, _ = _parts(arrived, own, state.shape[-1])
    return torch.lerp(fresh, state, update)


def _rows(arrived: Tensor) -> Iterator[slice]:
    size = max(1, at_once(_BLOCK_NUMBERS, arrived.device) // max(2 * arrived.shape[1], 1))
    for start in range(0, arrived.shape[0], size):
        yield slice(start, start + size)


@operator("gconv::recurrent_state")
def _state(arrived: Tensor, own: Tensor, state: Tensor) -> Tensor:
    out = torch.empty_like(state, memory_format=torch.contiguous_format)
    for rows in _rows(arrived):
        _, update, fresh, _ = _parts(arrived[rows], own[rows], state.shape[1])
        torch.lerp(fresh, state[rows], update, out=out[rows])
    return out


@_state.register_fake
def _(arrived, own, state) -> Tensor:
    return torch.empty_like(state, memory_format=torch.contiguous_format)


@operator("gconv::recurrent_state_backward")
def _state_backward(grad: Tensor, arrived: Tensor, own: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    darrived, down, dstate = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (arrived, own, state))
    width = state.shape[1]
    for rows in _rows(arrived):
        dy, before, gates = grad[rows], state[rows], darrived[rows, : 2 * width]
        reset, update, fresh, kept = _parts(arrived[rows], own[rows], width)
        torch.mul(dy, update, out=dstate[rows])
        through = torch.ops.aten.tanh_backward(dy - dstate[rows], fresh)
        darrived[rows, 2 * width :] = through
        torch.mul(through, reset, out=down[rows, 2 * width :])
        gates[:, :width] = torch.ops.aten.sigmoid_backward(through.mul_(kept), reset)
        gates[:, width:] = torch.ops.aten.sigmoid_backward((before - fresh).mul_(dy), update)
        down[rows, : 2 * width] = gates
    return darrived, down, dstate


@_state_backward.register_fake
def _(grad, arrived, own, state) -> tuple[Tensor, Tensor, Tensor]:
    darrived, down, dstate = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (arrived, own, state))
    return darrived, down, dstate


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx, grad: Tensor):
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        return differentiable(_steps, ctx.saved_tensors, grad)
    return _state_backward(grad, *ctx.saved_tensors)


_state.register_autograd(_gradients, setup_context=_setup)


def next_state(arrived: Tensor, own: Tensor, state: Tensor) -> Tensor:
    """h' of the module's docstring.

    >>> next_state(torch.zeros(1, 3), torch.zeros(1, 3), torch.ones(1, 1))
    tensor([[0.5000]])
    """
    arrived, own, before = (table.flatten(0, -2) for table in (arrived, own, state))
    found = _steps if plain_operations() else _state
    return found(arrived, own, before).view_as(state)
