"""SIGKILL at any moment, in the middle of a write too: the run goes on to the same bits."""

import contextlib
import itertools
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from run_oracles import assert_same, final, without_figures

from gconv import cli
from gconv.training import checkpoints, files
from gconv.training.runs import Run

OPTIONS = (
    "--size", "12x12", "--epochs", 3, "--batch-size", 128, "--dropout", 0.2, "--ema", 0.9, "--checkpoint-every", 1
)  # fmt: skip


def command(folder, die=None):
    """`gconv train`, or `--resume` of what is there; `die` = (kind, times) kills it in the middle of a write."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    without_figures()
    if die is not None:
        _die(*die)
    begin = ["--out", folder, *OPTIONS]
    sys.argv = ["gconv", "train", *map(str, ["--resume", folder] if (folder / "settings.yaml").exists() else begin)]
    with open(folder.with_suffix(".log"), "a") as log, contextlib.redirect_stdout(log):
        cli.main()


def _die(kind, after):
    left = [after]

    def now():
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    staged, replace, link = files.staged, Path.replace, os.link

    def half(path, content):
        if path.name == "last.safetensors":
            path.with_name(f"{path.name}.tmp").write_bytes(content[: len(content) // 2])
            now()
        return staged(path, content)

    def before_rename(self, target):
        if Path(target).name == "last.safetensors":
            now()
        return replace(self, target)

    def before_link(source, target):
        now()
        return link(source, target)

    if kind == "half":
        files.staged = half
    elif kind == "before rename":
        Path.replace = before_rename
    else:
        os.link = before_link


@pytest.fixture(scope="module")
def processes():
    """Processes that are forked from one that has imported all that a run needs: they begin at once."""
    context = multiprocessing.get_context("forkserver")
    needed = ["gconv.commands.app", "gconv.training.train", "torch._dynamo", "sklearn.datasets", "matplotlib.figure"]
    context.set_forkserver_preload(needed)
    return context


def newest(folder):
    """When the newest checkpoint was written, if there is one."""
    path = folder / "last.safetensors"
    return path.stat().st_mtime_ns if path.exists() else None


def until_a_checkpoint(process, folder):
    """Wait until a process writes one."""
    before = newest(folder)
    while newest(folder) == before and process.is_alive():
        time.sleep(0.001)


@pytest.fixture(scope="module")
def unharmed(processes, tmp_path_factory):
    """How a run ends that is never killed; how long it takes up to its first checkpoint, and from there to the end."""
    processes.Process(target=int).start()  # the server's imports are not the run's
    folder = tmp_path_factory.mktemp("unharmed") / "run"
    process = processes.Process(target=command, args=(folder,))
    began = time.monotonic()
    process.start()
    until_a_checkpoint(process, folder)
    first = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return final(folder), first - began, time.monotonic() - first


def test_killed_at_random_moments(processes, unharmed, tmp_path):
    """SIGKILL twenty times, in as many runs as that takes; each ends as the run that was never killed.

    One time in five while it begins, else some time after its first checkpoint.
    """
    whole, beginning, rest = unharmed
    moments = random.Random(1998)
    folders = (tmp_path / str(number) for number in itertools.count())
    folder, killed, stages = next(folders), 0, set()
    while killed < 20 or folder.exists():
        process = processes.Process(target=command, args=(folder,))
        process.start()
        if killed < 20:
            early = killed % 5 == 0
            if not early:
                until_a_checkpoint(process, folder)
            process.join(moments.uniform(0, beginning if early else rest / 2))
            process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            killed += 1
            state = checkpoints.recover(folder) if folder.exists() else None
            stages.add(state and state["position"]["iteration"])
        else:
            assert process.exitcode == 0
            assert_same(final(folder), whole)
            assert Run.open(folder).results is not None
            folder = next(folders)
    assert len(stages) > 4


@pytest.mark.parametrize("kind", ["half", "before rename", "before second name"])
def test_killed_in_the_middle_of_a_write(kind, processes, unharmed, tmp_path):
    for after in (2, 5):
        process = processes.Process(target=command, args=(tmp_path / "run", (kind, after)))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert checkpoints.recover(tmp_path / "run")["position"]["iteration"] >= after
    process = processes.Process(target=command, args=(tmp_path / "run",))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert_same(final(tmp_path / "run"), unharmed[0])
    assert not list((tmp_path / "run").glob("*.tmp"))
