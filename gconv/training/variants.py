"""The networks that one recipe makes: on the grid, on its graph with each convolution, and the dense baselines."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from gconv import bridge
from gconv.domains import Graph
from gconv.families import FAMILIES
from gconv.ops import GraphOps
from gconv.spatial import DirectionalConv
from grid_cnn import Conv2d, Grid, GridOps, Layer, bind, models
from grid_cnn.names import guess

_CHANNELS = "own_layer_channels"  # where a layer of the user's own is told the out_channels that it was made with
_BASELINES = {"linear": "one dense layer", "mlp": "dense layers 120, 84"}


@dataclass(frozen=True)
class Variant:
    """One network of a comparison, ready to train: `module(encode(images))` gives logits."""

    variant: str
    model: Layer
    module: nn.Module
    domain: Grid | Graph
    encode: Callable[[Tensor], Tensor]
    convolution: str

    @property
    def place(self) -> str:
        """The domain in words."""
        if self.variant in _BASELINES:
            return "none"
        kind = "graph" if isinstance(self.domain, Graph) else "grid"
        grid = bridge.grid_of(self.domain) if isinstance(self.domain, Graph) else self.domain
        return f"{kind} {'×'.join(map(str, grid.size))}"

    @property
    def num_parameters(self) -> int:
        """How many numbers are learned."""
        return sum(parameter.numel() for parameter in self.module.parameters())


def names() -> tuple[str, ...]:
    """The variants that `build` knows, in the order of the table.

    >>> names()[:4]
    ('grid', 'directional', 'cheb', 'monet')
    """
    return ("grid", "directional", *FAMILIES, *_BASELINES)


def usual() -> tuple[str, ...]:
    """The variants of a comparison that names none: the grid's network, the papers' families on images, the baselines.

    >>> usual()
    ('grid', 'directional', 'cheb', 'monet', 'gcn', 'spectral', 'linear', 'mlp')
    """
    return ("grid", "directional", "cheb", "monet", "gcn", "spectral", *_BASELINES)


def check(variants: Sequence[str]) -> None:
    """Refuse an empty list, an unknown name, a layer of the user's own that is not there, a name twice.

    Raises:
        ValueError: naming the culprit, with near names.
    """
    if not variants:
        raise ValueError(f"no variants; give some of {','.join(names())}")
    for variant in variants:
        if ":" in variant:
            own_layer(variant)
        elif variant not in names():
            hint = guess(variant, names()) or f"there are {', '.join(names())}, and module:Class"
            raise ValueError(f"unknown variant {variant!r}: {hint}")
    twice = next((v for v in variants if list(variants).count(v) > 1), None)
    if twice:
        raise ValueError(f"variant {twice!r} is given twice")


def build(variant: str, recipe: str, graph: Graph, in_channels: int, num_classes: int) -> Variant:
    """Make one variant of a recipe, with freshly drawn weights.

    Args:
        variant: one of `names()`, or 'module:Class' (`own_layer`). recipe: one of `models.names()`. graph: the grid's
            graph; its grid is the grid's.

    Raises:
        ValueError: for unknown names, or a recipe that does not fit the grid.
    """
    check([variant])
    grid = bridge.grid_of(graph)
    options: dict[str, Any] = {"in_channels": in_channels, "num_classes": num_classes}
    if variant in _BASELINES:
        model = models.create(variant, ops=GridOps(grid.ndim), domain=grid, **options)
        return Variant(variant, model, bind(model, grid), grid, _as_is, _BASELINES[variant])
    if "padding" in inspect.signature(models.function(recipe)).parameters:
        options["padding"] = "same"  # the one border that every family has, so that all sides have the same shapes
    with torch.device("meta"):  # the grid's network, without its memory, tells the kernel that titles speak of
        on_grid = models.create(recipe, ops=GridOps(grid.ndim), domain=grid, **options)
    kernel = next((m.kernel_size for m in on_grid.modules() if isinstance(m, Conv2d)), None)
    if kernel is None:
        raise ValueError(
            f"the recipe {recipe!r} has no convolution to compare; it is a variant of its own beside others"
        )
    if variant == "grid":
        model = models.create(recipe, ops=GridOps(grid.ndim), domain=grid, **options)
        return Variant(variant, model, bind(model, grid), grid, _as_is, f"Conv2d {'×'.join(map(str, kernel))}")
    ops = GraphOps(own_layer(variant) if ":" in variant else variant, ndim=grid.ndim)
    model = models.create(recipe, ops=ops, domain=graph, **options)
    with _results_checked(model, variant):
        module = bind(model, graph)
    return Variant(variant, model, module, graph, bridge.to_nodes, ops.title(kernel))


def own_layer(variant: str) -> Callable[..., Layer]:
    """A layer of the user's own, as `GraphOps` takes it: 'module:Class', 'package.module:Class' or 'file.py:Class'.

    Modules are looked for in the current directory first. The class is called with `in_channels`, `out_channels`, and
    with `K` (the number of terms of the kernel) and `bias` if it takes them.

    Raises:
        ValueError: for a module that cannot be imported, or has no such layer; for a layer that is made or called in
            another way.
    """
    place, _, name = variant.partition(":")
    module = _module(place, variant)
    if name not in vars(module):
        meant = guess(name, vars(module))
        hint = f"; {meant}" if meant else ""
        raise ValueError(f"variant {variant!r}: the module {place!r} has no {name or 'class of an empty name'}{hint}")
    build: Any = vars(module)[name]
    if isinstance(build, type) and not issubclass(build, Layer):
        raise ValueError(
            f"variant {variant!r}: {name} is no layer on a graph; subclass gconv.MessagePassing, or gconv.GraphLayer"
        )
    if not callable(build):
        raise ValueError(f"variant {variant!r}: {name} is a {type(build).__name__}, and no class that makes layers")
    taken = inspect.signature(build).parameters
    # The `**kwargs` of our own layers are PyG's, of which K and bias are none.
    takes_all = any(p.kind is p.VAR_KEYWORD and "Unpack" not in str(p.annotation) for p in taken.values())
    keywords = [key for key in ("K", "bias") if takes_all or key in taken]
    _check_call(build, name, ["in_channels", "out_channels"], keywords, variant)
    if isinstance(build, type):
        _check_call(build.forward, f"{name}.forward", ["self", "x", "graph"], [], variant)  # pyright: ignore[reportAttributeAccessIssue]

    def make(in_channels: int, out_channels: int, K: int, *, bias: bool = True, **options: Any) -> Layer:
        given = {"K": K, "bias": bias}
        made: Any = build(in_channels, out_channels, **{key: given[key] for key in keywords}, **options)
        if not isinstance(made, Layer):
            kind = type(made).__name__
            raise ValueError(
                f"variant {variant!r}: {name} made a {kind}, which is no layer on a graph; subclass "
                "gconv.MessagePassing, or gconv.GraphLayer"
            )
        made.__dict__[_CHANNELS] = out_channels
        return made

    make.__name__ = name
    return make


def _check_call(function: Callable[..., Any], name: str, given: list[str], keywords: list[str], variant: str) -> None:
    """Refuse what does not take these arguments, before it is called with them.

    Raises:
        ValueError: naming what it takes.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(*given, **dict.fromkeys(keywords))
    except TypeError as error:
        called = ", ".join([*given, *(f"{key}=..." for key in keywords)])
        raise ValueError(f"variant {variant!r}: {name}{signature} is called as {name}({called}): {error}") from error


@contextmanager
def _results_checked(model: Layer, variant: str) -> Iterator[None]:
    """Look at what layers of the user's own give, while this lasts."""

    def check(layer: Any, given: tuple[Any, ...], out: Any) -> None:
        x, graph = given
        expected = *x.shape[:-2], layer.codomain(graph).num_nodes, layer.__dict__[_CHANNELS]
        if not isinstance(out, Tensor) or out.shape != expected:
            found = f"a tensor {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
            raise ValueError(
                f"variant {variant!r}: {type(layer).__name__}.forward gave {found} for a signal {tuple(x.shape)}; "
                f"expected a tensor {tuple(expected)}, out_channels at each node"
            )

    hooks = [part.register_forward_hook(check) for part in model.modules() if _CHANNELS in part.__dict__]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _module(place: str, variant: str) -> ModuleType:
    """A module by its dotted name, or by its path."""
    path = Path(place)
    if path.suffix == ".py" and not path.is_file():
        raise ValueError(f"variant {variant!r}: there is no file {place!r} in {Path.cwd()}")
    folder, name = (path.parent.resolve(), path.stem) if path.suffix == ".py" else (Path.cwd(), place)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ValueError(f"variant {variant!r}: there is no module {name!r} in {folder}") from error
        raise ValueError(f"variant {variant!r}: {name!r} cannot be imported: {error}") from error
    except (ImportError, SyntaxError, ValueError) as error:
        raise ValueError(f"variant {variant!r}: {name!r} cannot be imported: {error}") from error
    finally:
        sys.path.remove(str(folder))


def _as_is(images: Tensor) -> Tensor:
    return images


def first_filters(network: Variant) -> tuple[str, Tensor] | None:
    """What the first convolution has learned, as pictures `(filters, H, W)`, and of which kind they are.

    Kernels on the grid, and for the directional convolution, which has the same; elsewhere impulse responses: the
    layer's answer to a single bright node in the middle, without its bias. None without a convolution, and where the
    first layer of the grid's network is no plain one.
    """
    if network.variant in _BASELINES:
        return None
    layer = next(m for m in network.model.modules() if _is_first(m))
    if isinstance(layer, Conv2d | DirectionalConv):
        return "kernels", layer.weight.detach()[:, 0].cpu()
    if not isinstance(layer, Layer) or not isinstance(network.domain, Graph):
        return None
    return "impulse responses", impulse_response(layer, network.domain)


def _is_first(module: nn.Module) -> bool:
    """Whether this is a layer with parameters of its own, and no block or network that holds such layers."""
    if not isinstance(module, Layer) or next(module.parameters(), None) is None:
        return False
    return not any(isinstance(part, Layer) for part in module.modules() if part is not module)


def impulse_response(layer: Layer, graph: Graph) -> Tensor:
    """The layer's answer to one bright node in the middle of the grid, bias removed: `(C_out, H, W)`."""
    grid = bridge.grid_of(graph)
    parameter = next(layer.parameters())
    dark = graph.zeros(layer.in_channels or 1, dtype=parameter.dtype, device=parameter.device)
    bright = dark.clone()
    middle = 0
    for n in grid.size:
        middle = middle * n + n // 2
    bright[0, middle, 0] = 1.0
    with torch.no_grad():
        answer = layer(bright, graph) - layer(dark, graph)
    return bridge.to_images(answer, graph)[0].cpu()
