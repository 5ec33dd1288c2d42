"""What is known of a network that runs on edges: whether it treats each row by itself, how it begins and ends."""

from __future__ import annotations

from torch import nn

from grid_cnn.layer import ELEMENTWISE

_DROPS = (nn.Dropout, nn.AlphaDropout, nn.RReLU)
_ALONG_AN_AXIS = (nn.Softmax, nn.LogSoftmax)
_BY_ROWS = (*ELEMENTWISE, *_ALONG_AN_AXIS, nn.Linear, nn.LayerNorm, nn.Sequential)


def modules_of(network: nn.Module) -> list[nn.Module]:
    """A network as modules in a row, if nothing is lost when they are called without it."""
    return list(network) if type(network) is nn.Sequential and not has_hooks(network) else [network]


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module does more than its `forward`, or tells somebody."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(hooks)


def _is_linear(module: nn.Module) -> bool:
    """Whether a module is W x + b and nothing more, so that W and b may be used without calling it."""
    return type(module) is nn.Linear and not has_hooks(module)


def _acts_by_rows(module: nn.Module) -> bool:
    """The same of one module; a subclass, or a hook, may do anything."""
    along_last = not isinstance(module, _ALONG_AN_AXIS) or module.dim == -1
    return type(module) in _BY_ROWS and along_last and not has_hooks(module)


def acts_by_rows(network: nn.Module) -> bool:
    """Whether rows do not see each other: batch normalisation, and what is not known, may look at all of them.

    >>> acts_by_rows(nn.Softmax(-1)), acts_by_rows(nn.Softmax(0))
    (True, False)
    """
    return all(_acts_by_rows(module) for module in network.modules())


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
