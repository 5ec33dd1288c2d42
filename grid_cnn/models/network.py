"""What all networks here are: a `Sequential` that knows its name and the least picture that it takes.

`setting` settles what a recipe leaves open (the family, the domain, the small form); `Network` refuses a picture that
is too small before any layer does, and says the least size. The least size is found from the layers' codomains alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from grid_cnn.checks import whole
from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import Layer, Sequential
from grid_cnn.models.fit import fitted, least_size
from grid_cnn.ops import GridOps, Ops

_SMALL_NODES = 64 * 64

_UNEXPECTED = re.compile(r"unexpected keyword argument '(\w+)'")


class OptionError(TypeError):
    """An argument that a network's function does not take."""


class Setting(NamedTuple):
    """What a recipe builds with: the family, the domain of its input, and whether it takes its small form."""

    ops: Ops
    domain: Domain
    small: bool


def setting(
    ops: Ops | None,
    domain: Domain | None,
    small: bool | None = None,
    *,
    size: int = 224,
    small_size: int = 32,
    **counts: int,
) -> Setting:
    """The family, domain and form that a recipe's arguments mean; `counts` are checked to be positive.

    >>> setting(None, Grid((28, 28))).small
    True
    """
    for name, value in counts.items():
        whole(name, value)
    if small is None:
        small = domain is not None and domain.num_nodes <= _SMALL_NODES
    side = small_size if small else size
    return Setting(ops or GridOps(), domain or Grid((side, side)), small)


def built(name: str, function: Callable[..., Layer], options: Mapping[str, Any]) -> Layer:
    """The network that `function` makes of `options`.

    Raises:
        OptionError: for an argument that it does not take.

    >>> built("nothing", lambda: Sequential(), {"depth": 3})
    Traceback (most recent call last):
    ...
    grid_cnn.models.network.OptionError: nothing takes no argument 'depth'; help(grid_cnn.models.nothing) says ...
    """
    try:
        return function(**options)
    except TypeError as error:
        # Many functions hand their options on, so signatures do not tell which ones there are.
        found = _UNEXPECTED.search(str(error))
        if found is None or found[1] not in options:
            raise
        raise OptionError(
            f"{name} takes no argument {found[1]!r}; help(grid_cnn.models.{name}) says what it takes"
        ) from error


def borders(ops: Ops, padding: Any) -> Any:
    """`padding` where the family knows it, and 'same' where it knows no other."""
    return padding if ops.has_valid_borders else "same"


class Network(Sequential):
    """A network: a `Sequential` that refuses pictures smaller than its layers can take, and says the least size.

    Args:
        modules: as for `Sequential`, or a mapping of names to children. name: what errors call it.
        domain: where it was built to live. sized: whether its dense layers fit that size only.

    Raises:
        ValueError: if the domain is too small, and when called, if the picture is, or does not fit the dense layers.

    >>> import torch
    >>> from grid_cnn import Conv2d
    >>> Network({"conv": Conv2d(3, 4, 5)}, name="one layer", domain=Grid((8, 8)))(torch.zeros(1, 3, 4, 4))
    Traceback (most recent call last):
    ...
    ValueError: one layer takes pictures of at least 5×5, got 4×4: (1, 3, 4, 4); enlarge them, or ...
    """

    def __init__(
        self, *modules: Any, name: str = "this network", domain: Domain | None = None, sized: bool = False
    ) -> None:
        super().__init__()
        for key, module in _children(modules):
            self.add_module(key, module)
        self._refuse_mixing()
        self.name = name
        if domain is not None:
            fitted(name, self, domain)
        self.built = domain if sized and isinstance(domain, Grid) else None
        self._measure(domain.ndim if isinstance(domain, Grid) else 0)

    def _measure(self, ndim: int) -> None:
        """Find the least side on a grid of so many axes; 0 stands for no grid."""
        self.ndim = ndim
        self.least = (least_size(self, ndim) or 1) if ndim else 1

    def of(self, children: Mapping[str, nn.Module], ndim: int) -> Network:
        """This network with other children, for grids of `ndim` axes, or for graphs (0): what a bridge makes of it.

        >>> net = Network(nn.Identity(), name="nothing", domain=Grid((8, 8)))
        >>> net.of({"only": nn.Tanh()}, 0)
        Network(
          (only): Tanh()
        )
        """
        twin = self._with(children)
        twin.built = self.built
        twin._measure(ndim)
        return twin

    def _with(self, children: Mapping[str, nn.Module]) -> Network:
        return Network(children, name=self.name)

    def forward(
        self, input: Tensor, domain: Domain | None = None, reached: list[Domain | None] | None = None
    ) -> Tensor:
        """The last layer's result; `reached`, if given, is told the domain it lives on."""
        self.refuse(input, domain)
        return super().forward(input, domain, reached)

    def refuse(self, x: Tensor, domain: Domain | None, least: int | None = None) -> None:
        """Refuse a picture with fewer cells along an axis than the layers can take, or other than the dense layers'.

        Raises:
            ValueError: with the least size that fits, or the one that the network was built for.
        """
        if not self.ndim or x.dim() <= self.ndim or not (domain is None or isinstance(domain, Grid)):
            return
        size = tuple(x.shape[-self.ndim :])
        least = self.least if least is None else least
        if min(size) < least:
            raise ValueError(
                f"{self.name} takes pictures of at least {'×'.join([str(least)] * self.ndim)}, got "
                f"{'×'.join(map(str, size))}: {tuple(x.shape)}; enlarge them, or build its small form if it has one"
            )
        if self.built is not None and size != self.built.size and self._left(Grid(size)) != self._left(self.built):
            raise ValueError(
                f"{self.name} was built for {self.built!r}, whose size its dense layers have, got {tuple(x.shape)}; "
                f"build it with domain=Grid({size})"
            )

    def _left(self, domain: Domain | None) -> int:
        """The number of nodes on which the signal leaves the domain."""
        for module in self:
            if isinstance(module, Layer) and module.leaves_domain:
                break
            domain = module.codomain(domain) if isinstance(module, Layer) else domain
        return 0 if domain is None else domain.num_nodes


def _children(modules: tuple[Any, ...]) -> list[tuple[str, nn.Module]]:
    if len(modules) == 1 and isinstance(modules[0], Mapping):
        return list(modules[0].items())
    return [(str(index), module) for index, module in enumerate(modules)]
