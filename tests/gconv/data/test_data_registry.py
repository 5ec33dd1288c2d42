"""Which data sets there are, what `load` refuses, and what stays unimported."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gconv import data
from gconv.data.optional import import_optional

ROOT = Path(data.__file__).resolve().parents[2]


def test_names():
    assert data.names() == ("digits", "mnist", "fashion-mnist", "cifar10", "cifar100")


@pytest.mark.parametrize(("given", "near"), [("mnst", "mnist"), ("MNIST", "mnist"), ("digit", "digits")])
def test_an_unknown_name_close_to_one_is_guessed(given: str, near: str):
    names = "digits, mnist, fashion-mnist, cifar10, cifar100"
    with pytest.raises(ValueError, match=f"unknown data set '{given}'; did you mean '{near}'.*: {names}"):
        data.load(given)


def test_an_unknown_name_close_to_none_is_answered_with_all():
    names = "digits, mnist, fashion-mnist, cifar10, cifar100"
    with pytest.raises(
        ValueError, match=rf"^unknown data set 'imagenet' \(there are: {names}; or a folder of pictures\)$"
    ):
        data.load("imagenet")


@pytest.mark.parametrize("name", data.names())
@pytest.mark.parametrize("size", [(0, 28), (28, -1), (28,), (28, 28, 28), (28.0, 28.0), 28, "28"])
def test_an_impossible_size_is_refused(name: str, size):
    with pytest.raises(ValueError, match=r"size must be \(height, width\), two positive integers; got "):
        data.load(name, size=size)


def test_importing_loads_none_of_the_optional_packages():
    script = "import sys, gconv.data; print(sorted({'sklearn', 'PIL', 'scipy', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def hide(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)


def test_digits_without_scikit_learn(monkeypatch: pytest.MonkeyPatch):
    hide(monkeypatch, "sklearn")
    with pytest.raises(ImportError) as caught:
        data.load("digits")
    expected = 'the data set "digits" needs scikit-learn, which is not installed: pip install "gconv[train]"'
    assert str(caught.value) == expected


def test_pictures_without_pillow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    hide(monkeypatch, "PIL")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(ImportError, match=r'reading pictures needs pillow.*pip install "gconv\[train\]"'):
        data.read_picture(tmp_path / "a.png")


def test_mnist_at_hand_is_not_fetched(write_mnist):
    assert len(data.load("mnist", data_dir=write_mnist(), download=True).train_labels) == 12


def test_parts_give_pictures_with_labels(write_mnist):
    mnist = data.load_lazily("mnist", data_dir=write_mnist())
    pictures, labels = mnist.train[[3, 0]]
    assert torch.equal(pictures, mnist.train_images[[3, 0]])
    assert labels.tolist() == [3, 0]
    assert mnist.test.labels.tolist() == mnist.test_labels.tolist()
    assert mnist.moments() == (float(mnist.train_images.mean()), float(mnist.train_images.std()))
    assert mnist.skipped == ()


def test_a_package_that_is_installed_but_broken_is_not_called_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "broken_package.py").write_text("import a_module_that_nobody_has")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has") as caught:
        import_optional("broken_package", package="broken-package", purpose="the test")
    assert "pip install" not in str(caught.value)


@pytest.mark.parametrize(
    "module", ["gconv.data", *(f"gconv.data.{m.name}" for m in pkgutil.iter_modules(data.__path__))]
)
def test_the_examples_run(module: str):
    if module in ("gconv.data", "gconv.data.digits", "gconv.data.registry"):
        pytest.importorskip("sklearn")
    assert doctest.testmod(importlib.import_module(module)).failed == 0
