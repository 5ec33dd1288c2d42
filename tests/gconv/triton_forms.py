"""The forms 'triton' through Triton's interpreter: a worker of `test_triton.py`.

    TRITON_INTERPRET=1 python tests/gconv/triton_forms.py

Runs every check of `CHECKS` on small problems in float64 (dense products and plain torch operations say what is right,
torch's gradcheck and opcheck whether it is differentiated and registered) and prints JSON: for each what went wrong, ""
if nothing did.
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from gconv import GATConv, GATv2Conv, GCNConv, Graph, force_form, propagate
from gconv.domains.structure import Structure
from gconv.functional import rows
from gconv.functional.attention import attention, dynamic_attention, triton
from gconv.functional.attention.steps import additive_scores, dynamic_scores, row_softmax

# A loop, a pair twice over, and a node (the last) without edges into it.
STRUCTURE = Structure(torch.tensor([0, 0, 2, 1, 1, 3]), torch.tensor([0, 1, 1, 1, 2, 2]), 4, 4)
BIPARTITE = Structure(torch.tensor([0, 3, 3, 1, 0]), torch.tensor([1, 0, 1, 1, 1]), 4, 3)
EDGES, NODES, HEADS, WIDTH, SLOPE = 6, 4, 2, 3, 0.2


def drawn(*shape: int, seed: int = 0) -> Tensor:
    """Numbers to differentiate by."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64).requires_grad_()


def close(found: Tensor, wanted: Tensor) -> None:
    """Equal to rounding."""
    torch.testing.assert_close(found.detach(), wanted.detach(), rtol=0, atol=1e-12)


def differentiated(run: Callable[..., Tensor], exact: Callable[..., Tensor], given: tuple[Tensor, ...]) -> None:
    """Equal numbers and gradients, by finite differences too (in random directions: interpreted kernels are slow)."""
    found, wanted = run(*given), exact(*given)
    close(found, wanted)
    grad = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    for got, want in zip(
        torch.autograd.grad(found, given, grad), torch.autograd.grad(wanted, given, grad), strict=True
    ):
        close(got, want)
    assert gradcheck(run, given, fast_mode=True)
    assert gradgradcheck(run, given, fast_mode=True)


def ends(structure: Structure) -> tuple[Tensor, Tensor]:
    """Which node each edge leaves and enters: `(E, sources)`, `(E, targets)`."""
    leaves = torch.nn.functional.one_hot(structure.source, structure.num_sources).double()
    return leaves, torch.nn.functional.one_hot(structure.target, structure.num_targets).double()


def summed(structure: Structure, rule: str, x: Tensor, weight: Tensor, kernels: bool = False) -> None:
    """A weighted sum, its derivatives, and theirs."""

    def run(x: Tensor, weight: Tensor) -> Tensor:
        return propagate(x, structure, weight, kernels=kernels, form="triton")

    differentiated(run, lambda x, weight: torch.einsum(rule, *ends(structure), weight, x), (x, weight))


def sums() -> None:
    """Shared weights, and none."""
    for structure in (STRUCTURE, BIPARTITE):
        x, weight = drawn(2, structure.num_sources, 2), drawn(structure.num_edges, seed=1)
        summed(structure, "es,et,e,bsc->btc", x, weight)
        differentiated(
            lambda x, structure=structure: propagate(x, structure, form="triton"),
            lambda x, structure=structure: torch.einsum("es,et,bsc->btc", *ends(structure), x),
            (x,),
        )


def heads() -> None:
    """Heads, with weights that signals share and with their own."""
    x = drawn(2, NODES, HEADS, 2)
    summed(STRUCTURE, "es,et,eh,bshc->bthc", x, drawn(EDGES, HEADS, seed=1))
    summed(STRUCTURE, "es,et,beh,bshc->bthc", x, drawn(2, EDGES, HEADS, seed=1))


def kernels() -> None:
    """Kernels."""
    summed(BIPARTITE, "es,et,ek,bsc->btkc", drawn(2, 4, 2), drawn(5, 3, seed=1), kernels=True)


def registered() -> None:
    """torch's own checks of the sums' operators with this engine."""
    there, back = STRUCTURE.rows, STRUCTURE.columns
    places = STRUCTURE.to_rows, STRUCTURE.to_columns
    x, y, weight = drawn(2, NODES, 2), drawn(2, NODES, 2, seed=1), drawn(EDGES, seed=2)
    forth = there.index, there.offsets
    home = back.index, back.offsets, back.block
    torch.library.opcheck(
        rows._row_gather.registered, (x, weight, None, *forth, NODES, there.block, *home, EDGES, *places, "triton")
    )
    for shared in (True, False):
        torch.library.opcheck(rows._edge_dot.registered, (x, y, shared, *forth, there.block, *home, *places, "triton"))


def additive() -> None:
    """GAT's attention against its steps in plain torch operations."""
    x, a, b, r = drawn(2, NODES, HEADS, WIDTH), *(drawn(HEADS, WIDTH, seed=s) for s in (1, 2)), drawn(EDGES, HEADS)
    for given in ((x, a, b), (x, a, b, r)):

        def run(x: Tensor, a: Tensor, b: Tensor, r: Tensor | None = None) -> Tensor:
            return attention(x, a, b, STRUCTURE, r, form="triton")[0]

        def exact(x: Tensor, a: Tensor, b: Tensor, r: Tensor | None = None) -> Tensor:
            alpha = row_softmax(additive_scores(x, a, b, r, STRUCTURE, SLOPE), STRUCTURE)
            return torch.einsum("es,et,beh,bshc->bthc", *ends(STRUCTURE), alpha, x)

        differentiated(run, exact, given)
        edge = given[3] if len(given) == 4 else None
        assert "triton_additive" in str(run(*given).grad_fn)  # the kernel, not its steps
        torch.library.opcheck(triton._additive.registered, (x, a, b, edge, SLOPE, *STRUCTURE.entries))


def dynamic() -> None:
    """GATv2's attention against its steps in plain torch operations."""
    table, a, r = drawn(2, NODES, 2, HEADS, WIDTH), drawn(HEADS, WIDTH, seed=1), drawn(EDGES, HEADS, WIDTH, seed=2)
    x, z = table[:, :, 0], table[:, :, 1]
    for given in ((table, a), (table, a, r)):

        def run(table: Tensor, a: Tensor, r: Tensor | None = None) -> Tensor:
            return dynamic_attention(table, a, STRUCTURE, r, form="triton")[0]

        def exact(table: Tensor, a: Tensor, r: Tensor | None = None) -> Tensor:
            alpha = row_softmax(dynamic_scores(table[:, :, 0], table[:, :, 1], r, a, STRUCTURE, SLOPE), STRUCTURE)
            return torch.einsum("es,et,beh,bshc->bthc", *ends(STRUCTURE), alpha, table[:, :, 0])

        differentiated(run, exact, given)
        edge = given[2] if len(given) == 3 else None
        assert "triton_dynamic" in str(run(*given).grad_fn)  # the kernel, not its steps
        torch.library.opcheck(triton._dynamic.registered, (x, z, edge, a, SLOPE, *STRUCTURE.entries))


def nothing() -> None:
    """No signals, no channels, no edges."""
    none = torch.zeros(0, dtype=torch.long)
    bare = Structure(none, none, NODES, NODES)
    for structure, shape in ((STRUCTURE, (0, NODES, 2)), (STRUCTURE, (2, NODES, 0)), (bare, (2, NODES, 3))):
        x, weight = drawn(*shape), drawn(structure.num_edges, seed=1)
        out = propagate(x, structure, weight, form="triton")
        assert out.shape == shape
        assert not out.any()
        assert all(not grad.any() for grad in torch.autograd.grad(out.sum(), (x, weight)))
        x, vector = drawn(*shape[:2], 1, shape[2]), drawn(1, shape[2])
        table = torch.stack([x, x], 2)
        for y in (
            attention(x, vector, vector, structure, form="triton")[0],
            dynamic_attention(table, vector, structure, form="triton")[0],
        ):
            assert y.shape == x.shape
            assert not y.any()
            assert all(not grad.any() for grad in torch.autograd.grad(y.sum(), (x, vector), retain_graph=True))


def layers() -> None:
    """Forced, layers give the engine's own numbers, in float32 and bfloat16, and explain what ran."""
    graph = Graph(torch.stack([STRUCTURE.source, STRUCTURE.target]), NODES)
    torch.manual_seed(0)
    named = {
        GCNConv: "gcn[improved=False, loops=True]",
        GATConv: "additive attention",
        GATv2Conv: "dynamic attention",
    }
    for layer in (GCNConv(3, 4), GATConv(3, 4, heads=2), GATv2Conv(3, 4, heads=2)):
        for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 3e-2)):
            x, other = torch.rand(2, NODES, 3, dtype=dtype), layer.to(dtype)
            wanted = other(x, graph)
            with force_form("triton"):
                found = other(x, graph)
            torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
            assert found.dtype == dtype
        other(x, graph)
        with force_form("triton"):
            other(x, graph)
        explained = graph.plan.explain()
        assert named[type(layer)] in explained, explained
        assert ": triton (of " in explained, explained
        assert ", forced" in explained, explained


def compiled() -> None:
    """The operators go through the compiler in one piece."""
    graph = Graph(torch.stack([STRUCTURE.source, STRUCTURE.target]), NODES)
    for layer in (GCNConv(3, 4), GATConv(3, 4), GATv2Conv(3, 4)):
        x = torch.rand(2, NODES, 3)
        with force_form("triton"):
            wanted = layer(x, graph)
            run = torch.compile(lambda x, layer=layer: layer(x, graph), fullgraph=True, backend="aot_eager")
            torch.testing.assert_close(run(x), wanted)


CHECKS: dict[str, Callable[[], None]] = {
    check.__name__: check for check in (sums, heads, kernels, registered, additive, dynamic, nothing, layers, compiled)
}


def main() -> None:
    """Run all checks."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise SystemExit("on the CPU kernels run through Triton's interpreter: set TRITON_INTERPRET=1")
    torch.set_num_threads(1)
    found = {}
    for name, check in CHECKS.items():
        try:
            check()
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
