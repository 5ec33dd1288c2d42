"""Attention with dynamic scores (GATv2), signal by signal, as a custom operator that keeps scores and nothing wider.

    s_e[h]  = Σ_c a[h, c] leaky( u_e[h, c] ),   u_e = x[source(e)] + z[target(e)] + r[e]
    y[t, h] = Σ_{e into t} α_e[h] x[source(e), h]

with α the softmax of s over the edges into a node. The sums u, `(E, H, C)` a signal, are made a chunk of edges at a
time, once forward and once backward. With m_e = ds_e leaky'(u_e), all that is left of them are sums at the nodes:

    dz[t] = a ∘ Σ_{e into t} m_e,   dx[j] = a ∘ Σ_{e out of j} m_e + (through α),   da = Σ_j x[j] ∘ Σ m + Σ_t z[t] ∘ Σ m

x and z come as one table `(S, N, 2, H, C)`, or `(S, N, 1, H, C)` where z is x.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.structure import Structure
from gconv.functional.attention.softmax import Mixer, by_heads, largest, softmax_sums, softmax_sums_backward
from gconv.functional.attention.steps import dynamic_steps
from gconv.functional.custom import differentiable, operator
from gconv.functional.edge_tables import Edges, blocks
from gconv.functional.rows import bags

# Numbers of the sums on edges that are made at once.
_CHUNK_NUMBERS = 1 << 21


@dataclass(frozen=True)
class _Ends:
    """Both ends of every edge as rows of a table of nodes, `sides` rows a node."""

    edges: Edges
    sides: int

    @property
    def rows(self) -> Edges:
        """The edges, their sources counted as rows of the table."""
        return replace(self.edges, source=self.edges.source * self.sides)

    def pairs(self) -> Tensor:
        """The two rows of each edge, one after the other, `(2 E,)`."""
        own = self.edges.target * self.sides + (self.sides - 1)
        return torch.stack([self.edges.source * self.sides, own], 1).flatten()

    def sums(self, table: Tensor, r: Tensor | None, pairs: Tensor, width: int) -> Iterator[tuple[slice, Tensor]]:
        """u for one signal's table `(rows, D)`, so many edges at a time: `(part, D)`."""
        count = self.edges.source.numel()
        size = max(1, _CHUNK_NUMBERS // width)
        starts = 2 * torch.arange(min(size, count) + 1, dtype=pairs.dtype, device=pairs.device)
        for start in range(0, count, size):
            part = slice(start, min(start + size, count))
            both = bags(table, pairs[2 * part.start : 2 * part.stop], starts[: part.stop - part.start + 1], None)
            yield part, both if r is None else both.add_(r[part])


@operator("gconv::dynamic_attention")
def _dynamic(
    table: Tensor,
    r: Tensor | None,
    a: Tensor,
    slope: float,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor]:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact = torch.promote_types(table.dtype, torch.float32)
    signals, nodes, sides, heads, channels = table.shape
    ends, width = _Ends(edges, sides), heads * channels
    kept = table.new_empty(signals, source.numel(), heads, dtype=exact)
    if not table.numel() or not source.numel():
        return table.new_zeros(signals, nodes, heads, channels), kept.zero_()
    out, matrix, pairs = table.new_empty(signals, nodes, heads, channels), by_heads(a.to(exact)), ends.pairs()
    r, mixer = None if r is None else r.to(exact).flatten(1), Mixer(ends.rows, heads)
    for block in blocks(out, source.numel()):
        rows = table[block].to(exact).reshape(-1, nodes * sides, heads, channels)
        for i in range(rows.shape[0]):
            for part, sums in ends.sums(rows[i].flatten(1), r, pairs, width):
                torch.mm(F.leaky_relu_(sums, slope), matrix, out=kept[block.start + i, part])
        scores = kept[block].transpose(0, 1).flatten(1)
        softmax_sums(rows, scores, mixer, largest(scores), out[block])
    return out, kept


@_dynamic.register_fake
def _(table, r, a, slope, source, *_) -> tuple[Tensor, Tensor]:
    signals, nodes, _, heads, channels = table.shape
    exact = torch.promote_types(table.dtype, torch.float32)
    kept = table.new_empty(signals, source.shape[0], heads, dtype=exact)
    return table.new_empty(signals, nodes, heads, channels), kept


@operator("gconv::dynamic_attention_backward")
def _dynamic_backward(
    grad: Tensor,
    table: Tensor,
    r: Tensor | None,
    a: Tensor,
    kept: Tensor,
    slope: float,
    source: Tensor,
    target: Tensor,
    offsets: Tensor,
    target_back: Tensor,
    offsets_back: Tensor,
    to_columns: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    edges = Edges(source, target, offsets, target_back, offsets_back, to_columns)
    exact = torch.promote_types(table.dtype, torch.float32)
    nodes, sides, heads, channels = table.shape[1:]
    ends, width = _Ends(edges, sides), heads * channels
    dr = table.new_zeros((0,) if r is None else (source.numel(), width), dtype=exact)
    if not table.numel() or not source.numel():
        return table.new_zeros(table.shape), dr.to(table.dtype).view(0 if r is None else r.shape), a.new_zeros(a.shape)
    dtable, da, pairs = table.new_empty(table.shape), a.new_zeros(width, dtype=exact), ends.pairs()
    factors, spread = a.to(exact).flatten(), by_heads(torch.ones_like(a, dtype=exact)).t().contiguous()
    r, mixer = None if r is None else r.to(exact).flatten(1), Mixer(ends.rows, heads)
    for block in blocks(grad, source.numel()):
        rows = table[block].to(exact).reshape(-1, nodes * sides, heads, channels)
        scores = kept[block].transpose(0, 1).flatten(1)
        dy, bound = grad[block].to(exact), largest(scores)
        through, slopes = softmax_sums_backward(dy, rows, scores, mixer, bound)
        slopes = slopes.view(slopes.shape[0], -1, heads)
        bent = rows.new_empty(slopes.shape[0], width)
        for i in range(rows.shape[0]):
            for part, sums in ends.sums(rows[i].flatten(1), r, pairs, width):
                own = slopes[part, i] @ spread
                torch.ops.aten.leaky_relu_backward.grad_input(own, sums, slope, False, grad_input=bent[part])
            into, out_of = edges.into_targets(bent), edges.into_sources(bent)
            x, z = rows[i, ::sides].flatten(1), rows[i, sides - 1 :: sides].flatten(1)
            da += (into * z).sum(0) + (out_of * x).sum(0)
            if r is not None:
                da += (bent * r).sum(0)
                dr.addcmul_(bent, factors)
            near = (out_of * factors).view(nodes, heads, channels).add_(through[i])
            own_side = (into * factors).view(nodes, heads, channels)
            dtable[block.start + i, :, 0] = near if sides == 2 else near + own_side
            if sides == 2:
                dtable[block.start + i, :, 1] = own_side
    return dtable, dr.to(table.dtype).view(0 if r is None else (-1, heads, channels)), da.view(a.shape).to(a.dtype)


@_dynamic_backward.register_fake
def _(grad, table, r, a, *_) -> tuple[Tensor, Tensor, Tensor]:
    return table.new_empty(table.shape), table.new_empty(0 if r is None else r.shape), a.new_empty(a.shape)


def _setup(ctx, inputs, output) -> None:
    *tensors, slope, source, target, offsets, target_back, offsets_back, to_columns = inputs
    ctx.save_for_backward(*tensors, output[1], source, target, offsets, target_back, offsets_back, to_columns)
    ctx.mark_non_differentiable(output[1])
    ctx.slope = slope


def _gradients(ctx, grad: Tensor, _: Tensor):
    table, r, a, kept, *edges = ctx.saved_tensors
    if torch.is_grad_enabled():  # to be differentiated again: the same in steps that know their derivatives
        structure = Structure(edges[0].long(), edges[1].long(), table.shape[1], table.shape[1])

        def steps(table: Tensor, r: Tensor | None, a: Tensor) -> Tensor:
            return dynamic_steps(table[:, :, 0], table[:, :, -1], r, a, structure, ctx.slope)

        gradients = differentiable(steps, (table, r, a), grad)
    else:
        dtable, dr, da = _dynamic_backward(grad, table, r, a, kept, ctx.slope, *edges)
        gradients = dtable, None if r is None else dr, da
    return *gradients, *[None] * 7


_dynamic.register_autograd(_gradients, setup_context=_setup)


def fused_dynamic(table: Tensor, r: Tensor | None, a: Tensor, structure: Structure, slope: float) -> Tensor:
    """y `(S, N, H, C)` of x and z in one table, r `(E, H, C)` in the order of the edges, a `(H, C)`."""
    sorted_r = None if r is None else r.index_select(0, structure.rows.order)
    return _dynamic(table, sorted_r, a, slope, *structure.entries)[0]
