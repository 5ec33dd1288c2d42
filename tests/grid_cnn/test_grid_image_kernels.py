"""Image kernels by hand, and `filter_image` against loops for every border."""

import itertools

import pytest
import torch

from grid_cnn import image_kernels
from grid_cnn.image_kernels import box, filter_image, gaussian, laplacian, sharpen, sobel_x, sobel_y


def by_loops(picture: torch.Tensor, kernel: torch.Tensor, border: str) -> torch.Tensor:
    """Σ_m k[m] x[p + m - r], cells beyond the border left out, repeated, or zero; r is the middle, rounded down."""
    height, width = picture.shape
    rows, columns = kernel.shape
    top, left = ((rows - 1) // 2, (columns - 1) // 2) if border != "ignore" else (0, 0)
    shape = (height - rows + 1, width - columns + 1) if border == "ignore" else (height, width)
    out = torch.zeros(shape, dtype=picture.dtype)
    for i, j in itertools.product(range(shape[0]), range(shape[1])):
        for m, n in itertools.product(range(rows), range(columns)):
            y, x = i + m - top, j + n - left
            if border == "replicate":
                y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
            if 0 <= y < height and 0 <= x < width:
                out[i, j] += kernel[m, n] * picture[y, x]
    return out


@pytest.mark.parametrize("border", ["ignore", "replicate", "zero"])
@pytest.mark.parametrize("size", [(3, 3), (1, 5), (2, 4)])
def test_by_loops(border, size):
    picture, kernel = torch.randn(6, 7, dtype=torch.float64), torch.randn(size, dtype=torch.float64)
    expected = by_loops(picture, kernel, border)
    torch.testing.assert_close(filter_image(picture, kernel, border), expected, rtol=1e-12, atol=1e-12)
    stack = torch.stack([picture, 2 * picture, -picture])
    torch.testing.assert_close(filter_image(stack, kernel, border)[1], 2 * expected, rtol=1e-12, atol=1e-12)
    batch = filter_image(torch.stack([stack, 0 * stack]), kernel, border)
    assert batch.shape == (2, 3, *expected.shape)
    torch.testing.assert_close(batch[0, 2], -expected, rtol=1e-12, atol=1e-12)


def test_kernels_by_hand():
    assert torch.equal(box(3), torch.full((3, 3), 1 / 9))
    assert sobel_x().tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    assert sobel_y().tolist() == [[1, 2, 1], [0, 0, 0], [-1, -2, -1]]
    assert laplacian().tolist() == [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
    assert laplacian(diagonals=True).tolist() == [[1, 1, 1], [1, -8, 1], [1, 1, 1]]
    assert sharpen().tolist() == [[0, -1, 0], [-1, 5, -1], [0, -1, 0]]
    assert sharpen(diagonals=True).tolist() == [[-1, -1, -1], [-1, 9, -1], [-1, -1, -1]]
    assert (gaussian(5) * 256)[2].tolist() == [6, 24, 36, 24, 6]


def test_gaussian_falls_off_as_its_formula_says():
    kernel = gaussian(7, sigma=1.5)
    torch.testing.assert_close(kernel.sum(), torch.tensor(1.0))
    ratio = float(kernel[3, 5] / kernel[3, 3])
    assert ratio == pytest.approx(2.718281828 ** (-4 / (2 * 1.5**2)), rel=1e-5)
    torch.testing.assert_close(kernel, kernel.t())
    for wrong in (0, -1.0):
        with pytest.raises(ValueError, match="sigma takes a number above 0"):
            gaussian(3, wrong)


def test_what_the_kernels_are_for():
    flat, ramp = torch.full((5, 5), 3.0), torch.arange(5.0).expand(5, 5)
    for kernel in (box(), gaussian(), gaussian(5, 1.0), sharpen()):
        torch.testing.assert_close(filter_image(flat, kernel, "replicate"), flat)
    for kernel in (sobel_x(), sobel_y(), laplacian()):
        assert torch.equal(filter_image(flat, kernel, "replicate"), 0 * flat)
    assert torch.equal(filter_image(ramp, sobel_x()), torch.full((3, 3), 8.0))
    assert torch.equal(filter_image(ramp.t(), sobel_y()), torch.full((3, 3), -8.0))
    assert torch.equal(filter_image(ramp, laplacian()), torch.zeros(3, 3))
    picture = torch.randn(6, 6)
    torch.testing.assert_close(
        filter_image(picture, sharpen(), "zero"), picture - filter_image(picture, laplacian(), "zero")
    )


def test_whole_numbers_and_gradients():
    picture = torch.arange(25, dtype=torch.uint8).view(5, 5)
    y = filter_image(picture, box())
    assert y.dtype == torch.float32
    assert torch.equal(y.round(), picture[1:4, 1:4].float())
    x = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: filter_image(x, sobel_x(), "replicate"), (x,))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((torch.zeros(5), box()), ValueError, r"picture has shape \(H, W\).*got \(5,\)"),
        ((torch.zeros(5, 5), torch.ones(3)), ValueError, r"kernel has shape \(h, w\), got \(3,\)"),
        ((torch.zeros(2, 5), box()), ValueError, r"larger than the picture: \(3, 3\) against \(2, 5\)"),
        ((torch.zeros(5, 5), box(), "wrap"), ValueError, "border is one of ignore, replicate, zero; got 'wrap'"),
        (([[1.0]], box()), TypeError, "a tensor as picture, got list"),
        ((torch.zeros(0, 5), box()), ValueError, r"got \(0, 5\)"),
    ],
)
def test_misfits(arguments, error, message):
    with pytest.raises(error, match=message):
        filter_image(*arguments)


@pytest.mark.parametrize("make", [box, gaussian])
@pytest.mark.parametrize("size", [0, -1, 2.5, "3", True], ids=repr)
def test_bad_sides(make, size):
    with pytest.raises(ValueError, match="side of a kernel"):
        make(size)


def test_borders_are_listed():
    assert list(image_kernels.BORDERS) == ["ignore", "replicate", "zero"]
