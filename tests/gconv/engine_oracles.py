"""The engine's functions as cases: what goes in, how they run, and the same worked out edge by edge in float64."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from graph_oracles import adjacency, graph_from, random_graph
from torch import Tensor, nn
from torch.func import functional_call

import gconv
from gconv import Graph, grid_graph
from gconv.domains.structure import Structure
from gconv.functional.attention import attention
from gconv.functional.feast import soft_assignment
from gconv.functional.kernels import kernel_sum, kind_sum
from gconv.functional.polynomial import polynomial

# Every kind of domain. The star has one node of 40 edges, the rest one or none.
DOMAINS: dict[str, Callable[[], Graph]] = {
    "grid": lambda: grid_graph((4, 5)),
    "torus": lambda: grid_graph((2, 4), 4, periodic=True),  # parallel edges
    "directed, weighted": lambda: random_graph(9, 30),
    "loops only": lambda: graph_from([(0, 0), (1, 1), (1, 1)], 3, [0.5, 2.0, -1.0]),
    "star": lambda: graph_from([*((i, 0) for i in range(1, 41)), (0, 7), (0, 7)], 43),
    "no edges": lambda: graph_from([], 4),
    "one node": lambda: graph_from([], 1),
    "one node, loops": lambda: graph_from([(0, 0), (0, 0)], 1, [0.5, 1.5]),
}

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A function of signals and parameters: leaves to differentiate by, the engine's value, the oracle's."""

    name: str
    leaves: Callable[[Graph, int, int], Inputs]
    run: Callable[..., Tensor]
    oracle: Callable[..., Tensor]
    forms: tuple[str | None, ...]

    def __str__(self) -> str:
        return self.name


def draw(*shape: int, seed: int = 0) -> Tensor:
    """A leaf of normal numbers in float64."""
    generator = torch.Generator().manual_seed(seed + 17 * len(shape) + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def features(graph: Graph) -> Tensor:
    """Two numbers an edge."""
    return draw(graph.num_edges, 2, seed=5).detach()


def ends(graph: Graph) -> list[tuple[int, int]]:
    return [(s, t) for s, t in graph.edge_index.t().tolist()]


def per_target(graph: Graph, message: Callable[[list[int]], Tensor], nothing: Tensor) -> Tensor:
    """`message` of the edges into each node, `(S, ...)`, stacked along the nodes; `nothing` where there are none."""
    into: list[list[int]] = [[] for _ in range(graph.num_nodes)]
    for edge, (_, target) in enumerate(ends(graph)):
        into[target].append(edge)
    return torch.stack([message(edges) if edges else nothing for edges in into], 1)


def filter_oracle(first: int, chebyshev: bool) -> Callable[..., Tensor]:
    def oracle(graph: Graph, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        matrix = torch.as_tensor(adjacency(graph))
        power = torch.linalg.matrix_power
        if chebyshev:
            one = torch.eye(graph.num_nodes, dtype=torch.float64)
            found = [one, matrix, 2 * matrix @ matrix - one, 4 * power(matrix, 3) - 3 * matrix]
        else:
            found = [power(matrix, first + k) for k in range(4)]
        return sum((found[k] @ x @ weight[k] for k in range(len(weight))), bias)

    return oracle


def filter_case(name: str, cout: int, count: int, first: int = 0, chebyshev: bool = False) -> Case:
    def run(graph: Graph, x: Tensor, weight: Tensor, bias: Tensor, form: str | None = None) -> Tensor:
        return polynomial(x, graph.plan.adjacency(), weight, bias, first=first, chebyshev=chebyshev, form=form)

    return Case(
        name,
        lambda g, s, c: (draw(s, g.num_nodes, c), draw(count, c, cout), draw(cout)),
        run,
        filter_oracle(first, chebyshev),
        ("fused", "gather", "dense", "portable"),
    )


def kernels_oracle(graph: Graph, x: Tensor, weight: Tensor, matrices: Tensor) -> Tensor:
    def message(edges: list[int]) -> Tensor:
        found = [x[:, ends(graph)[e][0]] @ torch.einsum("k,kio->io", weight[e], matrices) for e in edges]
        return torch.stack(found).sum(0)

    return per_target(graph, message, x.new_zeros(x.shape[0], matrices.shape[2]))


def kinds_of(graph: Graph) -> Tensor:
    return graph.plan.keep("kinds of the test", lambda: torch.arange(graph.num_edges) % 3)


def ways_of(graph: Graph) -> tuple[Structure, Structure]:
    """The edges into (target, kind), and back out of it."""
    kinds, structure = kinds_of(graph), graph.structure
    return structure.by_kind(kinds, 3), structure.flipped.by_kind(kinds, 3)


def kinds_oracle(graph: Graph, x: Tensor, weight: Tensor, matrices: Tensor) -> Tensor:
    one_hot = nn.functional.one_hot(kinds_of(graph), 3)
    return kernels_oracle(graph, x, weight[:, None] * one_hot, matrices)


def softmax_sum(graph: Graph, x: Tensor, score: Callable[[int], Tensor]) -> Tensor:
    def message(edges: list[int]) -> Tensor:
        shares = torch.stack([score(e) for e in edges]).softmax(0)
        return (shares[..., None] * torch.stack([x[:, ends(graph)[e][0]] for e in edges])).sum(0)

    return per_target(graph, message, x.new_zeros(x.shape[0], *x.shape[2:]))


def leaky(x: Tensor, slope: float = 0.2) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def additive_oracle(graph: Graph, x: Tensor, a: Tensor, b: Tensor, r: Tensor) -> Tensor:
    def score(e: int) -> Tensor:
        source, target = ends(graph)[e]
        return leaky((x[:, source] * a).sum(-1) + (x[:, target] * b).sum(-1) + r[e])

    return softmax_sum(graph, x, score)


def dynamic_oracle(graph: Graph, x: Tensor, *parameters: Tensor) -> Tensor:
    att, bias, left, left_bias, right, right_bias, edge = parameters
    near, own = ((x @ w.t() + b).unflatten(-1, (2, 3)) for w, b in ((left, left_bias), (right, right_bias)))
    on_edges = (features(graph) @ edge.t()).unflatten(-1, (2, 3))

    def score(e: int) -> Tensor:
        source, target = ends(graph)[e]
        return (leaky(near[:, source] + own[:, target] + on_edges[e]) * att[0]).sum(-1)

    return softmax_sum(graph, near, score).flatten(-2) + bias


def assignment_oracle(graph: Graph, x: Tensor, a: Tensor, c: Tensor) -> Tensor:
    def message(edges: list[int]) -> Tensor:
        found = []
        for e in edges:
            source, target = ends(graph)[e]
            shares = (a[:, source] - a[:, target] + c).softmax(-1)
            found.append((shares[..., None] * x[:, source]).sum(-2))
        return torch.stack(found).mean(0)

    return per_target(graph, message, x.new_zeros(x.shape[0], x.shape[3]))


def assignment_run(graph: Graph, x: Tensor, a: Tensor, c: Tensor, form: str | None = None) -> Tensor:
    mean = graph.plan.mean_weights(torch.float64).to(x.dtype)
    return soft_assignment(x, a, c, mean, graph, graph.structure, form)


def edge_oracle(reduce: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def oracle(graph: Graph, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        def message(edges: list[int]) -> Tensor:
            pairs = [(x[:, ends(graph)[e][1]], x[:, ends(graph)[e][0]]) for e in edges]
            found = [torch.tanh(torch.cat([i, j - i], -1) @ w1.t() + b1) @ w2.t() + b2 for i, j in pairs]
            return reduce(torch.stack(found))

        return per_target(graph, message, x.new_zeros(x.shape[0], len(b2)))

    return oracle


def layer_case(
    name: str,
    make: Callable[[int], nn.Module],
    oracle: Callable[..., Tensor],
    forms: tuple[str | None, ...],
    with_features: bool = False,
) -> Case:
    """A layer with its parameters as arguments: it is called with tensors in their place."""

    def leaves(graph: Graph, signals: int, channels: int) -> Inputs:
        shapes = [p.shape for p in make(channels).parameters()]
        return draw(signals, graph.num_nodes, channels), *(draw(*s, seed=i) for i, s in enumerate(shapes))

    def run(graph: Graph, x: Tensor, *parameters: Tensor, form: str | None = None) -> Tensor:
        layer = make(x.shape[-1]).to(x.dtype)
        named = dict(zip(dict(layer.named_parameters()), parameters, strict=True))
        given = (x, graph, features(graph).to(x.dtype)) if with_features else (x, graph)
        return functional_call(layer, named, given, {"form": form} if form else {})

    return Case(name, leaves, run, oracle, forms)


def perceptron(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2 * channels, 5), nn.Tanh(), nn.Linear(5, 4))


ATTENTIVE = ("fused", "gather", "portable")
CASES = (
    filter_case("filter", 4, 3),
    filter_case("filter, narrowing", 1, 3),
    filter_case("filter from the first power", 4, 1, first=1),
    filter_case("filter from the first power, narrowing", 1, 2, first=1),
    filter_case("Chebyshev", 4, 4, chebyshev=True),
    filter_case("Chebyshev, narrowing", 1, 4, chebyshev=True),
    Case(
        "kernels",
        lambda g, s, c: (draw(s, g.num_nodes, c), draw(g.num_edges, 3), draw(3, c, 4)),
        lambda g, x, w, m, form=None: kernel_sum(x, g.structure, w, m, form=form),
        kernels_oracle,
        ATTENTIVE,
    ),
    Case(
        "kinds",
        lambda g, s, c: (draw(s, g.num_nodes, c), draw(g.num_edges), draw(3, c, 4)),
        lambda g, x, w, m, form=None: kind_sum(x, *ways_of(g), w, m, form=form),
        kinds_oracle,
        ATTENTIVE,
    ),
    Case(
        "additive",
        lambda g, s, c: (draw(s, g.num_nodes, 2, c), draw(2, c), draw(2, c, seed=1), draw(g.num_edges, 2)),
        lambda g, x, a, b, r, form=None: attention(x, a, b, g.structure, r, form=form)[0],
        additive_oracle,
        ATTENTIVE,
    ),
    Case(
        "assignment",
        lambda g, s, c: (draw(s, g.num_nodes, 3, c), draw(s, g.num_nodes, 3), draw(3)),
        assignment_run,
        assignment_oracle,
        ATTENTIVE,
    ),
    layer_case(
        "dynamic",
        lambda c: gconv.GATv2Conv(c, 3, heads=2, edge_dim=2, add_self_loops=False),
        dynamic_oracle,
        ATTENTIVE,
        with_features=True,
    ),
    layer_case("edge max", lambda c: gconv.EdgeConv(perceptron(c)), edge_oracle(lambda m: m.amax(0)), (None,)),
    layer_case("edge mean", lambda c: gconv.EdgeConv(perceptron(c), "mean"), edge_oracle(lambda m: m.mean(0)), (None,)),
)
FORMS = [(case, form) for case in CASES for form in case.forms]
FORM_IDS = [f"{case}, {form}" for case, form in FORMS]


def value_and_gradients(run: Callable[..., Tensor], graph: Graph, leaves: Inputs, **how: object) -> Inputs:
    """y, and the gradients of Σ y² + y by all leaves, zeros by those that have no part in it."""
    y = run(graph, *leaves, **how)
    nothing = sum(0 * leaf.sum() for leaf in leaves)
    return y, *torch.autograd.grad((y * y + y).sum() + nothing, leaves)
