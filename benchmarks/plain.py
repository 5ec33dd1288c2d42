"""What stands for a layer of PyG's that needs a compiled package: its equation in plain torch, as one would write it.

    x'_i = mean over j in N(i) of  Σ_p B_p(u_ij) Θ_p x_j  +  Θ_root x_i + b
    B_p(u) = Π_d max(0, 1 - |(k - 1) u_d - p_d|)

PyG's `SplineConv` needs pyg-lib, which package indexes lack for many versions of torch. Here the signal is multiplied
by all matrices at once, and each edge gathers and weighs the rows of the functions that do not vanish on it. Nothing of
`gconv` is used: the two must agree before they are timed. Matrices are counted with the first axis fastest, as PyG's.
Reference: Fey, Lenssen, Weichert and Müller, SplineCNN (2018), section 3.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn


def hats(pseudo: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Open splines of degree 1 on `size` knots an axis: values and numbers of those around points, `(E, 2^dim)`.

    A function is 1 at its knot, falls to 0 at the next ones, and of many axes is their product.

    >>> hats(torch.tensor([[0.25, 1.0]]), 3)
    (tensor([[0.0000, 0.5000, 0.0000, 0.5000]]), tensor([[3, 6, 4, 7]]))
    """
    place = pseudo * (size - 1)
    below = place.floor().clamp(0, size - 2)  # the last knot belongs to the last interval
    values, numbers = [], []
    for corner in product((0, 1), repeat=pseudo.shape[1]):
        knots = below + pseudo.new_tensor(corner)
        values.append((1 - (place - knots).abs()).clamp(min=0).prod(1))
        numbers.append(sum(size**axis * knot for axis, knot in enumerate(knots.long().unbind(1))))
    return torch.stack(values, 1), torch.stack(numbers, 1)


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
        self.size, self.max_value = kernel_size, max_value
        self.register_buffer("kernel_size", torch.tensor([kernel_size] * dim))
        self.register_buffer("is_open_spline", torch.ones(dim, dtype=torch.uint8))
        bound = (in_channels * kernel_size**dim) ** -0.5
        self.weight = nn.Parameter(torch.empty(kernel_size**dim, in_channels, out_channels).uniform_(-bound, bound))
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        """The filtered signal or signals, `(..., N, C)`."""
        source, target = edge_index
        pseudo = edge_attr if self.max_value is None else edge_attr / (2 * self.max_value) + 0.5
        values, numbers = hats(pseudo, self.size)
        count, cin, cout = self.weight.shape
        products = (x @ self.weight.transpose(0, 1).reshape(cin, count * cout)).unflatten(-1, (count, cout))
        near = products.flatten(-3, -2).index_select(-2, (source[:, None] * count + numbers).flatten())
        into = target.repeat_interleave(values.shape[1])
        out = x.new_zeros(*x.shape[:-1], cout).index_add(-2, into, near * values.flatten()[:, None])
        degree = torch.bincount(target, minlength=x.shape[-2]).clamp(min=1)
        return out / degree[:, None] + self.lin(x) + self.bias
