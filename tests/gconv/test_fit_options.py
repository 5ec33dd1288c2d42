"""Each option of a training against the same thing written by hand in a torch loop."""

import copy
import itertools
import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from gconv import grid_graph
from gconv.training import gradient_check, losses, metrics
from gconv.training.ema import Average
from gconv.training.fit import Checkpoints, batches, fit
from gconv.training.interrupts import caught
from gconv.training.optimizers import optimizer
from gconv.training.schedules import Schedule, Shape
from gconv.training.settings import Settings
from grid_cnn import bind, models

INPUTS, LABELS = torch.randn(24, 5, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
BATCHES = [(INPUTS[i : i + 8], LABELS[i : i + 8]) for i in range(0, 24, 8)]


def small():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def loop(model, step, epochs=2):
    """The bare loop: `step(model, x, y, t)` after the gradients were set to nothing."""
    for t, (x, y) in enumerate(itertools.chain(*[BATCHES] * epochs)):
        model.zero_grad()
        step(model, x, y, t)
    return model


def assert_equal(mine, theirs, **tolerance):
    for a, b in zip(mine.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, **(tolerance or {"rtol": 1e-6, "atol": 1e-7}))


# Optimisers, each by its equation.


def sgd(parameters, settings):
    velocity = [torch.zeros_like(p) for p in parameters]

    def step(t):
        for p, v in zip(parameters, velocity, strict=True):
            g = p.grad + settings.weight_decay * p
            v.mul_(settings.momentum).add_(g)
            p -= settings.lr * (g + settings.momentum * v if settings.nesterov else v)

    return step


def adam(parameters, settings):
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))

    def step(t):
        for p, m, v in zip(parameters, first, second, strict=True):
            apart = settings.optimizer == "adamw"
            g = p.grad + (0 if apart else settings.weight_decay * p)
            if apart:
                p -= settings.lr * settings.weight_decay * p
            m.mul_(settings.momentum).add_((1 - settings.momentum) * g)
            v.mul_(0.999).add_(0.001 * g * g)
            p -= settings.lr * (m / (1 - settings.momentum ** (t + 1))) / ((v / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)

    return step


@pytest.mark.parametrize(
    "settings",
    [
        Settings(optimizer="sgd", lr=0.1, momentum=0.0),
        Settings(optimizer="sgd", lr=0.1, momentum=0.8, weight_decay=0.01),
        Settings(optimizer="sgd", lr=0.1, momentum=0.8, nesterov=True, weight_decay=0.01),
        Settings(optimizer="adam", lr=0.01, momentum=0.7, weight_decay=0.1),
        Settings(optimizer="adamw", lr=0.01, weight_decay=0.1),
    ],
    ids=lambda s: f"{s.optimizer} {s.momentum} {s.nesterov}",
)
def test_optimizers_by_their_equations(settings):
    mine, theirs = small(), small()
    fit(mine, BATCHES, epochs=2, optimizer=optimizer(mine.parameters(), settings))
    own = (sgd if settings.optimizer == "sgd" else adam)(list(theirs.parameters()), settings)

    def step(model, x, y, t):
        F.cross_entropy(model(x), y).backward()
        with torch.no_grad():
            own(t)

    assert_equal(mine, loop(theirs, step), rtol=1e-5, atol=1e-6)


# Schedules, against torch's.


def rates(schedule, optimizer, epochs, steps, losses=None):
    found = []
    for epoch in range(epochs):
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        if losses:
            schedule.observe(losses[epoch])
    return found


def one_parameter(lr=0.4):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


@pytest.mark.parametrize(
    ("shape", "theirs"),
    [
        (Shape("constant", 3, 4), lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1.0)),
        (Shape("cosine", 3, 4), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12)),
        (Shape("step", 3, 4, gamma=0.5, step_epochs=2), lambda o: torch.optim.lr_scheduler.StepLR(o, 6, 0.5)),
        (Shape("exponential", 3, 4, gamma=0.9), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.9)),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_schedules_are_torchs(shape, theirs):
    mine, other = one_parameter(), one_parameter()
    expected = theirs(other)
    found = rates(Schedule(mine, shape), mine, 4, 3)
    wanted = []
    for _ in found:
        wanted.append(other.param_groups[0]["lr"])
        other.step()
        expected.step()
    assert found == pytest.approx(wanted, rel=1e-6, abs=1e-12)


def test_warm_up_rises_linearly_and_the_cosine_begins_after_it():
    mine = one_parameter(1.0)
    found = rates(Schedule(mine, Shape("cosine", 4, 3, warmup=0.5)), mine, 3, 4)
    assert found[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert found[7] == pytest.approx(0.5)  # half of the ten steps that are left
    assert found[2:] == sorted(found[2:], reverse=True)
    mine = one_parameter(1.0)
    assert rates(
        Schedule(mine, Shape("step", 2, 3, warmup=1.0, gamma=0.1, step_epochs=1)), mine, 3, 2
    ) == pytest.approx([0.5, 1.0, 0.1, 0.1, 0.01, 0.01])


def test_plateau_is_torchs():
    told = [1.0, 0.9, 0.9, 0.95, 0.89999, 0.7, 0.71, 0.72, 0.73, 0.74, 0.75]
    mine, other = one_parameter(), one_parameter()
    found = rates(Schedule(mine, Shape("plateau", 1, len(told), gamma=0.5, patience=1)), mine, len(told), 1, told)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(other, factor=0.5, patience=1)
    wanted = []
    for value in told:
        wanted.append(other.param_groups[0]["lr"])
        theirs.step(value)
    assert found == pytest.approx(wanted)
    assert found[-1] < found[0]


def test_schedules_of_torch_are_taken_too():
    by_step, by_epoch = small(), small()
    steps = torch.optim.SGD(by_step.parameters(), lr=0.1)
    history = fit(by_step, BATCHES, epochs=2, optimizer=steps, schedule=torch.optim.lr_scheduler.StepLR(steps, 2, 0.5))
    assert [epoch.lr for epoch in history] == pytest.approx([0.05, 0.0125])  # three steps an epoch
    steps = torch.optim.SGD(by_epoch.parameters(), lr=0.1)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(steps, factor=0.5, patience=0, threshold=1.0)
    history = fit(by_epoch, BATCHES, epochs=4, optimizer=steps, schedule=plateau)
    assert [epoch.lr for epoch in history] == pytest.approx([0.1, 0.05, 0.025, 0.0125])  # nothing is low enough for it


# Losses, by hand.


def test_losses_by_hand():
    z, y = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]), torch.tensor([0, 2])
    p = z.exp() / z.exp().sum(1, keepdim=True)
    assert losses.loss("cross-entropy")(z, y) == pytest.approx(float(-(p[0, 0].log() + p[1, 2].log()) / 2))
    assert losses.loss("squared-error")(z, y) == pytest.approx(
        float(
            0.5 * ((p[0] - torch.tensor([1.0, 0, 0])) ** 2).sum()
            + 0.5 * ((p[1] - torch.tensor([0, 0, 1.0])) ** 2).sum()
        )
        / 2
    )
    # (1 + 2 - 1) + (1 + 0.5 - 1) for the first, nothing for the second
    assert losses.loss("hinge")(z, y) == pytest.approx(2.5 / 2)
    assert float(losses.loss("hinge")(z, y)) == pytest.approx(3 * float(F.multi_margin_loss(z, y)))


@pytest.mark.parametrize("name", losses.LOSSES)
def test_losses_take_probabilities_smoothing_and_places(name):
    z, y = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    plain, smooth = losses.loss(name), losses.loss(name, 0.3)
    hot = F.one_hot(y, 3).float()
    torch.testing.assert_close(plain(z, hot), plain(z, y))
    torch.testing.assert_close(smooth(z, y), plain(z, 0.7 * hot + 0.1))
    torch.testing.assert_close(smooth(z, hot), plain(z, 0.7 * hot + 0.1))
    places = plain(z.reshape(2, 2, 3).movedim(2, 1), y.reshape(2, 2))
    torch.testing.assert_close(places, plain(z, y))


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


# Metrics.


def test_scores_against_scikit_learn():
    from sklearn.metrics import classification_report, confusion_matrix, top_k_accuracy_score

    z, y = torch.randn(200, 7), torch.randint(0, 6, (200,))
    found = metrics.evaluate(lambda x: x, batches(z, y, 64), 7)
    guessed = z.argmax(1)
    assert found.confusion.tolist() == confusion_matrix(y, guessed, labels=range(7)).tolist()
    assert found.top1 == pytest.approx(float((guessed == y).float().mean()))
    assert found.top5 == pytest.approx(top_k_accuracy_score(y, z, k=5, labels=range(7)))
    assert found.loss == pytest.approx(float(F.cross_entropy(z, y)), rel=1e-5)
    report = classification_report(y, guessed, labels=range(7), output_dict=True, zero_division=0)
    for label, row in enumerate(found.per_class):
        theirs = report[str(label)]
        assert [row[key] for key in ("precision", "recall", "f1", "images")] == pytest.approx(
            [theirs[key] for key in ("precision", "recall", "f1-score", "support")]
        )
    assert metrics.evaluate(lambda x: x, batches(z[:, :4], y.clamp(max=3), 64), 4).top5 is None


# Gradients.


def test_gradients_of_a_graph_network_hold():
    graph = grid_graph((12, 12))
    from gconv import GraphOps

    net = bind(models.lenet5(num_classes=3, ops=GraphOps("cheb", K=3), domain=graph), graph)
    before = copy.deepcopy(net.state_dict())
    found = gradient_check.check(net, torch.rand(2, 144, 1), torch.tensor([0, 2]), entries=2)
    assert {entry.parameter for entry in found} == {name for name, _ in net.named_parameters()}
    gradient_check.require(found)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_wrong_gradient_is_found():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.sin()

        @staticmethod
        def backward(ctx, g):
            return 1.01 * g

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.second(Wrong.apply(self.first(x)))

    found = gradient_check.check(Net(), torch.randn(5, 3), torch.arange(5) % 2)
    with pytest.raises(ValueError, match="gradient of first"):
        gradient_check.require(found)
    assert max(entry.error for entry in found if entry.parameter.startswith("second")) < 1e-6
