"""The table of a network's costs: its rows, its totals, and how it is written down."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict, dataclass
from typing import Any

# The receptive field behind a layer that does not tell how far it sees.
UNKNOWN: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """One layer, for one signal.

    Args:
        name, kind: what it is called, and its class. shape: of its output, without the batch. units: values of it.
        weights, biases: its parameters. links: connections, those of biases counted. multiply_adds: products. makes:
        whether it makes a tensor of its own. field, stride: along each axis, in cells of the input; None once the
            whole of it is seen, and `UNKNOWN` where nobody tells. edges: values of neighbours that it reads on a graph.
        known: False where nobody tells what it does: then links, multiply-adds and edges do not count.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    units: int
    weights: int = 0
    biases: int = 0
    links: int = 0
    multiply_adds: int = 0
    makes: bool = False
    field: tuple[int, ...] | None = None
    stride: tuple[int, ...] | None = None
    edges: int | None = None
    known: bool = True

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.weights + self.biases


COLUMNS = (
    "layer", "kind", "output", "units", "weights", "biases", "links", "multiply-adds", "forward bytes",
    "backward bytes", "receptive field", "stride", "edges",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """All rows of a network in order, for one signal.

    Args:
        rows: its layers. input_shape, input_units: of the signal. itemsize: bytes of a number.
    """

    rows: tuple[Row, ...]
    input_shape: tuple[int, ...]
    input_units: int
    itemsize: int = 4

    @property
    def weights(self) -> int:
        """Parameters that are no biases."""
        return sum(row.weights for row in self.rows)

    @property
    def biases(self) -> int:
        """Parameters that are."""
        return sum(row.biases for row in self.rows)

    @property
    def parameters(self) -> int:
        """All parameters."""
        return self.weights + self.biases

    @property
    def units(self) -> int:
        """The outputs of all layers that have links: the network's neurons."""
        return sum(row.units for row in self.rows if row.links)

    @property
    def links(self) -> int:
        """All connections."""
        return sum(row.links for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """All products of a weight and a value."""
        return sum(row.multiply_adds for row in self.rows)

    @property
    def edges(self) -> int | None:
        """All values of neighbours that are read on a graph; None on a grid."""
        counted = [row.edges for row in self.rows if row.edges is not None]
        return sum(counted) if counted else None

    @property
    def untold(self) -> tuple[str, ...]:
        """The layers that do not tell what they do, so that the totals leave it out."""
        return tuple(f"{row.name} ({row.kind})" for row in self.rows if not row.known)

    @property
    def activations(self) -> int:
        """All values that are kept on the way forward, the input among them."""
        return self.input_units + sum(row.units for row in self.rows if row.makes)

    def memory(self, batch: int = 1, training: bool = False) -> int:
        """Bytes for a batch: parameters and activations; in training the gradients of both as well.

        >>> Table((Row("fc", "Linear", (2,), 2, weights=6, makes=True),), (3,), 3).memory(batch=10)
        224
        """
        return self.itemsize * (self.parameters + batch * self.activations) * (2 if training else 1)

    def cells(self, row: Row) -> tuple[Any, ...]:
        """A row under `COLUMNS`."""
        made = row.units * self.itemsize * row.makes
        links, multiply_adds, edges = (row.links, row.multiply_adds, row.edges) if row.known else ("–",) * 3
        return (
            row.name, row.kind, "×".join(map(str, row.shape)), row.units, row.weights, row.biases, links,
            multiply_adds, made, 2 * made, seen(row.field), seen(row.stride), edges,
        )  # fmt: skip

    def total(self) -> tuple[Any, ...]:
        """The last row under `COLUMNS`; forward and backward bytes count the input, units those with links."""
        made = self.itemsize * self.activations
        return (
            "total", "", "", self.units, self.weights, self.biases, self.links, self.multiply_adds, made, 2 * made,
            "", "", self.edges,
        )  # fmt: skip

    def shown(self) -> list[tuple[str, ...]]:
        """Header, rows and total as text, without the column of edges on a grid."""
        keep = len(COLUMNS) if self.edges is not None or self.untold else len(COLUMNS) - 1
        body = [tuple(map(text, cells[:keep])) for cells in (*map(self.cells, self.rows), self.total())]
        return [COLUMNS[:keep], *body]

    def markdown(self) -> str:
        """A table in Markdown."""
        header, *body = self.shown()
        rule = ["--:" if 3 <= i <= 9 or i == 12 else "---" for i in range(len(header))]
        return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *body)) + "\n"

    def csv(self) -> str:
        """Comma-separated values, numbers as they are."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(self.cells, self.rows))
        writer.writerow(self.total())
        return out.getvalue()

    def json(self, batch: int = 1) -> str:
        """All rows and totals; memory for a batch in bytes."""
        totals = {
            "parameters": self.parameters, "weights": self.weights, "biases": self.biases, "units": self.units,
            "links": self.links, "multiply_adds": self.multiply_adds, "activations": self.activations,
            "edges": self.edges, "untold": self.untold, "batch": batch, "memory_forward": self.memory(batch),
            "memory_training": self.memory(batch, training=True),
        }  # fmt: skip
        untold = {"links": None, "multiply_adds": None, "edges": None}
        layers = [asdict(row) | ({} if row.known else untold) for row in self.rows]
        content = {"input": self.input_shape, "layers": layers, "totals": totals}
        return json.dumps(content, indent=2) + "\n"


def seen(field: tuple[int, ...] | None) -> str:
    """A receptive field or a stride in words.

    >>> seen((5, 5)), seen((1, 7)), seen(None), seen(UNKNOWN)
    ('5', '1×7', 'all', '–')
    """
    if not field:
        return "all" if field is None else "–"
    return str(field[0]) if len(set(field)) == 1 else "×".join(map(str, field))


def text(value: Any) -> str:
    """A cell as text: numbers with separators, nothing for None.

    >>> text(61706), text(None)
    ('61,706', '')
    """
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
