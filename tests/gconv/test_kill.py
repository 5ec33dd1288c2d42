"""SIGKILL at any moment, in the middle of a write too: the run goes on to the same bits."""

import dataclasses
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from run_oracles import TINY, assert_same, final, without_figures

from gconv.training import checkpoints, files
from gconv.training.runs import Run
from gconv.training.train import resume, train


def run_in_process(folder, die=None):
    """Begin a run, or go on with it; `die` = (kind, how often it is let pass) kills it in the middle of a write."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    without_figures()
    if die is not None:
        _die(*die)
    if (folder / "settings.yaml").exists():
        resume(folder)
    else:
        train(dataclasses.replace(TINY, epochs=3, batch_size=128, checkpoint_every=1), folder)


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
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gconv.training.train", "sklearn.datasets", "matplotlib.figure"])
    return context


@pytest.fixture(scope="module")
def unharmed(processes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unharmed") / "run"
    process = processes.Process(target=run_in_process, args=(folder,))
    process.start()
    while not (folder / "settings.yaml").exists() and process.is_alive():
        time.sleep(0.01)
    began = time.monotonic()
    process.join()
    assert process.exitcode == 0
    return final(folder), time.monotonic() - began


def test_killed_at_random_moments(processes, unharmed, tmp_path):
    """SIGKILL fourteen times, in three runs; each ends as the run that was never killed."""
    whole, seconds = unharmed
    moments = random.Random(1998)
    killed = 0
    for number, times in enumerate((5, 5, 4)):
        folder = tmp_path / str(number)
        for _ in range(times):
            process = processes.Process(target=run_in_process, args=(folder,))
            process.start()
            process.join(moments.uniform(0.15, 0.3 + 0.5 * seconds))
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
        process = processes.Process(target=run_in_process, args=(folder,))
        process.start()
        process.join()
        assert process.exitcode == 0
        assert_same(final(folder), whole)
        assert Run.open(folder).results is not None
    assert killed >= 7  # the others were done before


@pytest.mark.parametrize("kind", ["half", "before rename", "before second name"])
def test_killed_in_the_middle_of_a_write(kind, processes, unharmed, tmp_path):
    for after in (2, 5):
        process = processes.Process(target=run_in_process, args=(tmp_path / "run", (kind, after)))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert checkpoints.recover(tmp_path / "run")["position"]["iteration"] >= after
    process = processes.Process(target=run_in_process, args=(tmp_path / "run",))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert_same(final(tmp_path / "run"), unharmed[0])
    assert not list((tmp_path / "run").glob("*.tmp"))
