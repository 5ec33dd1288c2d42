"""A layer acts on a signal over a domain: `layer(x, domain)`. `Sequential` threads the domain from one to the next."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from grid_cnn.domain import Domain, Grid
from grid_cnn.squash import ScaledTanh

# The modules of torch that treat every number alike, whatever axis it lies on.
ELEMENTWISE = (
    nn.AlphaDropout, nn.CELU, nn.Dropout, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh,
    nn.Identity, nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.RReLU, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus,
    nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold, ScaledTanh,
)  # fmt: skip


class Layer(nn.Module):
    """A map from signals on a domain to signals on its codomain.

    `layer(x, domain)` gives the tensor alone; `layer.step(x, domain)` the tensor and the domain it lives on. A layer
    whose codomain depends on `x` overrides `step`; every other one overrides `codomain`, if at all.
    """

    in_channels: int | None = None

    @property
    def leaves_domain(self) -> bool:
        """Whether what follows sees plain vectors."""
        return False

    def codomain(self, domain: Domain | None) -> Domain | None:
        """The domain of the result: `domain` itself, unless the layer pools or strides; None once it has left it."""
        return domain

    def step(self, x: Tensor, domain: Domain | None = None) -> tuple[Tensor, Domain | None]:
        """The result together with its domain."""
        return self(x, domain), self.codomain(domain)

    def trace(self, x: Tensor, domain: Domain | None = None, name: str = "") -> Iterator[Stage]:
        """The result of every layer on the way, in order."""
        x, domain = self.step(x, domain)
        yield Stage(name, self, x, domain)


class Stage(NamedTuple):
    """One step of a signal's way through a network: what made it, and where it now lives."""

    name: str
    module: nn.Module
    x: Tensor
    domain: Domain | None


class GridLayer(Layer):
    """A layer for grids of `ndim` axes; it reads the `Grid` off its input where none is given."""

    ndim: int

    def check_axes(self, domain: Grid) -> None:
        """Refuse a grid of another number of axes."""
        if domain.ndim != self.ndim:
            axes = "1 axis" if self.ndim == 1 else f"{self.ndim} axes"
            raise ValueError(f"{type(self).__name__} works on grids of {axes}, got {domain!r}")

    def grid(self, x: Tensor, domain: Domain | None) -> Grid:
        """The grid that `x` lives on: `domain` if given and fitting, else the shape of `x` says it.

        Raises:
            TypeError: for a domain that is no grid.
            ValueError: if axes, sizes or channels do not fit.
        """
        name, axes = type(self).__name__, self.ndim
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} takes a tensor (batch, channels{', size' * axes}), got {type(x).__name__}")
        if domain is not None and not isinstance(domain, Grid):
            what = repr(domain) if isinstance(domain, Domain) else type(domain).__name__
            raise TypeError(f"{name} works on a Grid, got {what}; on a graph take the twin that GraphOps builds")
        if domain is not None:
            self.check_axes(domain)
        if x.dim() not in (axes + 1, axes + 2) or (domain is not None and tuple(x.shape[-axes:]) != domain.size):
            wanted = "".join(f", {n}" for n in domain.size) if domain is not None else ", size" * axes
            raise ValueError(f"{name} expects a signal (batch, channels{wanted}), got shape {tuple(x.shape)}")
        if self.in_channels is not None and x.shape[-axes - 1] != self.in_channels:
            raise ValueError(f"{name} expects {self.in_channels} channels, got {x.shape[-axes - 1]}: {tuple(x.shape)}")
        return domain or Grid(tuple(x.shape[-axes:]))

    def check_dtype(self, x: Tensor, weight: Tensor) -> None:
        """Refuse numbers of another kind than the weights that they are multiplied by; autocast makes them alike.

        Raises:
            TypeError: naming both.
        """
        if x.dtype == weight.dtype:
            return
        name = type(self).__name__
        if not x.is_floating_point() and not x.is_complex():
            raise TypeError(
                f"{name} takes a signal of floating numbers, got {x.dtype}; convert it with .to({weight.dtype}), and "
                "divide pictures of bytes by 255"
            )
        if x.is_meta or not torch.is_autocast_enabled(x.device.type):
            raise TypeError(
                f"{name} has weights of {weight.dtype}, got a signal of {x.dtype}; convert the signal with "
                f".to({weight.dtype}), or the network with .to({x.dtype})"
            )

    def step(self, x: Tensor, domain: Domain | None = None) -> tuple[Tensor, Domain | None]:
        """The result together with its domain."""
        grid = self.grid(x, domain)
        return self(x, grid), self.codomain(grid)


def check_ndim(name: str, ndim: int) -> int:
    """`ndim` if it is 1, 2 or 3."""
    if type(ndim) is not int or ndim not in (1, 2, 3):
        raise ValueError(f"{name} takes ndim 1, 2 or 3; got {ndim!r}")
    return ndim


def is_elementwise(module: nn.Module) -> bool:
    """Whether a torch module acts on every number alone, and so has a meaning on every domain."""
    if isinstance(module, nn.PReLU):
        return module.num_parameters == 1  # more of them run along torch's channel axis, which a graph has elsewhere
    if type(module) is nn.Sequential:
        return all(is_elementwise(child) for child in module)
    return isinstance(module, ELEMENTWISE)


class Sequential(nn.Sequential, Layer):
    """`torch.nn.Sequential` that threads the domain from layer to layer.

    Beside layers it takes torch modules that act element by element (activations, dropout), and any module once the
    signal has left its domain (after a flatten or a global pool). A torch module that mixes the nodes of a domain is
    refused, since it would read another layout or another neighbourhood than the domain's.

    Shapes: those of its layers. Slices, `append`, named children (`OrderedDict`) as in torch.

    Raises:
        TypeError: for a module that mixes nodes, placed where the signal is on a domain.

    >>> import torch
    >>> from grid_cnn import Conv2d, Grid
    >>> net = Sequential(Conv2d(1, 4, 3, padding="same"), nn.ReLU())
    >>> net(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 4, 8, 8])
    >>> net.codomain(Grid((8, 8)))
    Grid((8, 8))
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__(*modules)
        self._refuse_mixing()

    def _refuse_mixing(self, on_domain: bool = False) -> bool:
        # Without any layer, and given no domain, this is the head of a network: plain vectors all the way.
        on_domain = on_domain or has_layer(self)
        for name, module in self._modules.items():
            if isinstance(module, Sequential):
                on_domain = on_domain and module._refuse_mixing(on_domain)
            elif isinstance(module, Layer):
                on_domain = on_domain and not module.leaves_domain
            elif on_domain and not is_elementwise(module):
                raise TypeError(
                    f"module {name!r} of this Sequential, {type(module).__name__}, does not act element by element, so "
                    "it has no meaning on a domain; take the layer that the ops offer (ops.conv, ops.norm, ...), "
                    "subclass grid_cnn.Layer, or place it after flatten() or a global pool"
                )
        return on_domain

    def __add__(self, other: nn.Sequential) -> Sequential:
        return type(self)(*super().__add__(other))

    def __mul__(self, other: int) -> Sequential:
        return type(self)(*super().__mul__(other))

    def __delitem__(self, idx: slice | int) -> None:
        table = self._modules
        super().__delitem__(idx)
        left = list(self._modules.items())
        table.clear()  # the same table as before, since bind shares it
        table.update(left)
        self._modules = table

    @property
    def in_channels(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The channels that the first layer asks for, if any does."""
        return asked_channels(self)

    @property
    def leaves_domain(self) -> bool:
        """Whether any of the layers does."""
        return any(module.leaves_domain for module in self if isinstance(module, Layer))

    def codomain(self, domain: Domain | None) -> Domain | None:
        """The last layer's codomain."""
        for module in self:
            domain = module.codomain(domain) if isinstance(module, Layer) else domain
        return domain

    def step(self, x: Tensor, domain: Domain | None = None) -> tuple[Tensor, Domain | None]:
        """The result together with its domain."""
        reached: list[Domain | None] = []
        x = self(x, domain, reached)  # a call, so that hooks see it
        return x, reached[0]

    def forward(
        self, input: Tensor, domain: Domain | None = None, reached: list[Domain | None] | None = None
    ) -> Tensor:
        """The last layer's result; `reached`, if given, is told the domain it lives on (`step` asks for it)."""
        self._refuse_mixing(domain is not None)
        for module in self:
            input, domain = module.step(input, domain) if isinstance(module, Layer) else (module(input), domain)
        if reached is not None:
            reached.append(domain)
        return input

    def trace(self, x: Tensor, domain: Domain | None = None, name: str = "") -> Iterator[Stage]:
        """The result of every layer on the way, in order."""
        self._refuse_mixing(domain is not None)
        for key, module in self._modules.items():
            path = f"{name}.{key}" if name else key
            if isinstance(module, Layer):
                for stage in module.trace(x, domain, path):
                    x, domain = stage.x, stage.domain
                    yield stage
            else:
                x = module(x.clone())  # it may work in place, and the stage before has been given away
                yield Stage(path, module, x, domain)


class LeavesDomain(Layer):
    """A layer after which there is no domain any more: a flatten, a global pool."""

    @property
    def leaves_domain(self) -> bool:
        """True: what follows sees plain vectors."""
        return True

    def codomain(self, domain: Domain | None) -> None:
        """None: what follows sees plain vectors."""
        return None


def asked_channels(modules: Iterable[nn.Module]) -> int | None:
    """The channels that the first of the layers asks for that asks for any."""
    asked = (module.in_channels for module in modules if isinstance(module, Layer))
    return next((channels for channels in asked if channels is not None), None)


def has_layer(module: nn.Module) -> bool:
    """Whether there is a layer in it that lives on a domain; a Sequential of plain modules is none."""
    if isinstance(module, Sequential):
        return any(has_layer(child) for child in module)
    return isinstance(module, Layer)


def named(**modules: nn.Module | None) -> OrderedDict[str, nn.Module]:
    """Children for a `Sequential`, by name; None stands for one that is left out."""
    return OrderedDict((name, module) for name, module in modules.items() if module is not None)
