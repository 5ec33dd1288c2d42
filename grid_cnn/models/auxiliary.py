"""Networks with auxiliary heads: classifiers that hang on inner layers and help training (Szegedy et al., 2015).

    loss = L(logits) + w Σ_a L(head_a(x_a))       in training, with w = 0.3 for GoogLeNet and 0.4 for Inception v3

In evaluation the heads are not run. Shapes: `(B, C, H, W)` to `(B, num_classes)`, in training to `Outputs` of such.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn

from grid_cnn.domain import Domain
from grid_cnn.layer import Layer, Sequential, Stage
from grid_cnn.models.fit import least_size
from grid_cnn.models.network import Network


class Outputs(NamedTuple):
    """What a network with auxiliary heads gives in training: its logits, and those of its heads in order."""

    logits: Tensor
    auxiliary: tuple[Tensor, ...]


class AuxiliaryNetwork(Network):
    """A `Network` whose heads are children too, each hung on another child.

    In training the result is `Outputs(logits, auxiliary)`, in evaluation the logits alone.

    Args:
        modules: as for `Network`, the heads among them. heads: for the name of each head the name of the child that it
            reads. name, domain: as for `Network`.

    >>> import torch
    >>> from torch import nn
    >>> from grid_cnn import Conv2d, GlobalAvgPool, Sequential
    >>> head = Sequential(GlobalAvgPool(), nn.Linear(4, 2))
    >>> parts = {"conv": Conv2d(3, 4, 3), "aux": head, "pool": GlobalAvgPool(), "fc": nn.Linear(4, 2)}
    >>> net = AuxiliaryNetwork(parts, heads={"aux": "conv"})
    >>> [out.shape for out in (net(torch.zeros(1, 3, 8, 8)).auxiliary[0], net.eval()(torch.zeros(1, 3, 8, 8)))]
    [torch.Size([1, 2]), torch.Size([1, 2])]
    """

    def __init__(self, *modules: Any, heads: Mapping[str, str] | None = None, **options: Any) -> None:
        self.heads: dict[str, str] = dict(heads or {})
        super().__init__(*modules, **options)

    def _measure(self, ndim: int) -> None:
        super()._measure(ndim)
        self.least_in_training = max([self.least, *(self._least(head) for head in self.heads)])

    def _with(self, children: Mapping[str, nn.Module]) -> AuxiliaryNetwork:
        return AuxiliaryNetwork(children, heads=self.heads, name=self.name)

    def _least(self, head: str) -> int:
        """The least side on which a head has an output."""
        names = list(self.trunk)
        until = names[: names.index(self.heads[head]) + 1]
        way = Sequential(*(self._modules[name] for name in [*until, head]))
        return (least_size(way, self.ndim) or 1) if self.ndim else 1

    @property
    def trunk(self) -> dict[str, Any]:
        """The children on the way to the logits."""
        return {name: module for name, module in self._modules.items() if name not in self.heads}

    @property
    def leaves_domain(self) -> bool:
        """Whether the way to the logits leaves the domain."""
        return any(module.leaves_domain for module in self.trunk.values() if isinstance(module, Layer))

    def codomain(self, domain: Domain | None) -> Domain | None:
        """Where the way to the logits ends: None, since they are plain vectors."""
        for module in self.trunk.values():
            domain = module.codomain(domain) if isinstance(module, Layer) else domain
        return domain

    def _heads_on(self, name: str) -> list[Any]:
        return [self._modules[head] for head, child in self.heads.items() if child == name and head in self._modules]

    def _refuse_mixing(self, on_domain: bool = False) -> bool:
        return False  # heads leave the domain in the middle; the recipes check their own parts

    def trace(self, x: Tensor, domain: Domain | None = None, name: str = "") -> Iterator[Stage]:
        """The result of every layer on the way to the logits, in order."""
        trunk = Sequential(OrderedDict(self.trunk))
        return trunk.trace(x, domain, name)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, input: Tensor, domain: Domain | None = None, reached: list[Domain | None] | None = None
    ) -> Tensor | Outputs:
        """The logits; in training together with those of the heads."""
        self.refuse(input, domain, self.least_in_training if self.training else self.least)
        auxiliary: list[Tensor] = []
        x = input
        for name, module in self.trunk.items():
            x, domain = module.step(x, domain) if isinstance(module, Layer) else (module(x), domain)
            if self.training:
                auxiliary += [head(x, domain) for head in self._heads_on(name)]
        if reached is not None:
            reached.append(domain)
        return Outputs(x, tuple(auxiliary)) if auxiliary else x
