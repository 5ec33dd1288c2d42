"""Pseudo-coordinates of edges from the positions of their ends: Cartesian in a box, or polar in a local frame.

    cartesian    u = offset / (2 max_value) + ½                              in [0, 1]^d
    polar        u = (ρ, θ), ρ = |offset|, θ = angle of the offset's projection to the tangent plane, in [0, 2π)

The offset of an edge leads from its target to its source, as on grids' graphs. In two dimensions the plane is its own
tangent plane, and θ is told from axis 0, or from the target's own direction. In three dimensions positions lie on a
surface, and three things stand for what a mesh would tell:

    ρ            the chord, for the geodesic distance: exact on a plane, short by ρ³ κ² / 24 at curvature κ
    normals      across the plane that fits the neighbours best, turned away from the centroid of its graph: the outer
                 normals of a surface that is star-shaped about it; pass others where it is not
    directions   of the largest curvature of a quadric that fits the neighbours' heights; where the curvatures do not
                 differ (a plane, a sphere), the projection of axis 0

A direction of curvature has no sign: the one towards which more of the neighbours lie is taken, and where that does not
tell, either. Kernels that do not change under a half turn do not see it. Cost: E d² + N d³. References: Monti et al.
(2017), table 1; Boscaini, Masci, Rodolà and Bronstein (2016).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gconv.domains.graph import Graph
from gconv.domains.structure import constant

_TOLERANCE = 1e-3  # how much curvatures differ before a direction is read from them


def edge_offsets(graph: Graph) -> Tensor:
    """From each edge's target to its source, `(E, d)`; on a grid's graph in cells, round a torus the short way.

    Raises:
        ValueError: if the graph has no positions.
    """
    if graph.lattice is not None and graph.edge_attr is not None:
        return graph.edge_attr
    if graph.pos is None:
        raise ValueError(f"pseudo-coordinates come from positions, and {graph!r} has none; pass pos=(N, d)")
    return graph.pos[graph.edge_index[0]] - graph.pos[graph.edge_index[1]]


def cartesian(graph: Graph, max_value: float | None = None) -> Graph:
    """The same graph with offsets scaled to [0, 1] as `edge_attr`, `(E, d)`: PyG's `Cartesian`.

    Args:
        max_value: the offset that becomes 1; None for the largest there is.

    Raises:
        ValueError: for a graph without positions, or an offset beyond `max_value`.

    >>> graph = Graph(torch.tensor([[0, 1], [1, 0]]), pos=torch.tensor([[0.0, 0.0], [2.0, 1.0]]))
    >>> cartesian(graph).edge_attr
    tensor([[0.0000, 0.2500],
            [1.0000, 0.7500]])
    """
    offsets = edge_offsets(graph)
    largest = float(offsets.abs().max()) if offsets.numel() else 0.0
    if max_value is None:
        max_value = largest or 1.0
    if not max_value >= largest or not max_value > 0:
        raise ValueError(
            f"max_value takes a positive number, at least the largest offset {largest:g}; got {max_value!r}"
        )
    return graph.having(edge_attr=offsets / (2 * max_value) + 0.5)


def to_polar(offsets: Tensor) -> Tensor:
    """(ρ, θ) of offsets in the plane, `(E, 2)`, θ in [0, 2π).

    >>> to_polar(torch.tensor([[0.0, -2.0]]))
    tensor([[2.0000, 4.7124]])
    """
    return torch.stack([offsets.norm(dim=1), _angle(offsets[:, 0], offsets[:, 1])], 1)


def polar(graph: Graph, normals: Tensor | None = None, directions: Tensor | None = None) -> Graph:
    """The same graph with polar coordinates (ρ, θ) as `edge_attr`, `(E, 2)`.

    Args:
        normals: in three dimensions, the nodes' normals `(N, 3)`; None to estimate them.
        directions: where θ is 0 at each node, `(N, d)`, of any length; None for the rules above.

    Raises:
        ValueError: for positions that have not two or three axes, or vectors that do not fit or vanish.

    >>> graph = Graph(torch.tensor([[1, 2], [0, 0]]), pos=torch.tensor([[0.0, 0.0], [3.0, 4.0], [-1.0, 0.0]]))
    >>> polar(graph).edge_attr
    tensor([[5.0000, 0.9273],
            [1.0000, 3.1416]])
    """
    offsets = edge_offsets(graph)
    axes = offsets.shape[1]
    if axes not in (2, 3):
        raise ValueError(f"polar coordinates need positions of two or three axes, {graph!r} has {axes}")
    if axes == 2 and normals is not None:
        raise ValueError("normals belong to positions in three dimensions; these have two")
    for name, vectors in (("normals", normals), ("directions", directions)):
        if vectors is not None and vectors.shape != (graph.num_nodes, axes):
            raise ValueError(f"{name} has shape ({graph.num_nodes}, {axes}) here, got {tuple(vectors.shape)}")
    target = graph.edge_index[1]
    if axes == 2:
        coordinates = to_polar(offsets)
        if directions is not None:
            unit = _unit(directions, "directions").to(offsets.dtype)[target]
            along, across = (offsets * unit).sum(1), unit[:, 0] * offsets[:, 1] - unit[:, 1] * offsets[:, 0]
            coordinates = torch.stack([coordinates[:, 0], _angle(along, across)], 1)
        return graph.having(edge_attr=coordinates)
    first, second = _frames(graph, offsets, normals, directions)
    along, across = (offsets * first[target]).sum(1), (offsets * second[target]).sum(1)
    return graph.having(edge_attr=torch.stack([offsets.norm(dim=1), _angle(along, across)], 1))


def _angle(along: Tensor, across: Tensor) -> Tensor:
    angle = torch.atan2(across, along)
    angle = torch.where(angle < 0, angle + 2 * math.pi, angle)
    return torch.where((along == 0) & (across == 0), torch.zeros_like(angle), angle)


def _unit(vectors: Tensor, name: str) -> Tensor:
    length = vectors.double().norm(dim=1, keepdim=True)
    if not bool((length > 0).all()):
        node = int((~(length[:, 0] > 0)).nonzero()[0])
        raise ValueError(f"{name}[{node}] is {vectors[node].tolist()}: it has no direction in which to point")
    return vectors.double() / length


@constant
def _frames(graph: Graph, offsets: Tensor, normals: Tensor | None, directions: Tensor | None) -> tuple[Tensor, Tensor]:
    """Two orthonormal vectors of each node's tangent plane, `(N, 3)` each; the first is where θ is 0."""
    exact, target = offsets.double(), graph.edge_index[1]
    normal = _normals(graph, exact, target) if normals is None else _unit(normals, "normals")
    axes = torch.eye(3, dtype=torch.float64, device=graph.device)
    axis = torch.where(normal[:, :1].abs() < 0.9, axes[0], axes[1])
    first = _projected(axis, normal)
    if directions is None:
        first = _curvature_direction(exact, target, normal, first)
    else:
        first = _unit(_projected(_unit(directions, "directions"), normal, unit=False), "directions (in the plane)")
    second = torch.linalg.cross(normal, first)
    return first.to(offsets.dtype), second.to(offsets.dtype)


def _projected(vectors: Tensor, normal: Tensor, unit: bool = True) -> Tensor:
    flat = vectors - (vectors * normal).sum(1, keepdim=True) * normal
    return flat / flat.norm(dim=1, keepdim=True) if unit else flat


def _normals(graph: Graph, offsets: Tensor, target: Tensor) -> Tensor:
    assert graph.pos is not None
    products = offsets[:, :, None] * offsets[:, None, :]
    spread = products.new_zeros(graph.num_nodes, 3, 3).index_add_(0, target, products)
    normal = torch.linalg.eigh(spread).eigenvectors[:, :, 0]
    outwards = (normal * (graph.pos.double() - _centroids(graph, graph.pos.double()))).sum(1, keepdim=True)
    return torch.where(outwards < 0, -normal, normal)


def _centroids(graph: Graph, pos: Tensor) -> Tensor:
    """The mean position `(3,)`; of a batch that of each node's graph, `(N, 3)`."""
    if graph.parts is None:
        return pos.mean(0)
    batch, sizes = graph.parts.batch, graph.parts.sizes
    return (pos.new_zeros(len(sizes), 3).index_add_(0, batch, pos) / sizes.clamp(min=1)[:, None])[batch]


def _curvature_direction(offsets: Tensor, target: Tensor, normal: Tensor, otherwise: Tensor) -> Tensor:
    """Of h = ½ (a u² + 2 b u v + c v²), fitted to the neighbours' heights, the axis along which it bends most."""
    second = torch.linalg.cross(normal, otherwise)
    u, v, h = ((offsets * vectors[target]).sum(1) for vectors in (otherwise, second, normal))
    terms = torch.stack([0.5 * u * u, u * v, 0.5 * v * v], 1)
    count = len(normal)
    squares = terms.new_zeros(count, 3, 3).index_add_(0, target, terms[:, :, None] * terms[:, None, :])
    right = terms.new_zeros(count, 3).index_add_(0, target, terms * h[:, None])
    a, b, c = (torch.linalg.pinv(squares, hermitian=True) @ right[:, :, None])[:, :, 0].unbind(1)
    values, vectors = torch.linalg.eigh(torch.stack([a, b, b, c], 1).view(-1, 2, 2))
    bends = values.abs()
    largest = bends.max(1).values
    alike = largest - bends.min(1).values <= _TOLERANCE * largest  # a saddle's: the outward one counts
    steepest = torch.where(alike, 0, bends.argmax(1))
    axis = vectors.gather(2, steepest[:, None, None].expand(-1, 2, 1))[:, :, 0]
    direction = axis[:, :1] * otherwise + axis[:, 1:] * second
    onwards = direction.new_zeros(count).index_add_(0, target, (offsets * direction[target]).sum(1))
    direction = torch.where(onwards[:, None] < 0, -direction, direction)
    far = offsets.new_zeros(count).scatter_reduce(0, target, offsets.norm(dim=1), "amax")
    clear = (values[:, 1] - values[:, 0] > _TOLERANCE * largest) & (largest * far > _TOLERANCE)
    return torch.where(clear[:, None], direction, otherwise)
