"""What a training meets on the disk: one that is full, one that is read-only, pictures that cannot be read."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from run_oracles import assert_same, final

from gconv import cli

QUICK = ("--size", "12x12", "--epochs", "2", "--batch-size", "256", "--checkpoint-every", "1")

# A disk of its own, which nobody else sees and which is gone with the process.
NAMESPACE = ("unshare", "--map-root-user", "--mount")
ON_A_SMALL_DISK = """
import shutil, subprocess, sys
from pathlib import Path
from gconv import cli

def run(*arguments):
    sys.argv = ["gconv", "train", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        print("code", ended.code, *sorted(path.name for path in Path("disk/run").iterdir()))

subprocess.run("mount -t tmpfs -o size=400k tmpfs disk".split(), check=True)
run("--out", "disk/run", *sys.argv[1:])
subprocess.run("mount -o remount,ro,size=8m disk".split(), check=True)
run("--resume", "disk/run")
subprocess.run("mount -o remount,rw disk".split(), check=True)
run("--resume", "disk/run")
shutil.copytree("disk/run", "saved")
"""


def _has_namespaces(folder):
    if shutil.which("unshare") is None:
        return False
    mounting = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", folder], check=False, capture_output=True)
    return mounting.returncode == 0


def test_a_small_disk_fills_up_and_the_run_goes_on_when_there_is_room(tmp_path, monkeypatch, capsys):
    """A tmpfs that holds one checkpoint and not two; then the same one, read-only; then with room."""
    (tmp_path / "disk").mkdir()
    if not _has_namespaces(tmp_path / "disk"):
        pytest.skip("this system lets nobody mount a disk of their own")
    command = [*NAMESPACE, sys.executable, "-c", ON_A_SMALL_DISK, *QUICK]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=170)
    assert done.returncode == 0, done.stderr
    full, read_only = done.stderr.splitlines()
    assert full.startswith("error: cannot write disk/run/last.safetensors (")
    assert full.endswith("bytes): No space left on device; the checkpoint of step 1 is kept")
    assert read_only.startswith("error: cannot write disk/run/")
    assert "Read-only file system" in read_only
    codes = [line.split() for line in done.stdout.splitlines() if line.startswith("code")]
    assert codes == [["code", "2", "last.safetensors", "network.json", "settings.yaml"]] * 2
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["gconv", "train", "--out", "whole", *QUICK])
    cli.main()
    assert_same(final(tmp_path / "saved"), final(tmp_path / "whole"))


@pytest.fixture
def pictures(tmp_path):
    """Two classes of noise; three pictures are damaged, one of them only where its pixels are decoded."""
    noise = torch.Generator().manual_seed(0)
    for number in range(24):
        path = tmp_path / "pictures" / ("train" if number < 16 else "val") / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 255, (12, 12), generator=noise, dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
    (tmp_path / "pictures/train/a/zero.png").write_bytes(b"")
    (tmp_path / "pictures/train/b/text.png").write_text("no picture")
    whole = (tmp_path / "pictures/val/a/16.png").read_bytes()
    (tmp_path / "pictures/val/a/half.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "pictures"


def test_what_was_left_out_is_counted_and_named(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["gconv", "train", "lenet5", "--data", str(pictures), "--epochs", "1", "--out", "run"]
    monkeypatch.setattr(sys, "argv", arguments)
    cli.main()
    beginning, _, end = capsys.readouterr().out.partition("epoch 1/1")
    assert "2 pictures that cannot be read were left out:" in beginning
    assert "3 pictures that cannot be read were left out:" in end
    results = json.loads((tmp_path / "run/results.json").read_text())
    for name, why in (("zero.png", "the file is empty"), ("text.png", "cannot identify"), ("half.png", "truncated")):
        line = next(line for line in end.splitlines() if name in line)
        assert why in line
        assert line.strip() in results["left_out"]
    for number in range(7):
        (pictures / f"train/a/empty{number}.png").write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["gconv", "evaluate", "run"])
    cli.main()
    printed = capsys.readouterr().out
    assert "10 pictures that cannot be read were left out:" in printed
    assert "and 5 more, all named in --json" in printed
    monkeypatch.setattr(sys, "argv", [*arguments[:-1], "strict", "--strict"])
    with pytest.raises(SystemExit):
        cli.main()
    assert "10 pictures cannot be read" in capsys.readouterr().err
    assert not Path("strict").exists()
