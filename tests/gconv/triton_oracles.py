"""What the Triton kernels are held to: plain torch in float64, and autograd through it. A script of its own.

    python tests/gconv/triton_oracles.py cuda          on a GPU
    TRITON_INTERPRET=1 python tests/gconv/triton_oracles.py cpu       through Triton's interpreter
    python tests/gconv/triton_oracles.py compile       compiled for an H100 or H200 (sm_90), where there is none

Triton asks once, when a kernel is defined, whether it is interpreted: hence a process of its own. Prints JSON: for each
case and quantity the largest error in units of what is allowed (over 1: wrong), or what went wrong.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from gconv.functional import gpu

SLOPE = 0.2
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
# Signals, columns, rows, entries, heads, channels, kernels.
SHAPES = {
    "odd": (3, 5, 11, 23, 4, 3, 5),
    "even": (2, 9, 20, 48, 4, 16, 8),
    "wide": (1, 6, 3, 9, 1, 131, 33),
    "many": (17, 4, 5, 8, 1, 2, 3),
    "empty": (2, 4, 3, 0, 2, 3, 2),
    "alone": (1, 1, 1, 1, 1, 1, 1),
}


@dataclass(frozen=True)
class Problem:
    """Random rows (the last two empty, the first one long) with random signals, rounded to a dtype."""

    shape: str
    dtype: torch.dtype
    device: str

    @property
    def sizes(self) -> tuple[int, ...]:
        return SHAPES[self.shape]

    @cached_property
    def rows(self) -> dict[str, Tensor]:
        _, columns, rows, entries, *_ = self.sizes
        random = torch.Generator().manual_seed(len(self.shape))
        target = torch.randint(0, max(1, rows - 2), (entries,), generator=random)
        target = torch.where(torch.rand(entries, generator=random) < 0.3, 0, target).sort().values
        source = torch.randint(0, max(1, columns - 1), (entries,), generator=random)
        order = source.argsort(stable=True)
        offsets = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(target, minlength=rows).cumsum(0)])
        back = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(source, minlength=columns).cumsum(0)])
        found = {"index": source, "offsets": offsets, "index_back": target[order], "offsets_back": back}
        found["entry_back"] = order
        kind = torch.int64 if self.shape == "wide" else torch.int32
        return {name: tensor.to(self.device, kind) for name, tensor in found.items()}

    @cached_property
    def target(self) -> Tensor:
        offsets = self.rows["offsets"].long()
        return torch.repeat_interleave(torch.arange(offsets.numel() - 1, device=self.device), offsets.diff())

    @cached_property
    def source(self) -> Tensor:
        return self.rows["index"].long()

    def random(self, *shape: int, seed: int = 0) -> Tensor:
        """A tensor that is not contiguous where it can be."""
        random = torch.Generator().manual_seed(seed)
        drawn = torch.randn(*shape[:-1], 2 * shape[-1], generator=random, dtype=torch.float64)
        return drawn.to(self.device, self.dtype)[..., ::2]


def gathered(problem: Problem, x: Tensor, weight: Tensor | None) -> Tensor:
    """The sum over heads in plain torch; `x` `(S, n, H, c)`, a weight `(E, H)` or `(S, E, H)`."""
    messages = x.index_select(1, problem.source)
    messages = messages if weight is None else messages * weight[..., None]
    out = x.new_zeros(x.shape[0], problem.sizes[2], *x.shape[2:])
    return out.index_add(1, problem.target, messages)


def attended(problem: Problem, score: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Row by row: torch's softmax of `(S, E, H)`, the sum that it weighs, and torch's logsumexp."""
    values, offsets = x.index_select(1, problem.source), problem.rows["offsets"].tolist()
    out, norms = [], []
    for begin, end in pairwise(offsets):
        part = score[:, begin:end]
        out.append((part.softmax(1)[..., None] * values[:, begin:end]).sum(1))
        norms.append(part.logsumexp(1))
    return torch.stack(out, 1), torch.stack(norms, 1)


Pairs = Iterator[tuple[str, Tensor, Tensor]]


def sums(p: Problem) -> Pairs:
    """The weighted sum."""
    signals, columns, rows, entries, _, channels, _ = p.sizes
    x, y = p.random(signals, columns, channels), p.random(signals, rows, channels, seed=1)
    index, offsets = p.rows["index"], p.rows["offsets"]
    for name, shape in (("ones", None), ("shared", (entries,)), ("by signal", (signals, entries))):
        weight = None if shape is None else p.random(*shape, seed=2)
        wide = None if weight is None else weight.double()[..., None]
        want = gathered(p, x.double().unsqueeze(2), wide).squeeze(2)
        yield f"row_gather, {name}", gpu.row_gather(x, weight, index, offsets), want
    dots = (x.double()[:, p.source] * y.double()[:, p.target]).sum(-1)
    yield "edge_dot", gpu.edge_dot(x, y, index, offsets), dots
    yield "edge_dot_total", gpu.edge_dot_total(x, y, index, offsets), dots.sum(0)


def heads(p: Problem) -> Pairs:
    """The weighted sum with heads."""
    signals, columns, rows, entries, count, channels, _ = p.sizes
    x, y = p.random(signals, columns, count, channels), p.random(signals, rows, count, channels, seed=1)
    index, offsets = p.rows["index"], p.rows["offsets"]
    for name, shape in (("ones", None), ("shared", (entries, count)), ("by signal", (signals, entries, count))):
        weight = None if shape is None else p.random(*shape, seed=2)
        want = gathered(p, x.double(), None if weight is None else weight.double())
        yield f"heads_gather, {name}", gpu.heads_gather(x, weight, index, offsets), want
    dots = (x.double()[:, p.source] * y.double()[:, p.target]).sum(-1)
    yield "heads_dot", gpu.heads_dot(x, y, index, offsets), dots
    yield "heads_dot_total", gpu.heads_dot_total(x, y, index, offsets), dots.sum(0)


def kernels(p: Problem) -> Pairs:
    """Many kernels, and their gradients as autograd has them."""
    signals, columns, rows, entries, _, channels, count = p.sizes
    x, weight = p.random(signals, columns, channels), p.random(entries, count, seed=1)
    grad = p.random(signals, rows, count, channels, seed=2)
    leaf, leaf_weight = x.double().requires_grad_(), weight.double().requires_grad_()
    messages = leaf.index_select(1, p.source)[:, :, None, :] * leaf_weight[:, :, None]
    want = leaf.new_zeros(signals, rows, count, channels).index_add(1, p.target, messages)
    want_x, want_weight = torch.autograd.grad(want, (leaf, leaf_weight), grad.double())
    index, offsets, back, offsets_back, order = p.rows.values()
    yield "kernels_gather", gpu.kernels_gather(x, weight, index, offsets), want
    yield "kernels_sum", gpu.kernels_sum(grad, weight[order.long()], back, offsets_back), want_x
    yield "kernels_dot", gpu.kernels_dot(x, grad, index, offsets), want_weight


def additive(p: Problem, edges: bool) -> Pairs:
    """GAT, and its gradients as autograd has them."""
    signals, columns, rows, entries, count, channels, _ = p.sizes
    x, source = p.random(signals, columns, count, channels), p.random(signals, columns, count, seed=1)
    target, edge = p.random(signals, rows, count, seed=2), p.random(entries, count, seed=3) if edges else None
    grad = p.random(signals, rows, count, channels, seed=4)
    leaves = [t.double().requires_grad_() for t in (x, source, target, *(() if edge is None else (edge,)))]
    score = leaves[1][:, p.source] + leaves[2][:, p.target] + (leaves[3] if edges else 0.0)
    want, want_norm = attended(p, torch.nn.functional.leaky_relu(score, SLOPE), leaves[0])
    wanted = torch.autograd.grad(want, leaves, grad.double())
    index, offsets, *back = p.rows.values()
    out, norm = gpu.additive_forward(x, source, target, edge, index, offsets, SLOPE)
    found = gpu.additive_backward(grad, out, norm, x, source, target, edge, index, offsets, *back, SLOPE)
    yield "additive_forward, y", out, want
    yield "additive_forward, logsumexp", norm, want_norm
    assert (found[3] is None) == (not edges)
    for name, got, expected in zip(("x", "score_source", "score_target", "edge_score"), found, wanted, strict=False):
        assert got is not None
        yield f"additive_backward, {name}", got, expected


def dynamic(p: Problem, edges: bool) -> Pairs:
    """GATv2, and its gradients as autograd has them."""
    signals, columns, rows, entries, count, channels, _ = p.sizes
    source, target = p.random(signals, columns, count, channels), p.random(signals, rows, count, channels, seed=1)
    edge, att = p.random(entries, count, channels, seed=2) if edges else None, p.random(count, channels, seed=3)
    att = att / channels**0.5  # scores of order 1, whatever the channels
    grad = p.random(signals, rows, count, channels, seed=4)
    leaves = [t.double().requires_grad_() for t in (source, target, att, *(() if edge is None else (edge,)))]
    z = leaves[0][:, p.source] + leaves[1][:, p.target] + (leaves[3] if edges else 0.0)
    score = (leaves[2] * torch.nn.functional.leaky_relu(z, SLOPE)).sum(-1)
    want, want_norm = attended(p, score, leaves[0])
    wanted = torch.autograd.grad(want, leaves, grad.double())
    index, offsets, *back = p.rows.values()
    out, norm = gpu.dynamic_forward(source, target, edge, att, index, offsets, SLOPE)
    by_source, by_target, by_edge, by_att = gpu.dynamic_backward(
        grad, out, norm, source, target, edge, att, index, offsets, *back, SLOPE
    )
    assert (by_edge is None) == (not edges)
    yield "dynamic_forward, y", out, want
    yield "dynamic_forward, logsumexp", norm, want_norm
    found = (by_source, by_target, by_att, by_edge)
    for name, got, expected in zip(("x_source", "x_target", "att", "edge_feature"), found, wanted, strict=False):
        assert got is not None
        yield f"dynamic_backward, {name}", got, expected


FAMILIES: dict[str, Callable[[Problem], Pairs]] = {
    "sums": sums,
    "heads": heads,
    "kernels": kernels,
    "additive attention": lambda p: additive(p, False),
    "additive attention with edges": lambda p: additive(p, True),
    "dynamic attention": lambda p: dynamic(p, False),
    "dynamic attention with edges": lambda p: dynamic(p, True),
}

# What a shape is there for shows in one dtype; all of them show once.
_DTYPES = {"odd": ("float32", "float16", "float64"), "even": ("bfloat16",)}
CASES = [
    (family, shape, dtype) for family in FAMILIES for shape in SHAPES for dtype in _DTYPES.get(shape, ("float32",))
]


def excess(got: Tensor, want: Tensor) -> float:
    """The largest error, in units of what rounding allows: eight units in the last place of the largest number."""
    want = want.detach()
    if got.shape != want.shape:
        return float("inf")
    finite = want.isfinite()
    if not torch.equal(got.double()[~finite], want[~finite]) or not bool(got[finite].isfinite().all()):
        return float("inf")
    if not bool(finite.any()):
        return 0.0
    allowed = 8 * torch.finfo(got.dtype).eps * (1 + float(want[finite].abs().max()))
    return float((got.double() - want)[finite].abs().max()) / allowed


def compare(device: str, cases: list[tuple[str, str, str]]) -> dict[str, dict[str, float | str]]:
    """Run the cases on a device; on a GPU twice, to see the same bits."""
    found: dict[str, dict[str, float | str]] = {}
    for family, shape, dtype in cases:
        problem = Problem(shape, DTYPES[dtype], device)
        case = found.setdefault(f"{family}, {shape}, {dtype}", {})
        try:
            for name, got, want in FAMILIES[family](problem):
                case[name] = excess(got, want)
            if device == "cuda":
                runs = zip(FAMILIES[family](problem), FAMILIES[family](problem), strict=True)
                case["other bits the second time"] = float(any(not torch.equal(a[1], b[1]) for a, b in runs)) * 2
        except Exception:
            case["raised"] = traceback.format_exc()
    return found


def compiled() -> dict[str, dict[str, float | str]]:
    """Compile every kernel that the cases launch for sm_90, once a dtype and choice of constants."""
    from triton import compile as build
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kinds = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.float64: "*fp64"}
    kinds |= {torch.int32: "*i32", torch.int64: "*i64"}
    found: dict[str, dict[str, float | str]] = {}

    def instead(kernel, programs, *arguments, warps, **constants) -> None:
        names = [parameter.name for parameter in kernel.params]
        types = [kinds[a.dtype] if isinstance(a, Tensor) else "i32" for a in arguments]
        signature = dict.fromkeys(names, "constexpr") | dict(zip(names, types, strict=False))
        case = found.setdefault(f"{kernel.fn.__module__.rsplit('.', 1)[1]}.{kernel.fn.__name__}", {})
        key = f"{', '.join(types)}; {constants}"
        if key not in case:
            values = {(names.index(name),): value for name, value in constants.items()}
            source = ASTSource(fn=kernel, signature=signature, constexprs=values)
            try:
                build(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
                case[key] = 0.0
            except Exception:
                case[key] = traceback.format_exc()

    for _, name, _ in pkgutil.iter_modules(gpu.__path__):
        module = importlib.import_module(f"gconv.functional.gpu.{name}")
        module.__dict__["launch"] = instead
    for family in FAMILIES.values():
        for dtype in (torch.float32, torch.bfloat16):
            for _ in family(Problem("even", dtype, "cpu")):
                pass
    return found


def main(mode: str) -> None:
    """Run, and print what was found as JSON."""
    if mode == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise SystemExit("on the CPU kernels run through Triton's interpreter: set TRITON_INTERPRET=1")
    torch.set_num_threads(1)
    print(json.dumps(compiled() if mode == "compile" else compare(mode, CASES)))


if __name__ == "__main__":
    main(sys.argv[1])
