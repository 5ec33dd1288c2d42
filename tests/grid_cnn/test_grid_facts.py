"""The operators of the lectures, worked by hand: what a layer computes, and what its backward pass computes."""

import itertools

import numpy as np
import pytest
import torch

from grid_cnn import (
    LENET_C3,
    AvgPool2d,
    Conv1d,
    Conv2d,
    FFTConv2d,
    GlobalAvgPool,
    LocallyConnected2d,
    MaxPool2d,
    MinPool2d,
    PartialConv2d,
    Sequential,
    Subsampling2d,
    image_kernels,
)


def picture(text: str) -> torch.Tensor:
    """Rows of numbers, separated by '/', as one picture of one channel in double precision."""
    rows = [row.split() if " " in row else list(row) for row in text.split("/")]
    return torch.tensor([[float(v) for v in row] for row in rows], dtype=torch.float64)[None, None]


def with_weights(layer, weight: torch.Tensor, bias: torch.Tensor | None = None):
    """The layer in double precision, with the given parameters."""
    layer = layer.double()
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def filtered(x: torch.Tensor, kernel: torch.Tensor, **options) -> torch.Tensor:
    layer = Conv2d(1, 1, tuple(kernel.shape[2:]), bias=False, **options)
    return with_weights(layer, kernel)(x)


@pytest.mark.parametrize(
    ("x", "kernel", "stride", "expected"),
    [
        ("11100/01110/00111/00110/01100", "101/010/101", 1, "434/243/234"),
        ("33210/00131/31223/20022/20001", "012/220/012", 1, "12 12 17/10 17 19/9 6 14"),
        ("33210/00131/31223/20022/20001", "012/220/012", 2, "12 17/9 14"),
    ],
)
def test_cross_correlation_by_hand(x, kernel, stride, expected):
    assert torch.equal(filtered(picture(x), picture(kernel), stride=stride), picture(expected))


def test_true_convolution_flips_the_kernel():
    x, kernel = picture("33210/00131/31223/20022/20001"), picture("012/220/012")
    flipped = picture("210/022/210")
    assert torch.equal(filtered(x, kernel, true_convolution=True), filtered(x, flipped))
    assert not torch.equal(filtered(x, kernel, true_convolution=True), filtered(x, kernel))


def test_full_true_convolution_by_hand():
    x = torch.tensor([1, 1, -1, 1, 1, 2, 1, -1, 1, 2, -1, -1, 2], dtype=torch.float64)
    expected = torch.tensor([1, 0, -1, 3, -1, 2, 0, 0, 3, 0, -2, 2, 2, -3, 2], dtype=torch.float64)
    layer = Conv1d(1, 1, 3, padding=2, bias=False, true_convolution=True)
    layer = with_weights(layer, torch.tensor([[[1.0, -1.0, 1.0]]]))
    assert torch.equal(layer(x[None, None])[0, 0], expected)


def test_shared_one_dimensional_field():
    """v_j = Σ_{i=1..6} w_i x_{i+j-1} for j = 1..4."""
    x, w = torch.randn(9, dtype=torch.float64), torch.randn(6, dtype=torch.float64)
    expected = [sum(float(w[i - 1] * x[i + j - 2]) for i in range(1, 7)) for j in range(1, 5)]
    layer = with_weights(Conv1d(1, 1, 6, bias=False), w[None, None])
    assert layer(x[None, None])[0, 0].tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pool", "x", "expected"),
    [
        (MaxPool2d, "1124/5678/3210/1234", "68/34"),
        (MinPool2d, "1124/5678/3210/1234", "1 2/1 0"),
        (AvgPool2d, "2325/5698/3212/1201", "46/21"),
        (AvgPool2d, "0221/4301/2132/3120", "2.25 1/1.75 1.75"),
    ],
)
def test_pools_by_hand(pool, x, expected):
    assert torch.equal(pool(2)(picture(x)), picture(expected))
    assert torch.equal(pool(2, stride=2)(picture(x)), picture(expected))


def test_picture_of_three_channels():
    x = torch.cat(
        [
            picture("00102/10201/10220/20020/21220"),
            picture("21211/21201/02101/12222/01201"),
            picture("21120/10010/01000/10210/22111"),
        ],
        dim=1,
    )
    w0 = [picture("-1 0 1/0 0 1/1 -1 1"), picture("-1 0 1/1 -1 1/0 1 0"), picture("-1 1 1/1 1 0/0 -1 0")]
    w1 = [picture("0 1 -1/0 -1 0/0 -1 1"), picture("-1 0 0/1 -1 0/1 -1 0"), picture("-1 1 -1/0 -1 -1/1 0 0")]
    weight = torch.cat([torch.cat(w0, dim=1), torch.cat(w1, dim=1)])
    layer = with_weights(Conv2d(3, 2, 3, stride=2, padding=1), weight, torch.tensor([1.0, 0.0]))
    expected = torch.cat([picture("2 3 3/3 7 3/8 10 -3"), picture("-8 -8 -3/-3 1 0/-3 -8 -5")], dim=1)
    assert torch.equal(layer(x), expected)


BOX = torch.full((1, 1, 3, 3), 1 / 9, dtype=torch.float64)
SOBEL_X, SOBEL_Y = picture("-1 0 1/-2 0 2/-1 0 1"), picture("1 2 1/0 0 0/-1 -2 -1")


def test_box_filter_keeps_what_is_flat_and_averages_the_rest():
    flat = torch.full((1, 1, 5, 6), 3.0, dtype=torch.float64)
    torch.testing.assert_close(filtered(flat, BOX), flat[..., 1:-1, 1:-1])
    x = torch.randn(1, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(filtered(x, BOX).squeeze(), x.mean())


@pytest.mark.parametrize("padding_mode", ["zeros", "replicate", "reflect"])
def test_borders_of_a_flat_picture(padding_mode):
    """Replicated and reflected borders keep a flat picture flat; zeros darken an edge by 3/9 and a corner by 5/9."""
    flat = torch.ones(1, 1, 4, 4, dtype=torch.float64)
    y = filtered(flat, BOX, padding=1, padding_mode=padding_mode)
    edge = torch.tensor([2 / 3, 1, 1, 2 / 3], dtype=torch.float64)
    torch.testing.assert_close(y[0, 0], torch.outer(edge, edge) if padding_mode == "zeros" else flat[0, 0])


def test_sobel_filters_measure_the_slope_along_one_axis():
    rows = torch.arange(5, dtype=torch.float64)[:, None].expand(5, 6)[None, None]
    columns = torch.arange(6, dtype=torch.float64)[None, :].expand(5, 6)[None, None]
    inside = torch.ones(1, 1, 3, 4, dtype=torch.float64)
    assert torch.equal(filtered(columns, SOBEL_X), 8 * inside)
    assert torch.equal(filtered(rows, SOBEL_X), 0 * inside)
    assert torch.equal(filtered(rows, SOBEL_Y), -8 * inside)
    assert torch.equal(filtered(columns, SOBEL_Y), 0 * inside)


def cells(*sizes: int):
    return itertools.product(*(range(n) for n in sizes))


def correlation(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(x ⋆ w)[p] = Σ_m x[p + m] w[m] wherever the kernel lies inside the signal; one channel, by explicit loops."""
    out = np.zeros([n - f + 1 for n, f in zip(x.shape, w.shape, strict=True)])
    for p in cells(*out.shape):
        for m in cells(*w.shape):
            out[p] += x[tuple(np.add(p, m))] * w[m]
    return out


def full_convolution(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(x ∗ w)[p] = Σ_q x[q] w[p - q] wherever signal and kernel overlap at all; one channel, by explicit loops."""
    out = np.zeros([n + f - 1 for n, f in zip(x.shape, w.shape, strict=True)])
    for q in cells(*x.shape):
        for m in cells(*w.shape):
            out[tuple(np.add(q, m))] += x[q] * w[m]
    return out


def derivatives(layer, x: torch.Tensor) -> tuple[np.ndarray, ...]:
    """x and w, the δ arriving at the layer's output, and dJ/dx, dJ/dw and dJ/db as autograd gives them."""
    x = x.requires_grad_()
    y = layer(x)
    delta = torch.randn_like(y)
    y.backward(delta)
    tensors = (x, layer.weight, delta, x.grad, layer.weight.grad, layer.bias.grad)
    return tuple(tensor.detach().numpy() for tensor in tensors)


LAYERS = [(Conv1d, (7,), (3,)), (Conv1d, (6,), (4,)), (Conv2d, (5, 6), (3, 2)), (Conv2d, (4, 5), (3, 3))]


@pytest.mark.parametrize(("layer", "size", "kernel"), LAYERS)
def test_backward_of_cross_correlation(layer, size, kernel):
    """dJ/dx[i] = Σ_o δ[o] ∗ w[o, i] (full), dJ/dw[o, i] = x[i] ⋆ δ[o], dJ/db[o] = Σ δ[o]."""
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    x, w, delta, dx, dw, db = derivatives(layer(2, 3, kernel).double(), x)
    for i in range(2):
        np.testing.assert_allclose(dx[0, i], sum(full_convolution(delta[0, o], w[o, i]) for o in range(3)), atol=1e-12)
        for o in range(3):
            np.testing.assert_allclose(dw[o, i], correlation(x[0, i], delta[0, o]), atol=1e-12)
    np.testing.assert_allclose(db, delta[0].reshape(3, -1).sum(1), atol=1e-12)


@pytest.mark.parametrize(("layer", "size", "kernel"), LAYERS)
def test_backward_of_true_convolution(layer, size, kernel):
    """dJ/dx = δ ⋆ w = δ ∗ flip(w) (full), dJ/dw = flip(x ⋆ δ), dJ/db = Σ δ."""
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    x, w, delta, dx, dw, db = derivatives(layer(2, 3, kernel, true_convolution=True).double(), x)
    for i in range(2):
        by_flip = sum(full_convolution(delta[0, o], np.flip(w[o, i])) for o in range(3))
        np.testing.assert_allclose(dx[0, i], by_flip, atol=1e-12)
        wide = [np.pad(delta[0, o], [(f - 1, f - 1) for f in kernel]) for o in range(3)]
        by_correlation = sum(correlation(wide[o], w[o, i]) for o in range(3))
        np.testing.assert_allclose(dx[0, i], by_correlation, atol=1e-12)
        for o in range(3):
            np.testing.assert_allclose(dw[o, i], np.flip(correlation(x[0, i], delta[0, o])), atol=1e-12)
    np.testing.assert_allclose(db, delta[0].reshape(3, -1).sum(1), atol=1e-12)


@pytest.mark.parametrize(("layer", "size", "kernel"), LAYERS)
def test_forward_against_loops(layer, size, kernel):
    """Both conventions of the layer, channel by channel and by explicit loops."""
    x = torch.randn(2, 2, *size, dtype=torch.float64)
    plain, true = layer(2, 3, kernel).double(), layer(2, 3, kernel, true_convolution=True).double()
    true.load_state_dict(plain.state_dict())
    w, b = plain.weight.detach().numpy(), plain.bias.detach().numpy()
    for batch, o in cells(2, 3):
        signals = x[batch].numpy()
        forward = b[o] + sum(correlation(signals[i], w[o, i]) for i in range(2))
        np.testing.assert_allclose(plain(x)[batch, o].detach(), forward, atol=1e-12)
        flipped = b[o] + sum(correlation(signals[i], np.flip(w[o, i])) for i in range(2))
        np.testing.assert_allclose(true(x)[batch, o].detach(), flipped, atol=1e-12)


def test_image_kernels_are_those_of_the_lectures():
    assert torch.equal(image_kernels.box().double(), torch.full((3, 3), 1 / 9).double())
    assert torch.equal(image_kernels.sobel_x().double(), SOBEL_X[0, 0])
    assert torch.equal(image_kernels.sobel_y().double(), SOBEL_Y[0, 0])


@pytest.mark.parametrize("border", ["ignore", "replicate", "zero"])
def test_borders_by_hand(border):
    """Sums of 3×3 windows of 1 2 3 / 4 5 6 / 7 8 9 where windows leave the picture."""
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    wanted = {
        "ignore": [[45.0]],
        "replicate": [[21.0, 27.0, 33.0], [39.0, 45.0, 51.0], [57.0, 63.0, 69.0]],
        "zero": [[12.0, 21.0, 16.0], [27.0, 45.0, 33.0], [24.0, 39.0, 28.0]],
    }
    assert image_kernels.filter_image(x, torch.ones(3, 3), border).tolist() == wanted[border]


def test_global_average_by_hand():
    assert float(GlobalAvgPool()(picture("2325/5698/3212/1201"))) == 52 / 16


def test_loss_of_the_boat():
    """½ Σ (t - p)² for p = (0.2, 0.4, 0.1, 0.3) and t = (0, 0, 1, 0)."""
    p, t = torch.tensor([0.2, 0.4, 0.1, 0.3]), torch.tensor([0.0, 0.0, 1.0, 0.0])
    assert float(torch.nn.MSELoss(reduction="sum")(p, t) / 2) == pytest.approx(0.55)


def test_rectifiers_act_on_any_domain():
    x = torch.tensor([-2.0, 0.0, 3.0]).view(1, 1, 3)
    net = Sequential(with_weights(Conv1d(1, 1, 1, bias=False), torch.ones(1, 1, 1)).float(), torch.nn.ReLU())
    assert net(x).flatten().tolist() == [0.0, 0.0, 3.0]
    net[1] = torch.nn.LeakyReLU(0.1)
    assert net(x).flatten().tolist() == pytest.approx([-0.2, 0.0, 3.0])


def test_partially_connected_c3_has_1516_weights_and_subsampling_two_a_map():
    assert sum(p.numel() for p in PartialConv2d(6, 16, 5, LENET_C3).parameters()) == 1516
    assert sum(p.numel() for p in Subsampling2d(6).parameters()) == 12


def test_the_layers_do_to_the_worked_pictures_what_the_convolution_does():
    """Locally connected with one kernel everywhere, and by the Fourier transform: the same worked numbers."""
    x, kernel = picture("33210/00131/31223/20022/20001"), picture("012/220/012")
    expected = picture("12 12 17/10 17 19/9 6 14")
    local = LocallyConnected2d(1, 1, 5, 3, bias=False)
    assert torch.equal(with_weights(local, kernel.expand_as(local.weight))(x), expected)
    fast = with_weights(FFTConv2d(1, 1, 3, bias=False), kernel)
    torch.testing.assert_close(fast(x), expected, rtol=0, atol=1e-12)
