"""`propagate`: the one way in which a layer reaches the neighbours of its nodes.

    weighted sum   y[t]    = Σ_{e into t} w[e] x[source(e)]            weight None or (E,),  (..., N, C) -> (..., N, C)
    heads          y[t, h] = Σ_{e into t} w[e, h] x[source(e), h]      weight (E, H),  (..., N, H, C) -> (..., N, H, C)
                                                                       or a signal's own, (..., E, H)
    kernels        y[t, k] = Σ_{e into t} w[e, k] x[source(e)]         weight (E, K),  (..., N, C) -> (..., N, K, C)

All signals share one graph; no `(E, C)` intermediate is made by the forms that the engine chooses. Cost: E · C
multiply-adds a signal (heads: E · H · C, kernels: E · K · C). Derivatives: by `x` and by `weight`, any order.

The forms of a weighted sum, equal to rounding:

    gather     rows sorted by target, gathered and summed without a store between (`rows`)
    stencil    y = diagonal ⊙ x + left ⊙ (kernel ∗ (right ⊙ x)), a depthwise convolution: operators of regular grids
    dense      the matrix itself: small graphs
    portable   plain `index_add`: needs no plan, and exports to formats that know no custom operator
    sparse     torch's product of a matrix in compressed rows, all signals in its width: MKL, cuSPARSE
    triton     the kernels of `gpu`: on a GPU, or through Triton's interpreter

The weighted sums of heads and kernels run in all of them but the stencil and the dense product.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.operators import Operator, Stencil
from gconv.domains.structure import Structure
from gconv.functional import gpu
from gconv.functional.forms import default_form, pick
from gconv.functional.rows import gather, gather_sorted

# Measured on the CPU, forward and backward (benchmarks/forms.py): up to so many nodes a dense product is the fastest,
# beyond them the gather; the stencil nowhere.
DENSE_NODES = 64
# Which engine of the row-gather a form is.
_ENGINES = {"gather": "bags", "sparse": "sparse", "triton": "triton"}
# Which kind of work is asked for, by what it runs as on a CPU.
_WORK = {"gather": "sum", "fused": "filter"}


def propagate(
    x: Tensor,
    graph: Graph | Structure | Operator,
    weight: Tensor | None = None,
    *,
    kernels: bool = False,
    form: str | None = None,
) -> Tensor:
    """Sum over neighbours, in one of the three shapes of the module's docstring.

    Args:
        x: the signal or signals, `(..., N, C)`; for heads `(..., N, H, C)`.
        graph: the edges; or an operator, which brings its own weights.
        weight: None (ones), `(E,)`, `(E, H)` or `(..., E, H)`, or with `kernels` `(E, K)`; in the order of the edges.
        kernels: read a two-dimensional weight as kernels, not as heads.
        form: force one; None for the engine's choice, or what `force_form` says.

    Raises:
        ValueError: for shapes that do not fit, or a form that cannot run here.

    >>> graph = Graph(torch.tensor([[0, 1, 1], [1, 0, 2]]))
    >>> propagate(torch.tensor([[1.0], [2.0], [4.0]]), graph).squeeze(-1)
    tensor([2., 1., 2.])
    """
    if isinstance(graph, Operator):
        if weight is not None:
            raise ValueError("an operator has its own weights; pass the graph to use others")
        return _apply(x, graph, form)
    structure = graph.structure if isinstance(graph, Graph) else graph
    weight = None if weight is None else weight.to(x.dtype)  # as autocast leaves them
    if weight is not None and weight.dim() >= 2:
        return _kernels(x, structure, weight, form) if kernels else _heads(x, structure, weight, form)
    if weight is not None and weight.shape != (structure.num_edges,):
        raise ValueError(f"weight has shape (E,) = ({structure.num_edges},) here, got {tuple(weight.shape)}")
    return _sum(x, structure, weight, form)


def _signals(x: Tensor, num_nodes: int, name: str = "x") -> Tensor:
    if x.dim() < 2 or x.shape[-2] != num_nodes:
        raise ValueError(f"{name} has shape (..., {num_nodes}, channels) on this graph, got {tuple(x.shape)}")
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def sum_forms(device: torch.device) -> tuple[str, ...]:
    """The forms in which a weighted sum over any edges can run on a device.

    >>> sum_forms(torch.device("cpu"))[:3]
    ('gather', 'portable', 'sparse')
    """
    compressed = device.type in ("cpu", "cuda")
    return ("gather", "portable") + ("sparse",) * compressed + ("triton",) * gpu.runs_on(device)


def _default(work: str, able: tuple[str, ...], otherwise: str, device: torch.device) -> tuple[str, str]:
    """The device's form for this work, if it can run, and why."""
    chosen = default_form(work, device)
    return chosen if chosen in able else otherwise, "sorted rows, nothing stored"


def _sum(x: Tensor, structure: Structure, weight: Tensor | None, form: str | None) -> Tensor:
    signals = _signals(x, structure.num_sources)
    able = sum_forms(x.device)
    chosen = pick(form, able, *_default("sum", able, "gather", x.device))
    if chosen == "portable":
        out = portable(signals, structure, weight)
    else:
        out = gather(signals, structure, weight, _ENGINES[chosen])
    return out.reshape(*x.shape[:-2], *out.shape[-2:])


def _heads(x: Tensor, structure: Structure, weight: Tensor, form: str | None) -> Tensor:
    edges, heads = weight.shape[-2:]
    fits = edges == structure.num_edges and x.dim() >= 3 and x.shape[-3:-1] == (structure.num_sources, heads)
    if not fits or (weight.dim() > 2 and weight.shape[:-2] != x.shape[:-3]):
        raise ValueError(
            f"weight (E, H) with E = {structure.num_edges} (or each signal's own, (..., E, H)) goes with "
            f"x (..., N, H, C); got {tuple(weight.shape)} and {tuple(x.shape)}"
        )
    own = weight.dim() > 2  # one signal's, then signals as in x
    flat = weight.reshape(math.prod(weight.shape[:-2]), edges * heads) if own else weight.reshape(-1)
    out = _sum(x.flatten(-3, -2), structure.heads(heads), flat, form)
    return out.unflatten(-2, (structure.num_targets, heads))


def _kernels(x: Tensor, structure: Structure, weight: Tensor, form: str | None) -> Tensor:
    count = weight.shape[-1]
    if weight.dim() != 2 or weight.shape[0] != structure.num_edges:
        raise ValueError(f"weight has shape (E, K) with E = {structure.num_edges}, got {tuple(weight.shape)}")
    out = _sum(x, structure.kernels(count), weight.reshape(-1), form)
    return out.unflatten(-2, (structure.num_targets, count))


def _apply(x: Tensor, operator: Operator, form: str | None) -> Tensor:
    signals = _signals(x, operator.num_nodes)
    chosen = pick(form, *choice_of(operator), operator.choices, f"sum of {x.shape[-1]} channels")
    if not x.numel():
        return x.clone()
    if chosen == "dense":
        out = torch.matmul(operator.dense(x.dtype), signals)
    elif chosen == "stencil":
        out = _stencil(signals, operator.factors(x.dtype))
    elif chosen == "portable":
        out = portable(signals, operator.structure, operator.weight.to(x.dtype))
    else:
        out = gather_sorted(signals, operator.structure, *operator.values(x.dtype), _ENGINES[chosen])
    return out.reshape(x.shape)


def choice_of(operator: Operator, otherwise: str = "gather") -> tuple[tuple[str, ...], str, str]:
    """The forms that can apply an operator, the one to choose, and why."""
    device = operator.weight.device
    first, *others = sum_forms(device)
    able = (first, "dense", *others, *("stencil",) * (operator.stencil is not None))
    if operator.num_nodes <= DENSE_NODES:
        return able, "dense", f"no more than {DENSE_NODES} nodes"
    return able, *_default(_WORK[otherwise], able, otherwise, device)


def portable(x: Tensor, structure: Structure, weight: Tensor | None) -> Tensor:
    """The weighted sum as plain torch operations: a gather of `(S, E, C)`, then `index_add`."""
    messages = x.index_select(1, structure.source)
    messages = messages if weight is None else messages * weight[..., None]
    return x.new_zeros(x.shape[0], structure.num_targets, x.shape[2]).index_add(1, structure.target, messages)


def _stencil(x: Tensor, factors: Stencil) -> Tensor:
    """The stencil form; signals `(S, N, C)` are channels-last pictures, so nothing is copied."""
    scaled = x if factors.right is None else x * factors.right[:, None]
    picture = scaled.unflatten(1, factors.size).movedim(-1, 1)
    ndim, channels = len(factors.size), x.shape[2]
    kernel = factors.kernel.expand(channels, 1, *factors.kernel.shape)
    operator = (F.conv1d, F.conv2d, F.conv3d)[ndim - 1]
    if factors.periodic:
        out = operator(F.pad(picture, [1, 1] * ndim, mode="circular"), kernel, groups=channels)
    else:
        out = operator(picture, kernel, padding=1, groups=channels)
    out = out.movedim(1, -1).flatten(1, -2)
    out = out if factors.left is None else out * factors.left[:, None]
    return out if factors.diagonal is None else torch.addcmul(out, x, factors.diagonal[:, None])
