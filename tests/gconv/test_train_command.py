"""`gconv train` as a user runs it: its run folder, its settings file, its errors, and what Ctrl-C leaves."""

import csv
import dataclasses
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from rich.console import Console

from gconv import cli
from gconv.commands.train import Bar
from gconv.training import checkpoints, figures, settings
from gconv.training.feeds import feeds, moments, split
from gconv.training.metrics import evaluate
from gconv.training.runs import Run, free_folder
from gconv.training.session import Epoch
from gconv.training.settings import Settings
from gconv.training.train import train
from grid_cnn import models

QUICK = ("--size", "12x12", "--epochs", 2, "--batch-size", 256)
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); from gconv.cli import main; main()"


@pytest.fixture
def gconv(monkeypatch, capsys, tmp_path):
    """The command line in this process: exit code, what it printed, what it complained of."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gconv", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


def refused(done, *words):
    code, _, errors = done
    assert code == 2, errors
    assert errors.startswith("error: ")
    assert len(errors.splitlines()) == 1
    for word in words:
        assert str(word) in errors
    return True


def test_a_run_and_what_it_leaves(gconv, tmp_path):
    code, printed, errors = gconv("train", "lenet5", *QUICK, "--gradient-check", "--tensorboard")
    assert code == 0, errors
    folder = tmp_path / "runs/lenet5-digits-grid"
    assert {path.name for path in folder.iterdir()} == {
        "settings.yaml", "network.json", "history.csv", "results.json", "curves.svg", "confusion.svg", "tensorboard",
        "last.safetensors", "before.safetensors", "best.safetensors",
    }  # fmt: skip
    for words in ("gradients hold", "epoch 2/2: loss", "validation loss", "precision", "test accuracy", "top-5"):
        assert words in printed
    results = json.loads((folder / "results.json").read_text())
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [float(row["train_loss"]) for row in rows] == [epoch["train_loss"] for epoch in results["epochs"]]
    assert float(rows[-1]["lr"]) == 0.0
    assert results["images"] == {"train": 1211, "validation": 136, "test": 450}
    assert results["versions"].keys() >= {"python", "torch", "gconv"}
    assert sum(row["images"] for row in results["test"]["per_class"].values()) == 450
    run = Run.open(folder)
    found = evaluate(run.logits, feeds(run.settings).test, 10)
    assert results["test"]["top1"] == found.top1
    assert f"test accuracy {found.top1:.2%}" in printed
    assert found.confusion.tolist() == results["test"]["confusion"]
    assert models.load(models.lenet5(domain=run.classifier.network.domain), folder / "best.safetensors").loaded == 10
    assert list((folder / "tensorboard").glob("events*"))
    # The same folder is never written over, and another name is found for the next run.
    assert refused(gconv("train", "--out", folder), "there is a run in", "--resume")
    assert free_folder("lenet5", "digits", "grid").name == "lenet5-digits-grid-2"


def test_the_settings_file_repeats_the_run(gconv, tmp_path):
    code, _, errors = gconv("train", *QUICK, "--domain", "graph", "--conv", "monet", "--K", 4, "--out", "a")
    assert code == 0, errors
    code, _, errors = gconv("train", "--config", "a/settings.yaml", "--out", "b")
    assert code == 0, errors
    for name in ("best.safetensors", "settings.yaml", "network.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    code, _, errors = gconv("train", "--config", "a/settings.yaml", "--seed", 1, "--out", "c")
    assert code == 0, errors
    assert (tmp_path / "a/best.safetensors").read_bytes() != (tmp_path / "c/best.safetensors").read_bytes()
    assert Run.open(tmp_path / "c").settings == dataclasses.replace(Run.open(tmp_path / "a").settings, seed=1)
    last, best = Run.open(tmp_path / "a", weights="last"), Run.open(tmp_path / "a")
    assert last.logits(torch.rand(2, 1, 12, 12)).shape == best.logits(torch.rand(2, 1, 12, 12)).shape == (2, 10)


def test_every_setting_goes_through_the_file_and_the_help(gconv, tmp_path):
    other = Settings(
        model="resnet20_cifar", data="mnist", data_dir=Path("x y"), download=True, size=(20, 24), validation=0.25,
        strict=True, workers=2, domain="graph", conv="cheb", K=3, neighbors=4, weights=Path("w.pth"), dropout=0.5,
        epochs=3, batch_size=7, accumulate=2, seed=5, optimizer="sgd", lr=1e-7, momentum=0.5, nesterov=True,
        weight_decay=5e-4, l1=1e-6, schedule="step", warmup=0.5, step_epochs=4, gamma=0.3, patience=1, loss="hinge",
        label_smoothing=0.1, auxiliary_weight=0.4, clip_norm=1.0, clip_value=0.5, precision="bf16", ema=0.99,
        early_stopping=6, augment="crop:2,flip", channels_last=True, compile=True, checkpoint_every=9, tensorboard=True,
        gradient_check=True,
    )  # fmt: skip
    untouched = {name for name, (old, new) in Settings().differences(other).items() if old == new}
    assert untouched | (settings.names().keys() - Settings().differences(other).keys()) == {"device"}
    path = tmp_path / "settings.yaml"
    path.write_text(other.as_yaml())
    assert settings.from_mapping(settings.read_yaml(path), "it") == other
    path.write_text(Settings().as_yaml())
    assert settings.from_mapping(settings.read_yaml(path), "it") == Settings()
    _, printed, _ = gconv("train", "--help")
    for name in settings.names().keys() - {"model"}:
        assert settings.flag(name) in printed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "epoch: 3\nbatchsize: 4\n",
            ("unknown settings 'epoch' (did you mean epochs", "'batchsize' (did you mean batch_size"),
        ),
        ("zzz: 3\n", ("unknown settings 'zzz';", "--help")),
        ("epochs: many\n", ("epochs takes a whole number; got 'many'",)),
        ("epochs: true\n", ("epochs takes a whole number; got True",)),
        ("epochs: 0\n", ("epochs takes a number >= 1; got 0",)),
        ("lr: -1e-3\n", ("lr takes a number above 0",)),
        ("size: 28\n", ("size takes HEIGHTxWIDTH", "got 28")),
        ("augment: crop:x\n", ("settings.yaml", "crop")),
        ("model: lenet\n", ("unknown model 'lenet'", "lenet5")),
        ("- a\n- b\n", ("holds no settings",)),
        ("a: [\n", ("is no YAML file",)),
        ("!!python/object/apply:os.mkdir ['exploded']\n", ("is no YAML file",)),
    ],
    ids=lambda value: value.strip()[:20] if isinstance(value, str) else "",
)
def test_settings_files_that_are_refused(text, words, gconv, tmp_path):
    (tmp_path / "settings.yaml").write_text(text)
    assert refused(gconv("train", "--config", "settings.yaml"), "settings.yaml", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["settings.yaml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("lenet",), ("unknown model 'lenet'", "lenet5")),
        (("--optimizer", "sdg"), ("optimizer takes one of sgd, adam, adamw", "did you mean sgd", "got 'sdg'")),
        (("--conv", "cheb"), ("of graphs", "domain graph")),
        (("--domain", "graph", "--K", 3), ("leave out K",)),
        (("--nesterov",), ("sgd's momentum",)),
        (("--warmup", 30), ("at most all epochs, 20", "got 30")),
        (("--early-stopping", 2, "--validation", 0), ("validation",)),
        (("--validation", 1), ("a share", "got 1.0")),
        (("--validation", 0.001), ("holds out none",)),
        (("--neighbors", 6), ("one of 4, 8", "got 6")),
        (("--device", "gpu"), ("'gpu'", "take 'cpu'")),
        (("--config", "nowhere.yaml"), ("nowhere.yaml", "No such file")),
        (("--resume", "nowhere"), ("nowhere is no run",)),
        (("--resume", "a", "--out", "b"), ("leave out --config and --out",)),
        (("--checkpoint", "before"), ("--resume RUN",)),
        (("--data", "minst"), ("unknown data set 'minst'", "mnist")),
        (("--size", "5x5"), ("LeNet-5", "does not fit", "least size")),
        (("linear", "--dropout", 0.5), ("linear takes no argument 'dropout'",)),
        (("--epoch", 3), ("--epoch", "--epochs")),
        (("--lr", "fast"), ("--lr", "number")),
        (("--augment", "cutout:40"), ("a square of 40 pixels does not fit pictures of 28x28",)),
        (("--weights", "nowhere.pth"), ("nowhere.pth",)),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, words, gconv, tmp_path):
    assert refused(gconv("train", *arguments), *words)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_runs_away_is_told(gconv, tmp_path):
    done = gconv("train", *QUICK, "--optimizer", "sgd", "--lr", 1e12, "--schedule", "constant", "--out", "run")
    assert refused(done, "epoch 1", "lower the learning rate", "nothing was saved before it")
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_places_that_cannot_be_written_to(gconv, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert refused(gconv("train", *QUICK, "--out", "file/below"), "file/below", "--out")
    if Path("/proc/self").is_dir():
        assert refused(gconv("train", *QUICK, "--out", "/proc/self/run"), "/proc/self/run")


def process(arguments, cwd, code=None):
    command = [sys.executable, *(["-c", code] if code else ["-m", "gconv.cli"]), *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_ends_in_one_line_and_loses_nothing(gconv, tmp_path):
    """No file may grow beyond 100 kB: weights are smaller, checkpoints with the optimiser's state are not."""
    full = process(("train", *QUICK, "--out", "run"), tmp_path, LIMIT.format(100_000))
    _, errors = full.communicate(timeout=120)
    assert full.returncode == 2
    assert errors.count("\n") == 1
    assert re.match(r"error: .*cannot write run/last.safetensors \([\d,]+ bytes\): File too large", errors)
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert not (tmp_path / "run/last.safetensors").exists()
    code, printed, errors = gconv("train", "--resume", "run")
    assert code == 0, errors
    assert "nothing was saved yet" in printed
    assert Run.open(tmp_path / "run").results is not None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_saves_first(number, code, gconv, tmp_path):
    running = process(("train", *QUICK[:2], "--epochs", 60, "--out", "run"), tmp_path)
    while not (tmp_path / "run/history.csv").exists():
        assert running.poll() is None, running.communicate()
        time.sleep(0.02)
    running.send_signal(number)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == code
    assert errors == ("interrupted\n" if number == signal.SIGINT else "")
    state = checkpoints.read(tmp_path / "run/last.safetensors")
    assert state["position"]["iteration"] > 0
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert refused(gconv("train", "--resume", "run", "--lr", 1.0), "other settings: lr None in the run, 1.0 now")


def test_an_interrupt_that_crosses_the_exec_of_a_text_ends_in_130(tmp_path):
    """Python remembers such an interrupt, although it was caught, and would end by the signal."""
    code = (
        "import gconv.commands.app as app; from gconv import cli\n"
        "app.run = lambda: exec('raise KeyboardInterrupt')\n"
        "cli.main()"
    )
    (tmp_path / "interrupted.py").write_text(code)
    command = [sys.executable, "-m", "interrupted"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


def test_the_bar_ends_full_before_the_test_begins():
    screen = Console(file=io.StringIO(), force_terminal=True, width=120)
    bar = Bar(screen)
    trainer = Engine(lambda engine, batch: 0.5)
    bar.attach(trainer)
    trainer.run([(torch.zeros(3), torch.zeros(3))] * 7, max_epochs=2)
    told = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", screen.file.getvalue())
    assert re.search(r"epoch 2/2 .*14/14 loss 0.5000, [\d,]+ images/s", told.splitlines()[-1])
    screen.print("afterwards")
    assert screen.file.getvalue().endswith("afterwards\n")  # and is not drawn again below


def test_one_epoch_is_epoch_one():
    for axes in figures.curves([Epoch(1, 1.0, 0.5, 0.8, 0.6, 0.9, 0.1)], best=1).axes:
        assert [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]] == [1]


def test_real_mnist_from_the_files(data_dir, tmp_path):
    chosen = Settings(model="linear", data="mnist", data_dir=data_dir, epochs=1, batch_size=500)
    outcome = train(chosen, tmp_path / "run")
    assert outcome.test.images == 10_000
    assert outcome.test.top1 > 0.88
    run = Run.open(tmp_path / "run")
    assert run.blueprint.mean == pytest.approx([0.1307], abs=2e-3)
    assert run.blueprint.deviation == pytest.approx([0.3081], abs=3e-3)


def test_the_validation_part_is_drawn_class_by_class():
    labels = torch.tensor([0] * 30 + [1] * 10 + [2] * 20)
    kept, held_out = split(labels, 0.1, seed=3)
    assert sorted(kept + held_out) == list(range(60))
    assert labels[held_out].bincount().tolist() == [3, 1, 2]
    assert split(labels, 0.1, seed=3) == (kept, held_out) != split(labels, 0.1, seed=4)
    with pytest.raises(
        ValueError, match=r"class 1 has 1 training images, and a validation share of 0.9 takes them all"
    ):
        split(torch.tensor([0] * 10 + [1]), 0.9, seed=0)


def test_moments_are_those_of_each_channel():
    from gconv.data.images import Part

    pictures = torch.rand(50, 3, 4, 4) * torch.tensor([1.0, 0.5, 0.0]).view(3, 1, 1)
    mean, deviation = moments(Part(pictures, torch.zeros(50, dtype=torch.int64)))
    assert mean == pytest.approx(pictures.mean((0, 2, 3)).tolist(), abs=1e-5)
    assert deviation[:2] == pytest.approx(pictures.std((0, 2, 3), correction=0)[:2].tolist(), abs=1e-5)
    assert deviation[2] == 1.0  # a constant channel is left as it is
