"""A graph as a domain: frozen, validated, its plans kept with it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gconv.domains.batch import Parts, check_graphs
from gconv.domains.lattice import Lattice, coordinates
from gconv.domains.plan import Plan
from gconv.domains.structure import Structure, constant
from grid_cnn import Grid

_TENSORS = ("edge_index", "edge_weight", "edge_attr", "pos", "batch")


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Nodes and directed edges on which signals `(N, C)` or `(B, N, C)` live; compared by identity.

    An edge `(source, target)` carries the value of its source to its target. Loops and parallel edges are edges like
    all others: their messages add up. Tensors are copied, so that later edits elsewhere do not reach the plans.

    Args:
        edge_index: `(2, E)`, whole numbers from 0 to N - 1: sources, then targets.
        num_nodes: N; if None, the number of positions, or the largest index + 1.
        edge_weight: `(E,)`, finite floating numbers, or None for ones.
        edge_attr: `(E, D)` or `(E,)` of any dtype, what layers with edge features read (pseudo-coordinates, for one).
        pos: `(N, d)`, the nodes' positions.
        lattice: the rule that made the graph out of a grid, if one did. Set by `grid_graph`.
        batch: `(N,)`, of a disjoint union: the graph that each node belongs to, from 0 on (`batch_graphs` makes one).
        num_graphs: how many graphs there are; if None, the largest entry of `batch` + 1, or 1.

    Attributes:
        structure: the edges alone, with their sorted rows; shared by graphs that differ in weights only.
        plan: operators, spectra and tables computed so far; `graph.plan.explain()` lists them.
        derived: the graphs that layers made of this one and a bare tensor of weights or attributes, while it lives.

    Raises:
        TypeError: for tensors of a wrong dtype.
        ValueError: for wrong shapes, indices out of range, weights that are not finite, tensors on several devices,
            edges between two graphs.

    >>> graph = Graph(torch.tensor([[0, 1], [1, 2]]))
    >>> graph
    Graph(num_nodes=3, num_edges=2)
    """

    edge_index: Tensor
    num_nodes: int = None  # pyright: ignore[reportAssignmentType]
    edge_weight: Tensor | None = None
    edge_attr: Tensor | None = None
    pos: Tensor | None = None
    lattice: Lattice | None = None
    batch: Tensor | None = None
    num_graphs: int = None  # pyright: ignore[reportAssignmentType]
    structure: Structure = field(init=False)
    plan: Plan = field(init=False)
    derived: WeakTensorKeyDictionary = field(init=False, default_factory=WeakTensorKeyDictionary)
    _family: dict[tuple[Grid | None, torch.device], Graph] = field(default_factory=dict)

    @constant
    def __post_init__(self) -> None:
        _validate(self)
        for name in _TENSORS:
            tensor = getattr(self, name)
            if tensor is not None and not tensor.requires_grad:
                tensor = tensor.detach().clone()
            object.__setattr__(self, name, tensor)
        object.__setattr__(self, "edge_index", self.edge_index.long())
        if self.num_nodes is None:
            largest = int(self.edge_index.max()) + 1 if self.edge_index.numel() else 0
            object.__setattr__(self, "num_nodes", largest if self.pos is None else self.pos.shape[0])
        check_graphs(self)
        if self.batch is not None:
            object.__setattr__(self, "batch", self.batch.long())
        if self.num_graphs is None:
            object.__setattr__(self, "num_graphs", 1 if self.batch is None else int(self.batch.max()) + 1)
        structure = Structure(self.edge_index[0], self.edge_index[1], self.num_nodes, self.num_nodes)
        object.__setattr__(self, "structure", structure)
        object.__setattr__(self, "plan", Plan(self))
        self._family.setdefault((self.grid, self.device), self)

    @property
    def num_edges(self) -> int:
        """The number of edges, loops and parallel ones included."""
        return self.edge_index.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the edges lie."""
        return self.edge_index.device

    @property
    def grid(self) -> Grid | None:
        """The grid whose cells the nodes are, in row-major order, if there is one."""
        return None if self.lattice is None else self.lattice.grid

    @property
    def parts(self) -> Parts | None:
        """The graphs of a disjoint union, None where there is but one."""
        batch = self.batch
        return None if batch is None else self.plan.keep("graphs", lambda: Parts(batch, self.num_graphs))

    def to(self, device: torch.device | str) -> Graph:
        """This graph on `device`; asked twice, the same object."""
        target = torch.empty(0, device=device).device  # "cuda" names the current one
        if target == self.device:
            return self
        learned = self.edge_weight is not None and self.edge_weight.requires_grad
        if learned or (self.grid, target) not in self._family:
            moved = {name: getattr(self, name) for name in _TENSORS}
            family = {} if learned else self._family  # weights that change have no copy to keep
            tensors = {name: None if t is None else t.to(target) for name, t in moved.items()}
            return replace(self, **tensors, _family=family)
        return self._family[self.grid, target]

    def on(self, grid: Grid) -> Graph:
        """The graph of another grid under the same rule: a pool's codomain. Asked twice, the same object.

        Raises:
            ValueError: if this is not a grid's graph.
        """
        if self.lattice is None:
            raise ValueError(
                f"{self!r} is not the graph of a grid, so it has no coarser one; build it with grid_graph(), or end "
                "the network in a global pool"
            )
        if grid.ndim != self.lattice.grid.ndim:
            raise ValueError(f"{self!r} has {self.lattice.grid.ndim} axes, {grid!r} {grid.ndim}")
        if (grid, self.device) not in self._family:
            of_lattice(self.lattice.on(grid), self.device, self._family)
        return self._family[grid, self.device]

    def having(self, **tensors: Tensor | int | None) -> Graph:
        """The same edges with another `edge_weight`, `edge_attr`, `pos` or `batch`, sharing the sorted rows."""
        count = None if "batch" in tensors else self.num_graphs
        other = replace(self, **{"num_graphs": count, **tensors}, lattice=None, _family={})  # pyright: ignore[reportArgumentType]
        object.__setattr__(other, "structure", self.structure)
        return other

    def zeros(self, channels: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """A zero signal `(1, N, channels)`."""
        return torch.zeros(1, self.num_nodes, channels, dtype=dtype, device=device)

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but the graphs derived from bare tensors, which belong to this process."""
        return {name: value for name, value in self.__dict__.items() if name != "derived"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, derived=WeakTensorKeyDictionary())

    def __copy__(self) -> Graph:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Graph:
        return self

    def __repr__(self) -> str:
        parts = [f"num_nodes={self.num_nodes}", f"num_edges={self.num_edges}"]
        if self.grid is not None:
            parts.insert(0, f"{'×'.join(map(str, self.grid.size))}{' periodic' if self.grid.periodic else ''} grid")
        parts += [f"num_graphs={self.num_graphs}"] * (self.batch is not None)
        parts += ["weighted"] * (self.edge_weight is not None)
        parts += [f"device={self.device}"] * (self.device.type != "cpu")
        return f"Graph({', '.join(parts)})"


def of_lattice(lattice: Lattice, device: torch.device | str, family: dict[Any, Graph] | None = None) -> Graph:
    """Build the graph of a lattice rule, on `device`."""
    with torch.device("cpu"):  # whatever the default device of the program
        edge_index, weight, move = lattice.edges()
        tensors = edge_index, weight, move, coordinates(lattice.grid).float()
    edge_index, weight, move, pos = (None if t is None else t.to(device) for t in tensors)
    assert edge_index is not None
    return Graph(
        edge_index, lattice.grid.num_nodes, weight, move, pos, lattice, _family={} if family is None else family
    )


def _validate(graph: Graph) -> None:
    index, count = graph.edge_index, graph.num_nodes
    if not isinstance(index, Tensor):
        raise TypeError(f"edge_index takes a (2, E) tensor of whole numbers, got {type(index).__name__}")
    if index.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise TypeError(f"edge_index holds whole numbers (torch.int64), got {index.dtype}; convert it with .long()")
    if index.dim() != 2 or index.shape[0] != 2:
        mend = "; pass its transpose, edge_index.t()" if index.dim() == 2 and index.shape[1] == 2 else ""
        raise ValueError(f"edge_index has shape (2, E): sources and targets; got {tuple(index.shape)}{mend}")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
        raise ValueError(f"num_nodes takes a whole number >= 1, got {count!r}")
    if count is None and not index.numel() and (graph.pos is None or not len(graph.pos)):
        raise ValueError("a graph needs at least one node; pass num_nodes for one without edges")
    for name, tensor, length, dims in (
        ("edge_weight", graph.edge_weight, index.shape[1], (1,)),
        ("edge_attr", graph.edge_attr, index.shape[1], (1, 2)),
        ("pos", graph.pos, count, (2,)),
    ):
        if tensor is None:
            continue
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} takes a tensor, got {type(tensor).__name__}")
        if name != "edge_attr" and not tensor.is_floating_point():
            raise TypeError(f"{name} takes a tensor of floating numbers, got {tensor.dtype}; convert it with .float()")
        if tensor.dim() not in dims or (length is not None and tensor.shape[0] != length):
            rows = ("N" if name == "pos" else "E") if length is None else length
            wanted = " or ".join(f"({rows}{', d' if d == 2 else ','})" for d in dims)
            whose = "node" if name == "pos" else "edge"
            raise ValueError(
                f"{name} has shape {wanted} here; got {tuple(tensor.shape)}; pass one for each {whose}, in order"
            )
        if tensor.device != index.device:
            raise ValueError(f"{name} is on {tensor.device}, edge_index on {index.device}; move them with .to()")
        if not bool(torch.isfinite(tensor.detach()).all()):
            where = int((~torch.isfinite(tensor.detach())).reshape(tensor.shape[0], -1).any(1).nonzero()[0])
            raise ValueError(f"{name}[{where}] is not finite: {tensor[where].tolist()}; remove or replace such entries")
    if index.numel():
        limit = count if count is not None else (graph.pos.shape[0] if graph.pos is not None else None)
        low, high = int(index.min()), int(index.max())
        if low < 0:
            edge = int((index < 0).any(0).nonzero()[0])
            raise ValueError(f"edge_index[:, {edge}] = {index[:, edge].tolist()} has a negative node index")
        if limit is not None and high >= limit:
            edge = int((index >= limit).any(0).nonzero()[0])
            raise ValueError(
                f"edge_index[:, {edge}] = {index[:, edge].tolist()} points beyond the last of {limit} nodes; "
                f"pass num_nodes={high + 1} or mend the edge"
            )
