"""Edges sorted once: what every sum over neighbours needs to know of a graph, whatever the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack

from gconv.domains.blocks import at_once

# Entries of the index that one call of the row-gather works on: several signals at once when the graph is small, so
# that the cost of a call is spread, few enough that their rows stay in the cache. A GPU takes more (`blocks`).
_BLOCK_ENTRIES, _BLOCK_SIGNALS = 1 << 18, 64
# Edges of the targets that are worked on together where every edge has a message of its own.
_PIECE_ENTRIES = 1 << 16


P = ParamSpec("P")
T = TypeVar("T")


def constant(build: Callable[P, T]) -> Callable[P, T]:
    """Make `build` give plain tensors without history, also when it is first called under inference mode.

    What a plan keeps must serve training, whoever asked for it first.
    """

    @wraps(build)
    def plain(*args: P.args, **kwargs: P.kwargs) -> T:
        with torch.inference_mode(False), torch.no_grad():
            return build(*args, **kwargs)

    return plain


def is_transformed() -> bool:
    """Whether a transform of `torch.func` runs ('grad', 'jvp', 'vmap' or another), which no compiler traces."""
    return not torch.compiler.is_compiling() and peek_interpreter_stack() is not None


@dataclass(frozen=True, eq=False)
class Rows:
    """A sparse matrix in compressed rows, without its values: row r gathers `index[offsets[r]:offsets[r + 1]]`.

    `order` says which edge an entry came from. The index is kept for `block` signals lying one after the other.
    """

    order: Tensor
    index: Tensor
    offsets: Tensor
    num_rows: int
    num_columns: int
    block: int

    @classmethod
    def build(cls, rows: Tensor, columns: Tensor, num_rows: int, num_columns: int) -> Rows:
        """Sort edges by row; equal rows keep the edges' order, so sums are the same from run to run."""
        entries = rows.numel()
        together = at_once(_BLOCK_ENTRIES, rows.device) // max(entries, num_rows, 1)
        block = max(1, min(at_once(_BLOCK_SIGNALS, rows.device), together))
        fits = block * max(num_columns, num_rows, entries + 1) < torch.iinfo(torch.int32).max
        kind = torch.int32 if fits else torch.int64  # half the bytes, also while sorting
        order, offsets = _by_row(rows.to(kind), num_rows)
        signal = torch.arange(block, dtype=kind, device=rows.device)[:, None]
        index = (columns.to(kind)[order] + signal * num_columns).flatten()
        offsets = offsets.to(kind)
        starts = torch.cat([(offsets[:-1] + signal * entries).flatten(), offsets[-1:] * block])
        return cls(order, index, starts, num_rows, num_columns, block)


def _by_row(rows: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """The edges' order by row, stable, and where each row begins, `(num_rows + 1,)`.

    On a CPU by counting, as scipy does from rows to columns of a table with one entry an edge.
    """
    if rows.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed():
        order = torch.argsort(rows, stable=True)
        counts = torch.bincount(rows, minlength=num_rows)
        return order, torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    import numpy as np
    from scipy.sparse import csr_array

    entries = rows.numel()
    starts = np.arange(entries + 1, dtype=np.int64 if rows.dtype == torch.int64 else np.int32)
    table = csr_array((np.ones(entries, dtype=np.bool_), rows.numpy(), starts), shape=(entries, num_rows)).tocsc()
    return torch.from_numpy(table.indices).long(), torch.from_numpy(table.indptr)


@dataclass(frozen=True, eq=False)
class Structure:
    """A directed, possibly bipartite edge set with its sorted rows, both ways. Parallel edges count severally."""

    source: Tensor
    target: Tensor
    num_sources: int
    num_targets: int

    @property
    def num_edges(self) -> int:
        """The number of edges."""
        return self.source.numel()

    @cached_property
    @constant
    def rows(self) -> Rows:
        """Targets gather from sources."""
        return Rows.build(self.target, self.source, self.num_targets, self.num_sources)

    @cached_property
    @constant
    def columns(self) -> Rows:
        """Sources gather from targets: the transposed matrix, for backward."""
        return Rows.build(self.source, self.target, self.num_sources, self.num_targets)

    @cached_property
    @constant
    def with_loops(self) -> tuple[Structure, Tensor]:
        """The edges between different nodes, then one loop a node; and which of these edges they are.

        Where sources are not the targets, equal numbers count as the same node.
        """
        kept = (self.source != self.target).nonzero().squeeze(1)
        nodes = torch.arange(min(self.num_sources, self.num_targets), device=self.source.device)
        source, target = torch.cat([self.source[kept], nodes]), torch.cat([self.target[kept], nodes])
        return Structure(source, target, self.num_sources, self.num_targets), kept

    @cached_property
    @constant
    def last_loops(self) -> Tensor | None:
        """For each node the last of its loops, -1 where it has none; None if no node has."""
        own = (self.source == self.target).nonzero().squeeze(1)
        if not own.numel():
            return None
        return own.new_full((self.num_targets,), -1).scatter_reduce_(0, self.source[own], own, "amax")

    @cached_property
    @constant
    def to_columns(self) -> Tensor:
        """For each entry of the sorted columns its place among the entries of the sorted rows."""
        return _places(self.rows.order)[self.columns.order]

    @cached_property
    @constant
    def to_rows(self) -> Tensor:
        """For each entry of the sorted rows its place among the entries of the sorted columns."""
        return _places(self.columns.order)[self.rows.order]

    @cached_property
    @constant
    def entries(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Each entry's nodes, row by row: source, target, offsets; column by column: target, offsets, place in rows."""
        rows, columns, count = self.rows, self.columns, self.num_edges
        kind = rows.index.dtype
        forth = rows.index[:count], self.target[rows.order].to(kind), rows.offsets[: rows.num_rows + 1]
        ends, places = columns.offsets[: columns.num_rows + 1], self.to_columns
        return *forth, columns.index[:count].to(kind), ends.to(kind), places.to(kind)

    @cached_property
    def flipped(self) -> Structure:
        """The same edges the other way round, sharing the sorted rows."""
        other = Structure(self.target, self.source, self.num_targets, self.num_sources)
        other.__dict__.update(rows=self.columns, columns=self.rows, to_rows=self.to_columns, to_columns=self.to_rows)
        return other

    @cached_property
    @constant
    def joined(self) -> Structure:
        """Targets, then sources, as the nodes of one graph: for work that has one table for both ends of an edge."""
        count = self.num_targets + self.num_sources
        return Structure(self.source + self.num_targets, self.target, count, count)

    @cached_property
    @constant
    def arrivals(self) -> Structure:
        """Edges as sources of themselves: sums values that lie on the edges at their targets."""
        edges = torch.arange(self.num_edges, device=self.source.device)
        return Structure(edges, self.target, self.num_edges, self.num_targets)

    @cached_property
    @constant
    def departures(self) -> Structure:
        """Edges as targets of themselves: reads the value of each edge's source."""
        edges = torch.arange(self.num_edges, device=self.source.device)
        return Structure(self.source, edges, self.num_sources, self.num_edges)

    @cached_property
    @constant
    def by_degree(self) -> list[Piece]:
        """The targets that have edges, those of equally many together, so many at a time."""
        rows, degrees = self.rows, self.in_degree
        offsets, pieces = rows.offsets.long(), []
        for degree in degrees.unique().tolist():
            if not degree:
                continue
            alike = (degrees == degree).nonzero().squeeze(1)
            for nodes in alike.split(max(1, _PIECE_ENTRIES // degree)):
                steps = torch.arange(degree, device=nodes.device)
                table = rows.index[(offsets[nodes][:, None] + steps).flatten()].long()
                slots = torch.arange(table.numel(), device=nodes.device)
                own = torch.arange(nodes.numel(), device=nodes.device)
                pieces.append(
                    Piece(
                        degree,
                        Structure(nodes, own, self.num_targets, nodes.numel()),
                        Structure(table, slots, self.num_sources, table.numel()),
                    )
                )
        return pieces

    @cached_property
    @constant
    def table(self) -> tuple[Tensor, Tensor, list[int]]:
        """All pieces after each other: their targets, the neighbours of each, and (targets, degree) again and again.

        Raises:
            RuntimeError: if it would have to be built while a compiler traces.
        """
        if torch.compiler.is_compiling():
            raise RuntimeError(
                "the neighbours of these edges are not sorted by degree yet; call the layer once before compiling or "
                "exporting it, or wrap the model in bind(model, graph), which does"
            )
        nothing = self.source.new_zeros(0)
        targets = torch.cat([nothing, *(piece.rows.source for piece in self.by_degree)])
        near = torch.cat([nothing, *(piece.slots.source for piece in self.by_degree)])
        sizes = [size for piece in self.by_degree for size in (piece.rows.source.numel(), piece.degree)]
        return targets, near, sizes

    @cached_property
    @constant
    def out_of_pieces(self) -> Structure:
        """From the rows of all pieces, one piece after the other, back to the targets."""
        nodes = torch.cat([piece.rows.source for piece in self.by_degree])
        own = torch.arange(nodes.numel(), device=nodes.device)
        return Structure(own, nodes, nodes.numel(), self.num_targets)

    @cached_property
    @constant
    def in_degree(self) -> Tensor:
        """The number of edges into each node, `(num_targets,)`."""
        return torch.bincount(self.target, minlength=self.num_targets)

    @cached_property
    def _expansions(self) -> dict[tuple[str, int], Structure]:
        return {}

    def kernels(self, count: int) -> Structure:
        """Edge e and kernel k as one edge `e * count + k`, into row (target, k)."""
        return self._expanded("kernels", count)

    def heads(self, count: int) -> Structure:
        """Edge e and head h as one edge `e * count + h`, from (source, h) to (target, h)."""
        return self._expanded("heads", count)

    @constant
    def by_kind(self, kinds: Tensor, count: int) -> Structure:
        """Each edge into the row of its target and its own kind, (target, kind)."""
        return Structure(self.source, self.target * count + kinds, self.num_sources, self.num_targets * count)

    @constant
    def _expanded(self, kind: str, count: int) -> Structure:
        key = kind, count
        if key not in self._expansions:
            copies = torch.arange(count, device=self.source.device)
            target = (self.target[:, None] * count + copies).flatten()
            if kind == "heads":
                source, num_sources = (self.source[:, None] * count + copies).flatten(), self.num_sources * count
            else:
                source, num_sources = self.source.repeat_interleave(count), self.num_sources
            self._expansions[key] = Structure(source, target, num_sources, self.num_targets * count)
        return self._expansions[key]


@dataclass(frozen=True)
class Piece:
    """Targets of equally many edges: `rows` reads them, `slots` reads their sources, `degree` after `degree`."""

    degree: int
    rows: Structure
    slots: Structure


def _places(order: Tensor) -> Tensor:
    """Where each edge stands in a sorted order: the inverse permutation."""
    return torch.empty_like(order).scatter_(0, order, torch.arange(order.numel(), device=order.device))
