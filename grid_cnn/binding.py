"""`bind` fixes a model's domain: an ordinary torch module with `forward(x)` only, to compile, export or hand on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn

from grid_cnn.domain import Domain
from grid_cnn.layer import Layer
from grid_cnn.modes import evaluating


class Bound(nn.Module):
    """A model with its domain fixed: an ordinary module with `forward(x)` only. Made by `bind`."""

    model: Layer
    domain: Domain

    def __init__(self, model: Layer, domain: Domain) -> None:
        super().__init__()
        # The model's own tables, not copies: its state-dict names, and a head swapped here is swapped there.
        for table in ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"):
            self.__dict__[table] = model.__dict__[table]
        self.__dict__["model"] = model
        self.domain = domain

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x, self.domain)

    @property
    def training(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The model's mode, whichever side it is set on."""
        return self.__dict__["model"].training if "model" in self.__dict__ else True

    @training.setter
    def training(self, mode: bool) -> None:
        if "model" in self.__dict__:
            self.__dict__["model"].training = mode

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for parameter in self.parameters():
            self.domain = self.domain.to(parameter.device)
            break
        self.make_plans()  # of the new device and dtype
        return self

    def make_plans(self) -> None:
        """Run a zero signal once, so that all that depends on the domain stands before anything is traced.

        Raises:
            ValueError: if the model does not fit the domain.
        """
        like = next(self.model.parameters(), torch.empty(0))
        channels = self._channels()
        signal = self.domain.zeros(channels, dtype=like.dtype, device=like.device)
        try:
            with evaluating(self.model), torch.no_grad():
                self.model(signal, self.domain)
        except RuntimeError as error:
            tried = f"a zero signal of {channels} channels, {tuple(signal.shape)}"
            raise ValueError(f"the model does not fit {self.domain!r}, tried with {tried}: {error}") from error

    def _channels(self) -> int:
        """The channels of the signal to try; 1 if the model does not tell, which takes any."""
        given: Any = self.model.in_channels
        found = set(given) if isinstance(given, tuple) else {given or 1}
        if found == {-1} or len(found) > 1:
            raise ValueError(
                f"bind tries the model with a zero signal, whose channels in_channels={given!r} does not tell; call a "
                "layer of open width once before binding it, and one for pairs without binding it"
            )
        return found.pop()

    def __repr__(self) -> str:
        return f"bind({self.model!r}, {self.domain!r})"


def bind(model: Layer, domain: Domain) -> Bound:
    """Fix a model's domain: an ordinary `torch.nn.Module` with `forward(x)` only.

    Parameters are shared with the model, the state dict has the model's own names; `.train()`, `.to()`, swapped heads
    and `copy.deepcopy` go through. A zero signal is run once, so that every plan stands before the module is traced:
    `torch.compile(bound, fullgraph=True)` and `torch.export.export(bound, (x,))` work.

    Args:
        model: any layer or `Sequential`. domain: where its input lives; moved to the model's device.

    Raises:
        TypeError: if `model` is no layer or `domain` no domain.
        ValueError: if the model does not fit the domain.

    >>> from grid_cnn import Conv2d, Grid
    >>> bind(Conv2d(1, 4, 3), Grid((8, 8)))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 4, 6, 6])
    """
    if not isinstance(model, Layer):
        raise TypeError(f"bind takes a Layer, got {type(model).__name__}; a torch module needs no domain")
    if not isinstance(domain, Domain):
        raise TypeError(f"bind takes a Grid or a Graph as domain, got {type(domain).__name__}")
    bound = Bound(model, domain.to(next(model.parameters(), torch.empty(0)).device))
    bound.make_plans()
    return bound
