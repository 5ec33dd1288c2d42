"""Attention over neighbours: a softmax of scores over the edges into a node, then a weighted sum, by heads.

    additive (GAT)    s_e[h] = leaky( a[h] · x[source(e), h] + b[h] · x[target(e), h] + r[e, h] )
    dynamic (GATv2)   s_e[h] = Σ_c a[h, c] leaky( x[source(e), h, c] + z[target(e), h, c] + r[e, h, c] )
    dot (Transformer) s_e[h] = q[target(e), h] · k[source(e), h] + u[target(e), h] · f_e, with sums of v, and of f

    y[t, h] = Σ_{e into t} α_e[h] x[source(e), h],   α_e = exp(s_e) / Σ_{e' into t} exp(s_e')

Forms, equal to rounding:

    fused      a few signals at a time; no score outlives its block, the backward pass works them out again
    portable   scores and coefficients as tensors, plain torch operations: what is dropped out, looked at or exported
    triton     one kernel a pass, on a GPU or through Triton's interpreter (`functional.gpu`)

The steps, scores and coefficients as tensors, run with their sum in every form of a weighted sum ('gather', 'sparse').

Shapes: x, z, y, q, k, v `(S, N, H, C)`; a, b `(H, C)`; u `(S, N, H, D)`, f `(E, D)`. Nodes without edges get 0.
Cost: E · H · C multiply-adds a signal, and E · H · C more for dynamic scores and inner products. References:
Veličković, Cucurull, Casanova, Romero, Liò and Bengio, Graph attention networks (2018), equations 1 to 6; Brody, Alon
and Yahav, How attentive are graph attention networks? (2022), equation 7; Shi, Huang, Feng, Zhong, Wang and Sun, Masked
label prediction: unified message passing model for semi-supervised classification (2021), equations 3 and 4.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.attention.additive import fused_additive
from gconv.functional.attention.dot import fused_dot
from gconv.functional.attention.dynamic import fused_dynamic
from gconv.functional.attention.steps import (
    additive_scores,
    dot_scores,
    dynamic_scores,
    features_weighted,
    row_softmax,
    weighted,
)
from gconv.functional.attention.triton import triton_additive, triton_dynamic
from gconv.functional.forms import default_form, pick
from gconv.functional.propagate import sum_forms


def _form(
    form: str | None, steps: bool, device: torch.device, choices: dict[str, str] | None, what: str
) -> tuple[str, bool]:
    """Which form runs, and whether by steps, as where the coefficients are wanted as such."""
    able = sum_forms(device)
    if steps:
        return pick(form, able, "gather", "the coefficients themselves are wanted", choices, what), True
    default = default_form("attention", device)
    choice = default if default in able else "fused"
    chosen = pick(form, ("fused", *able), choice, "no coefficient is stored", choices, what)
    return chosen, chosen not in ("fused", "triton")


def attention(
    x: Tensor,
    a: Tensor,
    b: Tensor,
    structure: Structure,
    r: Tensor | None = None,
    *,
    slope: float = 0.2,
    dropout: float = 0.0,
    form: str | None = None,
    weights: bool = False,
    choices: dict[str, str] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Attention with additive scores (GAT).

    Args:
        x: `(S, N, H, C)`. a, b: `(H, C)`. r: `(E, H)` in the order of the edges, or None.
        slope: leaky's, for negative arguments. dropout: the probability of dropping a coefficient.
        form: 'fused', 'triton', a weighted sum's, or None for the engine's choice. weights: give α as well.
        choices: where to note the choice.

    Returns:
        y `(S, N, H, C)`, and α `(S, E, H)` as used, in the order of the edges, if wanted, else None.

    >>> import torch
    >>> structure = Structure(torch.tensor([0, 1]), torch.tensor([2, 2]), 3, 3)
    >>> x, vector = torch.ones(1, 3, 1, 4), torch.zeros(1, 4)
    >>> y, alpha = attention(x, vector, vector, structure, weights=True)
    >>> alpha.flatten()
    tensor([0.5000, 0.5000])
    """
    what = f"additive attention of {x.shape[2]} heads, {x.shape[3]} channels each"
    chosen, steps = _form(form, weights or dropout > 0, x.device, choices, what)
    if not steps:
        return (triton_additive if chosen == "triton" else fused_additive)(x, a, b, r, structure, slope), None
    alpha = row_softmax(additive_scores(x, a, b, r, structure, slope), structure)
    alpha = F.dropout(alpha, dropout)
    y = weighted(x, alpha, structure, chosen)
    return y, alpha if weights else None


def dynamic_attention(
    table: Tensor,
    a: Tensor,
    structure: Structure,
    r: Tensor | None = None,
    *,
    slope: float = 0.2,
    dropout: float = 0.0,
    form: str | None = None,
    weights: bool = False,
    choices: dict[str, str] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Attention with dynamic scores (GATv2).

    Args:
        table: x and z side by side, `(S, N, 2, H, C)`; `(S, N, 1, H, C)` where z is x.
        a: `(H, C)`. r: `(E, H, C)` in the order of the edges, or None.
        slope, dropout, form, weights, choices: as in `attention`.

    Returns:
        y `(S, N, H, C)`, and α `(S, E, H)` as used, in the order of the edges, if wanted, else None.
    """
    what = f"dynamic attention of {a.shape[0]} heads, {a.shape[1]} channels each"
    chosen, steps = _form(form, weights or dropout > 0, table.device, choices, what)
    if chosen == "fused":
        return fused_dynamic(table, r, a, structure, slope), None
    x, z = table[:, :, 0], table[:, :, -1]
    if not steps:
        return triton_dynamic(x, z, r, a, structure, slope), None
    alpha = row_softmax(dynamic_scores(x, z, r, a, structure, slope), structure)
    alpha = F.dropout(alpha, dropout)
    y = weighted(x, alpha, structure, chosen)
    return y, alpha if weights else None


def dot_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    structure: Structure,
    u: Tensor | None = None,
    f: Tensor | None = None,
    *,
    dropout: float = 0.0,
    form: str | None = None,
    weights: bool = False,
    choices: dict[str, str] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Attention with inner products as scores (Transformer), which the caller has scaled.

    Args:
        q: `(S, T, H, C)`. k, v: `(S, n, H, C)`. u: `(S, T, H, D)` and f: `(E, D)` in the order of the edges, or None.
        dropout, form, weights, choices: as in `attention`.

    Returns:
        y `(S, T, H, C)`; Σ α f `(S, T, H, D)`, or None without f; and α `(S, E, H)` in the order of the edges, before
        any of it is dropped, if wanted, else None.

    >>> import torch
    >>> structure = Structure(torch.tensor([0, 1]), torch.tensor([2, 2]), 3, 3)
    >>> x = torch.arange(3.0).view(1, 3, 1, 1)
    >>> dot_attention(0 * x, x, x, structure)[0].flatten()
    tensor([0.0000, 0.0000, 0.5000])
    """
    what = f"dot attention of {q.shape[2]} heads, {q.shape[3]} channels each"
    steps = weights or dropout > 0
    able = sum_forms(q.device) if steps else ("fused", *sum_forms(q.device))
    why = "the coefficients themselves are wanted" if steps else "no coefficient is stored"
    chosen = pick(form, able, able[0], why, choices, what)
    if chosen == "fused":
        return *fused_dot(q, k, v, u, f, structure), None
    alpha = row_softmax(dot_scores(q, k, u, f, structure), structure)
    used = F.dropout(alpha, dropout)
    z = None if f is None else features_weighted(f, used, structure, chosen)
    return weighted(v, used, structure, chosen), z, alpha if weights else None
