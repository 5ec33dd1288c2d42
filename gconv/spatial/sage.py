"""GraphSAGE: a node beside what its neighbours have in common.

    x'_i = Θ_r x_i + Θ_l aggr_{j in N(i)} x_j + b

    project     x_j is replaced by relu(Θ_p x_j + b_p)
    normalize   x'_i is divided by its length, max(|x'_i|, 1e-12)

Symbols: Θ_r = `lin_r.weight`; Θ_l, b = `lin_l.weight`, `lin_l.bias`; Θ_p, b_p = `lin.weight`, `lin.bias`; aggr = the
mean, the sum, the largest, the smallest, the median, the standard deviation, the variance, the softmax-weighted sum,
channel by channel; or an LSTM over the neighbours in the order of their edges (`aggr_module.lstm`). 0 for a node
without neighbours. Weights of edges do not count. The paper's pooling aggregator is `project` with the largest.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`; of a pair `(..., N_s, C_s)` and `(..., N_t, C_t)` to
`(..., N_t, C_out)`. Cost: E · min(C_in, C_out) + 2 N · C_in · C_out multiply-adds a signal (largest, smallest,
median: no sums; LSTM: 8 C_in² a neighbour in their place).
Reference: Hamilton, Ying and Leskovec, Inductive representation learning on large graphs (2017), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv import lazy
from gconv.domains.graph import Graph
from gconv.functional.edgewise import ADDITIONS, REDUCTIONS, SUMS
from gconv.functional.polynomial import polynomial
from gconv.functional.product import dense, product
from gconv.functional.propagate import propagate
from gconv.functional.sequences import lstm_sum
from gconv.inherited import Inherited, Median
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends, Signals, Size
from gconv.spatial.reductions import reduction
from gconv.work import Work, summed

_AGGREGATIONS = (*REDUCTIONS, "lstm")


class LSTMParameters(nn.Module):
    """The parameters of a `torch.nn.LSTM`, which compilers refuse to look into, under its names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        for part in ("ih", "hh"):
            self.register_parameter(f"weight_{part}_l0", nn.Parameter(torch.empty(4 * channels, channels)))
        for part in ("ih", "hh"):
            self.register_parameter(f"bias_{part}_l0", nn.Parameter(torch.empty(4 * channels)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw everything as `torch.nn.LSTM` does."""
        for parameter in self.parameters():
            bound = (len(parameter) // 4) ** -0.5
            nn.init.uniform_(parameter, -bound, bound)


class LSTMAggregation(nn.Module):
    """The LSTM aggregator's parameters, under PyG's names."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lstm = LSTMParameters(channels)


class Aggregations(nn.Module):
    """The parameters of several aggregators side by side, under PyG's names."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.aggrs = nn.ModuleList(parts)


def _aggregation(name: str, channels: int) -> nn.Module:
    """What an aggregator keeps: nothing, but for the LSTM and the median."""
    kinds = {"lstm": lambda: LSTMAggregation(channels), "median": Median}
    return kinds.get(name, nn.Module)()


def _near(x: Tensor, ends: Ends, name: str, part: nn.Module) -> Tensor:
    """What an aggregator makes of the neighbours' signals."""
    if isinstance(part, LSTMAggregation):
        return ends.drop(lstm_sum(ends.lift(x), [*part.parameters()], ends.graph, ends.structure))
    if name in ADDITIONS:
        operator, weight = ends.sum()
        return propagate(x, operator, weight)
    return reduction(x, ends, name)


class SAGEConv(GraphLayer):
    """`torch_geometric.nn.SAGEConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node; `in_channels` also (of the sources, of the targets), and -1 for
            what the first call tells.
        aggr: 'mean', 'add' (or 'sum'), 'max', 'min', 'median', 'std', 'var', 'softmax' or 'lstm' over the neighbours;
            or a list of such, whose results go side by side into Θ_l.
        normalize: scale every result to length 1.
        root_weight: add Θ_r x_i.
        project: send the neighbours through a linear layer and a ReLU first.
        bias: add b.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        ValueError: for an unknown `aggr`, a projection or an LSTM of unknown width, or a signal that does not fit.

    >>> layer = SAGEConv(16, 32, aggr="max")
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "Θᵣ x + Θₗ (mean, sum, largest ... of xⱼ) + b"
    cost = "E · min(C_in, C_out) + 2 N · C_in · C_out"
    reference = "Hamilton, Ying and Leskovec (2017), algorithm 1"
    takes_sparse = True
    of_target = frozenset({"lin_r"})

    def __init__(
        self,
        in_channels: lazy.Channels,
        out_channels: int,
        aggr: str | Sequence[str] = "mean",
        normalize: bool = False,
        root_weight: bool = True,
        project: bool = False,
        bias: bool = True,
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        source, target = lazy.check_widths(in_channels, out_channels)
        several = list(aggr) if isinstance(aggr, tuple | list) else None
        names: list[Any] = [aggr] if several is None else several
        if not names or any(name not in _AGGREGATIONS for name in names):
            raise ValueError(
                f"SAGEConv: aggr is one of {', '.join(map(repr, _AGGREGATIONS))}, or a list of such; got {aggr!r}"
            )
        if source == lazy.OPEN and (project or "lstm" in names):
            culprit = "project=True" if project else f"aggr={aggr!r}"
            raise ValueError(f"SAGEConv: {culprit} needs the width of the sources; got in_channels={in_channels!r}")
        self.in_channels, self.out_channels, self.aggr = in_channels, out_channels, several or aggr
        self.normalize, self.root_weight, self.project = normalize, root_weight, project
        parts = [_aggregation(name, source) for name in names]
        self.aggr_module = parts[0] if several is None else Aggregations(parts)
        self.lin = nn.Linear(source, source) if project else None
        self.lin_l = lazy.linear(source, out_channels, bias, times=len(names))
        self.lin_r = lazy.linear(target, out_channels, bias=False) if root_weight else None
        lazy.await_widths(self)

    def reset_parameters(self) -> None:
        """Draw all matrices and biases as `torch.nn.Linear` does, an LSTM's as `torch.nn.LSTM`."""
        for part in (self.lin, self.lin_l, self.lin_r, *self.modules()):
            if isinstance(part, nn.Linear | LSTMParameters):
                part.reset_parameters()

    def forward(self, x: Signals, edge_index: GraphLike = None, size: Size = None) -> Tensor:
        """The aggregated signal on the targets.

        Args:
            x: a signal, or a pair (x_source, x_target); without x_target nothing is added to the aggregate.
            size: (number of sources, number of targets); needed where x_target is None.
        """
        ends = self.ends(x, edge_index, size=size)
        out = self._sum(ends) if isinstance(self.aggr, str) and self.aggr in SUMS else self._reduced(ends)
        return F.normalize(out, dim=-1) if self.normalize else out

    def _sum(self, ends: Ends) -> Tensor:
        operator, weight = ends.mean() if self.aggr == "mean" else ends.sum()
        near, bias = self.lin_l.weight.t(), self.lin_l.bias
        if self.lin_r is not None and self.lin is None and not ends.paired:  # powers 0 and 1 of the operator, at once
            return polynomial(ends.source, operator, torch.stack([self.lin_r.weight.t(), near]), bias)
        out = polynomial(self._projected(ends), operator, near[None], bias, edge_weight=weight, first=1)
        return self._with_root(out, ends)

    def _reduced(self, ends: Ends) -> Tensor:
        x = self._projected(ends)
        x = dense(x)
        if isinstance(self.aggr_module, Aggregations):
            near = [_near(x, ends, name, part) for name, part in zip(self.aggr, self.aggr_module.aggrs, strict=True)]
            return self._with_root(self.lin_l(torch.cat(near, -1)), ends)
        return self._with_root(self.lin_l(_near(x, ends, self.aggr, self.aggr_module)), ends)

    def _with_root(self, out: Tensor, ends: Ends) -> Tensor:
        return out if self.lin_r is None or ends.target is None else out + product(ends.target, self.lin_r.weight)

    def _projected(self, ends: Ends) -> Tensor:
        return ends.source if self.lin is None else product(ends.source, self.lin.weight, self.lin.bias).relu()

    def work(self, graph: Graph, channels: int) -> Work:
        """The reduction over the edges, and the product on either side; an LSTM runs on every neighbour."""
        nodes, edges, out = graph.num_nodes, graph.num_edges, self.out_channels
        names = self.aggr if isinstance(self.aggr, list) else [self.aggr]
        products = nodes * channels * ((len(names) + self.root_weight) * out + self.project * channels)
        if names[0] in SUMS and len(names) == 1:
            return Work(edges * min(channels, out) + products, edges, 1)
        cells = edges * 8 * channels * channels * names.count("lstm")
        return Work(summed(edges, channels, [name for name in names if name != "lstm"]) + cells + products, edges, 1)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, aggr={self.aggr!r}"
