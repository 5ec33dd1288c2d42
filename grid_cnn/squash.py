"""LeCun's squashing function: y = A tanh(S x) with A = 1.7159 and S = 2/3, so that f(±1) = ±1 to four digits.

Its slope is about 1 between -1 and 1, and its second derivative largest at ±1, where the targets lie. Shapes: any, to
the same. Reference: LeCun, Generalization and network design strategies (1989); LeCun et al. (1998), appendix A.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

AMPLITUDE, SLOPE = 1.7159, 2 / 3


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x / 3), element by element.

    >>> ScaledTanh()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-1.0000,  0.0000,  1.0000])
    """

    def forward(self, input: Tensor) -> Tensor:
        return AMPLITUDE * torch.tanh(SLOPE * input)
