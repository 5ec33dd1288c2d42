"""Make `references.json`: names, shapes and logits of torchvision's networks, and of timm's Inception-ResNet-v2.

    pip install --no-deps torchvision==0.28.0 timm==1.0.31     # and what importing them asks for
    python tests/grid_cnn/models/make_references.py

Weights are those of `tests/seeded.py`, so no weight file is needed, here or in the tests.
"""

import importlib
import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))
from seeded import packed, pictures, seeded

# Which side of picture, small where the network allows; two pictures each.
SIDES = {
    "alexnet": 95,
    "vgg11": 64, "vgg13": 64, "vgg16": 64, "vgg19": 64,
    "vgg11_bn": 64, "vgg13_bn": 64, "vgg16_bn": 64, "vgg19_bn": 64,
    "googlenet": 97, "inception_v3": 107, "inception_resnet_v2": 107,
    "resnet18": 75, "resnet34": 75, "resnet50": 75, "resnet101": 75, "resnet152": 75,
    "densenet121": 75, "densenet161": 75, "densenet169": 75, "densenet201": 75,
}  # fmt: skip
# One logit in so many is kept.
EVERY = 25


def original(name: str) -> torch.nn.Module:
    if name == "inception_resnet_v2":
        return importlib.import_module("timm").create_model(name)
    options = {"aux_logits": True, "init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(importlib.import_module("torchvision.models"), name)(**options)


def main() -> None:
    rows = []
    for name, side in SIDES.items():
        model = original(name).eval()
        model.transform_input = False
        state = model.state_dict()
        shapes = {key: tuple(value.shape) for key, value in state.items()}
        model.load_state_dict(seeded(state))
        with torch.no_grad():
            logits = model(pictures(2, 3, side))
        row = {
            "side": side,
            "spread": float(f"{logits.std():.6g}"),
            "logits": [[float(f"{v:.7g}") for v in image] for image in logits[:, ::EVERY].tolist()],
            "state": packed(shapes),
        }
        rows.append(f"{json.dumps(name)}: {json.dumps(row, separators=(',', ':'))}")
        print(name, side, f"{logits.std():.4g}", flush=True)
    text = "{\n" + ",\n".join(rows) + "\n}\n"
    (Path(__file__).parent / "references.json").write_text(text)


if __name__ == "__main__":
    main()
