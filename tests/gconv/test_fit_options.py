"""Each option of a training against the same thing written by hand in a torch loop."""

import copy
import dataclasses
import os
import signal

import pytest
import torch
from fit_oracles import BATCHES, INPUTS, LABELS, assert_equal, loop, small
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from gconv.training import losses
from gconv.training.ema import Average
from gconv.training.fit import Checkpoints, fit
from gconv.training.interrupts import caught
from gconv.training.runs import Run
from gconv.training.settings import Settings
from gconv.training.train import train

# What is done with gradients.


def test_l1_clipping_and_both_clippings():
    for options, change in (
        ({"clip_norm": 0.05}, lambda ps: nn.utils.clip_grad_norm_(ps, 0.05)),
        ({"clip_value": 0.01}, lambda ps: [p.grad.clamp_(-0.01, 0.01) for p in ps]),
        ({"l1": 0.02}, lambda ps: [p.grad.add_(0.02 * p.sign()) for p in ps]),
    ):
        mine, theirs = small(), small()
        fit(mine, BATCHES, epochs=2, optimizer=torch.optim.SGD(mine.parameters(), lr=0.5), **options)

        def step(model, x, y, t, change=change):
            F.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                change(list(model.parameters()))
                for p in model.parameters():
                    p -= 0.5 * p.grad

        assert_equal(mine, loop(theirs, step))


def test_accumulated_batches_are_one_large_one():
    mine, theirs = small(), small()
    fit(mine, BATCHES, epochs=2, accumulate=2, optimizer=torch.optim.SGD(mine.parameters(), lr=0.5))
    for _ in range(2):  # two batches together, and the third, which is left over, alone
        for x, y in ((INPUTS[:16], LABELS[:16]), (INPUTS[16:], LABELS[16:])):
            theirs.zero_grad()
            F.cross_entropy(theirs(x), y).backward()
            with torch.no_grad():
                for p in theirs.parameters():
                    p -= 0.5 * p.grad
    assert_equal(mine, theirs)
    with pytest.raises(ValueError, match="need a loader with a length"):
        fit(small(), iter(BATCHES), epochs=1, accumulate=2)


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_mixed_precision_is_autocast(precision, dtype):
    seen = []
    model = small()
    model[0].register_forward_hook(lambda module, x, y: seen.append(y.dtype))
    theirs = small()
    scaler = torch.amp.GradScaler("cpu", enabled=precision == "fp16")
    steps = torch.optim.SGD(theirs.parameters(), lr=0.1)
    fit(model, BATCHES, epochs=2, precision=precision, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))

    def step(model, x, y, t):
        with torch.autocast("cpu", dtype):
            value = F.cross_entropy(model(x), y)
        scaler.scale(value).backward()
        scaler.step(steps)
        scaler.update()

    assert_equal(model, loop(theirs, step), rtol=0, atol=0)
    assert set(seen) == {dtype}
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_the_running_average_by_hand_and_that_it_is_what_is_tested(tmp_path):
    model = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    theirs = copy.deepcopy(model)
    average = {name: value.clone() for name, value in theirs.state_dict().items()}
    steps = torch.optim.SGD(theirs.parameters(), lr=0.5)

    def step(net, x, y, t):
        F.cross_entropy(net(x), y).backward()
        steps.step()
        decay = min(0.6, (2 + t) / (11 + t))
        for name, value in net.state_dict().items():
            average[name] = decay * average[name] + (1 - decay) * value if value.is_floating_point() else value.clone()

    loop(theirs, step)
    history = fit(
        model,
        BATCHES,
        BATCHES,
        epochs=2,
        ema=0.6,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5),
        checkpoints=tmp_path,
    )
    assert_equal(model, theirs)
    theirs.load_state_dict(average)
    theirs.eval()
    with torch.no_grad():
        logits = theirs(INPUTS)
    assert history[-1].test_loss == pytest.approx(float(F.cross_entropy(logits, LABELS)), rel=1e-5)
    assert history[-1].test_accuracy == pytest.approx(float((logits.argmax(1) == LABELS).float().mean()))
    with pytest.raises(ValueError, match="between 0 and 1, got 1"):
        Average(model, 1)


def test_augmentation_and_preparation_are_applied_where_they_should():
    seen = []

    class Probe(nn.Linear):
        def forward(self, x):
            seen.append((self.training, float(x.mean())))
            return super().forward(x)

    ones = [(torch.ones(4, 5), torch.arange(4) % 2)]
    fit(
        Probe(5, 2), ones, ones, epochs=1,
        augment=lambda x, y: (x + 1, F.one_hot(y, 2).float()), prepare=lambda x: 10 * x,
    )  # fmt: skip
    assert seen == [(True, 20.0), (False, 10.0)]


def test_early_stopping_and_the_best_weights(tmp_path):
    """Accuracies on the test batches are given by hand, so that the third epoch is the best."""
    worth = iter([0.2, 0.5, 0.8, 0.7, 0.1, 0.7, 0.9])
    model = nn.Linear(1, 2)

    class Test:
        def __iter__(self):
            right = round(10 * next(worth))
            with torch.no_grad():
                answer = model(torch.zeros(1, 1)).argmax()
            yield torch.zeros(10, 1), torch.cat([answer.repeat(right), 1 - answer.repeat(10 - right)])

    weights = []
    history = fit(
        model, [(torch.randn(4, 1), torch.arange(4) % 2)], Test(), epochs=7, early_stopping=3, checkpoints=tmp_path,
        loss=lambda z, y: 0 * z.sum() + model.bias.sum() ** 2,
        on_epoch=lambda history: weights.append(copy.deepcopy(model)),
    )  # fmt: skip
    assert [epoch.test_accuracy for epoch in history] == pytest.approx([0.2, 0.5, 0.8, 0.7, 0.1, 0.7])
    best = nn.Linear(1, 2)
    best.load_state_dict(load_file(tmp_path / "best.safetensors"))
    assert_equal(best, weights[2], rtol=0, atol=0)
    assert not torch.equal(best.bias, weights[3].bias)


def test_labels_out_of_range_are_told():
    for name in losses.LOSSES:
        with pytest.raises(ValueError, match=r"labels must lie in 0 to 2, since the network has 3 outputs; got 0 to 7"):
            fit(small(), [(torch.randn(3, 5), torch.tensor([0, 1, 7]))], epochs=1, loss=losses.loss(name))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"l1": -1.0}, "l1 takes a number >= 0, got -1"),
        ({"clip_norm": 0.0}, "clip_norm takes a number above 0 or None, got 0"),
        ({"clip_value": float("nan")}, "clip_value takes a number above 0 or None, got nan"),
        ({"accumulate": 0}, "accumulate takes a whole number >= 1, got 0"),
        ({"precision": "fp8"}, "precision takes one of fp32, bf16, fp16, got 'fp8'"),
        ({"early_stopping": -1}, "early_stopping takes a whole number >= 0, got -1"),
        ({"ema": 2.0}, "decay takes a number between 0 and 1, got 2"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        fit(small(), BATCHES, epochs=1, **options)
    with pytest.raises(ValueError, match="every takes a whole number >= 0"):
        Checkpoints("x", every=-1)


def test_the_first_interrupt_is_noted_and_the_second_acts():
    def twice():
        with caught() as note:
            os.kill(os.getpid(), signal.SIGINT)
            assert note.signal == signal.SIGINT
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        twice()
    with caught() as note:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            note.stop()
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_channels_last_and_compiled_train_alike(tmp_path, monkeypatch):
    plain = Settings(model="lenet5", size=(12, 12), epochs=1, batch_size=512)
    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled(module, backend="eager"))  # no compiler of C++
    histories = [
        train(dataclasses.replace(plain, **options), tmp_path / str(number)).history[0]
        for number, options in enumerate(({}, {"channels_last": True}, {"compile": True}))
    ]
    for other in histories[1:]:
        assert other.train_loss == pytest.approx(histories[0].train_loss, rel=1e-4)
        assert other.test_loss == pytest.approx(histories[0].test_loss, rel=1e-3)
    assert Run.open(tmp_path / "2").results["settings"]["compile"] is True
