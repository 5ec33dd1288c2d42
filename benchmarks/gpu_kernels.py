"""Contests of the Triton kernels on a GPU with what else computes the same: a part of `benchmarks.gpu`.

Contenders get what suits them (cuSPARSE all signals side by side, the convolution channels-last), must give the first
one's numbers, and are timed in turn by CUDA events around so many calls in a row that launches do not show: after
warm-up, nine rounds, medians and quartiles. The bandwidth beside a time is that of the bytes that must be moved, each
tensor once, so that a sum whose neighbours come from the cache can come near a copy's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv import grid_graph
from gconv.functional import gpu
from gconv.training import measure

ROUNDS, WARMUP, SLOPE = 9, 3, 0.2
# A measurement lasts at least so long, in milliseconds, and takes no more calls than this.
_SPAN, _CALLS = 4.0, 200
# How far results of two ways may lie apart, in parts of the largest; in bfloat16 the roundings of a recurrence of 25
# terms add up, and how far apart they are is written down.
_AGREE = {torch.float32: 1e-4, torch.bfloat16: 0.25}

Step = Callable[[], Any]


@dataclass(frozen=True)
class Problem:
    """One graph, sorted both ways, and random signals on it."""

    name: str
    edge_index: Tensor
    nodes: int
    signals: int
    side: int | None = None

    @cached_property
    def rows(self) -> tuple[Tensor, ...]:
        """`index`, `offsets`, `index_back`, `offsets_back`, `entry_back`, as the kernels take them."""
        order = (self.edge_index[1] * self.nodes + self.edge_index[0]).argsort(stable=True)
        source, target = self.edge_index[:, order]
        back = source.argsort(stable=True)
        found = (source, self._offsets(target), target[back], self._offsets(source), back)
        return tuple(tensor.int() for tensor in found)

    def _offsets(self, sorted_rows: Tensor) -> Tensor:
        counts = torch.bincount(sorted_rows, minlength=self.nodes)
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    @cached_property
    def target(self) -> Tensor:
        """The row of each entry."""
        return torch.repeat_interleave(
            torch.arange(self.nodes, device=self.edge_index.device), self.rows[1].long().diff()
        )

    def random(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Numbers of the signals' size."""
        return torch.randn(*shape, device=self.edge_index.device, dtype=dtype)


def problems() -> list[Problem]:
    """Many signals on a small grid, a few on a random graph, one on a large one."""
    grid = grid_graph((28, 28), neighbors=8).edge_index.cuda()
    found = [Problem("28×28 grid, 8 neighbours, 512 signals", grid, 784, 512, side=28)]
    for nodes, edges, signals in ((100_000, 1_600_000, 4), (1_000_000, 10_000_000, 1)):
        drawn = torch.randint(0, nodes, (2, edges), device="cuda")
        found.append(Problem(f"random, {nodes:,} nodes, {edges:,} edges, {signals} signals", drawn, nodes, signals))
    return found


def timed(steps: Mapping[str, Step]) -> dict[str, dict[str, Any]]:
    """Milliseconds of a call, in interleaved rounds, by CUDA events."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def span(step: Step, calls: int) -> float:
        start.record()
        for _ in range(calls):
            step()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / calls

    for step in steps.values():
        span(step, WARMUP)
    calls = {name: max(1, min(_CALLS, round(_SPAN / max(span(step, 3), 1e-3)))) for name, step in steps.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            taken[name].append(span(step, calls[name]))
    found = {}
    for name, times in taken.items():
        timing = measure.Timing(tuple(times), tuple(times))
        quartiles = [round(t, 5) for t in timing.quartiles]
        found[name] = {"milliseconds": round(timing.median, 5), "quartiles": quartiles, "calls": calls[name]}
    return found


def contest(
    what: str, steps: Mapping[str, Step], moved: int, dtype: torch.dtype, alike: int | None = None
) -> dict[str, Any]:
    """Time the steps that run and agree with the first.

    Args:
        moved: the bytes that any of them must move. alike: how many compute the same; the rest are there to compare
            times with. None: all.
    """
    able: dict[str, Step] = {}
    failed: dict[str, str] = {}
    gaps: dict[str, float] = {}
    first: Tensor | None = None
    for number, (name, step) in enumerate(steps.items()):
        try:
            got = step()
            got = (got[0] if isinstance(got, tuple) else got).float()
            torch.cuda.synchronize()
        except Exception as error:  # a contender may lack a dtype or memory: that is a finding
            failed[name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        first = got if first is None else first
        assert first is not None
        other = alike is not None and number >= alike
        gap = 0.0 if other else float((got.reshape(first.shape) - first).abs().max() / first.abs().max())
        if gap <= _AGREE[dtype]:
            able[name], gaps[name] = step, gap
        else:
            failed[name] = f"differs from the first by {gap:.2g} of the largest number"
        del got
    del first
    torch.cuda.empty_cache()
    times = timed(able)
    for name, row in times.items():
        row["gap_to_first"] = round(gaps[name], 6)
        row["gigabytes_per_second"] = round(moved / row["milliseconds"] / 1e6, 1)
    shown = ", ".join(
        f"{n} {r['milliseconds']:.3f} ms ({r['gigabytes_per_second']:.0f} GB/s)" for n, r in times.items()
    )
    print(f"  {what}: {shown}" + "".join(f"; {n}: {why}" for n, why in failed.items()), flush=True)
    return {"what": what, "dtype": str(dtype)[6:], "bytes": moved, "times": times, "failed": failed}


def size(*tensors: Tensor) -> int:
    """Their bytes, together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def sums(p: Problem, dtype: torch.dtype, c: int = 64) -> list[dict[str, Any]]:
    """The weighted sum and its weights' gradient."""
    index, offsets, *_ = p.rows
    entries, s, n = index.numel(), p.signals, p.nodes
    x, y = p.random(s, n, c, dtype=dtype), p.random(s, n, c, dtype=dtype)
    # On the grid ones, so that a convolution with one kernel gives the same numbers.
    weight = x.new_ones(entries) if p.side else p.random(entries, dtype=dtype)
    signal = torch.arange(s, device=x.device)[:, None]
    bags = (index + signal * n).flatten()
    starts = torch.cat([(offsets[:-1] + signal * entries).flatten(), offsets[-1:].long() * s])
    many = weight.repeat(s)
    x_wide, y_wide = (t.transpose(0, 1).reshape(n, s * c) for t in (x, y))
    csr = torch.sparse_csr_tensor(offsets, index, weight, (n, n))
    rows = x.view(s * n, c)
    steps: dict[str, Step] = {
        "triton": lambda: gpu.row_gather(x, weight, index, offsets),
        "embedding_bag": lambda: F.embedding_bag(
            bags, rows, starts, mode="sum", per_sample_weights=many, include_last_offset=True
        ).view(s, n, c),
        "cusparse": lambda: _apart(csr @ x_wide, s),
        "index_add": lambda: _index_add(x, weight[:, None], index, p.target, n),
    }
    if p.side:
        kernel = x.new_ones(c, 1, 3, 3)
        kernel[:, :, 1, 1] = 0
        picture = x.unflatten(1, (p.side, p.side)).movedim(-1, 1)
        steps["depthwise conv2d"] = lambda: F.conv2d(picture, kernel, padding=1, groups=c).movedim(1, -1).flatten(1, 2)
    zero = torch.sparse_csr_tensor(offsets, index, torch.zeros_like(weight), (n, n))
    dots: dict[str, Step] = {
        "triton": lambda: gpu.edge_dot_total(x, y, index, offsets),
        "sampled_addmm": lambda: torch.sparse.sampled_addmm(zero, y_wide, x_wide.t()).values(),
        "gather, multiply, sum": lambda: (x.index_select(1, index) * y.index_select(1, p.target)).sum((0, 2)),
    }
    moved = size(x, x, index, offsets, weight)
    return [
        contest(f"weighted sum, {c} channels", steps, moved, dtype),
        contest(f"edge dot, {c} channels", dots, moved, dtype),
    ]


def _apart(wide: Tensor, signals: int) -> Tensor:
    """`(n, S · c)` as `(S, n, c)`: a view."""
    return wide.unflatten(1, (signals, -1)).transpose(0, 1)


def _index_add(x: Tensor, weight: Tensor, index: Tensor, target: Tensor, nodes: int) -> Tensor:
    return x.new_zeros(x.shape[0], nodes, *x.shape[2:]).index_add_(1, target, x.index_select(1, index) * weight)


def many(p: Problem, dtype: torch.dtype, c: int = 64, h: int = 4, k: int = 9) -> list[dict[str, Any]]:
    """Heads and kernels, and their gradients; kernels on fewer signals, since they write K times as much."""
    index, offsets, back, offsets_back, entry_back = p.rows
    s, n = p.signals, p.nodes
    x, y = p.random(s, n, h, c // h, dtype=dtype), p.random(s, n, h, c // h, dtype=dtype)
    weight = p.random(index.numel(), h, dtype=dtype)
    few = max(1, s // 8)
    signal, wide = x[:few].flatten(2), p.random(few, n, k, c, dtype=dtype)
    kernel = p.random(index.numel(), k, dtype=dtype)
    kernel_back = kernel[entry_back.long()]
    moved, moved_wide = size(x, x, weight, index, offsets), size(signal, wide, kernel, index, offsets)
    return [
        contest(f"{h} heads of {c // h}", {
            "triton": lambda: gpu.heads_gather(x, weight, index, offsets),
            "index_add": lambda: _index_add(x, weight[..., None], index, p.target, n),
        }, moved, dtype),
        contest(f"dot of {h} heads", {
            "triton": lambda: gpu.heads_dot_total(x, y, index, offsets),
            "gather, multiply, sum": lambda: (x.index_select(1, index) * y.index_select(1, p.target)).sum((0, 3)),
        }, moved, dtype),
        contest(f"{k} kernels, {few} signals", {
            "triton": lambda: gpu.kernels_gather(signal, kernel, index, offsets),
            "row_gather a kernel": lambda: torch.stack(
                [gpu.row_gather(signal, w, index, offsets) for w in kernel.t().contiguous()], 2
            ),
        }, moved_wide, dtype),
        contest(f"transpose of {k} kernels", {
            "triton": lambda: gpu.kernels_sum(wide, kernel_back, back, offsets_back),
        }, moved_wide, dtype),
        contest(f"dot of {k} kernels", {
            "triton": lambda: gpu.kernels_dot(signal, wide, index, offsets),
        }, moved_wide, dtype),
    ]  # fmt: skip


def attention(p: Problem, dtype: torch.dtype, c: int = 64, h: int = 4) -> list[dict[str, Any]]:
    """GAT and GATv2, forward and with backward, against plain torch."""
    index, offsets, back, offsets_back, entry_back = p.rows
    s, n, d = p.signals, p.nodes, c // h
    x, y, grad = (p.random(s, n, h, d, dtype=dtype).requires_grad_(number < 2) for number in range(3))
    a, b = (p.random(s, n, h, dtype=dtype).requires_grad_() for _ in range(2))
    att = (p.random(h, d, dtype=dtype) / d**0.5).requires_grad_()

    def plain(score: Tensor) -> Tensor:
        """Softmax over rows and weighted sum, as PyG does them."""
        at = p.target[None, :, None].expand_as(score)
        top = score.new_full((s, n, h), float("-inf")).scatter_reduce(1, at, score.detach(), "amax")
        share = (score - top.index_select(1, p.target)).exp()
        norm = share.new_zeros(s, n, h).index_add(1, p.target, share)
        messages = x.index_select(1, index) * (share / norm.index_select(1, p.target))[..., None]
        return x.new_zeros(x.shape).index_add(1, p.target, messages)

    def gat() -> Tensor:
        return plain(F.leaky_relu(a.index_select(1, index) + b.index_select(1, p.target), SLOPE))

    def gatv2() -> Tensor:
        return plain((F.leaky_relu(x.index_select(1, index) + y.index_select(1, p.target), SLOPE) * att).sum(-1))

    def fused(forward: Step, backward: Callable[..., Any]) -> Step:
        return lambda: backward(grad, *forward())

    def detached(step: Step) -> Step:
        return torch.no_grad()(step)

    transposed = (back, offsets_back, entry_back)
    one = (x, a, b, None, index, offsets)
    two = (x, y, None, att, index, offsets)
    first: Step = detached(lambda: gpu.additive_forward(*one, SLOPE))
    second: Step = detached(lambda: gpu.dynamic_forward(*two, SLOPE))
    first_back = detached(fused(first, lambda g, o, m: gpu.additive_backward(g, o, m, *one, *transposed, SLOPE)))
    second_back = detached(fused(second, lambda g, o, m: gpu.dynamic_backward(g, o, m, *two, *transposed, SLOPE)))
    moved, moved_back = size(x, x, a, b, index, offsets), size(*[x] * 6, *[a] * 6, index, index, offsets, offsets)
    both = size(x, x, x, index, offsets), size(*[x] * 8, *[a] * 4, index, index, offsets, offsets)
    return [
        contest("GAT, forward", {"triton": first, "torch": detached(gat)}, moved, dtype),
        contest("GAT, forward and backward", {
            "triton": first_back, "torch": lambda: torch.autograd.grad(gat(), (x, a, b), grad)
        }, moved_back, dtype),
        contest("GATv2, forward", {"triton": second, "torch": detached(gatv2)}, both[0], dtype),
        contest("GATv2, forward and backward", {
            "triton": second_back, "torch": lambda: torch.autograd.grad(gatv2(), (x, y, att), grad)
        }, both[1], dtype),
    ]  # fmt: skip
