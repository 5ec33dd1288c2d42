"""Checkpoints: all that a run needs to go on to the same bits, in one safetensors file without code.

    last    the newest              before    the one before it              best    the weights to use

A checkpoint holds tensors by name, and in the file's metadata JSON that says where each belongs, with a checksum over
both. It is written beside, forced to the disk and renamed, so that a kill at any moment leaves the old one or the new
one; the last but one stays as `before`. `best` is a plain weight file: `models.load(net, path)` reads it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gconv.training import files

LAST, BEFORE, BEST = "last.safetensors", "before.safetensors", "best.safetensors"
_FORMAT = "gconv checkpoint 1"


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or not one of gconv's."""


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `last`; what was `last` becomes `before`.

    Args:
        state: mappings, lists, tuples, numbers, texts, None and tensors, nested at will.

    Raises:
        OSError: if it cannot be written, naming the file; both old ones stay as they are.
        TypeError: for anything else in the state, saying where.
    """
    last, before = folder / LAST, folder / BEFORE
    staged = files.staged(last, as_bytes(state))
    if last.exists():
        _keep(last, before)
    staged.replace(last)
    files.settle(folder)


def _keep(last: Path, before: Path) -> None:
    """Give `last` the name `before` too, or alone where the file system knows no second names."""
    second = before.with_name(f"{before.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        second.unlink()
    try:
        os.link(last, second)
    except OSError:
        last.replace(before)
    else:
        second.replace(before)


def as_bytes(state: Mapping[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_packed(state, "", tensors))
    metadata = {"format": _FORMAT, "state": text, "sha256": _digest(text, tensors)}
    return _safetensors().save(tensors, metadata)


def read(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, tensors on the CPU; no code in it is run.

    Raises:
        FileNotFoundError: if there is none.
        CheckpointError: if it is damaged, or foreign, with the reason.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    package = importlib.import_module("safetensors")
    _safetensors()
    try:
        with package.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # the package's own error class is of its compiled part
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CheckpointError(f"{path} is damaged, or no checkpoint ({reason})") from error
    if metadata.get("format") != _FORMAT:
        found = f"its format is {metadata['format']!r}" if "format" in metadata else "it is some other safetensors file"
        raise CheckpointError(f"{path} is not a checkpoint of gconv's: {found}, expected {_FORMAT!r}")
    if metadata.get("sha256") != _digest(metadata.get("state", ""), tensors):
        raise CheckpointError(f"{path} is damaged: its content does not have the checksum that it was written with")
    return _unpacked(json.loads(metadata["state"]), tensors)


def recover(folder: Path, name: str = LAST) -> dict[str, Any] | None:
    """The state to go on from; None where nothing was saved yet.

    Where a kill fell between two renames there is no `last`, and `before` is the newest.

    Raises:
        CheckpointError: for a damaged or foreign file, with the reason, and what to go on from instead.
    """
    path, before = folder / name, folder / BEFORE
    if name == LAST and not path.exists() and before.exists():
        path = before
    if not path.exists():
        return None
    try:
        return read(path)
    except CheckpointError as error:
        if path == before:
            raise
        try:
            older = read(before)
        except (CheckpointError, FileNotFoundError) as second:
            reason = "there is none before it" if isinstance(second, FileNotFoundError) else f"nor can {second}"
            raise CheckpointError(f"{error}; {reason}: begin anew with --config {folder / 'settings.yaml'}") from error
        place = older.get("position", {})
        where = f"epoch {place.get('epoch', '?')}, step {place.get('iteration', '?')}"
        raise CheckpointError(f"{error}; the one before it ({where}) is whole: add --checkpoint before") from error


def save_weights(path: Path, weights: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write a state dict as a weight file, whole or not at all, with JSON notes in its metadata."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    # A single entry: safetensors writes several in any order, and equal weights would make unequal files.
    files.write(path, _safetensors().save(tensors, {"notes": json.dumps(notes)}))


def notes(path: Path) -> dict[str, Any]:
    """The notes in a weight file that `save_weights` wrote.

    Raises:
        CheckpointError: for another file, or none.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path}")
    package = importlib.import_module("safetensors")
    try:
        with package.safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["notes"])
    except Exception as error:  # the package's own error class is of its compiled part
        raise CheckpointError(f"{path} is damaged, or no weight file of a run ({error})") from error


def _packed(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:
    """JSON of a state; tensors are put aside under their places."""
    if isinstance(value, Tensor):
        tensors[place] = value.detach().cpu().contiguous().clone()
        return {"tensor": place}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {"map": [[key, _packed(part, f"{place}/{key}", tensors)] for key, part in value.items()]}
    if isinstance(value, list | tuple):
        parts = [_packed(part, f"{place}/{index}", tensors) for index, part in enumerate(value)]
        return {"tuple": parts} if isinstance(value, tuple) else parts
    raise TypeError(f"a checkpoint holds numbers, texts and tensors; got a {type(value).__name__} at {place}")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(part, tensors) for part in value]
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "tuple" in value:
        return tuple(_unpacked(part, tensors) for part in value["tuple"])
    return {key: _unpacked(part, tensors) for key, part in value["map"]}


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        tensor = tensors[name]
        if tensor.numel():
            found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _safetensors() -> Any:
    try:
        return importlib.import_module("safetensors.torch")
    except ModuleNotFoundError as error:
        raise ImportError('checkpoints need safetensors: pip install "gconv[train]"', name=error.name) from error
