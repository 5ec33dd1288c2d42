"""The benchmarks that train: augmentation, resumption to the bit, LeCun's protocol, and the plain twins."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import degradation, lecun1989, networks, tables
from benchmarks.degradation import Augmented, Pictures, Settings, Training
from gconv.data.images import ImageData, permutation
from grid_cnn import models


def test_augmentation_shifts_over_zeros_and_mirrors():
    images, seen = torch.rand(12, 2, 6, 5) + 0.1, set()
    for epoch in range(8):
        labels = torch.arange(12)
        parts = list(Augmented(images, labels, 5, seed=epoch))
        order = torch.cat([part[1] for part in parts])
        assert order.sort().values.tolist() == list(range(12))
        for picture, number in zip(torch.cat([part[0] for part in parts]), order, strict=True):
            found = [
                (mirrored, down, right)
                for mirrored in (False, True)
                for down in range(9)
                for right in range(9)
                if torch.equal(picture, placed(images[number], mirrored, down, right))
            ]
            assert found
            seen.update(found[:1] if len(found) == 1 else [])
    assert {mirrored for mirrored, _, _ in seen} == {False, True}
    assert len({down for _, down, _ in seen}) == 9
    again = [[x for x, _ in Augmented(images, torch.arange(12), 5, seed=3)] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*again, strict=True))


def placed(image, mirrored, down, right):
    padded = nn.functional.pad(image, [4, 4, 4, 4])
    cut = padded[:, down : down + image.shape[1], right : right + image.shape[2]]
    return cut.flip(2) if mirrored else cut


def subset():
    generator = torch.Generator().manual_seed(0)
    train, test = (torch.randn(count, 3, 28, 28, generator=generator) for count in (12, 6))
    return Pictures(train, torch.arange(12) % 3, test, torch.arange(6) % 3, 3)


SETTINGS = Settings(12, 6, 3, 4)


def without_seconds(history):
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in history]


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path):
    whole = Training("resnet20_cifar", subset(), SETTINGS, tmp_path / "whole.pt")
    for _ in range(3):
        whole.epoch()
    torch.rand(7)  # whatever else draws numbers
    first = Training("resnet20_cifar", subset(), SETTINGS, tmp_path / "parts.pt")
    first.epoch()
    (tmp_path / "parts.pt.tmp").write_bytes(b"half a state")  # killed while it wrote
    for _ in range(2):
        Training("resnet20_cifar", subset(), SETTINGS, tmp_path / "parts.pt").epoch()
    last = Training("resnet20_cifar", subset(), SETTINGS, tmp_path / "parts.pt")
    assert without_seconds(last.history) == without_seconds(whole.history)
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, last.net.state_dict()[name]), name
    other = dataclasses.replace(SETTINGS, batch=6)
    with pytest.raises(ValueError, match=r"training with \{'batch': 4\}, and this one has \{'batch': 6\}"):
        Training("resnet20_cifar", subset(), other, tmp_path / "parts.pt")


def test_a_figure_is_drawn_of_all_nets():
    epochs = [{"epoch": i, "train_error": 0.9 / i, "test_error": 0.8 / i} for i in (1, 2)]
    found = {"nets": [{"name": name, "epochs": epochs} for name in degradation.NETS]}
    svg = tables.drawn("degradation", found)
    for words in ("20 layers, training", "56 layers, test", "plain", "residual"):
        assert words in svg
    assert svg == tables.drawn("degradation", found)


def digits():
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(300, 1, 28, 28, generator=generator), torch.arange(300) % 10
    return ImageData("noise", "noise", images, labels, images[:20], labels[:20], tuple("0123456789"))


def test_the_protocol_of_1989():
    train, test = lecun1989.few(digits(), seed=0)
    assert (train.images.shape, test.images.shape) == ((320, 1, 16, 16), (160, 1, 16, 16))
    assert train.labels.bincount().tolist() == [32] * 10
    assert test.labels.bincount().tolist() == [16] * 10
    both = torch.cat([train.images, test.images]).squeeze(1)
    empty = (both == -1).all(1)  # columns of paper: three of them, in one of four places
    assert empty.sum(1).tolist() == [3] * 480
    left = (~empty).int().argmax(1)
    assert left.bincount().tolist() == [120] * 4
    cut = torch.stack([picture[:, at : at + 13] for picture, at in zip(both, left, strict=True)])
    assert len(cut.flatten(1).unique(dim=0)) == 120
    other, _ = lecun1989.few(digits(), seed=1)
    assert not torch.equal(other.images, train.images)


def test_rates_are_divided_by_fan_in():
    net = models.create("lecun1989_net5")
    found = lecun1989.rates(net, 1.0)
    assert found.keys() == dict(net.named_parameters()).keys()
    assert sorted(1 / rate for rate in found.values()) == [9, 9, 50, 50, 64, 64]


@pytest.mark.parametrize("name", ["lecun1989_net3", "lecun1989_net5"])
def test_networks_that_train_at_once_are_as_one_by_one(name):
    """Against torch's SGD, a network at a time, on the same pictures in the same order."""
    draws = [lecun1989.few(digits(), seed=seed) for seed in (0, 1)]
    draws = [(lecun1989.Part(part.images[::16], part.labels[::16]), test) for part, test in draws]
    together = lecun1989.trained(name, draws, lecun1989.Course(2, 3, 0.5, 2), first_seed=4)
    for seed, (train, test), accuracies in zip((4, 5), draws, together, strict=True):
        torch.manual_seed(seed)
        net = models.create(name)
        rates = lecun1989.rates(net, 0.5)
        stepper = torch.optim.SGD([{"params": [p], "lr": rates[key]} for key, p in net.named_parameters()])
        for epoch in range(3):
            for chosen in permutation(20, 1000 * (seed + 1) + epoch).split(2):
                stepper.zero_grad()
                lecun1989.squared_error(net(train.images[chosen]), train.labels[chosen]).backward()
                stepper.step()
            for group, rate in zip(stepper.param_groups, rates.values(), strict=True):
                group["lr"] = rate * (1 - (epoch + 1) / 3)
        with torch.no_grad():
            found = [float((net(part.images).argmax(1) == part.labels).double().mean()) for part in (train, test)]
        assert found == pytest.approx(accuracies)


@pytest.mark.parametrize("index", range(1, 6))
def test_weights_begin_as_in_the_paper(index):
    """U(±2.4 / fan-in): the fan-ins of the five nets."""
    fans = {1: [256], 2: [256, 12], 3: [9, 25, 16], 4: [9, 50, 16], 5: [9, 50, 64]}[index]
    net = models.create(f"lecun1989_net{index}")
    weights = [p for name, p in net.named_parameters() if name.endswith("weight")]
    for weight, fan in zip(weights, fans, strict=True):
        assert 0.6 * 2.4 / fan < float(weight.abs().max()) <= 2.4 / fan


def test_the_plain_networks_are_held_to_ours():
    ours, theirs = networks.twins("resnet18")
    x = torch.randn(2, 3, 64, 64)
    networks.check("resnet18", ours, theirs, x)
    with torch.no_grad():
        list(theirs.parameters())[-1][3] += 0.01  # a bias of the last layer, which no norm undoes
    with pytest.raises(ValueError, match="differ from plain torch's"):
        networks.check("resnet18", ours, theirs, x)
    assert "grid_cnn" not in Path(networks.plain_networks.__file__).read_text().replace("nothing of `grid_cnn`", "")


def test_the_published_table_of_1989():
    """Links, weights and accuracies of the five nets, as the paper prints them."""
    found = [(line.links, line.weights, line.accuracy) for line in lecun1989.NETS.values()]
    assert found == [
        (2570, 2570, 0.80), (3240, 3240, 0.87), (1226, 1226, 0.885), (2266, 1132, 0.94), (5194, 1060, 0.984),
    ]  # fmt: skip
