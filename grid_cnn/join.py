"""Several branches on one signal, joined again: side by side along the channels, or added up.

    concat:  y = [f_1(x), ..., f_n(x)]   along the channels        (Inception, DenseNet)
    add:     y = f_1(x) + ... + f_n(x)                             (residual blocks)

Shapes: all branches end on one domain; channels add up in a concat, and are equal in a sum. The domain is threaded
through every branch, so branches may pool and stride, if they do so alike. A branch that hands on its input is
`torch.nn.Identity()`. Parameters are those of the branches, under their names.
References: Szegedy et al., Going deeper with convolutions (2015); He et al., Deep residual learning (2016).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import Layer, Stage, asked_channels, is_elementwise


class Join(Layer):
    """Branches and a join; abstract: how results are joined is for the subclasses to say."""

    def __init__(self, branches: Mapping[str, nn.Module] | Sequence[nn.Module], ndim: int | None = 2) -> None:
        super().__init__()
        name = type(self).__name__
        named = dict(branches) if isinstance(branches, Mapping) else {str(i): b for i, b in enumerate(branches)}
        if not named:
            raise ValueError(f"{name} takes at least one branch, got none")
        for key, branch in named.items():
            if not isinstance(branch, Layer) and not is_elementwise(branch):
                raise TypeError(
                    f"branch {key!r} of this {name}, {type(branch).__name__}, is no layer and does not act element by "
                    "element; take a layer that the ops offer, or a Sequential of such"
                )
            self.add_module(key, branch)
        self.ndim = ndim

    @property
    def branches(self) -> dict[str, nn.Module]:
        """The branches by name, in order."""
        return {name: module for name, module in self._modules.items() if module is not None}

    @property
    def in_channels(self) -> int | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The channels that the first branch asks for that asks for any."""
        return asked_channels(self.branches.values())

    @property
    def leaves_domain(self) -> bool:
        """Whether any branch does (then all must)."""
        return any(branch.leaves_domain for branch in self.branches.values() if isinstance(branch, Layer))

    def codomain(self, domain: Domain | None) -> Domain | None:
        """Where all branches end.

        Raises:
            ValueError: if they end on different domains.
        """
        ends = {
            name: branch.codomain(domain) if isinstance(branch, Layer) else domain
            for name, branch in self.branches.items()
        }
        return self._common(ends)

    def _common(self, ends: Mapping[str, Domain | None]) -> Domain | None:
        (first, end), *others = ends.items()
        for name, other in others:
            if other != end:
                raise ValueError(
                    f"the branches of {type(self).__name__} end on different domains: {first!r} on {end!r}, {name!r} "
                    f"on {other!r}; give them the same strides and borders"
                )
        return end

    def _start(self, x: Tensor, domain: Domain | None) -> Domain | None:
        if domain is None and self.ndim is not None and x.dim() in (self.ndim + 1, self.ndim + 2) and x.dim() > 2:
            return Grid(tuple(x.shape[-self.ndim :]))
        return domain

    def step(self, x: Tensor, domain: Domain | None = None) -> tuple[Tensor, Domain | None]:
        """The result together with its domain."""
        reached: list[Domain | None] = []
        x = self(x, domain, reached)  # a call, so that hooks see it
        return x, reached[0]

    def forward(
        self, input: Tensor, domain: Domain | None = None, reached: list[Domain | None] | None = None
    ) -> Tensor:
        """The joined results; `reached`, if given, is told the domain they live on (`step` asks for it)."""
        domain = self._start(input, domain)
        results, ends = {}, {}
        for name, branch in self.branches.items():
            if isinstance(branch, Layer):
                results[name], ends[name] = branch.step(input, domain)
            else:
                results[name], ends[name] = branch(input), domain
        end = self._common(ends)
        if reached is not None:
            reached.append(end)
        return self.join(results, end)

    def join(self, results: Mapping[str, Tensor], domain: Domain | None) -> Tensor:
        """The results of all branches, which live on `domain`, as one signal."""
        raise TypeError(f"{type(self).__name__} is abstract")

    def trace(self, x: Tensor, domain: Domain | None = None, name: str = "") -> Iterator[Stage]:
        """The result of every layer of every branch, then the joined one."""
        domain = self._start(x, domain)
        results, ends = {}, {}
        for key, branch in self.branches.items():
            path = f"{name}.{key}" if name else key
            if isinstance(branch, Layer):
                for stage in branch.trace(x, domain, path):
                    results[key], ends[key] = stage.x, stage.domain
                    yield stage
            else:
                results[key], ends[key] = branch(x.clone()), domain  # it may work in place
                yield Stage(path, branch, results[key], domain)
        end = self._common(ends)
        yield Stage(name, self, self.join(results, end), end)


class Concat(Join):
    """Run every branch on the same signal and set their results side by side along the channels.

    Args:
        branches: layers, or torch modules that act element by element; by name, or in order.
        ndim: the number of axes of the grids it works on, so that a `Grid` is read off the signal where none is given
            (not off a signal on a line without a batch, which looks like a batch of vectors); None on graphs.

    Raises:
        TypeError: for a branch that has no meaning on a domain.
        ValueError: for no branch, or branches that end on different domains.

    >>> from grid_cnn import Conv2d
    >>> layer = Concat({"narrow": Conv2d(3, 4, 1), "wide": Conv2d(3, 8, 5, padding="same")})
    >>> layer(torch.zeros(2, 3, 9, 9)).shape
    torch.Size([2, 12, 9, 9])
    """

    def join(self, results: Mapping[str, Tensor], domain: Domain | None) -> Tensor:
        """The results side by side."""
        axis = -1 - domain.ndim if isinstance(domain, Grid) else -1
        return torch.cat(list(results.values()), axis)


class Add(Join):
    """Run every branch on the same signal and add their results.

    Args:
        branches: layers, or torch modules that act element by element; by name, or in order.
        ndim: as for `Concat`.

    Raises:
        TypeError: for a branch that has no meaning on a domain.
        ValueError: for no branch, branches that end on different domains, or results of different channels.

    >>> from grid_cnn import Conv2d
    >>> block = Add({"body": Conv2d(4, 4, 3, padding="same"), "shortcut": nn.Identity()})
    >>> block(torch.zeros(2, 4, 9, 9)).shape
    torch.Size([2, 4, 9, 9])
    """

    def join(self, results: Mapping[str, Tensor], domain: Domain | None) -> Tensor:
        """The sum of the results."""
        (first, total), *others = results.items()
        shape = total.shape
        for name, result in others:
            if result.shape != shape:
                raise ValueError(
                    f"the branches of Add differ in shape: {first!r} gives {tuple(shape)}, {name!r} "
                    f"{tuple(result.shape)}; give the shortcut a convolution of size 1 to as many channels"
                )
            total = total + result
        return total
