"""Layers on a GPU in each form that the engine has for them, against PyG's and Conv2d: a part of `benchmarks.gpu`.

A layer runs as the engine chooses, and forced into each form of `FORMS`; a form that its plan does not name afterwards
did not run, and is left out. 'stencil' is cuDNN's depthwise convolution, 'sparse' cuSPARSE, 'gather' embedding_bag.
`fastest` says which form each kind of work should have as its default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from benchmarks.contest import arguments
from benchmarks.edges import Edges
from benchmarks.gpu_kernels import contest, size
from benchmarks.layers_grid import domain
from benchmarks.row import twins
from benchmarks.rows import ROWS
from gconv import Graph, force_form, grid_graph

LAYERS = ("GCN", "SAGE", "Cheb 3", "Cheb 25", "GAT", "GATv2", "MoNet 9", "MoNet 25, general graph")
FORMS = ("fused", "gather", "sparse", "stencil", "triton")
# Which rows speak for a kind of work, and the forms that it can have as its default.
WORKS = {
    "sum": (("GCN", "SAGE", "Cheb 3"), ("gather", "sparse", "stencil", "triton")),
    "filter": (("GCN", "SAGE", "Cheb 3"), ("fused", "gather", "sparse", "stencil", "triton")),
    "attention": (("GAT", "GATv2"), ("fused", "triton")),
}

Step = Callable[[], tuple[Tensor, ...]]


def step_of(layer: Module, x: Tensor, gradient: Tensor, given: tuple[Any, ...], form: str | None = None) -> Step:
    """Forward and backward by the signals and all parameters."""
    leaf = x.detach().requires_grad_()
    wanted = [leaf, *(p for p in layer.parameters() if p.requires_grad)]

    def step() -> tuple[Tensor, ...]:
        with nullcontext() if form is None else force_form(form):
            out = layer(leaf, *given)
        return torch.autograd.grad(out, wanted, gradient, allow_unused=True)

    return step


def ways(layer: Module, x: Tensor, gradient: Tensor, graph: Graph) -> dict[str, Step]:
    """The layer as the engine chooses, then in each form that runs where it is forced."""
    found = {"gconv": step_of(layer, x, gradient, (graph,))}
    for form in FORMS:
        with torch.no_grad(), force_form(form):
            layer(x[:1], graph)
        if f": {form} (of " in graph.plan.explain():
            found[f"gconv, {form}"] = step_of(layer, x, gradient, (graph,), form)
    with torch.no_grad():
        layer(x[:1], graph)
    return found


def layers(dtype: torch.dtype, signals: int = 256, width: int = 64, side: int = 28) -> list[dict[str, Any]]:
    """Layers on the MNIST grid in their forms, PyG's (block-diagonal, and static where it can), and `Conv2d`."""
    grid = grid_graph((side, side), neighbors=8).to("cuda")
    x = torch.randn(signals, grid.num_nodes, width, device="cuda", dtype=dtype)
    gradient = torch.randn_like(x)
    picture = x.unflatten(1, (side, side)).movedim(-1, 1)
    conv = torch.nn.Conv2d(width, width, 3, padding=1, device="cuda", dtype=dtype)
    conv.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    against = gradient.unflatten(1, (side, side)).movedim(-1, 1)
    found = [contest("Conv2d 3×3", {"conv2d": step_of(conv, picture, against, ())}, 2 * size(x, x), dtype)]
    for name in LAYERS:
        row = ROWS[name]
        try:
            ours, theirs = twins(row, width, width)
        except LookupError as missing:
            found.append({"what": name, "dtype": str(dtype)[6:], "times": {}, "failed": {"gconv": str(missing)}})
            continue
        graph = domain(row, side)
        edges = row.edges(Edges.of(graph))

        def on_gpu(given: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(
                t.to("cuda", dtype) if isinstance(t, Tensor) and t.is_floating_point() else t.to("cuda") for t in given
            )

        ours, other, static = (layer.to("cuda", dtype) for layer in (ours, theirs(), theirs()))
        steps = ways(ours, x, gradient, graph.to("cuda"))
        block = on_gpu(arguments(row, edges.copies(signals)))
        steps["PyG, block-diagonal"] = step_of(other, x.flatten(0, 1), gradient.flatten(0, 1), block)
        if row.static:
            steps["PyG, static"] = step_of(static, x, gradient, on_gpu(arguments(row, edges)))
        alike = len(steps)
        steps["Conv2d 3×3"] = step_of(conv, picture, against, ())
        found.append(contest(name, steps, 2 * size(x, x), dtype, alike=alike))
    return found


def fastest(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """For each kind of work the form with the least geometric mean of times over its rows, in every dtype.

    >>> times = {"gconv": {"milliseconds": 3.0}, "gconv, fused": {"milliseconds": 3.0}}
    >>> fastest([{"what": "GAT", "times": times | {"gconv, triton": {"milliseconds": 1.0}}}])
    {'attention': 'triton'}
    """
    kept, found = list(rows), {}
    for work, (names, forms) in WORKS.items():
        tables = [row["times"] for row in kept if row["what"] in names and row["times"]]
        means = {
            form: math.prod(times[f"gconv, {form}"]["milliseconds"] for times in tables) ** (1 / len(tables))
            for form in forms
            if tables and all(f"gconv, {form}" in times for times in tables)
        }
        if means:
            found[work] = min(means, key=means.__getitem__)
    return found
