"""Evaluation: views, several networks, classes by name; against the same worked out by hand."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gconv import data
from gconv.training import checkpoints, runs
from gconv.training.blueprint import Blueprint, Classifier
from gconv.training.evaluate import Views, evaluate, ten_crops, together
from gconv.training.settings import Settings
from gconv.training.sources import Source, open_source, open_sources
from gconv.training.variants import Variant
from grid_cnn import Grid, GridOps, bind, models

Image = pytest.importorskip("PIL.Image")


def classifier(size=(8, 8), classes=("a", "b", "c"), channels=1, seed=0):
    torch.manual_seed(seed)
    blueprint = Blueprint("linear", classes, size, channels, (0.5,) * channels, (0.25,) * channels)
    network = blueprint.build()
    return Classifier(blueprint, network, torch.device("cpu"))


def probabilities(one, pictures):
    with torch.no_grad():
        return one.logits(pictures).softmax(1)


def test_one_view_is_the_network_itself():
    one, pictures = classifier(), torch.rand(5, 1, 8, 8)
    torch.testing.assert_close(together([one])(pictures).exp(), probabilities(one, pictures))


def test_several_networks_answer_with_their_mean():
    one, other, pictures = classifier(seed=0), classifier(seed=1), torch.rand(5, 1, 8, 8)
    mean = (probabilities(one, pictures) + probabilities(other, pictures)) / 2
    torch.testing.assert_close(together([one, other])(pictures).exp(), mean)


def test_ten_crops_are_corners_middle_and_mirror_images():
    picture = torch.arange(36.0).reshape(1, 1, 6, 6)
    crops = list(ten_crops(picture, (4, 4)))
    at = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    for number, (top, left) in enumerate(at):
        piece = picture[:, :, top : top + 4, left : left + 4]
        assert torch.equal(crops[2 * number], piece)
        assert torch.equal(crops[2 * number + 1], piece.flip(3))
    assert len(crops) == 10


def test_scales_enlarge_and_cut_or_shrink_and_repeat_the_border():
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    same, larger, smaller = Views((1.0, 2.0, 0.5))(ramp, (8, 8))
    assert torch.equal(same, ramp)
    wide = F.interpolate(ramp, (16, 16), mode="bilinear", antialias=True)
    assert torch.equal(larger, wide[:, :, 4:12, 4:12])
    narrow = F.interpolate(ramp, (4, 4), mode="bilinear", antialias=True)
    assert torch.equal(smaller, F.pad(narrow, (2, 2, 2, 2), mode="replicate"))


def test_views_are_averaged():
    one, pictures = classifier(size=(7, 7)), torch.rand(3, 1, 7, 7)
    views = Views((1.0, 1.5), ten_crop=True)
    seen = list(views(pictures, (7, 7)))
    assert len(seen) == 20
    assert all(view.shape == (3, 1, 7, 7) for view in seen)
    mean = torch.stack([probabilities(one, view) for view in seen]).mean(0)
    torch.testing.assert_close(together([one], views)(pictures).exp(), mean)
    assert views.largest == pytest.approx(1.5 * 8 / 7)


@pytest.mark.parametrize("scales", ["", "1,x", "0", "nan", "9"])
def test_wrong_scales(scales):
    with pytest.raises(ValueError, match="scales"):
        Views.parse(scales)


@pytest.fixture
def folder(tmp_path):
    """Three classes by brightness, in train and val, one picture in val damaged."""
    for part, count in (("train", 4), ("val", 3)):
        for label, name in enumerate(("dark", "grey", "light")):
            place = tmp_path / "pictures" / part / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.new("L", (8, 8), 40 + 80 * label + i).save(place / f"{i}.png")
    (tmp_path / "pictures" / "val" / "dark" / "broken.png").write_bytes(b"")
    return tmp_path / "pictures"


class ByBrightness(nn.Module):
    """Logits that are largest for the class whose brightness is nearest."""

    def __init__(self, levels):
        super().__init__()
        self.levels = torch.tensor(levels) / 255

    def forward(self, x):
        return -100 * (x.mean((1, 2, 3))[:, None] * 0.25 + 0.5 - self.levels).pow(2)


def by_brightness(classes, levels):
    one = classifier(classes=classes)
    network = Variant("grid", one.network.model, ByBrightness(levels), Grid((8, 8)), lambda x: x, "none")
    return Classifier(one.blueprint, network, one.device)


def test_a_folder_is_evaluated_and_damage_counted(folder):
    source = Source("mine", by_brightness(("dark", "grey", "light"), (40, 120, 200)), str(folder))
    found = evaluate([source], batch_size=2)
    assert found.scores.top1 == 1.0
    assert found.scores.confusion.tolist() == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]
    assert [skipped.path.name for skipped in found.skipped] == ["broken.png"]
    assert evaluate([source], split="train").scores.images == 12
    assert evaluate([source], split="all").scores.images == 21
    with pytest.raises(data.DataError, match=r"1 pictures cannot be read.*broken\.png"):
        evaluate([source], strict=True)


def test_classes_are_matched_by_name(folder):
    """The network knows one more, and in another order; it takes grey for light."""
    source = Source("mine", by_brightness(("light", "none", "grey", "dark"), (120, 0.0, 200, 40)), str(folder))
    found = evaluate([source])
    assert found.scores.confusion.tolist() == [[0, 0, 3, 0], [0, 0, 0, 0], [3, 0, 0, 0], [0, 0, 0, 3]]
    assert found.scores.top1 == pytest.approx(1 / 3)


def test_classes_that_the_network_does_not_know(folder):
    source = Source("mine", by_brightness(("dark", "light"), (40, 200)), str(folder))
    with pytest.raises(ValueError, match="has classes that the network was not trained on, grey; it knows dark, light"):
        evaluate([source])


def test_other_channels_are_refused():
    source = Source("mine", classifier(classes=tuple("0123456789"), channels=3), "digits")
    with pytest.raises(ValueError, match="digits has pictures of 1 channels, and mine reads 3"):
        evaluate([source])


@pytest.fixture
def run(tmp_path):
    """A run folder as training leaves it, of a dense layer on scikit-learn's digits, with fresh weights."""

    def make(name="run", seed=0, model="linear"):
        torch.manual_seed(seed)
        place = tmp_path / name
        chosen = Settings(model=model, data="digits", epochs=1)
        blueprint = Blueprint(model, tuple("0123456789"), (28, 28), 1, (0.3,), (0.37,))
        runs.begin(place, chosen, blueprint)
        checkpoints.save_weights(place / checkpoints.BEST, blueprint.build().model.state_dict(), {})
        return place

    return make


def test_a_run_is_evaluated_on_its_own_data(run):
    place = run()
    found = evaluate([open_source(str(place))])
    digits = data.load("digits")
    x = (digits.test_images - 0.3) / 0.37
    net = models.create("linear", ops=GridOps(2), domain=Grid((28, 28)), in_channels=1, num_classes=10)
    models.load(net, place / checkpoints.BEST)
    with torch.no_grad():
        logits = bind(net, Grid((28, 28)))(x)
    scores = found.scores
    assert scores.top1 == pytest.approx(float((logits.argmax(1) == digits.test_labels).double().mean()))
    assert scores.loss == pytest.approx(float(F.cross_entropy(logits, digits.test_labels)), rel=1e-5)
    top5 = (logits.topk(5).indices == digits.test_labels[:, None]).any(1).double().mean()
    assert scores.top5 == pytest.approx(float(top5))
    assert scores.images == 450


def test_networks_that_cannot_answer_together(run, tmp_path):
    digits = run("one")
    other = Blueprint("linear", ("cat", "dog"), (28, 28), 1, (0.3,), (0.37,))
    runs.begin(tmp_path / "two", Settings(model="linear", data="digits"), other)
    checkpoints.save_weights(tmp_path / "two" / checkpoints.BEST, other.build().model.state_dict(), {})
    with pytest.raises(
        ValueError, match=r"cannot answer together: 10 classes \(0, 1, 2 ...\) on 1.*2 classes \(cat, dog\)"
    ):
        open_sources([str(digits), str(tmp_path / "two")])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model", 5, "a text; got 5"),
        ("classes", 4, "a list of texts; got 4"),
        ("classes", [], r"a list of texts; got \[\]"),
        ("classes", [0, 1], "a list of texts"),
        ("size", 28, "a list of two whole numbers >= 1; got 28"),
        ("size", [28, 28, 28], "a list of two whole numbers"),
        ("in_channels", True, "a whole number >= 1; got true"),
        ("mean", "0.3", "a list of numbers; got"),
        ("mean", [0.1, 0.2, 0.3], "has 3 numbers; expected 1, one a channel"),
        ("deviation", [0.0], r"a list of numbers above 0; got \[0\.0\]"),
        ("domain", "gird", '"grid" or "graph"; got "gird"'),
        ("conv", None, "a text; got null"),
        ("K", 2.5, "a whole number >= 1, or null"),
        ("neighbors", "8", "a whole number >= 1"),
        ("dropout", 1.5, "a share"),
    ],
)
def test_a_network_that_was_edited_by_hand_is_named(run, key, value, expected):
    path = run() / runs.NETWORK
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ValueError, match=rf"network\.json: {key} (takes )?{expected}"):
        open_source(str(path.parent))


def test_what_is_no_run(tmp_path):
    with pytest.raises(ValueError, match=r"'lenet5-mnst' is neither a run folder.*did you mean lenet5-mnist"):
        open_source("lenet5-mnst")
    with pytest.raises(ValueError, match=r"is no run of gconv train: it has no settings\.yaml"):
        open_source(str(tmp_path))
    with pytest.raises(ValueError, match=r"device takes .*; got 'gpu'"):
        open_source("lenet5-mnist", device="gpu")


def test_the_command_prints_tables_or_json(run, capsys):
    from gconv.commands.app import app

    places = [str(run("one", 0)), str(run("two", 1))]
    app(["evaluate", *places, "--scales", "1,1.2", "--ten-crop"], standalone_mode=False)
    shown = capsys.readouterr().out
    for words in ("mean of probabilities", "the test part: 450 pictures", "scales 1, 1.2, ten crops at each", "top-5",
                  "precision", "recall", "taken for"):  # fmt: skip
        assert words in shown
    app(["evaluate", *places, "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    expected = evaluate(open_sources(places)).scores
    assert found["networks"] == places
    assert found["top1"] == pytest.approx(expected.top1)
    assert found["confusion"] == expected.confusion.tolist()
    assert len(found["per_class"]) == 10
