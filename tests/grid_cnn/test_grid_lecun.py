"""LeNet's own parts: trainable subsampling, the squashing function, the RBF output and its pictures."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import gradcheck
from torch.func import functional_call

from grid_cnn import RBF, Conv2d, Flatten, Grid, ScaledTanh, Sequential, Subsampling2d, digit_codes


def test_subsampling_by_hand():
    layer = Subsampling2d(2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -0.5]))
        layer.bias.copy_(torch.tensor([0.25, 3.0]))
    x = torch.tensor([[[[1.0, 2, 5, 6], [3, 4, 7, 8]], [[1.0, 1, 2, 2], [1, 1, 2, 2]]]])
    assert layer(x).tolist() == [[[[10.25, 26.25]], [[1.0, -1.0]]]]
    assert layer(x[0]).tolist() == layer(x)[0].tolist()


def test_subsampling_starts_as_a_mean_and_counts_two_numbers_a_map():
    layer, x = Subsampling2d(16), torch.randn(3, 16, 10, 10)
    torch.testing.assert_close(layer(x), F.avg_pool2d(x, 2))
    assert sum(p.numel() for p in layer.parameters()) == 32
    assert layer.codomain(Grid((10, 10), periodic=True)) == Grid((5, 5), periodic=True)
    assert layer.codomain(Grid((11, 10))) == Grid((5, 5))


def test_subsampling_gradients():
    layer = Subsampling2d(2, 3, 2).double()
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    point = x, layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()
    assert gradcheck(lambda x, w, b: functional_call(layer, {"weight": w, "bias": b}, (x,)), point)


def test_subsampling_misfits():
    with pytest.raises(ValueError, match="expects 2 channels, got 3"):
        Subsampling2d(2)(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="larger than the padded input"):
        Subsampling2d(2)(torch.zeros(1, 2, 1, 4))


def test_scaled_tanh():
    """f(±1) = ±1 to four digits, f(x) = 1.7159 tanh(2x/3)."""
    x = torch.linspace(-4, 4, 33, dtype=torch.float64)
    y = ScaledTanh()(x)
    assert y.tolist() == pytest.approx([1.7159 * math.tanh(2 * v / 3) for v in x.tolist()])
    assert float(ScaledTanh()(torch.tensor(1.0))) == pytest.approx(1, abs=1e-4)
    net = Sequential(Conv2d(1, 1, 3, padding=1), ScaledTanh(), Conv2d(1, 1, 1))  # acts element by element
    assert net(torch.zeros(1, 1, 5, 5)).shape == (1, 1, 5, 5)


def test_rbf_is_the_squared_distance():
    codes = torch.randn(4, 6, dtype=torch.float64)
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    layer = RBF(codes)
    torch.testing.assert_close(layer(x), torch.cdist(x, codes) ** 2, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(RBF(codes, negative=True)(x), -layer(x))
    torch.testing.assert_close(layer(x[0]), layer(x)[0])
    assert gradcheck(layer, (x,))


def test_rbf_codes_are_fixed_unless_learned():
    assert not list(RBF().parameters())
    assert RBF().state_dict()["codes"].shape == (10, 84)
    learned = RBF(learned=True)
    learned(torch.zeros(1, 84)).sum().backward()
    assert learned.codes.grad.abs().sum() > 0
    codes = torch.ones(2, 3)
    layer = RBF(codes)
    codes.zero_()
    assert float(layer(torch.ones(1, 3)).sum()) == 0
    assert RBF([[1, -1], [-1, 1]])(torch.tensor([1.0, -1.0])).tolist() == [0.0, 8.0]


def test_every_digit_is_nearest_to_its_own_picture():
    codes = digit_codes()
    assert codes.shape == (10, 7 * 12)
    assert torch.equal(codes.abs(), torch.ones(10, 84))
    assert torch.equal(RBF()(codes).argmin(1), torch.arange(10))
    apart = RBF()(codes) / 4  # cells in which two pictures differ
    assert apart[~torch.eye(10, dtype=torch.bool)].min() >= 6
    one = codes[1].view(12, 7)
    assert torch.equal(one[0], -torch.ones(7))
    assert one[10].tolist() == [-1, 1, 1, 1, 1, 1, 1]


def test_rbf_is_a_head():
    net = Sequential(Conv2d(1, 84, 5), nn.Tanh(), Flatten(), RBF(negative=True))
    assert net(torch.zeros(2, 1, 5, 5)).shape == (2, 10)
    with pytest.raises(TypeError, match="RBF, does not act element by element"):
        Sequential(Conv2d(1, 84, 5), RBF())(torch.zeros(2, 1, 5, 5))
    with pytest.raises(ValueError, match=r"expects 84 features, got shape \(2, 83\)"):
        RBF()(torch.zeros(2, 83))
    with pytest.raises(ValueError, match=r"codes have shape \(classes, features\), got \(84,\)"):
        RBF(torch.zeros(84))


def test_rbf_refuses_what_is_no_vector():
    for wrong, kind in ((torch.tensor(1.0), ValueError), ([1.0] * 84, TypeError), (torch.zeros(2, 83), ValueError)):
        with pytest.raises(kind, match="RBF"):
            RBF()(wrong)
