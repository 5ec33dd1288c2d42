"""A run that is stopped, however, ends at the same bits as one that never was."""

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from run_oracles import TINY, assert_same, final
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from gconv.training import checkpoints, figures, loading
from gconv.training.fit import Checkpoints, DivergedError, batches, fit
from gconv.training.runs import Run
from gconv.training.train import Watch, resume, train


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    for name in ("curves", "confusion"):
        monkeypatch.setattr(figures, name, lambda *arguments: Figure((1, 1)))


class Stop(Exception):
    pass


def stop_at(step):
    """A watch that ends a run without warning after a step."""

    def attach(trainer):
        from ignite.engine import Events

        @trainer.on(Events.ITERATION_STARTED)
        def _(engine):
            if engine.state.iteration > step:
                raise Stop

    return Watch(attach=attach)


WAYS = {
    "adam, average, dropout": {},
    "nesterov, steps, accumulated, clipped": {
        "optimizer": "sgd", "nesterov": True, "schedule": "step", "step_epochs": 1, "accumulate": 2, "clip_norm": 1.0,
        "ema": 0.0, "checkpoint_every": 3,
    },
    "plateau, mixed labels, bf16": {
        "schedule": "plateau", "patience": 0, "lr": 0.3, "augment": "crop:1,cutout:3,mixup:0.4", "precision": "bf16",
    },
    "fp16, scaled": {"precision": "fp16", "clip_value": 0.1, "warmup": 1.0},
    "graph, squared error, L1, no validation": {
        "domain": "graph", "conv": "cheb", "K": 3, "loss": "squared-error", "l1": 1e-4, "validation": 0.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_training_goes_on_to_the_same_bits(way, tmp_path):
    settings = dataclasses.replace(TINY, **WAYS[way])
    train(settings, tmp_path / "whole")
    whole = final(tmp_path / "whole")
    length = whole["position"]["length"]
    for step in (1, length, length + 3):
        with pytest.raises(Stop):
            train(settings, tmp_path / str(step), stop_at(step))
        outcome = resume(tmp_path / str(step))
        assert [epoch.epoch for epoch in outcome.history] == [1, 2]
        assert_same(final(tmp_path / str(step)), whole)
        best = [(tmp_path / name / "best.safetensors").read_bytes() for name in ("whole", str(step))]
        assert best[0] == best[1]


def test_stopped_twice_and_early(tmp_path):
    settings = dataclasses.replace(TINY, epochs=12, early_stopping=1, lr=0.03, ema=0.0)
    train(settings, tmp_path / "whole")
    whole = final(tmp_path / "whole")
    assert 2 < len(whole["history"]) < 12
    for step in (4, 9):
        with pytest.raises(Stop):
            (train if step == 4 else lambda s, f, w: resume(f, watch=w))(settings, tmp_path / "cut", stop_at(step))
    resume(tmp_path / "cut")
    assert_same(final(tmp_path / "cut"), whole)
    resume(tmp_path / "cut")  # and once more, when there is nothing left to do
    assert_same(final(tmp_path / "cut"), whole)


@pytest.mark.parametrize(
    "make", ["batches", "with workers", "torch's own", "torch's own, global", "torch's own, with workers", "a list"]
)
def test_loaders_of_users_are_gone_on_with(make, tmp_path):
    """A loader that knows nothing of checkpoints: its generators are put back, and its batches are drawn again."""
    inputs, labels = torch.randn(40, 4), torch.arange(40) % 2

    def loader():
        data = TensorDataset(inputs, labels)
        return {
            "batches": lambda: batches(inputs, labels, 8, seed=3),
            "with workers": lambda: loading.loader(data, 40, 8, seed=3, workers=2),
            "torch's own, with workers": lambda: DataLoader(data, 8, shuffle=True, num_workers=2),
            "torch's own": lambda: DataLoader(
                data, 8, sampler=RandomSampler(data, generator=torch.Generator().manual_seed(1))
            ),
            "torch's own, global": lambda: DataLoader(data, 8, shuffle=True),
            "a list": lambda: [(inputs[i : i + 8], labels[i : i + 8]) for i in range(0, 40, 8)],
        }[make]()

    def go(folder, resume=False, stop=None):
        torch.manual_seed(5)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.Linear(8, 2))
        if resume:
            torch.manual_seed(99)  # nothing may hang on how the second process begins
        attach = stop_at(stop).attach if stop else None
        fit(model, loader(), epochs=3, checkpoints=Checkpoints(folder, every=1, resume=resume), attach=attach)
        return model.state_dict()

    whole = go(tmp_path / "whole")
    for stop in (2, 5, 12):
        with pytest.raises(Stop):
            go(tmp_path / str(stop), stop=stop)
        assert_same(dict(go(tmp_path / str(stop), resume=True)), dict(whole))


def test_workers_change_nothing():
    data = TensorDataset(torch.arange(20))
    orders = []
    for workers in (0, 2):
        found = loading.loader(data, 20, 3, seed=4, workers=workers)
        orders.append([[x.tolist() for (x,) in found] for _ in range(2)])
    order = RandomSampler(data, generator=torch.Generator().manual_seed(4))
    assert [list(itertools.chain(*epoch)) for epoch in orders[0]] == [list(order), list(order)]
    assert orders[0] == orders[1]


@pytest.mark.parametrize(("count", "size", "sizes"), [
    (7, 3, [3, 4]), (8, 3, [3, 3, 2]), (9, 3, [3, 3, 3]), (1, 3, [1]), (3, 2, [3]), (3, 1, [1, 1, 1]), (2, 1, [1, 1]),
])  # fmt: skip
def test_no_batch_of_one_is_left_over(count, size, sizes):
    """Batch norm would refuse it, after a whole epoch."""
    order = loading.Order(count, size, seed=0)
    for skip in range(len(sizes)):
        order.draw(skip)
        assert [len(batch) for batch in order] == sizes[skip:]
        assert len(order) == len(sizes)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    if size > 1 and count > 1:
        fit(net, batches(torch.randn(count, 4), torch.zeros(count, dtype=torch.int64), size, seed=0), epochs=1)


# What is refused.


@pytest.fixture
def stopped(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Stop):
        train(TINY, folder, stop_at(7))
    return folder


def test_a_damaged_checkpoint_is_refused_and_the_one_before_offered(stopped, tmp_path):
    train(TINY, tmp_path / "whole")
    path = stopped / "last.safetensors"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-100] ^= 1
    for damage, reason in (
        (bytes(flipped), "checksum"),
        (whole[:-50], "damaged"),
        (b"", "damaged"),
        (b"x" * 99, "damaged"),
    ):
        path.write_bytes(damage)
        with pytest.raises(
            checkpoints.CheckpointError, match=rf"{reason}.*epoch 1, step 5.* is whole: add --checkpoint before"
        ):
            resume(stopped)
    resume(stopped, checkpoint="before")
    assert_same(final(stopped), final(tmp_path / "whole"))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-50])])
def test_best_weights_that_were_lost_after_the_end_are_named(damage, tmp_path):
    folder = tmp_path / "run"
    train(dataclasses.replace(TINY, model="linear", dropout=None, epochs=1), folder)
    damage(folder / "best.safetensors")
    with pytest.raises(ValueError, match=r"is trained to its end, but its best weights are lost: .*best\.") as lost:
        resume(folder)
    ways = f"gconv evaluate {folder} --weights last, or train anew with gconv train --config {folder}"
    assert ways in str(lost.value)
    with pytest.raises(ValueError, match=r"has no best|damaged") as lost:
        Run.open(folder)
    assert "--resume" not in str(lost.value)
    assert Run.open(folder, "last").logits(torch.zeros(1, 1, 12, 12)).shape == (1, 10)


def test_foreign_checkpoints_are_refused(stopped):
    save_file({"weight": torch.zeros(2)}, stopped / "last.safetensors")
    with pytest.raises(checkpoints.CheckpointError, match="not a checkpoint of gconv's"):
        resume(stopped)
    (stopped / "before.safetensors").write_bytes(b"")
    with pytest.raises(
        checkpoints.CheckpointError, match=r"nor can .*before.*: begin anew with --config .*settings.yaml"
    ):
        resume(stopped)
    (stopped / "before.safetensors").unlink()
    with pytest.raises(checkpoints.CheckpointError, match="there is none before it"):
        resume(stopped)


def test_a_pickle_in_place_of_a_checkpoint_is_not_run(stopped, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    torch.save({"model": Bomb()}, stopped / "last.safetensors")
    with pytest.raises(checkpoints.CheckpointError, match="damaged, or no checkpoint"):
        resume(stopped)
    torch.save({"model": Bomb()}, stopped / "best.safetensors")
    with pytest.raises(ValueError, match="damaged"):
        Run.open(stopped)
    assert not (tmp_path / "exploded").exists()


def test_other_settings_are_listed(stopped):
    with pytest.raises(ValueError, match=r"dropout 0.2 in the run, 0.5 now, lr None in the run, 0.1 now") as caught:
        resume(stopped, {"dropout": 0.5, "lr": 0.1})
    assert "--config" in str(caught.value)
    with pytest.raises(ValueError, match=r"other settings: epochs 2 in the run, 3 now"):  # a cosine would change
        resume(stopped, {"epochs": 3})
    told = []
    resume(stopped, {"checkpoint_every": 5, "lr": None}, watch=Watch(say=told.append))
    assert "goes on with other settings: checkpoint-every 2 in the run, 5 now" in told


def test_more_epochs_where_the_schedule_does_not_mind(tmp_path):
    settings = dataclasses.replace(TINY, schedule="exponential", epochs=1)
    train(settings, tmp_path / "run")
    assert len(resume(tmp_path / "run", {"epochs": 3}).history) == 3
    train(dataclasses.replace(settings, epochs=3), tmp_path / "whole")
    assert_same(final(tmp_path / "run"), final(tmp_path / "whole"))


def test_other_data_or_another_loader_are_refused(stopped, tmp_path):
    (stopped / "network.json").write_text(
        (stopped / "network.json").read_text().replace('"in_channels": 1', '"in_channels": 3')
    )
    with pytest.raises(ValueError, match=r"data of the run .* have changed: in_channels 3 then and 1 now"):
        resume(stopped)
    inputs, labels = torch.randn(40, 4), torch.arange(40) % 2
    fit(nn.Linear(4, 2), batches(inputs, labels, 8, seed=0), epochs=1, checkpoints=tmp_path / "own")
    again = Checkpoints(tmp_path / "own", resume=True)
    with pytest.raises(ValueError, match="an epoch has 4 batches, and had 5"):
        fit(nn.Linear(4, 2), batches(inputs, labels, 10, seed=0), epochs=2, checkpoints=again)
    with pytest.raises(ValueError, match="another network or optimiser"):
        fit(nn.Linear(4, 3), batches(inputs, labels, 8, seed=0), epochs=2, checkpoints=again)
    with pytest.raises(ValueError, match="loader has 0 generators and the checkpoint 1"):
        fit(nn.Linear(4, 2), batches(inputs, labels, 8), epochs=2, checkpoints=again)
    with pytest.raises(ValueError, match="with ema, unlike the checkpoint's"):
        fit(nn.Linear(4, 2), batches(inputs, labels, 8, seed=0), epochs=2, checkpoints=again, ema=0.9)


def test_a_loss_that_is_no_number_keeps_the_last_good_checkpoint(tmp_path):
    inputs, labels = torch.randn(40, 4), torch.arange(40) % 2
    inputs[33] = float("nan")
    loader = [(inputs[i : i + 8], labels[i : i + 8]) for i in range(0, 40, 8)]
    model = nn.Linear(4, 2)
    with pytest.raises(
        DivergedError, match=r"loss is nan at epoch 1, step 5; lower .*; the checkpoint of step 4 is kept"
    ):
        fit(model, loader, epochs=2, checkpoints=Checkpoints(tmp_path, every=2))
    state = checkpoints.read(tmp_path / "last.safetensors")
    assert state["position"]["iteration"] == 4
    assert all(value.isfinite().all() for value in state["model"].values())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    inputs, labels = torch.randn(16, 4), torch.arange(16) % 2
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=float("inf"))  # one step, and everything is lost
    with pytest.raises(DivergedError, match="weight is no longer finite at step 1"):
        fit(model, [(inputs, labels)], epochs=1, optimizer=optimizer, checkpoints=tmp_path)
    assert not list(tmp_path.iterdir())
