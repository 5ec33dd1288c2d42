"""torchvision's and timm's networks: the same names, order and shapes, and the same logits from the same weights.

`references.json` was made by `make_references.py` from the originals.
"""

import json
from pathlib import Path

import pytest
import torch
from seeded import packed, pictures, seeded, unpacked

from grid_cnn import models

REFERENCES = json.loads((Path(__file__).parent / "references.json").read_text())
EVERY = 25
WITH_HEADS = {"googlenet": {"aux_logits": True}, "inception_v3": {"aux_logits": True}}


def test_all_originals_are_there():
    """The networks of torchvision that this library has, by name, and timm's Inception-ResNet-v2."""
    assert set(REFERENCES) == {
        "alexnet", "googlenet", "inception_v3", "inception_resnet_v2",
        *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
        *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
        *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    }  # fmt: skip


@pytest.mark.parametrize("name", REFERENCES)
def test_references_depend_on_the_picture(name):
    """Logits that came from biases alone would let any error in the layers before pass."""
    one, other = torch.tensor(REFERENCES[name]["logits"])
    assert (one - other).abs().max() > 100 * 1e-4 * REFERENCES[name]["spread"]


def test_packing_keeps_everything():
    shapes = {"a.0.weight": (2, 3), "a.0.bias": (2,), "a.1.weight": (4,), "b": ()}
    shapes |= {f"c.bn.{name}": () if name.startswith("num") else (5,) for name in packed_names()}
    assert unpacked(packed(shapes)) == list(shapes.items())


def packed_names():
    return list(torch.nn.BatchNorm2d(5).state_dict())


@pytest.mark.parametrize("name", REFERENCES)
def test_names_order_and_shapes(name):
    with torch.device("meta"):
        model = models.create(name, **WITH_HEADS.get(name, {}))
    found = [(key, tuple(value.shape)) for key, value in model.state_dict().items()]
    assert found == unpacked(REFERENCES[name]["state"])


@pytest.mark.parametrize("name", REFERENCES)
def test_logits(name):
    reference = REFERENCES[name]
    with torch.device("meta"):
        model = models.create(name, **WITH_HEADS.get(name, {}))
    model.load_state_dict(seeded(model.state_dict()), assign=True)
    with torch.no_grad():
        logits = model.eval()(pictures(2, 3, reference["side"]))
    assert logits.shape == (2, 1000)
    expected = torch.tensor(reference["logits"])
    assert logits.std().item() == pytest.approx(reference["spread"], rel=1e-3)
    assert (logits[:, ::EVERY] - expected).abs().max() <= 1e-4 * reference["spread"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("alexnet", "features.0.weight"),
        ("alexnet", "classifier.6.bias"),
        ("vgg16", "features.28.weight"),
        ("googlenet", "inception3a.branch2.0.conv.weight"),
        ("googlenet", "aux1.fc1.weight"),
        ("inception_v3", "Mixed_6b.branch7x7dbl_3.bn.bias"),
        ("inception_v3", "AuxLogits.conv0.conv.weight"),
        ("resnet18", "layer2.0.downsample.0.weight"),
        ("densenet121", "features.denseblock1.denselayer1.norm1.weight"),
        ("inception_resnet_v2", "mixed_5b.branch0.conv.weight"),
        ("inception_resnet_v2", "repeat.0.conv2d.weight"),
        ("inception_resnet_v2", "block8.conv2d.bias"),
        ("inception_resnet_v2", "classif.weight"),
    ],
)
def test_keys_of_the_facts(name, key):
    with torch.device("meta"):
        assert key in models.create(name, **WITH_HEADS.get(name, {})).state_dict()
