"""Signals on graphs that all differ, for loaders: a batch is one disjoint union, made where the loader's workers run.

A sample is `(x, graph, label)`, with x `(n, C)`; a batch is `(Signals(x, graph), labels)`, with x `(N, C)` on the union
of the graphs. `Collate(net)` runs the network once on zeros, in the worker, so that the plan of the union stands when
the batch arrives; nothing is padded. `OnSignals(net)` is what `gconv.training.fit` trains on such batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gconv.domains import Graph, batch_graphs
from grid_cnn import Layer
from grid_cnn.modes import evaluating

Sample = tuple[Tensor, Graph, int]


@dataclass(frozen=True)
class Signals:
    """A signal `(N, C)` and the union of graphs that it lives on."""

    x: Tensor
    graph: Graph

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Signals:
        """Both on a device."""
        return Signals(self.x.to(device, non_blocking=non_blocking), self.graph.to(device))


class Collate:
    """What a `DataLoader` of samples takes as its `collate_fn`; goes to workers.

    Args:
        net: the network whose plans are to stand; None to make them in the first forward pass.

    Raises:
        ValueError: for a signal that does not fit its graph, naming the sample.

    >>> graph = Graph(torch.tensor([[0, 1], [1, 2]]))
    >>> signals, labels = Collate()([(torch.ones(3, 1), graph, 0), (torch.zeros(3, 1), graph, 1)])
    >>> signals.graph, labels.tolist()
    (Graph(num_nodes=6, num_edges=4, num_graphs=2), [0, 1])
    """

    def __init__(self, net: Layer | None = None) -> None:
        self.net = net

    def __call__(self, samples: Sequence[Sample]) -> tuple[Signals, Tensor]:
        """The batch of these samples."""
        for place, (x, graph, _) in enumerate(samples):
            if x.dim() != 2 or x.shape[0] != graph.num_nodes:
                raise ValueError(
                    f"sample {place} of a batch has a graph of {graph.num_nodes} nodes and a signal of shape "
                    f"{tuple(x.shape)}, expected ({graph.num_nodes}, channels)"
                )
        signals = Signals(torch.cat([x for x, _, _ in samples]), batch_graphs([graph for _, graph, _ in samples]))
        if self.net is not None:
            with evaluating(self.net), torch.no_grad():
                self.net(torch.zeros_like(signals.x), signals.graph)
        return signals, torch.tensor([label for _, _, label in samples])


class OnSignals(nn.Module):
    """A network as a module of one argument, a batch of `Signals`.

    >>> from gconv import GlobalAvgPool
    >>> graph = Graph(torch.tensor([[0, 1], [1, 2]]))
    >>> OnSignals(GlobalAvgPool())(Signals(torch.ones(3, 1), graph))
    tensor([1.])
    """

    def __init__(self, net: Layer) -> None:
        super().__init__()
        self.net = net

    def forward(self, signals: Signals) -> Tensor:
        """The network's result: of a readout a row a graph."""
        return self.net(signals.x, signals.graph)
