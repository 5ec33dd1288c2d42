"""What stands for a layer of PyG's that needs a compiled package: its equation in plain torch, as one would write it.

PyG's `SplineConv` needs pyg-lib, which package indexes lack for many versions of torch. Here the signal is multiplied
by all matrices at once, and each edge gathers and weighs the rows of the functions that do not vanish on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gconv.functional.splines import spline_basis


class PlainSplineConv(nn.Module):
    """Open splines of degree 1, the mean over the neighbours, root weight and bias; PyG's names in its state dict.

    >>> index = torch.tensor([[0, 1], [1, 0]])
    >>> PlainSplineConv(4, 8, 1, 5)(torch.zeros(3, 2, 4), index, torch.rand(2, 1)).shape
    torch.Size([3, 2, 8])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        dim: int,
        kernel_size: int,
        *,
        max_value: float | None = None,
    ) -> None:
        super().__init__()
        self.sizes: Sequence[int] = (kernel_size,) * dim
        self.max_value = max_value
        self.register_buffer("kernel_size", torch.tensor(self.sizes))
        self.register_buffer("is_open_spline", torch.ones(dim, dtype=torch.uint8))
        bound = (in_channels * kernel_size**dim) ** -0.5
        self.weight = nn.Parameter(torch.empty(kernel_size**dim, in_channels, out_channels).uniform_(-bound, bound))
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """The filtered signal or signals, `(..., N, C)`."""
        source, target = edge_index
        pseudo = edge_attr if self.max_value is None else edge_attr / (2 * self.max_value) + 0.5
        values, indices = spline_basis(pseudo, self.sizes, (True,) * len(self.sizes), 1)
        count, cin, cout = self.weight.shape
        products = (x @ self.weight.transpose(0, 1).reshape(cin, count * cout)).unflatten(-1, (count, cout))
        near = products.flatten(-3, -2).index_select(-2, (source[:, None] * count + indices).flatten())
        into = target.repeat_interleave(values.shape[1])
        out = x.new_zeros(*x.shape[:-1], cout).index_add(-2, into, near * values.flatten()[:, None])
        degree = torch.bincount(target, minlength=x.shape[-2]).clamp(min=1)
        return out / degree[:, None] + self.lin(x) + self.bias
