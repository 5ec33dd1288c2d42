"""Scores against scikit-learn's, and the check of gradients, which must find a wrong one."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gconv import grid_graph
from gconv.training import gradient_check, metrics
from gconv.training.fit import batches
from grid_cnn import bind, models

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
