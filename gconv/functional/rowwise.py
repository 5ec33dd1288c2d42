"""What is known of a network that runs on edges: whether it treats each row by itself, how it begins and ends."""

from __future__ import annotations

from torch import nn

from grid_cnn.layer import ELEMENTWISE

_DROPS = (nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.RReLU)
_BY_ROWS = (*ELEMENTWISE, *_DROPS, nn.Linear, nn.LayerNorm, nn.Bilinear, nn.Softmax, nn.LogSoftmax)


def modules_of(network: nn.Module) -> list[nn.Module]:
    """A network as modules in a row."""
    return list(network) if type(network) is nn.Sequential else [network]


def _is_linear(module: nn.Module) -> bool:
    """Whether a module is W x + b and nothing more, so that W and b may be used without calling it."""
    hooks = len(module._forward_hooks) + len(module._forward_pre_hooks)
    return type(module) is nn.Linear and not hooks


def acts_by_rows(network: nn.Module) -> bool:
    """Whether rows do not see each other: batch normalisation, and what is not known, may look at all of them."""
    return all(isinstance(m, _BY_ROWS) for m in network.modules() if not isinstance(m, nn.Sequential))


def is_a_function(network: nn.Module) -> bool:
    """Whether equal rows give equal results: by rows, and nothing left to chance."""
    return acts_by_rows(network) and not any(isinstance(m, _DROPS) and m.training for m in network.modules())


def split_first(network: nn.Module) -> tuple[nn.Linear | None, list[nn.Module]]:
    """The linear layer that a network begins with, if it does, and what comes after.

    >>> split_first(nn.Sequential(nn.Linear(2, 3), nn.ReLU()))
    (Linear(in_features=2, out_features=3, bias=True), [ReLU()])
    """
    first, *rest = modules_of(network) or [nn.Identity()]
    return (first, rest) if isinstance(first, nn.Linear) and _is_linear(first) else (None, [first, *rest])


def split_last(parts: list[nn.Module]) -> tuple[list[nn.Module], nn.Linear | None]:
    """What modules in a row do, and the linear layer that they end with, if they do."""
    last = parts[-1] if parts else None
    return (parts[:-1], last) if isinstance(last, nn.Linear) and _is_linear(last) else (parts, None)
