"""The floor of a layer: its dense products alone, one read and one write of its signals, one pass over edge scores.

    floor = Σ over products of (forward + backward of linear on its rows) + copy of x + copy of the scores (attention)

A product is counted as often as the layer's equation has it, and each runs as `torch.nn.functional.linear` under
autograd, with the gradients of its input and of its matrix. Rows: B · N, or B · E for a network on every edge.
Scores: `(B, E + N, heads)`, of layers with attention. No layer of its equation can be faster, unless it has fewer
products to do: by a transform, or because edges share their matrices.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Product:
    """`count` products `(rows, inputs) @ (inputs, outputs)`; a row a node, or a row an edge."""

    inputs: int
    outputs: int
    count: int = 1
    of_edges: bool = False


def floor_step(products: tuple[Product, ...], x: Tensor, num_edges: int, heads: int = 0) -> Callable[[], None]:
    """A step that does this work and nothing else.

    Args:
        products: of the layer's equation. x: the signals, `(B, N, C)`. num_edges: E. heads: scores an edge.

    >>> floor_step((Product(4, 8),), torch.ones(2, 3, 4), num_edges=5)()
    """
    batch, nodes, _ = x.shape
    work = []
    for product in products:
        rows = batch * (num_edges if product.of_edges else nodes)
        matrix = torch.randn(product.outputs, product.inputs, requires_grad=True)
        signal = torch.randn(rows, product.inputs, requires_grad=True)
        work.append((product.count, signal, matrix, torch.randn(rows, product.outputs)))
    scores = torch.randn(batch, num_edges + nodes, heads)

    def step() -> None:
        for count, signal, matrix, gradient in work:
            for _ in range(count):
                torch.autograd.grad(F.linear(signal, matrix), (signal, matrix), gradient)
        x.detach().clone()
        if heads:
            scores.clone()

    return step
