"""Random graphs, and dense matrices for them worked out by loops: what the library's own sums are held against."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from gconv import Graph

# The same examples on every run and machine; torch's first calls are too slow for a deadline.
few = settings(max_examples=25, deadline=None, derandomize=True)


def graph_from(edges: list[tuple[int, int]], num_nodes: int, weights: list[float] | None = None) -> Graph:
    index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t()
    return Graph(index, num_nodes, None if weights is None else torch.tensor(weights, dtype=torch.float64))


def random_graph(
    num_nodes: int = 9, num_edges: int = 30, *, seed: int = 0, weighted: bool = True, undirected: bool = False
) -> Graph:
    """Directed, with loops and parallel edges, the last two nodes isolated; `undirected` adds every edge's reverse."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, max(num_nodes - 2, 1), (2, num_edges), generator=generator)
    weight = torch.rand(num_edges, generator=generator, dtype=torch.float64) + 0.25
    if undirected:
        index, weight = torch.cat([index, index.flip(0)], 1), torch.cat([weight, weight])
    return Graph(index, num_nodes, weight if weighted else None)


@st.composite
def graphs(draw: st.DrawFn, undirected: bool = False, weighted: bool | None = None) -> Graph:
    """Small graphs of every kind: loops, parallel edges, isolated nodes, no edges at all; weighted or not."""
    num_nodes = draw(st.integers(1, 7))
    node = st.integers(0, num_nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=14))
    weights = draw(st.lists(st.floats(0.125, 4.0), min_size=len(edges), max_size=len(edges)))
    if undirected:
        edges, weights = edges + [(t, s) for s, t in edges], weights + weights
    has_weights = draw(st.booleans()) if weighted is None else weighted
    return graph_from(edges, num_nodes, weights if has_weights else None)


def edges_of(graph: Graph) -> list[tuple[int, int, float]]:
    weights = [1.0] * graph.num_edges if graph.edge_weight is None else graph.edge_weight.tolist()
    return [(s, t, w) for (s, t), w in zip(graph.edge_index.t().tolist(), weights, strict=True)]


def adjacency(graph: Graph) -> np.ndarray:
    """A row a target, a column a source; parallel edges add up."""
    matrix = np.zeros((graph.num_nodes, graph.num_nodes))
    for source, target, weight in edges_of(graph):
        matrix[target, source] += weight
    return matrix


def laplacian(graph: Graph, normalization: str | None) -> np.ndarray:
    """The textbook's formulas on the matrix without its diagonal, degrees counted at the sources."""
    matrix = adjacency(graph)
    np.fill_diagonal(matrix, 0.0)
    degree = matrix.sum(0)
    inverse = np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)
    if normalization is None:
        return np.diag(degree) - matrix
    left, right = (np.sqrt(inverse), np.sqrt(inverse)) if normalization == "sym" else (np.ones_like(degree), inverse)
    return np.eye(graph.num_nodes) - left[:, None] * matrix * right


def numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def assert_close(actual: Tensor, wanted: Tensor | np.ndarray, tolerance: float = 1e-12) -> None:
    """Equal in shape and dtype, and in value up to `tolerance` of the largest one."""
    wanted = torch.as_tensor(wanted)
    assert actual.shape == wanted.shape
    assert actual.dtype == wanted.dtype
    scale = max(1.0, float(wanted.detach().abs().max())) if wanted.numel() else 1.0
    torch.testing.assert_close(actual, wanted, rtol=0.0, atol=tolerance * scale)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail, rather than hang, where the body takes longer."""

    def late(*_: object) -> None:
        pytest.fail(f"not finished within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
