"""Which form of a sum is the fastest where: the figures behind the engine's choice.

    python -m benchmarks.forms

Forward and backward on grids of several sizes with 8 neighbours, a batch of 64 signals, float32: the weighted sum of
GCN in its forms, and Chebyshev filters by recurrence and through the eigenbasis. Forms are timed in turn, round by
round, after warm-up; the floor is one read and one write of the signals. Writes `results/forms.json`.
"""

from __future__ import annotations

import statistics

import torch

from benchmarks.harness import RESULTS, write
from gconv import grid_graph, propagate
from gconv.functional.chebyshev import chebyshev_filter
from gconv.training import measure

BATCH, ROUNDS = 64, 9


def summary(timings: dict[str, measure.Timing]) -> dict[str, dict[str, float]]:
    """Medians and quartiles in milliseconds, by form."""
    return {
        form: {"median": timing.median, "first_quartile": timing.quartiles[0], "third_quartile": timing.quartiles[1]}
        for form, timing in timings.items()
    }


def sums() -> list[dict]:
    """The weighted sum."""
    rows = []
    for side in (4, 7, 8, 14, 28, 56):
        operator = grid_graph((side, side)).plan.gcn()
        for channels in (1, 6, 16, 32, 64):
            x = torch.randn(BATCH, side * side, channels, requires_grad=True)
            gradient = torch.randn_like(x)
            forms = ["gather", "stencil", *(["dense"] if side <= 14 else [])]
            steps = {"floor": lambda x=x: x.detach().clone()}
            for form in forms:
                steps[form] = lambda x=x, form=form, gradient=gradient, operator=operator: torch.autograd.grad(
                    propagate(x, operator, form=form), x, gradient
                )
            timings = measure.interleaved(steps, ROUNDS)
            rows.append({"side": side, "channels": channels, "milliseconds": summary(timings)})
            print(f"{side:3}² × {channels:2} channels", *(f"{f} {t.median:.2f}" for f, t in timings.items()))
    return rows


def polynomials() -> list[dict]:
    """The Chebyshev filter."""
    rows = []
    for side, cin, cout, terms in (
        (28, 1, 6, 3), (28, 1, 6, 9), (28, 1, 6, 25), (14, 6, 16, 25), (28, 32, 32, 3), (28, 32, 32, 25),
        (28, 64, 64, 9), (28, 64, 64, 25),
    ):  # fmt: skip
        graph = grid_graph((side, side))
        x = torch.randn(BATCH, side * side, cin, requires_grad=True)
        weight = torch.randn(terms, cin, cout, requires_grad=True)
        gradient = torch.randn(BATCH, side * side, cout)
        steps = {
            form: lambda x=x, weight=weight, gradient=gradient, graph=graph, form=form: torch.autograd.grad(
                chebyshev_filter(x, graph, weight, form=form), (x, weight), gradient
            )
            for form in ("fused", "eigenbasis")
        }
        timings = measure.interleaved(steps, ROUNDS)
        rows.append({"side": side, "in": cin, "out": cout, "K": terms, "milliseconds": summary(timings)})
        print(f"{side}² {cin}→{cout} K={terms}", *(f"{f} {t.median:.1f}" for f, t in timings.items()))
    return rows


def main() -> None:
    """Measure and write."""
    torch.manual_seed(0)
    found = {
        "command": "python -m benchmarks.forms",
        "machine": measure.machine(),
        "versions": measure.versions(),
        "batch": BATCH,
        "rounds": ROUNDS,
        "weighted_sum": sums(),
        "chebyshev": polynomials(),
    }
    ratios = [
        row["milliseconds"]["fused"]["median"] / row["milliseconds"]["eigenbasis"]["median"]
        for row in found["chebyshev"]
    ]
    print(f"recurrence / eigenbasis: median {statistics.median(ratios):.2f}")
    write(found, RESULTS / "forms.json")


if __name__ == "__main__":
    main()
