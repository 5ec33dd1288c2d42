"""Gated graph convolution: steps of a recurrent cell, shared by all nodes, each fed by the sum over the neighbours.

    h_i^(0) = x_i ‖ 0,   m_i = aggr_{j in N(i)} e_ji W_l h_j^(l),   h_i^(l+1) = GRU( m_i, h_i^(l) )

    GRU     r = σ( W_ir m + b_ir + W_hr h + b_hr ),   z = σ( W_iz m + b_iz + W_hz h + b_hz ),
            n = tanh( W_in m + b_in + r ⊙ (W_hn h + b_hn) ),   h' = (1 - z) ⊙ n + z ⊙ h

Symbols: W_l = `weight[l]`; W_i, b_i, W_h, b_h = `rnn.weight_ih`, `rnn.bias_ih`, `rnn.weight_hh`, `rnn.bias_hh`; e =
`edge_weight` or ones; l runs to `num_layers`. Of sums and means W_l and W_i go into one matrix.

Shapes: `(N, C_in)` or `(B, N, C_in)` with C_in <= C_out to `(..., N, C_out)`. Cost: E · C_out + 6 N · C_out²
multiply-adds a step and signal. Reference: Li, Tarlow, Brockschmidt and Zemel, Gated graph sequence neural networks
(2016), equations 1 to 6.
"""

from __future__ import annotations

from typing import Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.edgewise import SUMS, Reduction
from gconv.functional.polynomial import polynomial
from gconv.functional.recurrent import next_state
from gconv.inherited import Inherited
from gconv.layer import GraphLayer, GraphLike
from gconv.pairs import Ends
from gconv.spatial.reductions import weighted_operator, weighted_reduction
from gconv.work import Work, summed
from grid_cnn.conv import check_channels


class GatedGraphConv(GraphLayer):
    """`torch_geometric.nn.GatedGraphConv`: same arguments, same state dict, same numbers.

    Args:
        out_channels: channels of a node in the result; signals of fewer channels are filled up with zeros.
        num_layers: the number of steps.
        aggr: 'add' (or 'sum'), 'mean', 'max', 'min' or another of `SAGEConv`'s over the neighbours.
        bias: biases in the recurrent cell.
        kwargs: PyG's further arguments, `gconv.inherited.Inherited`.

    Raises:
        ValueError: for an unknown `aggr`, no number of steps, or a signal of more channels than `out_channels`.

    >>> layer = GatedGraphConv(32, num_layers=3)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    equation = "steps h ← GRU(Σ eⱼ W hⱼ, h), from h = x ‖ 0"
    cost = "num_layers (E · C_out + 6 N · C_out²)"
    reference = "Li, Tarlow, Brockschmidt and Zemel (2016), equations 1 to 6"

    def __init__(
        self,
        out_channels: int,
        num_layers: int,
        aggr: Reduction = "add",
        bias: bool = True,
        **kwargs: Unpack[Inherited],
    ) -> None:
        super().__init__(**kwargs)
        check_channels(1, out_channels)
        self.reduce_by(aggr)
        if isinstance(num_layers, bool) or not isinstance(num_layers, int) or num_layers < 0:
            raise ValueError(f"num_layers, the number of steps, is a whole number >= 0; got {num_layers!r}")
        self.out_channels, self.num_layers = out_channels, num_layers
        self.weight = nn.Parameter(torch.empty(num_layers, out_channels, out_channels))
        self.rnn = nn.GRUCell(out_channels, out_channels, bias=bias)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw everything from U(±1 / √C_out)."""
        bound = self.out_channels**-0.5
        nn.init.uniform_(self.weight, -bound, bound)
        self.rnn.reset_parameters()

    def forward(self, x: Tensor, edge_index: GraphLike = None, edge_weight: Tensor | None = None) -> Tensor:
        """The state of every node after all steps.

        Args:
            edge_weight: `(E,)`; None for the graph's own.
        """
        graph, learned = self.resolve(x, edge_index, edge_weight)
        if x.shape[-1] > self.out_channels:
            raise ValueError(
                f"GatedGraphConv takes signals of at most out_channels={self.out_channels} channels, got "
                f"{x.shape[-1]}: {tuple(x.shape)}"
            )
        state = F.pad(x, (0, self.out_channels - x.shape[-1]))
        for weight in self.weight:
            state = self._step(Ends(state, state, graph.structure, graph, learned, False), weight)
        return state

    def _step(self, ends: Ends, weight: Tensor) -> Tensor:
        rnn, state = self.rnn, ends.source
        bias = (rnn.bias_ih, rnn.bias_hh) if rnn.bias else (None, None)
        if self.aggr in SUMS:
            operator, edge_weight = weighted_operator(ends, self.aggr)
            both = (weight @ rnn.weight_ih.t())[None]
            arrived = polynomial(state, operator, both, bias[0], edge_weight=edge_weight, first=1)
        else:
            arrived = F.linear(weighted_reduction(state @ weight, ends, self.aggr), rnn.weight_ih, bias[0])
        own = F.linear(state, rnn.weight_hh, bias[1])
        return next_state(arrived, own, state.to(own.dtype))

    def work(self, graph: Graph, channels: int) -> Work:
        """In every step a sum over the edges, and the two products of the cell; W_l by itself where it is no sum."""
        nodes, out, steps = graph.num_nodes, self.out_channels, self.num_layers
        products = nodes * out * out * (6 if self.aggr in SUMS else 7)
        edges = steps * graph.num_edges
        return Work(summed(edges, out, self.aggr) + steps * products, edges, steps)

    def extra_repr(self) -> str:
        return f"{self.out_channels}, num_layers={self.num_layers}"
