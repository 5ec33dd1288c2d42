"""The command line as a user runs it: a process of its own, its files, its table, its one-line errors."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest


def gconv(*arguments, cwd):
    environment = {**os.environ, "COLUMNS": "160", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "gconv.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=1200, check=False)


QUICK = ("--epochs", 1, "--seeds", 2, "--batch-size", 128)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Every variant, quickly, on small digits."""
    folder = tmp_path_factory.mktemp("run")
    done = gconv("compare", *QUICK, "--size", "16x16", "--out", "here/there", cwd=folder)
    return done, folder / "here/there"


def test_compare_prints_the_table(run):
    done, _ = run
    assert done.returncode == 0, done.stderr
    for variant in ("grid", "directional", "directional (gather)", "cheb", "monet", "gcn", "spectral", "linear", "mlp"):
        assert re.search(rf"│ {re.escape(variant)} +│", done.stdout), variant
    for heading in ("domain", "convolution", "parameters", "test accuracy", "ms a step", "× grid", "MiB a step"):
        assert heading in done.stdout
    assert len(re.findall(r"\d+\.\d\d ± \d+\.\d\d %", done.stdout)) == 8


def test_compare_tells_every_run_where_no_terminal_shows_bars(run):
    done, folder = run
    lines = [
        re.fullmatch(r"run (\d+) of 16: (\w+), seed (\d): loss [\d.]+, accuracy (.*)%, \d+ s", line)
        for line in done.stderr.splitlines()
    ]
    assert [int(line[1]) for line in lines] == list(range(1, 17))
    told = {(line[2], int(line[3])): float(line[4]) for line in lines}
    curves = json.loads((folder / "results.json").read_text())["runs"]
    assert told == {
        (curve["variant"], curve["seed"]): round(100 * curve["epochs"][-1]["test_accuracy"], 2) for curve in curves
    }


def test_compare_of_a_network_of_blocks(tmp_path):
    done = gconv(
        "compare", *QUICK, "--model", "resnet20_cifar", "--variants", "grid,cheb", "--size", "8x8", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "runs/compare/report.html").read_text()
    for heading in ("One recipe", "Learning", "One digit", "first layer", "networks disagree", "grid as a graph"):
        assert re.search(rf"<h2[^>]*>.*{heading}", page), heading
    for words in ("kernels", "impulse responses", "layer1.0", "layer3.2", "avgpool"):
        assert words in page
    assert "layer1.0.conv1" not in page  # too many to be drawn: of a block what it ends on
    rows = json.loads((tmp_path / "runs/compare/results.json").read_text())["rows"]
    assert rows[0]["parameters"] == rows[1]["parameters"] == 269_722 - 2 * 9 * 16  # one channel in, not three


def test_compare_writes_results(run):
    _, folder = run
    results = json.loads((folder / "results.json").read_text())
    assert results["settings"]["epochs"] == 1
    assert results["versions"].keys() >= {"python", "torch", "gconv"}
    assert results["machine"]["threads"] >= 1
    assert results["command"].startswith("gconv compare --size 16x16 --epochs 1 --batch-size 128 --seeds 2")
    rows = {row["variant"]: row for row in results["rows"]}
    assert rows["grid"]["ratio_to_first"] == 1.0
    assert rows["grid"]["test_accuracy"] == rows["directional"]["test_accuracy"]
    assert rows["grid"]["parameters"] == rows["directional"]["parameters"] == rows["cheb"]["parameters"]
    assert rows["directional (gather)"]["step_bytes"] > rows["directional"]["step_bytes"] > 0
    assert rows["directional (gather)"]["test_accuracy"] == []
    assert all(len(row["step_milliseconds"]) >= 7 for row in rows.values())
    curves = {(curve["variant"], curve["seed"]): curve["epochs"] for curve in results["runs"]}
    assert len(curves) == 8 * 2
    assert all(len(epochs) == 1 for epochs in curves.values())
    for variant, row in rows.items():
        last = [epochs[-1]["test_accuracy"] for (name, _), epochs in curves.items() if name == variant]
        assert last == row["test_accuracy"]


def test_compare_writes_one_self_contained_page(run):
    _, folder = run
    page = (folder / "report.html").read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "results.json"]
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    assert "<script" not in page
    for words in ("ChebConv", "GMMConv", "SpectralConv", "impulse responses", "kernels", "disagree", "gconv compare"):
        assert words in page


def test_the_command_in_the_results_repeats_the_figures(run, tmp_path):
    _, folder = run
    results = json.loads((folder / "results.json").read_text())
    arguments = results["command"].split()[1:]
    again = gconv(*arguments, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    repeated = json.loads((tmp_path / "here/there/results.json").read_text())
    for first, second in zip(results["runs"], repeated["runs"], strict=True):
        for a, b in zip(first["epochs"], second["epochs"], strict=True):
            assert (a["train_loss"], a["test_accuracy"]) == (b["train_loss"], b["test_accuracy"])


def test_real_mnist(data_dir, tmp_path):
    done = gconv(
        "compare", "--data", "mnist", "--data-dir", data_dir, "--epochs", 1, "--seeds", 1, "--variants", "grid,cheb",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "runs/compare/results.json").read_text())["rows"]
    assert {row["variant"]: row["test_accuracy"][0] > 0.97 for row in rows} == {"grid": True, "cheb": True}


def assert_refused(done, *words):
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.strip()
    assert len(message.splitlines()) == 1, message
    assert message.startswith("error: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--epochs", 0), ("epochs", ">= 1", "got 0")),
        (("--seeds", -1), ("seeds", "got -1")),
        (("--batch-size", 0), ("batch-size", "got 0")),
        (("--lr", "nan"), ("lr", "nan")),
        (("--model", "mlp"), ("'mlp' has no convolution",)),
        (("--device", "meta"), ("'meta'", "take 'cpu'")),
        (("--model", "alphago_policy"), ("alphago_policy takes no argument 'num_classes'",)),
        (("--model", "lenet"), ("unknown model 'lenet'", "lenet5")),
        (("--variants", "grid,chep"), ("unknown variant 'chep'", "did you mean cheb")),
        (("--variants", "grid,,cheb"), ("unknown variant ''",)),
        (("--variants", "grid,grid"), ("'grid' is given twice",)),
        (("--data", "minst"), ("unknown data set 'minst'", "mnist")),
        (("--data", "mnist", "--data-dir", "nowhere"), ("nowhere", "--download")),
        (("--device", "cuda:99"), ("cuda:99", "take 'cpu'")),
        (("--device", "gpu"), ("'gpu'", "take 'cpu'")),
        (("--size", "28"), ("--size", "28x28", "got '28'")),
        (("--size", "3x3"), ("LeNet-5", "does not fit", "least size that fits is 4×4")),
        (("--neighbors", 5), ("4 or 8", "got 5")),
        (("--out", "file/below"), ("file/below", "--out")),
        (("--epochs", "many"), ("--epochs", "integer")),
        (("--epoch", 3), ("--epoch", "--epochs")),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, words, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert_refused(gconv("compare", *arguments, cwd=tmp_path), *words)


def test_interrupting_says_so_and_writes_nothing(tmp_path):
    command = [sys.executable, "-m", "gconv.cli", "compare", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run").exists():  # made just before training begins
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "interrupted"
    assert not list((tmp_path / "run").iterdir())


def test_unknown_command(tmp_path):
    assert_refused(gconv("compair", cwd=tmp_path), "compair")


def damaged_copy(source, folder, name, change):
    raw = folder / "MNIST/raw"
    raw.mkdir(parents=True)
    for file in (source / "MNIST/raw").iterdir():
        if file.name == name:
            change(file, raw)
        else:
            (raw / file.name).symlink_to(file)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file, raw: None, ("not found",)),
        (lambda file, raw: (raw / file.name).write_bytes(file.read_bytes()[:1000]), ("gz",)),
        (lambda file, raw: (raw / file.name).write_bytes(b"garbage" * 99), ("gz",)),
        (
            lambda file, raw: (raw / file.name[:-3]).write_bytes(gzip.decompress(file.read_bytes())[:-5]),
            ("bytes",),
        ),
    ],
    ids=["missing", "truncated", "corrupted", "cut short"],
)
def test_damaged_mnist_is_named(change, words, data_dir, tmp_path):
    name = "t10k-images-idx3-ubyte.gz"
    folder = damaged_copy(data_dir, tmp_path / "data", name, change)
    done = gconv("compare", "--data", "mnist", "--data-dir", folder, cwd=tmp_path)
    assert_refused(done, name.removesuffix(".gz"), *words)
    assert not list(tmp_path.glob("runs/**/*.json"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(gconv("compare", "--out", "locked/run", cwd=tmp_path), "locked/run", "--out")


def test_a_read_only_place_is_named(tmp_path):
    if not os.path.isdir("/proc/self"):
        pytest.skip("no /proc here")
    assert_refused(gconv("compare", "--out", "/proc/self/run", cwd=tmp_path), "/proc/self/run", "--out")


def test_lists_and_help(tmp_path):
    assert "lenet5" in gconv("models", cwd=tmp_path).stdout
    layers = gconv("layers", cwd=tmp_path).stdout
    assert "ChebConv" in layers
    assert "spectral" in layers
    text = gconv("compare", "--help", cwd=tmp_path).stdout
    for option in (
        "--model", "--data", "--data-dir", "--variants", "--epochs", "--batch-size", "--lr", "--seeds", "--device",
        "--out", "--download", "--size", "--neighbors",
    ):  # fmt: skip
        assert option in text
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", gconv("--version", cwd=tmp_path).stdout)


def test_the_installed_command_is_this_one(tmp_path):
    command = shutil.which("gconv")
    if command is None:
        pytest.skip("gconv is not on the path")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == gconv("--version", cwd=tmp_path).stdout
