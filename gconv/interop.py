"""Graphs from and to other libraries: PyG, networkx, scipy, dense matrices. Each is loaded where it is used.

A matrix A has a row a source and a column a target, as in networkx and scipy: A[i, j] is the weight of the edge from i
to j. Weights of one everywhere are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gconv.domains.batch import unbatch
from gconv.domains.graph import Graph

if TYPE_CHECKING:
    import networkx
    import scipy.sparse
    from torch_geometric.data import Data


def from_pyg(data: Data) -> Graph:
    """The graph of a PyG `Data` or `Batch`: `edge_index`, `edge_weight`, `edge_attr`, `pos`, `batch`, `num_nodes`.

    Raises:
        TypeError, ValueError: if it has no valid edges.

    >>> from torch_geometric.data import Data
    >>> from_pyg(Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=3))
    Graph(num_nodes=3, num_edges=2)
    """
    held: Any = data
    if "edge_index" not in held:
        raise ValueError(f"{held!r} has no edge_index")
    parts: dict[str, Any] = {name: held.get(name) for name in ("edge_weight", "edge_attr", "pos", "batch")}
    if parts["batch"] is not None:
        parts["num_graphs"] = getattr(held, "num_graphs", None)  # of a Batch alone
    return Graph(held.edge_index, held.num_nodes, **parts)


def to_pyg(graph: Graph, x: Tensor | None = None) -> Data:
    """A PyG `Data` with the graph's tensors, and a signal `(N, C)` if given; of a batch of graphs a PyG `Batch`.

    >>> from gconv import batch_graphs
    >>> pair = Graph(torch.tensor([[0, 1], [1, 0]]))
    >>> to_pyg(pair)
    Data(edge_index=[2, 2], num_nodes=2)
    >>> to_pyg(batch_graphs([pair, pair])).num_graphs
    2
    """
    from torch_geometric.data import Batch, Data

    if graph.batch is not None:
        nodes = [(graph.batch == place).nonzero().squeeze(1) for place in range(graph.num_graphs)]
        signals = [None if x is None else x[own] for own in nodes]
        parts: Any = Batch.from_data_list([to_pyg(*part) for part in zip(unbatch(graph), signals, strict=True)])
        return parts
    given = {"x": x, "edge_weight": graph.edge_weight, "edge_attr": graph.edge_attr, "pos": graph.pos}
    tensors = {name: t if name == "x" or t.requires_grad else t.clone() for name, t in given.items() if t is not None}
    return Data(edge_index=graph.edge_index.clone(), num_nodes=graph.num_nodes, **tensors)


def from_networkx(graph: networkx.Graph, weight: str = "weight") -> Graph:
    """The graph of a networkx graph, nodes numbered in its own order; undirected edges become two.

    Args:
        weight: the edge attribute that holds weights; edges without it weigh 1.

    >>> import networkx
    >>> from_networkx(networkx.path_graph(3))
    Graph(num_nodes=3, num_edges=4)
    """
    number = {node: i for i, node in enumerate(graph)}
    edges, weights = [], []
    for source, target, value in graph.edges(data=weight, default=1.0):
        both = [(source, target)] if graph.is_directed() or source == target else [(source, target), (target, source)]
        edges += [(number[a], number[b]) for a, b in both]
        weights += [float(value)] * len(both)
    index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).t()
    return Graph(index, len(number), _unless_ones(torch.tensor(weights)))


def to_networkx(graph: Graph) -> networkx.DiGraph:
    """A directed networkx graph (a `MultiDiGraph` if edges are parallel) with `weight` where there are weights.

    >>> to_networkx(Graph(torch.tensor([[0, 1], [1, 2]]))).edges
    OutEdgeView([(0, 1), (1, 2)])
    """
    import networkx

    parallel = torch.unique(graph.edge_index, dim=1).shape[1] < graph.num_edges
    out = networkx.MultiDiGraph() if parallel else networkx.DiGraph()
    out.add_nodes_from(range(graph.num_nodes))
    pairs = graph.edge_index.t().tolist()
    if graph.edge_weight is None:
        out.add_edges_from(pairs)
    else:
        weights = graph.edge_weight.tolist()
        out.add_edges_from((s, t, {"weight": w}) for (s, t), w in zip(pairs, weights, strict=True))
    return out


def from_scipy(matrix: scipy.sparse.sparray | scipy.sparse.spmatrix) -> Graph:
    """The graph of a sparse adjacency matrix; explicit zeros are edges of weight 0.

    Raises:
        ValueError: if it is not square.

    >>> import scipy.sparse
    >>> from_scipy(scipy.sparse.eye_array(3))
    Graph(num_nodes=3, num_edges=3)
    """
    held: Any = matrix
    coo = held.tocoo()
    if coo.ndim != 2 or coo.shape[0] != coo.shape[1]:
        raise ValueError(f"an adjacency matrix is square, got shape {coo.shape}")
    index = torch.stack([torch.as_tensor(coo.row).long(), torch.as_tensor(coo.col).long()])
    values = torch.as_tensor(coo.data)
    return Graph(index, coo.shape[0], _unless_ones(values if values.is_floating_point() else values.float()))


def to_scipy(graph: Graph) -> scipy.sparse.csr_array:
    """The adjacency matrix as a scipy array; parallel edges add up.

    >>> to_scipy(Graph(torch.tensor([[0, 1], [1, 2]]))).toarray()
    array([[0., 1., 0.],
           [0., 0., 1.],
           [0., 0., 0.]], dtype=float32)
    """
    import scipy.sparse

    weights = torch.ones(graph.num_edges) if graph.edge_weight is None else graph.edge_weight.detach().cpu()
    source, target = graph.edge_index.cpu().numpy()
    return scipy.sparse.coo_array((weights.numpy(), (source, target)), shape=(graph.num_nodes,) * 2).tocsr()


def from_dense(adjacency: Tensor) -> Graph:
    """The graph of a dense adjacency matrix: an edge a nonzero entry.

    Raises:
        TypeError: for what is no tensor. ValueError: if it is not square, or not finite.

    >>> from_dense(torch.tensor([[0.0, 1.0], [0.0, 0.0]]))
    Graph(num_nodes=2, num_edges=1)
    """
    if not isinstance(adjacency, Tensor):
        raise TypeError(f"from_dense takes a tensor (N, N), got {type(adjacency).__name__}")
    if adjacency.dim() != 2 or adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"an adjacency matrix is square, got shape {tuple(adjacency.shape)}")
    index = adjacency.nonzero().t()
    values = adjacency[index[0], index[1]]
    return Graph(index, adjacency.shape[0], _unless_ones(values if values.is_floating_point() else values.float()))


def to_dense(graph: Graph) -> Tensor:
    """The adjacency matrix, `(N, N)`, a row a source; parallel edges add up.

    >>> to_dense(Graph(torch.tensor([[0, 1], [1, 2]])))[0]
    tensor([0., 1., 0.])
    """
    weights = torch.ones(graph.num_edges, device=graph.device) if graph.edge_weight is None else graph.edge_weight
    dense = weights.new_zeros(graph.num_nodes, graph.num_nodes)
    return dense.index_put((graph.edge_index[0], graph.edge_index[1]), weights, accumulate=True)


def _unless_ones(weights: Tensor) -> Tensor | None:
    return None if not weights.requires_grad and bool((weights == 1).all()) else weights
