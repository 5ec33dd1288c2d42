"""Weight files: read without running code, fitted to a network, checked as a whole before anything is changed.

`load(model, source)` takes a `.pth` file (read with `weights_only=True`), a `.safetensors` file, or the address of
either, and gives back what it did: which head was left new, which layer was adapted. A file of another model, a damaged
one, one with code in its pickle, and one with keys missing or left over are refused, and the model stays as it was.

Keys are compared by what they mean: `module.`, which torch's data-parallel wrappers and PyG's norms insert, does not
count, and old DenseNet files' `norm.1` is `norm1`. So a grid network's file loads on its graph build too.
"""

from __future__ import annotations

import hashlib
import importlib
import pickle
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

State = Mapping[str, Tensor]

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")
# The heads of networks that torchvision trains with, and drops for evaluation.
_AUXILIARY = ("aux1", "aux2", "AuxLogits")
_CODE = re.compile(r"(?:Unsupported global: GLOBAL|reduce for unrecognized function) (\S+)")
_SHOWN = 8


@dataclass(frozen=True)
class Report:
    """What `load` did beside copying.

    Args:
        source: where the weights came from. loaded: how many tensors were copied.
        new_head: the tensors that stayed as they were drawn, since the file has another number of classes.
        adapted: the first layer's weight, if it was fitted to another number of channels.
        dropped: tensors of auxiliary heads that the network was built without.
    """

    source: str
    loaded: int
    new_head: tuple[str, ...] = ()
    adapted: str | None = None
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{self.loaded} tensors loaded from {self.source}"]
        parts += [f"new head, not trained: {', '.join(self.new_head)}"] * bool(self.new_head)
        parts += [f"{self.adapted} fitted to another number of channels"] * bool(self.adapted)
        parts += [f"auxiliary heads left out: {len(self.dropped)} tensors"] * bool(self.dropped)
        return "; ".join(parts)


def load(
    model: nn.Module,
    source: str | Path | State,
    *,
    sha256: str | None = None,
    adapt_channels: bool = False,
    folder: str | Path | None = None,
    title: str = "this model",
) -> Report:
    """Load weights into `model`, all or nothing.

    The last dense layer (and those of auxiliary heads) may have another number of classes than the file: it then keeps
    its new weights, and the report says so.

    Args:
        source: a `.pth`, `.pt` or `.safetensors` file, its address, or a state dict.
        sha256: the checksum that a download must have; None takes the first digits that torch writes into file names,
            as in `resnet18-f37072fd.pth`.
        adapt_channels: fit the first convolution to another number of input channels: its weights averaged over the
            file's channels, scaled so that a picture of equal channels gives the same result.
        folder: where downloads are kept; torch's own cache if None. title: what errors call the model.

    Raises:
        ValueError: for a file that is damaged, holds code, or does not belong to this model.
        FileNotFoundError: if there is no such file. ImportError: for a package that the source needs.

    >>> from grid_cnn import models
    >>> trained, net = models.lenet5(), models.lenet5(num_classes=3)
    >>> load(net, trained.state_dict()).new_head
    ('fc3.weight', 'fc3.bias')
    """
    name = str(source) if isinstance(source, str | Path) else "a state dict"
    state = source if isinstance(source, Mapping) else read(_local(source, sha256, folder))
    given = {_canonical(key): value for key, value in state.items()}
    if len(given) != len(state):
        raise ValueError(f"{name}: keys that differ in 'module.' only; save the state dict of one plain model")
    wanted = {_canonical(key): (key, value) for key, value in model.state_dict().items()}
    dropped = tuple(key for key in given if key not in wanted and key.partition(".")[0] in _AUXILIARY)
    missing = [key for key in wanted if key not in given and not _is_count(key)]
    left_over = [key for key in given if key not in wanted and not _is_count(key) and key not in dropped]
    if missing or left_over:
        raise ValueError(_mismatch(name, title, missing, left_over))
    new_head = _new_head(model, wanted, given)
    adapted = None
    fitted: dict[str, Tensor] = {}
    wrong = []
    for key, (own, current) in wanted.items():
        if key not in given or own in new_head:
            continue
        value = given[key]
        if value.shape != current.shape and adapt_channels and own == _first(model):
            fit = _other_channels(value, current)
            adapted, value = (own, fit) if fit is not None else (adapted, value)
        if value.shape != current.shape:
            wrong.append(f"{own} is {tuple(value.shape)} in the file and {tuple(current.shape)} in the model")
        fitted[own] = value
    if wrong:
        hint = _shape_hint(model, wrong, adapt_channels)
        raise ValueError(f"{name} does not fit {title}: {_some(wrong)}; nothing was loaded{hint}")
    model.load_state_dict(fitted, strict=False)
    return Report(name, len(fitted), new_head, adapted, dropped)


def read(path: str | Path) -> dict[str, Tensor]:
    """The state dict in a `.pth`, `.pt` or `.safetensors` file; no code in it is run.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: for a file that is damaged, holds code, or is no state dict. ImportError: without safetensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no weight file {path}")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]  # a checkpoint of timm's or a training script's
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        found = f"a {type(state).__name__}" if not isinstance(state, Mapping) else "a mapping of other things"
        raise ValueError(f"{path} holds {found}, not a state dict of names and tensors; save model.state_dict()")
    return {str(key): value for key, value in state.items()}


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _CODE.search(str(error))
        what = f"code in its pickle ({found[1]})" if found else "a pickle that torch does not read without running code"
        raise ValueError(
            f"{path} holds {what}: it was refused, and nothing in it was run; ask its maker for the state dict "
            "alone, as torch.save(model.state_dict(), path) writes it"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"{path} is damaged or truncated ({reason}); fetch or copy it again") from error


def _read_safetensors(path: Path) -> Any:
    try:
        safetensors = importlib.import_module("safetensors.torch")
    except ModuleNotFoundError as error:
        raise ImportError(
            f'reading {path.name} needs safetensors: pip install "gconv[train]"', name=error.name
        ) from error
    try:
        return safetensors.load_file(path, device="cpu")
    except Exception as error:  # the package's own error class is of its compiled part
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ValueError(f"{path} is damaged or truncated ({reason}); fetch or copy it again") from error


def _local(source: str | Path, sha256: str | None, folder: str | Path | None) -> Path:
    """The file itself, downloaded first if `source` is an address."""
    text = str(source)
    if isinstance(source, Path) or "://" not in text:
        return Path(source)
    url = urlparse(text)
    if url.scheme not in ("http", "https"):
        raise ValueError(f"weights come from a file or from http(s), got {text}")
    file_name = Path(url.path).name
    in_name = _HASH_IN_NAME.search(file_name)
    digits = sha256 or (in_name[1] if in_name else None)
    if not digits:
        raise ValueError(f"{text} has no checksum in its name; give sha256=, so that a wrong file is noticed")
    target = Path(folder or Path(torch.hub.get_dir()) / "checkpoints") / file_name
    if not target.is_file():
        _download(text, target, sha256)
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    if not found.startswith(digits.lower()):
        target.unlink()
        raise ValueError(f"{text} has the checksum {found}, expected {digits}; the file was deleted, try again")
    return target


def _download(url: str, target: Path, sha256: str | None) -> None:
    try:
        pooch = importlib.import_module("pooch")
    except ModuleNotFoundError as error:
        raise ImportError('downloading weights needs pooch: pip install "gconv[train]"', name=error.name) from error
    try:
        pooch.retrieve(url, known_hash=sha256, fname=target.name, path=target.parent)
    except (OSError, ValueError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"{url} could not be fetched ({reason}); put it by hand as {target}") from error


def _canonical(key: str) -> str:
    """What a key means: without wrappers' `module.`, and with the names that DenseNet has had since 2019."""
    return _OLD_DENSENET.sub(r"\1\2.", ".".join(part for part in key.split(".") if part != "module"))


def _dense(model: nn.Module) -> list[str]:
    """The names of the last dense layers: the network's own and those of its auxiliary heads."""
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            top = name.partition(".")[0]
            found[top if top in _AUXILIARY else ""] = name
    return list(found.values())


def _new_head(model: nn.Module, wanted: Mapping[str, tuple[str, Tensor]], given: State) -> tuple[str, ...]:
    """The tensors of last dense layers whose number of classes differs from the file's, and nothing else of them."""
    out: list[str] = []
    for layer in _dense(model):
        key = _canonical(f"{layer}.weight")
        own, current = wanted[key]
        value = given.get(key)
        if value is None or value.dim() != 2 or value.shape[1] != current.shape[1] or value.shape == current.shape:
            continue
        out += [own, *(name for canonical, (name, _) in wanted.items() if canonical == _canonical(f"{layer}.bias"))]
    return tuple(out)


def _first(model: nn.Module) -> str | None:
    """The name of the first convolution's weight."""
    return next((name for name, tensor in model.named_parameters() if tensor.dim() >= 3), None)


def _other_channels(value: Tensor, current: Tensor) -> Tensor | None:
    """A kernel for other input channels: the mean over the file's, times their number over the new one."""
    if value.dim() != current.dim() or value.shape[0] != current.shape[0] or value.shape[2:] != current.shape[2:]:
        return None
    return value.mean(1, keepdim=True).expand_as(current) * (value.shape[1] / current.shape[1])


def _mismatch(name: str, title: str, missing: list[str], left_over: list[str]) -> str:
    parts = [f"missing: {_some(missing)}"] * bool(missing) + [f"left over: {_some(left_over)}"] * bool(left_over)
    return (
        f"{name} is not a weight file of {title}; {'; '.join(parts)}; nothing was loaded. Take the model that the "
        "file belongs to"
    )


def _shape_hint(model: nn.Module, wrong: Iterable[str], adapt_channels: bool) -> str:
    first = _first(model)
    if not adapt_channels and first and any(text.startswith(f"{first} ") for text in wrong):
        return ". With adapt_channels=True the first layer is fitted to another number of channels"
    return ""


def _is_count(key: str) -> bool:
    """Whether it is a norm's count of batches, which older files lack."""
    return key.endswith("num_batches_tracked")


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
