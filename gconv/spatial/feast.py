"""FeaStNet's convolution: each neighbour is shared out among H matrices by what it and the node hold.

    x'_i = 1/|N(i)| Σ_{j in N(i)} Σ_{h=1}^{H} q_h(x_i, x_j) W_h x_j + b,   q(x_i, x_j) = softmax( u (x_j - x_i) + c )

Symbols: W_h = `lin.weight`, head by head; u = `u.weight`, `(H, C_in)`; c = `c`; b = `bias`. N(i) holds i itself with
`add_self_loops`.

Shapes: `(N, C_in)` or `(B, N, C_in)` to `(..., N, C_out)`. Cost: N · C_in · H · C_out + E · H · C_out multiply-adds a
signal. Reference: Verma, Boyer and Verbeek, FeaStNet: feature-steered graph convolutions for 3D shape analysis (2018),
equations 5 and 6.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconv.domains.graph import Graph
from gconv.functional.assignment import soft_assignment
from gconv.layer import GraphLayer, GraphLike
from gconv.spatial.heads import check_heads
from grid_cnn.conv import check_channels


class FeaStConv(GraphLayer):
    """`torch_geometric.nn.FeaStConv`: same arguments, same state dict, same numbers.

    Args:
        in_channels, out_channels: channels of a node.
        heads: H, the number of matrices.
        add_self_loops: a node is its own neighbour; loops that are there are replaced.
        bias: add b.

    Raises:
        ValueError: for a signal that does not fit.

    >>> layer = FeaStConv(16, 32, heads=4)
    >>> layer(torch.zeros(4, 16), torch.tensor([[0, 1, 2], [1, 2, 3]])).shape
    torch.Size([4, 32])
    """

    kind = "spatial"
    reference = "Verma, Boyer and Verbeek (2018), equations 5 and 6"

    def __init__(
        self, in_channels: int, out_channels: int, heads: int = 1, add_self_loops: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        check_channels(in_channels, out_channels)
        check_heads(heads, 0.0)
        self.in_channels: int = in_channels
        self.out_channels = out_channels
        self.heads, self.add_self_loops = heads, add_self_loops
        self.lin = nn.Linear(in_channels, heads * out_channels, bias=False)
        self.u = nn.Linear(in_channels, heads, bias=False)
        self.c = nn.Parameter(torch.empty(heads))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw W and u by PyG's rules, c from N(0, 0.1²); b starts at zero."""
        bound = self.lin.in_features**-0.5
        nn.init.uniform_(self.lin.weight, -bound, bound)
        nn.init.uniform_(self.u.weight, -bound, bound)
        nn.init.normal_(self.c, std=0.1)
        if self.bias is not None:
            nn.init.normal_(self.bias, std=0.1)

    def forward(self, x: Tensor, edge_index: GraphLike = None, *, form: str | None = None) -> Tensor:
        """The filtered signal on the same graph; `form`: 'fused', 'gather', 'portable', or None."""
        graph, _ = self.resolve(x, edge_index)
        structure = graph.structure.with_loops[0] if self.add_self_loops else graph.structure
        signals = x if x.dim() == 3 else x[None]
        projected = self.lin(signals).unflatten(-1, (self.heads, self.out_channels))
        near = self.u(signals).to(projected.dtype)
        weight = graph.plan.keep(("feast", self.add_self_loops, x.dtype), lambda: self._mean(graph, x.dtype))
        out = soft_assignment(projected, near, self.c, weight, graph, structure, form)
        out = out if x.dim() == 3 else out[0]
        return out if self.bias is None else out + self.bias

    def _mean(self, graph: Graph, dtype: torch.dtype) -> Tensor:
        structure = graph.structure.with_loops[0] if self.add_self_loops else graph.structure
        return structure.in_degree.clamp(min=1).double().reciprocal()[structure.target].to(dtype)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"
