"""How the engine's custom operators are registered, called, and differentiated twice.

An operator is known to `torch.compile`, `torch.export` and torch's modes and transforms by its name. A plain call in
eager mode has nobody to tell, and goes past the dispatcher: through an `autograd.Function` of the same two functions,
which saves a third of a millisecond a layer, as much as a small graph's sums take.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from gconv.domains.structure import is_transformed

_PLAIN = (Tensor, nn.Parameter)


def _is_watched(given: tuple[Any, ...]) -> bool:
    """Whether somebody must see the operator: a compiler, a mode, a transform, a tensor of another class."""
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return True
    if _get_current_dispatch_mode() is not None or is_transformed():
        return True
    return any(isinstance(value, Tensor) and type(value) not in _PLAIN for value in given)


class CustomOperator:
    """A function of tensors as a custom operator, which runs in the dtypes it is given: without autocast.

    Args:
        name: 'namespace::name'. function: annotated, as `torch.library.custom_op` asks; it makes new tensors.

    Attributes:
        name: without its namespace. registered: what `torch.library.custom_op` returned.
    """

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        @wraps(function)
        def plain(*given: Any) -> Any:
            with torch.autocast(given[0].device.type, enabled=False):
                return function(*given)

        signature = inspect.signature(function, eval_str=True)
        plain.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        self.name = name.split("::")[1]
        self._plain = plain
        self._defaults = tuple(parameter.default for parameter in signature.parameters.values())
        self._function: type[torch.autograd.Function] | None = None
        self.registered = torch.library.custom_op(name, mutates_args=())(plain)
        self.register_fake = self.registered.register_fake

    def register_autograd(self, backward: Callable[..., Any], *, setup_context: Callable[..., None]) -> None:
        """Say how it is differentiated, as `torch.library.register_autograd` does."""
        self.registered.register_autograd(backward, setup_context=setup_context)
        members = {"forward": self._plain, "setup_context": setup_context, "backward": backward}
        methods = {name: staticmethod(member) for name, member in members.items()}
        self._function = type(self.name, (torch.autograd.Function,), methods)

    def __call__(self, *given: Any) -> Any:
        """Run it."""
        if _is_watched(given):
            return self.registered(*given)
        given += self._defaults[len(given) :]
        if self._function is None or not torch.is_grad_enabled():
            return self._plain(*given)
        return self._function.apply(*given)


def operator(name: str) -> Callable[[Callable[..., Any]], CustomOperator]:
    """Register a function of tensors as a custom operator."""
    return lambda function: CustomOperator(name, function)


def differentiable(
    steps: Callable[..., Tensor], inputs: tuple[Tensor | None, ...], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """The gradients of `steps(*inputs)` by those inputs that have any, themselves differentiable."""
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(steps(*inputs), wanted, grad, create_graph=True, allow_unused=True))
    return tuple(next(found) if t is not None and t.requires_grad else None for t in inputs)
