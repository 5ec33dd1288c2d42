"""Citation graph Cora, public split: networks trained full-graph by `gconv.training.fit`, beside the published figures.

    gconv bench cora --data-dir DIR        # DIR/Cora/raw/ind.cora.*, or DIR/planetoid/Cora/raw

Each network has two layers (SGC one) and its paper's width, dropout, learning rate, decay and its scope. Where the
papers of GCN and ChebNet stop once the validation loss has not fallen for 10 epochs, all 200 are run; GAT's and APPNP's
patience is theirs, within fewer epochs at most; APPNP drops out features, but no edges. A batch is the whole graph; the
loss is that of the 140 training nodes, the others carry the label that `cross_entropy` leaves out. After every epoch
the 500 validation nodes are read; what counts is the test accuracy at the epoch of the highest validation accuracy (of
several, that of the lowest validation loss). Twenty seeds; the features' rows are divided by their sums. A run that is
broken off goes on with the next seed.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from ignite.engine import Engine, Events
from torch import Tensor, nn

from benchmarks.harness import Options, Table, write
from benchmarks.showing import NOTHING
from benchmarks.single import degrees
from gconv import APPNP, ChebConv, GATConv, GCNConv, GMMConv, Graph, GraphLayer, SGConv
from gconv.data import CitationGraph, load_planetoid
from gconv.functional.product import is_sparse, product
from gconv.training.fit import fit

TITLE = "Cora's public split"
REPEATED = "{seeds} seeds"
MARGIN = 1.0  # points below the published figure that count as reached


class Dropout(nn.Module):
    """Dropout that takes sparse features too, of which it drops entries."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """The signal with entries left out, in training."""
        if not self.training or not is_sparse(x):
            return F.dropout(x, self.share, self.training)
        values = F.dropout(x.values(), self.share)
        return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), values, x.shape, check_invariants=False)


class Dense(nn.Linear):
    """A linear layer that takes sparse features too."""

    def forward(self, input: Tensor) -> Tensor:
        """x Wᵀ + b."""
        return product(input, self.weight, self.bias)


class Network(nn.Module):
    """Layers in a row on one graph."""

    def __init__(self, graph: Graph, *layers: nn.Module) -> None:
        super().__init__()
        self.graph, self.layers = graph, nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of all nodes."""
        for layer in self.layers:
            x = layer(x, self.graph) if isinstance(layer, GraphLayer) else layer(x)
        return x


@dataclass(frozen=True)
class Method:
    """A network and how its paper trains it.

    Args:
        layers: made of the numbers of features and classes.
        published: the paper's accuracy, in percent; None where facts have none.
        decays: how many of the first modules with parameters the L2 penalty is on; None for all.
        patience: epochs without a better validation loss or accuracy after which training ends.
    """

    name: str
    layers: Callable[[int, int], tuple[nn.Module, ...]]
    settings: str
    published: float | None = None
    epochs: int = 200
    rate: float = 0.01
    decay: float = 5e-4
    decays: int | None = 1
    patience: int | None = None


METHODS = (
    Method(
        "GCN",
        lambda i, o: (Dropout(0.5), GCNConv(i, 16), nn.ReLU(), Dropout(0.5), GCNConv(16, o)),
        "16 wide, dropout 0.5",
        published=81.5,
    ),
    Method(
        "ChebNet",
        lambda i, o: (Dropout(0.5), ChebConv(i, 16, 3), nn.ReLU(), Dropout(0.5), ChebConv(16, o, 3)),
        "16 wide, 3 terms, dropout 0.5",
        published=81.2,
    ),
    Method(
        "GAT",
        lambda i, o: (
            Dropout(0.6),
            GATConv(i, 8, heads=8, dropout=0.6),
            nn.ELU(),
            Dropout(0.6),
            GATConv(64, o, heads=1, concat=False, dropout=0.6),
        ),
        "8 heads of 8, dropout 0.6, patience 100",
        published=83.0,
        epochs=1000,
        rate=0.005,
        decays=None,
        patience=100,
    ),
    Method(
        "MoNet",
        lambda i, o: (
            Dropout(0.5),
            GMMConv(i, 16, 2, 3),
            nn.ReLU(),
            Dropout(0.5),
            GMMConv(16, o, 2, 3),
        ),
        "16 wide, 3 Gaussians of the degrees, dropout 0.5",
        published=81.7,
    ),
    Method(
        "SGC",
        lambda i, o: (SGConv(i, o, K=2, cached=True),),
        "K = 2, no hidden layer",
        epochs=100,
        rate=0.2,
        decay=1.3e-5,
        decays=None,
    ),
    Method(
        "APPNP",
        lambda i, o: (Dropout(0.5), Dense(i, 64), nn.ReLU(), Dropout(0.5), nn.Linear(64, o), APPNP(10, 0.1)),
        "64 wide, K = 10, α = 0.1, dropout 0.5",
        decay=5e-3,
        patience=100,
        epochs=500,
    ),
)


def optimizer_of(method: Method, network: Network) -> torch.optim.Optimizer:
    """Adam, with the penalty on the layers that the paper puts it on."""
    learning = [list(layer.parameters()) for layer in network.layers]
    groups = [group for group in learning if group]
    count = len(groups) if method.decays is None else method.decays
    return torch.optim.Adam(
        [
            {"params": group, "weight_decay": method.decay if number < count else 0.0}
            for number, group in enumerate(groups)
        ],
        lr=method.rate,
    )


@dataclass
class Selection:
    """The epoch that validation chooses, and when training may end."""

    data: CitationGraph
    features: Tensor
    patience: int | None
    accuracy: float = -1.0
    loss: float = float("inf")
    lowest: float = float("inf")
    test: float = 0.0
    epoch: int = 0
    waited: int = 0

    def look(self, engine: Engine, network: Network) -> None:
        """Read validation and test nodes after an epoch."""
        network.eval()
        with torch.inference_mode():
            logits = network(self.features)
        found, labels = logits.argmax(1) == self.data.labels, self.data.labels
        accuracy = float(found[self.data.val].float().mean())
        loss = float(F.cross_entropy(logits[self.data.val], labels[self.data.val]))
        improves = accuracy > self.accuracy or loss < self.lowest
        self.waited, self.lowest = 0 if improves else self.waited + 1, min(loss, self.lowest)
        if (accuracy, -loss) > (self.accuracy, -self.loss):
            self.accuracy, self.loss, self.epoch = accuracy, loss, engine.state.epoch
            self.test = float(found[self.data.test].float().mean())
        if self.patience is not None and self.waited >= self.patience:
            engine.terminate()


def trained(method: Method, data: CitationGraph, graph: Graph, features: Tensor, seed: int, epochs: int) -> dict:
    """One run: its accuracies in percent, the epoch chosen, and seconds."""
    torch.manual_seed(seed)
    network = Network(graph, *method.layers(features.shape[1], data.num_classes))
    chosen = Selection(data, features, method.patience)

    def attach(engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, chosen.look, network)

    began = time.perf_counter()
    fit(
        network,
        [(features, data.masked_labels(data.train))],
        epochs=epochs,
        optimizer=optimizer_of(method, network),
        attach=attach,
    )
    return {
        "seed": seed,
        "test": round(100 * chosen.test, 2),
        "validation": round(100 * chosen.accuracy, 2),
        "epoch": chosen.epoch,
        "seconds": round(time.perf_counter() - began, 2),
    }


def run(options: Options) -> dict[str, Any]:
    """All methods, seed by seed."""
    data = load_planetoid("Cora", options.data)
    features = data.row_normalized()
    edges = data.graph.edge_index
    graph = data.graph.having(edge_attr=degrees(edges, data.graph.num_nodes))
    seeds = 1 if options.quick else 20
    progress = options.out / "cora.progress.json"
    runs = _resumed(progress, options.quick)
    for seed in range(seeds):
        for method in METHODS:
            done = runs.setdefault(method.name, [])
            if not options.wants(method.name) or any(found["seed"] == seed for found in done):
                continue
            epochs = 3 if options.quick else method.epochs
            done.append(trained(method, data, graph, features, seed, epochs))
            write({"quick": options.quick, "runs": runs}, progress)
            options.say(f"{method.name}, seed {seed}: {done[-1]['test']:.1f} % in {done[-1]['seconds']:.1f} s")
    progress.unlink(missing_ok=True)
    methods = [
        {
            "name": method.name,
            "settings": method.settings,
            "published": method.published,
            "epochs": method.epochs,
            "rate": method.rate,
            "decay": method.decay,
            "runs": runs[method.name],
        }
        for method in METHODS
        if runs[method.name]
    ]
    return {"nodes": graph.num_nodes, "edges": graph.num_edges, "seeds": seeds, "methods": methods}


def _resumed(progress: Path, quick: bool) -> dict[str, list[dict[str, Any]]]:
    """The runs that a broken-off call of the same kind left."""
    found = json.loads(progress.read_text()) if progress.is_file() else {"quick": quick, "runs": {}}
    return found["runs"] if found["quick"] == quick else {}


def tables(found: Mapping[str, Any]) -> list[Table]:
    """One table."""
    lines = []
    for method in found["methods"]:
        test = [run["test"] for run in method["runs"]]
        mean, spread = statistics.mean(test), statistics.stdev(test) if len(test) > 1 else 0.0
        published = method["published"]
        reached = NOTHING if published is None else "yes" if mean >= published - MARGIN else "no"
        lines.append(
            (
                method["name"],
                method["settings"],
                f"{mean:.1f} ± {spread:.1f} %",
                NOTHING if published is None else f"{published:.1f} %",
                reached,
            )
        )
    title = f"Cora: {found['nodes']:,} nodes, {found['edges']:,} edges, public split, {found['seeds']} seeds"
    headings = ("network", "settings", "test accuracy", "published", f"within {MARGIN:g} point or above")
    return [Table(title, headings, tuple(lines), words=2)]
