"""Looking into a network, and holding a part of it still: features of any layer, and freezing up to one.

`features` hangs a hook on each named module and runs the network once; `freeze` takes the gradients off all that comes
before a module, and off itself. Names are those of `model.named_modules()`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from grid_cnn.names import guess


def features(model: nn.Module, images: Tensor, at: Iterable[str], domain: Any = None) -> dict[str, Tensor]:
    """What the named modules of a network make of `images`.

    Args:
        images: a batch, in the layout of the model's domain. at: names as `model.named_modules()` has them, such as
            'layer2.0.conv1' or 'inception4a'. domain: where the images live, for a graph build that is not bound.

    Raises:
        ValueError: for a name that the model does not have, with near ones, or a module that is not run.

    >>> import torch
    >>> from grid_cnn import models
    >>> taps = features(models.lenet5(), torch.zeros(2, 1, 28, 28), at=["conv1", "fc2"])
    >>> {name: tuple(x.shape) for name, x in taps.items()}
    {'conv1': (2, 6, 28, 28), 'fc2': (2, 84)}
    """
    wanted = [at] if isinstance(at, str) else list(at)
    modules = {name: module_of(model, name) for name in wanted}
    found: dict[str, Tensor] = {}
    hooks = []
    for name, module in modules.items():

        def keep(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
            found[name] = output.clone()  # later layers may work in place

        hooks.append(module.register_forward_hook(keep))
    try:
        model(images) if domain is None else model(images, domain)
    finally:
        for hook in hooks:
            hook.remove()
    idle = [name for name in wanted if name not in found]
    if idle:
        raise ValueError(f"{', '.join(idle)}: not run on the way to the logits; auxiliary heads run in training only")
    return {name: found[name] for name in wanted}


def freeze(model: nn.Module, up_to: str) -> list[str]:
    """Freeze a network from its first layer up to and including the module `up_to`.

    Its parameters ask for no gradient any more, and its normalisation layers stay in evaluation: call it again after
    `model.train()`.

    Args:
        up_to: a name as `model.named_modules()` has it, such as 'layer3' or 'features.10'.

    Returns:
        The names of the frozen parameters.

    Raises:
        ValueError: for a name that the model does not have, with near ones.

    >>> from grid_cnn import models
    >>> freeze(models.lenet5(), up_to="conv2")
    ['conv1.weight', 'conv1.bias', 'conv2.weight', 'conv2.bias']
    """
    inside = {id(module) for module in module_of(model, up_to).modules()}
    modules = [
        (name, module) for name, module in model.named_modules() if not up_to.startswith(f"{name}." if name else "")
    ]
    end = max(index for index, (_, module) in enumerate(modules) if id(module) in inside)
    frozen = []
    for name, module in modules[: end + 1]:
        module.training = False
        for key, parameter in module.named_parameters(name, recurse=False):
            parameter.requires_grad_(False)
            frozen.append(key)
    return frozen


def module_of(model: nn.Module, name: str) -> nn.Module:
    """The module of that name.

    Raises:
        ValueError: if there is none, with near ones.

    >>> module_of(nn.Sequential(nn.ReLU()), "0")
    ReLU()
    """
    modules = dict(model.named_modules())
    if name not in modules or not name:
        hint = guess(name, filter(None, modules)) or f"its parts are {', '.join(dict(model.named_children()))}"
        raise ValueError(f"{type(model).__name__} has no module {name!r}: {hint}")
    return modules[name]
