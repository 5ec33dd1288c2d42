"""`fit` learns and repeats, and the measurements count what they say."""

import statistics
import time

import pytest
import torch
from ignite.engine import Events
from torch import nn

from gconv.training import measure
from gconv.training.fit import accuracy, batches, fit


def blobs(count=64):
    labels = torch.arange(count) % 2
    return torch.randn(count, 2) + 6.0 * labels[:, None], labels


def test_fit_learns_and_keeps_its_history():
    inputs, labels = blobs()
    model = nn.Linear(2, 2)
    history = fit(
        model,
        batches(inputs, labels, 16, seed=0),
        batches(inputs, labels, 64),
        epochs=15,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.05),
    )
    assert [epoch.epoch for epoch in history] == list(range(1, 16))
    assert history[-1].test_accuracy > 0.95
    assert history[-1].train_loss < 0.5 * history[0].train_loss
    seconds = [epoch.seconds for epoch in history]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


def test_history_holds_the_mean_loss_of_the_epoch():
    inputs, labels = blobs(48)
    losses = []

    def attach(trainer):
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output))

    (epoch,) = fit(nn.Linear(2, 2), batches(inputs, labels, 16, seed=0), epochs=1, attach=attach)
    assert len(losses) == 3
    assert epoch.train_loss == pytest.approx(statistics.fmean(losses))
    assert epoch.test_accuracy is None


def test_accuracy_counts_the_last_small_batch_by_its_size():
    inputs, labels = torch.eye(2)[[0, 1, 0, 0, 1]], torch.tensor([0, 1, 0, 1, 0])
    assert accuracy(nn.Identity(), batches(inputs, labels, 3)) == pytest.approx(3 / 5)


def test_batches_are_seeded_and_cover_everything():
    inputs, labels = torch.arange(10.0)[:, None], torch.arange(10)
    loader, again, other = (batches(inputs, labels, 4, seed=seed) for seed in (1, 1, 2))
    first, second = ([y.tolist() for _, y in loader] for _ in range(2))
    assert [y.tolist() for _, y in again] == first
    assert [y.tolist() for _, y in other] != first
    assert first != second
    assert sorted(label for batch in first for label in batch) == list(range(10))
    assert [len(y) for y in first] == [4, 4, 2]
    for x, y in batches(inputs, labels, 4):
        assert torch.equal(x[:, 0].long(), y)


def test_training_and_evaluation_modes():
    seen = []

    class Probe(nn.Linear):
        def forward(self, x):
            seen.append(self.training)
            return super().forward(x)

    inputs, labels = blobs(32)
    fit(Probe(2, 2), batches(inputs, labels, 32, seed=0), batches(inputs, labels, 32), epochs=2)
    assert seen == [True, False, True, False]


def test_bad_budgets_and_losses_stop_at_once():
    inputs, labels = blobs()
    with pytest.raises(ValueError, match="epochs takes a whole number >= 1, got 0"):
        fit(nn.Linear(2, 2), batches(inputs, labels, 16), epochs=0)
    inputs[40] = float("nan")
    with pytest.raises(ValueError, match="training loss is nan at epoch 1, step 3"):
        fit(nn.Linear(2, 2), batches(inputs, labels, 16), epochs=1)


def test_saved_bytes_are_counted_once_and_without_what_stays():
    layer = nn.Linear(100, 50, bias=False)
    x = torch.randn(8, 100)

    def one_exp():
        return layer(x).exp().sum()  # exp keeps its result, the layer its input and weight, which stay

    def two_of_the_same():
        y = layer(x).exp()
        return (y * y).sum()

    assert measure.step_bytes(one_exp) == 8 * 50 * 4
    assert measure.step_bytes(two_of_the_same) == 8 * 50 * 4
    assert measure.step_bytes(lambda: layer(x).sum()) == 0


def test_rounds_are_interleaved_and_ratios_are_pairwise():
    calls = []

    def step(name, seconds):
        def run():
            calls.append(name)
            time.sleep(seconds)

        return run

    timings = measure.interleaved({"a": step("a", 0.004), "b": step("b", 0.012)}, rounds=5, warmup=2)
    assert calls == ["a", "b"] * 7
    assert timings["a"].ratios == (1.0,) * 5
    assert timings["b"].ratio == pytest.approx(3.0, rel=0.4)
    assert len(timings["b"].milliseconds) == 5
    low, high = timings["b"].quartiles
    assert low <= timings["b"].median <= high
    for name, timing in timings.items():
        first = timings["a"].milliseconds
        assert timing.ratios == tuple(t / f for t, f in zip(timing.milliseconds, first, strict=True)), name


def test_wide_quartiles_are_called_noisy():
    steady, shaken = (1.0, 1.0, 1.1, 1.1), (1.0, 1.0, 2.0, 2.0)
    assert not measure.Timing(steady, steady).noisy
    assert measure.Timing(shaken, shaken).noisy


def test_machine_and_versions_are_named():
    assert measure.machine()["threads"] == torch.get_num_threads()
    assert measure.versions()["torch"] == torch.__version__.split("+")[0] or "+" in measure.versions()["torch"]
