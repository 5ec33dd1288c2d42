"""The last half of a gated recurrent cell, a few rows at a time, as a custom operator that stores nothing on its way.

    (r, z) = σ(g),   n = tanh( m + r ⊙ k ),   h' = (1 - z) ⊙ n + z ⊙ h

Shapes: g, k and m side by side, `(..., 4 C)`; h and h' `(..., C)`. Cost: 10 operations a number; the backward pass
makes r, z and n again. Reference: Cho et al., Learning phrase representations using RNN encoder-decoder for statistical
machine translation (2014), equations 5 to 8, in torch's variant.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gconv.domains.blocks import at_once
from gconv.functional.custom import operator
from gconv.functional.explicit import differentiable
from gconv.functional.forms import plain_operations

# Numbers of `found` that are worked on at once: they and what is made of them fit into the cache (on a GPU: `at_once`).
_BLOCK_NUMBERS = 1 << 18


def _parts(found: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """r, z, n and k."""
    gates, kept, new = found.split([2 * state.shape[-1], state.shape[-1], state.shape[-1]], -1)
    reset, update = gates.sigmoid().chunk(2, -1)
    return reset, update, torch.addcmul(new, reset, kept).tanh(), kept


def _steps(found: Tensor, state: Tensor) -> Tensor:
    _, update, fresh, _ = _parts(found, state)
    return torch.lerp(fresh, state, update)


def _rows(found: Tensor) -> Iterator[slice]:
    size = max(1, at_once(_BLOCK_NUMBERS, found.device) // max(found.shape[1], 1))
    for start in range(0, found.shape[0], size):
        yield slice(start, start + size)


@operator("gconv::recurrent_state")
def _state(found: Tensor, state: Tensor) -> Tensor:
    out = torch.empty_like(state, memory_format=torch.contiguous_format)
    for rows in _rows(found):
        _, update, fresh, _ = _parts(found[rows], state[rows])
        torch.lerp(fresh, state[rows], update, out=out[rows])
    return out


@_state.register_fake
def _(found, state) -> Tensor:
    return torch.empty_like(state, memory_format=torch.contiguous_format)


@operator("gconv::recurrent_state_backward")
def _state_backward(grad: Tensor, found: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    dfound, dstate = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (found, state))
    width = state.shape[1]
    for rows in _rows(found):
        dy, before, after = grad[rows], state[rows], dfound[rows]
        reset, update, fresh, kept = _parts(found[rows], before)
        torch.mul(dy, update, out=dstate[rows])
        through = torch.ops.aten.tanh_backward(dy - dstate[rows], fresh)
        after[:, 3 * width :] = through
        torch.mul(through, reset, out=after[:, 2 * width : 3 * width])
        after[:, :width] = torch.ops.aten.sigmoid_backward(through.mul_(kept), reset)
        after[:, width : 2 * width] = torch.ops.aten.sigmoid_backward((before - fresh).mul_(dy), update)
    return dfound, dstate


@_state_backward.register_fake
def _(grad, found, state) -> tuple[Tensor, Tensor]:
    dfound, dstate = (torch.empty_like(t, memory_format=torch.contiguous_format) for t in (found, state))
    return dfound, dstate


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx, grad: Tensor):
    found, state = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        return differentiable(_steps, (found, state), grad)
    return _state_backward(grad, found, state)


_state.register_autograd(_gradients, setup_context=_setup)


def next_state(found: Tensor, state: Tensor) -> Tensor:
    """h' of the module's docstring.

    >>> next_state(torch.zeros(1, 4), torch.ones(1, 1))
    tensor([[0.5000]])
    """
    if plain_operations():
        return _steps(found, state)
    return _state(found.flatten(0, -2), state.flatten(0, -2)).view_as(state)
