"""The networks that come with gconv: accuracy on real digits, also photographed, and the command that made them."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from photographs import photograph

from gconv import data
from gconv.data.handwriting import read_handwriting
from gconv.training import pretrained

FOLDER = pretrained.FOLDER


@pytest.fixture(scope="module")
def sample():
    """2,000 of MNIST's test digits."""
    folder = Path(os.environ.get("GCONV_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    if not (folder / "MNIST/raw").is_dir():
        pytest.skip(f"no MNIST under {folder}; set GCONV_TEST_DATA to the folder that has MNIST/raw")
    mnist = data.load("mnist", data_dir=folder).subset(test=2000)
    return mnist.test_images, mnist.test_labels


@pytest.mark.parametrize("name", pretrained.names())
def test_stated_accuracy_holds_on_a_sample(name, sample):
    shipped = pretrained.load(name)
    assert shipped.notes["test_images"] == 10_000
    assert shipped.accuracy >= (0.992 if name == "lenet5-mnist" else 0.985)
    pictures, labels = sample
    right = (shipped.classifier.logits(pictures).argmax(1) == labels).double().mean()
    deviation = (shipped.accuracy * (1 - shipped.accuracy) / len(labels)) ** 0.5
    assert abs(float(right) - shipped.accuracy) < 4 * deviation


PHOTOGRAPHS = {
    "paper": {},
    "board": {"paper": 0.2, "ink": 0.9},
    "small and faint": {"scale": 2, "margins": (8, 12, 6, 9), "paper": 0.6, "ink": 0.4, "noise": 0.01},
    "far away": {"scale": 3, "margins": (120, 90, 100, 140)},
    "blurred": {"blur": 4},
    "unevenly lit": {"light": 0.5, "noise": 0.02},
    "a board, unevenly lit": {"paper": 0.25, "ink": 0.85, "light": 0.4},
    "noisy": {"noise": 0.08},
}


@pytest.mark.parametrize("kind", PHOTOGRAPHS)
def test_photographed_digits_are_read(kind, sample):
    pictures, labels = (part[:100] for part in sample)
    found = [read_handwriting(photograph(picture, **PHOTOGRAPHS[kind])) for picture in pictures]
    polarity = "light on dark" if "board" in kind else "dark on light"
    assert all(digit.how.startswith(polarity) for digit in found)
    digits = torch.stack([digit.pixels for digit in found])
    for name in pretrained.names():
        right = (pretrained.load(name).classifier.logits(digits).argmax(1) == labels).double().mean()
        assert right >= 0.96, name


def test_together_they_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2 * 2**20
    assert {path.name for path in FOLDER.iterdir()} == {
        f"{name}.{ending}" for name in pretrained.names() for ending in ("json", "safetensors")
    }


def test_the_directional_network_has_the_grid_s_weights(sample):
    grid, graph = pretrained.network("grid"), pretrained.network("directional")
    x = (sample[0][:20] - 0.1307) / 0.3081
    with torch.no_grad():
        torch.testing.assert_close(graph.module(graph.encode(x)), grid.module(grid.encode(x)), rtol=1e-3, atol=1e-4)


def test_near_names():
    with pytest.raises(ValueError, match="no network 'lenet-mnist' comes with the package: did you mean lenet5-mnist"):
        pretrained.load("lenet-mnist")


def copied(tmp_path: Path, name="lenet5-mnist") -> tuple[Path, Path]:
    for ending in ("json", "safetensors"):
        (tmp_path / f"{name}.{ending}").write_bytes((FOLDER / f"{name}.{ending}").read_bytes())
    return tmp_path / f"{name}.json", tmp_path / f"{name}.safetensors"


class Explodes:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def truncated(described, weights):
    weights.write_bytes(weights.read_bytes()[:50_000])


def bomb(described, weights):
    torch.save({"conv1.weight": Explodes()}, weights)


def foreign(described, weights):
    weights.write_bytes((FOLDER / "lenet5-cheb-mnist.safetensors").read_bytes())


def other_classes(described, weights):
    found = json.loads(described.read_text())
    described.write_text(json.dumps({**found, "classes": list("abc")}))


def no_json(described, weights):
    described.write_text("{")


def no_blueprint(described, weights):
    described.write_text('{"accuracy": 1}')


@pytest.mark.parametrize("damage", [truncated, bomb, foreign, other_classes, no_json, no_blueprint])
def test_damaged_and_foreign_files_are_refused(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    described, weights = copied(tmp_path)
    pretrained.load("lenet5-mnist", folder=tmp_path)
    damage(described, weights)
    with pytest.raises(ValueError, match=r"lenet5-mnist\.(safetensors|json)"):
        pretrained.load("lenet5-mnist", folder=tmp_path)
    assert not (tmp_path / "exploded").exists()


def test_missing_weights_are_named(tmp_path):
    _, weights = copied(tmp_path)
    weights.unlink()
    with pytest.raises((ValueError, OSError), match=r"lenet5-mnist\.safetensors"):
        pretrained.load("lenet5-mnist", folder=tmp_path)


def test_the_committed_command_makes_them(sample, tmp_path):
    """An epoch on a small MNIST: the files, the settings in them, and weights that have learned something."""
    pytest.importorskip("kornia")
    pictures, labels = sample
    small = data.ImageData("mnist", "a small MNIST", pictures[:1500], labels[:1500], pictures[1500:], labels[1500:],
                           tuple("0123456789"))  # fmt: skip
    made = pretrained.make("lenet5-mnist", small, tmp_path, epochs=2)
    assert made.accuracy > 0.7
    assert made.notes["training"]["epochs"] == 2
    assert made.notes["made_by"].startswith("python -m gconv.training.pretrained")
    again = pretrained.load("lenet5-mnist", folder=tmp_path).classifier
    right = (again.logits(pictures[1500:]).argmax(1) == labels[1500:]).double().mean()
    assert float(right) == pytest.approx(made.accuracy)


def test_the_command_tells_what_it_takes():
    done = subprocess.run(
        [sys.executable, "-m", "gconv.training.pretrained", "--help"], capture_output=True, text=True, check=True
    )
    assert "--data-dir" in done.stdout
    assert "lenet5-cheb-mnist" in done.stdout


def test_a_comparison_of_them_trains_nothing(tmp_path):
    """On the digits of scikit-learn, which always come along: their rows, pictures of their filters, no curves."""
    from gconv.training import pages, report
    from gconv.training.compare import compare
    from gconv.training.compare_settings import CompareSettings

    settings = CompareSettings(variants=("grid", "cheb"), pretrained=True, batch_size=4)
    found = compare(settings)
    assert [row.variant for row in found.rows] == ["grid", "cheb"]
    digits = found.images
    assert digits.title.endswith("resized to 28x28, brought to MNIST's form")
    for row in found.rows:
        classifier = pretrained.load(pretrained.VARIANTS[row.variant]).classifier
        right = (classifier.logits(digits.test_images).argmax(1) == digits.test_labels).double().mean()
        assert row.accuracies == (pytest.approx(float(right)),)
        assert row.accuracies[0] > 0.8  # other pens and other scanners than MNIST's
    page = pages.page(found)
    assert page.curves == ()
    shipped = pretrained.load("lenet5-mnist").classifier.network.model.get_submodule("conv1").weight
    assert torch.equal(torch.from_numpy(page.filters[0].pictures), shipped[:, 0].detach())
    report.write(page, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "No network was trained." in text
    assert "networks that come with gconv, trained on MNIST" in text
    assert settings.command == "gconv compare --variants grid,cheb --batch-size 4 --pretrained"


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"variants": ("grid", "gcn")}, "no trained network of variant gcn comes with gconv; --pretrained has grid,"),
        ({"variants": ("grid",), "model": "vgg11"}, "are lenet5 on 28x28 pictures"),
        ({"variants": ("grid",), "neighbors": 4}, "are lenet5 on 28x28 pictures, with 8 neighbors"),
    ],
)
def test_comparisons_that_they_cannot_make(options, match):
    from gconv.training.compare_settings import CompareSettings

    with pytest.raises(ValueError, match=match):
        CompareSettings(pretrained=True, **options)


def test_other_pictures_than_digits_are_refused():
    x, y = torch.zeros(2, 1, 28, 28), torch.tensor([0, 1])
    cats = data.ImageData("pets", "pets", x, y, x, y, ("cat", "dog"))
    with pytest.raises(ValueError, match="read grey digits; pets: take mnist or digits"):
        pretrained.as_mnist(cats)
    digits = data.ImageData("mnist", "MNIST", x, y, x, y, tuple("0123456789"))
    assert pretrained.as_mnist(digits) is digits


@pytest.mark.parametrize("name", pretrained.names())
def test_the_settings_in_the_package_are_those_of_the_command(name):
    recipe = dataclasses.asdict(pretrained._RECIPES[name])
    assert pretrained.load(name).notes["training"] == recipe
