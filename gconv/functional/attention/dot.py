"""Attention with scores that are inner products, a few signals at a time, as a custom operator that stores no score.

    s_e[h]  = q[target(e), h] · k[source(e), h] + u[target(e), h] · f_e
    y[t, h] = Σ_{e into t} α_e[h] v[source(e), h],   z[t, h] = Σ_{e into t} α_e[h] f_e

with α the softmax of s over the edges into a node. What edges hold, f `(E, D)`, is shared by all signals and heads: the
matrices that lead to it, and on from it, stay with the nodes. The backward pass works the scores out again:

    dq[t] = Σ_e ds_e k[source(e)],   dk[j] = Σ_e ds_e q[target(e)],   du[t] = Σ_e ds_e f_e,
    df_e  = Σ_{signals, h} ds_e[h] u[target(e), h] + α_e[h] dz[target(e), h]
"""

from __future__ import annotations

import torch
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.attention.softmax import Mixer, exponentials, largest
from gconv.functional.attention.steps import dot_scores, features_weighted, row_softmax, weighted
from gconv.functional.custom import differentiable, operator
from gconv.functional.edge_tables import Edges, blocks
from gconv.functional.rows import bags, dots

# Up to so many features an edge, they are taken one by one: each is a pass over whole rows of scores.
_FEW = 6


class _Features:
    """What edges hold, f `(E, D)`, beside tables `(E, W)` of scores: W = b · H, signal by signal."""

    def __init__(self, f: Tensor, edges: Edges) -> None:
        self.f, self.edges = f, edges
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}

    def _rows(self, width: int) -> tuple[Tensor, Tensor]:
        """Index and offsets of rows (signal, head, target) that read f; one structure after the other."""
        if width not in self._kept:
            offsets, entries = self.edges.offsets, self.edges.source.numel()
            copies = torch.arange(width, dtype=offsets.dtype, device=offsets.device)[:, None]
            index = torch.arange(entries, dtype=offsets.dtype, device=offsets.device).repeat(width)
            starts = (copies * entries + offsets[:-1]).flatten()
            self._kept[width] = index, torch.cat([starts, offsets.new_full((1,), width * entries)])
        return self._kept[width]

    def dots(self, u: Tensor) -> Tensor:
        """<u[t], f_e> an edge: `(b, H, T, D)` to `(E, W)`."""
        width = u.shape[0] * u.shape[1]
        if u.shape[-1] <= _FEW:
            own = u.permute(3, 2, 0, 1).reshape(u.shape[-1], -1, width)
            scores = self.f.new_zeros(len(self.f), width)
            for column, values in zip(self.f.split(1, 1), own, strict=True):
                scores.addcmul_(values.index_select(0, self.edges.target), column)
            return scores
        found = dots(self.f, u.reshape(-1, u.shape[-1]), *self._rows(width))
        return found.view(width, -1).t().contiguous()

    def forth(self, weights: Tensor, heads: int) -> Tensor:
        """Σ_e w_e f_e at the targets: `(E, W)` to `(b, H, T, D)`."""
        width = weights.shape[1]
        if self.f.shape[1] <= _FEW:
            sums = [self.edges.into_targets(weights * column) for column in self.f.split(1, 1)]
            return torch.stack(sums, -1).view(-1, width // heads, heads, len(sums)).permute(1, 2, 0, 3)
        found = bags(self.f, *self._rows(width), weights.t().reshape(-1))
        return found.view(width // heads, heads, self.edges.num_targets, -1)

    def back(self, u: Tensor, weights: Tensor) -> Tensor:
        """Σ_w w_e u[t] at the edges: `(b, H, T, D)`, `(E, W)` to `(E, D)`."""
        entries, width = weights.shape
        kind, device = self.edges.target.dtype, weights.device
        shift = torch.arange(width, dtype=kind, device=device) * self.edges.num_targets
        index = (self.edges.target[:, None] + shift).flatten()
        starts = torch.arange(entries + 1, dtype=kind, device=device) * width
        return bags(u.reshape(-1, u.shape[-1]), index, starts, weights.reshape(-1))


def _scores(q: Tensor, k: Tensor, u: Tensor | None, mixer: Mixer, features: _Features | None) -> Tensor:
    """s of signals `(b, H, T, C)`, `(b, n, H, C)`, `(b, H, T, D)`: `(E, W)`."""
    scores = mixer.dots(k, q)
    return scores if features is None or u is None else scores.add_(features.dots(u))


def _empty(q: Tensor, k: Tensor, source: Tensor) -> bool:
    return not q.numel() or not k.numel() or not source.numel()


@operator("gconv::dot_attention")
def _dot(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    u: Tensor | None,
    f: Tensor | None,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor]:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    out = q.new_zeros(q.shape)
    sums = q.new_zeros(0 if u is None else u.shape)
    if _empty(q, k, source):
        return out, sums
    exact, heads = torch.promote_types(q.dtype, torch.float32), q.shape[2]
    mixer = Mixer(edges, heads)
    features = None if f is None else _Features(f.to(exact), edges)
    for part in blocks(q, source.numel()):
        near, values = (t[part].to(exact).contiguous() for t in (k, v))
        own = q[part].transpose(1, 2).to(exact).contiguous()
        along = None if u is None else u[part].transpose(1, 2).to(exact).contiguous()
        scores = _scores(own, near, along, mixer, features)
        powers, inverse = exponentials(scores, edges, largest(scores))
        factors = inverse.view(-1, own.shape[0], heads).permute(1, 2, 0)[..., None]
        out[part] = (mixer.forth(values, powers) * factors).transpose(1, 2)
        if features is not None:
            sums[part] = (features.forth(powers, heads) * factors).transpose(1, 2)
    return out, sums


@_dot.register_fake
def _(q, k, v, u, *_) -> tuple[Tensor, Tensor]:
    return q.new_empty(q.shape), q.new_empty(0 if u is None else u.shape)


@operator("gconv::dot_attention_backward")
def _dot_backward(
    dy: Tensor,
    dz: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    u: Tensor | None,
    f: Tensor | None,
    need_features: bool,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact, heads = torch.promote_types(q.dtype, torch.float32), q.shape[2]
    dq, dk, dv = q.new_zeros(q.shape), k.new_zeros(k.shape), v.new_zeros(v.shape)
    du = q.new_zeros(0 if u is None else u.shape)
    df = q.new_zeros(0 if f is None or not need_features else f.shape, dtype=exact)
    if _empty(q, k, source):
        return dq, dk, dv, du, df.to(q.dtype)
    mixer = Mixer(edges, heads)
    features = None if f is None else _Features(f.to(exact), edges)
    for part in blocks(q, source.numel()):
        near, values = (t[part].to(exact).contiguous() for t in (k, v))
        own = q[part].transpose(1, 2).to(exact).contiguous()
        along = None if u is None else u[part].transpose(1, 2).to(exact).contiguous()
        scores = _scores(own, near, along, mixer, features)
        powers, inverse = exponentials(scores, edges, largest(scores))
        factors = inverse.view(-1, own.shape[0], heads).permute(1, 2, 0)[..., None]
        scaled = dy[part].transpose(1, 2).to(exact) * factors
        slopes = mixer.dots(values, scaled)
        scaled_sums = None if features is None else dz[part].transpose(1, 2).to(exact) * factors
        if features is not None and scaled_sums is not None:
            slopes += features.dots(scaled_sums)
        slopes *= powers
        means = edges.into_targets(slopes).mul_(inverse)
        slopes.addcmul_(powers, means.index_select(0, target), value=-1.0)
        dq[part] = mixer.forth(near, slopes).transpose(1, 2)
        dk[part] = mixer.back(own, slopes.index_select(0, to_columns)).transpose(1, 2)
        dv[part] = mixer.back(scaled, powers.index_select(0, to_columns)).transpose(1, 2)
        if features is not None and along is not None and scaled_sums is not None:
            du[part] = features.forth(slopes, heads).transpose(1, 2)
            if need_features:
                df += features.back(along, slopes) + features.back(scaled_sums, powers)
    return dq, dk, dv, du, df.to(q.dtype)


@_dot_backward.register_fake
def _(dy, dz, q, k, v, u, f, need_features, *_) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    du, df = q.new_empty(0 if u is None else u.shape), q.new_empty(0 if f is None or not need_features else f.shape)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), du, df


def _setup(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx, dy: Tensor, dz: Tensor):
    q, k, v, u, f, *edges = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(edges[0].long(), edges[1].long(), k.shape[1], q.shape[1])

        def steps(q: Tensor, k: Tensor, v: Tensor, u: Tensor | None, f: Tensor | None) -> Tensor:
            alpha = row_softmax(dot_scores(q, k, u, f, structure), structure)
            y = weighted(v, alpha, structure)
            return y if f is None else torch.cat([y, features_weighted(f, alpha, structure)], -1)

        grad = dy if f is None else torch.cat([dy, dz], -1)
        gradients = differentiable(steps, (q, k, v, u, f), grad)
    else:
        need = f is not None and ctx.needs_input_grad[4]
        *three, du, df = _dot_backward(dy, dz, q, k, v, u, f, need, *edges)
        gradients = *three, None if u is None else du, df if need else None
    return *gradients, *[None] * 6


_dot.register_autograd(_gradients, setup_context=_setup)


def fused_dot(
    q: Tensor, k: Tensor, v: Tensor, u: Tensor | None, f: Tensor | None, structure: Structure
) -> tuple[Tensor, Tensor | None]:
    """y and z of q `(S, T, H, C)`, k and v `(S, n, H, C)`, u `(S, T, H, D)`, f `(E, D)` in the order of the edges."""
    sorted_f = None if f is None else f.index_select(0, structure.rows.order)
    y, z = _dot(q, k, v, u, sorted_f, *structure.entries)
    return y, None if f is None else z
