"""Optimisers by name.

    sgd     v ← μ v + g,  θ ← θ - η v            (Nesterov: θ ← θ - η (g + μ v))
    adam    θ ← θ - η m̂ / (√v̂ + ε)
    adamw   the same, and θ ← θ - η λ θ apart from the gradient

η is `lr`, μ `momentum` (for adam and adamw the decay of m), λ `weight_decay`, which sgd and adam add to the gradient as
g + λ θ. All parameters decay alike. They are torch's own. References: Sutskever et al., On the importance of
initialization and momentum (2013); Kingma and Ba, Adam (2015); Loshchilov and Hutter, Decoupled weight decay (2019).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch.nn import Parameter
from torch.optim import Optimizer

from gconv.training.settings import Settings

_BETA2 = 0.999


def _sgd(parameters: Iterable[Parameter], chosen: Settings) -> Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=chosen.learning_rate,
        momentum=chosen.momentum,
        nesterov=chosen.nesterov,
        weight_decay=chosen.weight_decay,
    )


def _adam(parameters: Iterable[Parameter], chosen: Settings) -> Optimizer:
    betas = (chosen.momentum, _BETA2)
    return torch.optim.Adam(parameters, lr=chosen.learning_rate, betas=betas, weight_decay=chosen.weight_decay)


def _adamw(parameters: Iterable[Parameter], chosen: Settings) -> Optimizer:
    betas = (chosen.momentum, _BETA2)
    return torch.optim.AdamW(parameters, lr=chosen.learning_rate, betas=betas, weight_decay=chosen.weight_decay)


OPTIMIZERS: Mapping[str, Callable[[Iterable[Parameter], Settings], Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
}


def optimizer(parameters: Iterable[Parameter], chosen: Settings) -> Optimizer:
    """The optimiser that the settings name, over `parameters`.

    >>> optimizer(torch.nn.Linear(1, 1).parameters(), Settings(optimizer="sgd", lr=0.1, momentum=0.5)).defaults["lr"]
    0.1
    """
    return OPTIMIZERS[chosen.optimizer](parameters, chosen)
