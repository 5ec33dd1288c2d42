"""Optimisers, schedules and losses, each against its equation or torch's own."""

import pytest
import torch
from fit_oracles import BATCHES, assert_equal, loop, small
from torch import nn
from torch.nn import functional as F

from gconv.training import losses
from gconv.training.fit import fit
from gconv.training.optimizers import optimizer
from gconv.training.schedules import Schedule, Shape
from gconv.training.settings import Settings

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
