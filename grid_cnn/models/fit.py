"""Whether a network's layers fit a domain, and the least grid that they do fit."""

from __future__ import annotations

from grid_cnn.domain import Domain, Grid
from grid_cnn.layer import Layer

_LARGEST = 1024


def fitted(name: str, layers: Layer, domain: Domain) -> Domain | None:
    """The codomain of `layers` on `domain`.

    Raises:
        ValueError: if the domain is too small, with the least square grid that is not.
    """
    try:
        return layers.codomain(domain)
    except ValueError as error:
        least = least_size(layers, domain.ndim) if isinstance(domain, Grid) else None
        mend = f"; the least size that fits is {'×'.join([str(least)] * domain.ndim)}" if least else ""  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(f"{name} does not fit {domain!r}: {error}{mend}") from error


def features_size(name: str, features: Layer, domain: Domain) -> int:
    """The number of nodes left after `features`, what a dense head needs to know.

    Raises:
        ValueError: if the domain is too small, with the least square grid that is not.
    """
    codomain = fitted(name, features, domain)
    if codomain is None:
        raise TypeError(f"{name} cannot be built on {domain!r} by these layers; give the ops that belong to the domain")
    return codomain.num_nodes


def least_size(features: Layer, ndim: int) -> int | None:
    """The side of the smallest cubic grid on which every layer has an output; None if there is none up to 1,024."""
    too_small, fits = 0, 1
    while not _fits(features, fits, ndim):
        too_small, fits = fits, 2 * fits
        if fits > _LARGEST:
            return None
    while fits - too_small > 1:
        middle = (too_small + fits) // 2
        too_small, fits = (too_small, middle) if _fits(features, middle, ndim) else (middle, fits)
    return fits


def _fits(features: Layer, side: int, ndim: int) -> bool:
    try:
        features.codomain(Grid((side,) * ndim))
    except ValueError:
        return False
    return True
