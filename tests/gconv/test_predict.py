"""`gconv predict`: pictures of digits as users have them, through the command's own door."""

import json

import pytest
import torch
from photographs import photograph
from torch import Tensor

from gconv import data
from gconv.commands.app import app
from gconv.training import pretrained
from gconv.training.predict import find_pictures, predict
from gconv.training.sources import open_source

Image = pytest.importorskip("PIL.Image")


def save(picture: Tensor, path, **options):
    """`(1, H, W)` or `(3, H, W)` in [0, 1]."""
    values = (picture * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(values[..., 0] if values.shape[2] == 1 else values).save(path, **options)
    return path


def run(*words, capsys):
    app(["predict", *map(str, words)], standalone_mode=False)
    return capsys.readouterr()


@pytest.fixture
def digits(data_dir):
    mnist = data.load("mnist", data_dir=data_dir)
    return mnist.test_images[:12], mnist.test_labels[:12]


def test_every_kind_of_file(digits, tmp_path, capsys):
    """Grey and colour, PNG and JPEG, on paper and on a board, MNIST's own form: the first answer is right in all."""
    pictures, labels = digits
    tint = torch.tensor([1.0, 0.95, 0.8])[:, None, None]
    makers = (
        lambda p, name: save(p, tmp_path / f"{name}.png"),
        lambda p, name: save(photograph(p, light=0.4), tmp_path / f"{name}.jpg", quality=80),
        lambda p, name: save(photograph(p, blur=2) * tint, tmp_path / f"{name}.jpeg"),
        lambda p, name: save(photograph(p, paper=0.1, ink=0.9, scale=3), tmp_path / f"{name}.bmp"),
    )
    for i, picture in enumerate(pictures):
        makers[i % 4](picture, f"{i:02}")
    found = json.loads(run("lenet5-mnist", tmp_path, "--json", capsys=capsys).out)["predictions"]
    assert [answer["top"][0]["index"] for answer in found] == labels.tolist()
    how = [answer["read"] for answer in found]
    assert how[0] == "grey, read as light on dark, as it is"
    assert all(text.startswith("grey, read as dark on light, cropped ") for text in how[1::4])
    assert all(text.startswith("RGB, read as dark on light, cropped ") for text in how[2::4])
    assert all(text.startswith("grey, read as light on dark, cropped ") for text in how[3::4])
    for answer in found:
        shares = [entry["probability"] for entry in answer["top"]]
        assert len(shares) == 3
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) <= 1 + 1e-6


@pytest.mark.parametrize("name", pretrained.names())
def test_every_network_that_comes_with_gconv(name, digits, tmp_path, capsys):
    path = save(photograph(digits[0][0]), tmp_path / "seven.png")
    shown = run(name, path, "--top", 2, capsys=capsys).out
    assert "seven.png" in shown
    assert " 7 " in shown
    assert "dark on light, cropped" in shown


def test_unreadable_pictures_are_named_and_fail_only_the_strict(digits, tmp_path, capsys):
    save(photograph(digits[0][0]), tmp_path / "good.png")
    (tmp_path / "zero.png").write_bytes(b"")
    save(torch.full((1, 40, 40), 0.5), tmp_path / "blank.png")
    done = run("lenet5-mnist", tmp_path, capsys=capsys)
    assert "good.png" in done.out
    assert "zero.png: cannot be read as a picture (the file is empty)" in done.err
    assert "blank.png: no digit found" in done.err
    found = json.loads(run("lenet5-mnist", tmp_path, "--json", capsys=capsys).out)
    assert len(found["predictions"]) == 1
    assert sorted(entry["image"].rpartition("/")[2] for entry in found["unreadable"]) == ["blank.png", "zero.png"]
    with pytest.raises(ValueError, match="2 of 3 pictures cannot be read"):
        run("lenet5-mnist", tmp_path, "--strict", capsys=capsys)
    assert "good.png" in capsys.readouterr().out  # what could be read is told all the same
    with pytest.raises(ValueError, match="1 of 1 pictures cannot be read"):
        run("lenet5-mnist", tmp_path / "zero.png", capsys=capsys)


def test_names_are_printed_as_they_are(digits, tmp_path, capsys):
    """No part of a path is taken for colours or signs, and none is cut off where no terminal is."""
    folder = tmp_path / ("long" * 30) / "[red]"
    folder.mkdir(parents=True)
    path = save(photograph(digits[0][0]), folder / "[b]:x:.png")
    assert str(path) in run("lenet5-mnist", path, capsys=capsys).out


def test_top_is_no_more_than_there_are_classes(digits, tmp_path):
    path = save(digits[0][0], tmp_path / "a.png")
    (answer,) = predict([open_source("lenet5-mnist")], [path], top=99).answers
    assert len(answer.top) == 10
    assert sum(share for _, _, share in answer.top) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="--top takes a whole number >= 1, got 0"):
        predict([open_source("lenet5-mnist")], [path], top=0)


def test_pictures_can_be_taken_as_they_are(digits, tmp_path):
    picture = photograph(digits[0][0], scale=2, margins=(0, 0, 0, 0))
    path = save(picture, tmp_path / "a.png")
    source = open_source("lenet5-mnist")
    (answer,) = predict([source], [path], reading="picture", top=10).answers
    assert answer.how == "grey, read as grey, 56x56 scaled to 28x28"
    with torch.no_grad():
        expected = source.classifier.logits(data.read_picture(path, 1, (28, 28))[None]).softmax(1)[0]
    for _, index, share in answer.top:
        assert share == pytest.approx(float(expected[index]), abs=1e-5)
    with pytest.raises(ValueError, match="--read is one of auto, digit, picture; got 'x'"):
        predict([source], [path], reading="x")


def test_more_pictures_than_a_batch(digits, tmp_path):
    pictures, labels = digits
    paths = [save(pictures[i % 12], tmp_path / f"{i:03}.png") for i in range(70)]
    found = predict([open_source("lenet5-mnist")], find_pictures([tmp_path])).answers
    assert [answer.path for answer in found] == paths
    assert [answer.top[0][1] for answer in found] == [int(labels[i % 12]) for i in range(70)]


def test_paths_without_pictures(tmp_path):
    with pytest.raises(ValueError, match="there is no file or folder"):
        find_pictures([tmp_path / "a.png"])
    with pytest.raises(ValueError, match=r"found no pictures in .*; expected files ending in \.jpg"):
        find_pictures([tmp_path])
