"""Edges as PyG takes them, in the order of its sparse matrices: by target, then by source.

    one graph      edge_index (2, E), weight (E,) or None, attr (E, D) or None
    copies(B)      the block-diagonal graph of B signals: (2, B·E)
    csr()          the transposed adjacency matrix of the same edges, `adj_t`, as a sparse CSR tensor

Sorted edges are also the ones that PyG sums fastest. `with_loops` and `normalized` do once what PyG's layers else do in
every forward, where PyG has an option to leave it to the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gconv import Graph


@dataclass(frozen=True)
class Edges:
    """Sorted edges of one graph.

    >>> Edges.of(Graph(torch.tensor([[1, 0], [1, 1]]))).edge_index
    tensor([[0, 1],
            [1, 1]])
    """

    edge_index: Tensor
    num_nodes: int
    weight: Tensor | None = None
    attr: Tensor | None = None

    @staticmethod
    def of(graph: Graph) -> Edges:
        """The edges of a graph, with its weights and attributes."""
        return _sorted(Edges(graph.edge_index, graph.num_nodes, graph.edge_weight, graph.edge_attr))

    def double(self) -> Edges:
        """The same edges, what they hold in float64."""
        given = (self.weight, self.attr)
        weight, attr = (t if t is None or not t.is_floating_point() else t.double() for t in given)
        return replace(self, weight=weight, attr=attr)

    def copies(self, count: int) -> Edges:
        """The disjoint union of `count` copies.

        >>> Edges(torch.tensor([[0], [1]]), 2).copies(2).edge_index
        tensor([[0, 2],
                [1, 3]])
        """
        offset = torch.arange(count).repeat_interleave(self.edge_index.shape[1]) * self.num_nodes
        return Edges(
            self.edge_index.repeat(1, count) + offset,
            self.num_nodes * count,
            None if self.weight is None else self.weight.repeat(count),
            None if self.attr is None else torch.cat([self.attr] * count),
        )

    def csr(self) -> Tensor:
        """`adj_t`: a row a target, a column a source; PyG reads weights from its values.

        >>> Edges(torch.tensor([[0], [1]]), 2).csr().to_dense()
        tensor([[0., 0.],
                [1., 0.]])
        """
        counts = torch.bincount(self.edge_index[1], minlength=self.num_nodes)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        values = torch.ones(self.edge_index.shape[1]) if self.weight is None else self.weight
        size = self.num_nodes, self.num_nodes
        return torch.sparse_csr_tensor(offsets, self.edge_index[0], values, size, check_invariants=True)


def as_given(edges: Edges) -> Edges:
    """The edges as they are."""
    return edges


def with_loops(edges: Edges) -> Edges:
    """A loop at every node, and none twice: for layers with `add_self_loops=False`."""
    kept = edges.edge_index[0] != edges.edge_index[1]
    loops = torch.arange(edges.num_nodes).expand(2, -1)
    return _sorted(Edges(torch.cat([edges.edge_index[:, kept], loops], 1), edges.num_nodes))


def normalized(edges: Edges) -> Edges:
    """Weights D^{-1/2} A D^{-1/2}: for layers with `normalize=False`."""
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    _, weight = gcn_norm(edges.edge_index, edges.weight, edges.num_nodes, add_self_loops=False)
    return replace(edges, weight=weight)


def _sorted(edges: Edges) -> Edges:
    order = torch.argsort(edges.edge_index[1] * edges.num_nodes + edges.edge_index[0], stable=True)
    return replace(
        edges,
        edge_index=edges.edge_index[:, order].contiguous(),
        weight=None if edges.weight is None else edges.weight[order],
        attr=None if edges.attr is None else edges.attr[order],
    )
