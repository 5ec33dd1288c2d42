"""`fit` learns and repeats, and the measurements count what they say."""

import copy
import statistics
import time

import pytest
import torch
from ignite.engine import Events
from torch import nn

from gconv import grid_graph
from gconv.training import measure
from gconv.training.fit import accuracy, batches, fit
from gconv.training.pages import gathered
from gconv.training.variants import build, first_filters
from grid_cnn import Grid, models


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


def test_auxiliary_heads_count_by_their_weight():
    """One step by plain gradient descent, worked out beside it: L(logits) + w (L(head 1) + L(head 2))."""
    net = models.googlenet(2, 1, aux_logits=True, dropout=0.0, domain=Grid((16, 16)))
    for head in ("aux1", "aux2"):
        net.get_submodule(f"{head}.dropout").p = 0.0
    x, labels, cross_entropy = torch.randn(4, 1, 16, 16), torch.arange(4) % 2, nn.functional.cross_entropy
    for options, weight in (({}, 0.3), ({"auxiliary_weight": 0.4}, 0.4), ({"auxiliary_weight": 0}, 0.0)):
        trained, expected = copy.deepcopy(net), copy.deepcopy(net).train()
        outputs = expected(x)
        first, second = (cross_entropy(logits, labels) for logits in outputs.auxiliary)
        value = cross_entropy(outputs.logits, labels) + weight * (first + second)
        value.backward()
        (epoch,) = fit(
            trained,
            batches(x, labels, 4),
            batches(x, labels, 4),
            epochs=1,
            optimizer=torch.optim.SGD(trained.parameters(), lr=0.1),
            **options,
        )
        assert epoch.train_loss == pytest.approx(value.item(), rel=1e-6)
        assert epoch.test_accuracy is not None
        for mine, theirs in zip(trained.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs - 0.1 * theirs.grad)


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf")])
def test_auxiliary_weights_that_are_no_weights(weight):
    with pytest.raises(ValueError, match=f"auxiliary_weight takes a number >= 0, got {weight}"):
        fit(nn.Linear(2, 2), batches(*blobs(), 8), epochs=1, auxiliary_weight=weight)


def test_first_filters_are_those_of_the_first_plain_layer():
    graph = grid_graph((8, 8))
    for variant, kind, size in (("grid", "kernels", (3, 3)), ("gcn", "impulse responses", (8, 8))):
        network = build(variant, "resnet20_cifar", graph, 1, 10)
        found = first_filters(network)
        assert found is not None
        assert (found[0], found[1].shape) == (kind, (16, *size))
        if variant == "grid":
            assert torch.equal(found[1], network.model.get_submodule("conv1").weight[:, 0])
    local = build("grid", "lecun1989_net4", grid_graph((16, 16)), 1, 10)
    assert first_filters(local) is not None
    assert first_filters(build("mlp", "lenet5", graph, 1, 10)) is None


def test_deep_networks_are_shown_block_by_block():
    net = models.resnet20_cifar().eval()
    with torch.no_grad():
        stages = list(net.trace(torch.randn(1, 3, 8, 8)))
    shown = gathered(stages, net)
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
    assert [stage.name for stage in shown] == ["conv1", "bn1", "relu", *blocks, "avgpool", "fc"]
    taps = models.features(net, torch.zeros(1, 3, 8, 8), at=["layer1.0"])
    assert taps.keys() == {"layer1.0"}
    last = [stage for stage in stages if stage.name == "layer2.1"][-1]
    assert torch.equal(next(stage for stage in shown if stage.name == "layer2.1").x, last.x)
    assert all(net.get_submodule(stage.name) is stage.module for stage in shown)
    assert gathered(stages, net, most=1000) == stages
    assert [stage.name for stage in gathered(stages, net, most=1)] == list(dict(net.named_children()))


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
