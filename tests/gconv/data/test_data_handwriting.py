"""Digits are found on pictures, and brought to MNIST's form."""

import pytest
import torch
from photographs import photograph
from torch.nn import functional as F

from gconv.data import DataError
from gconv.data.handwriting import read_handwriting


def bar(height, width, at=(0, 0), size=(100, 80), paper=0.9, ink=0.1):
    picture = torch.full((1, *size), paper)
    picture[0, at[0] : at[0] + height, at[1] : at[1] + width] = ink
    return picture


def center_of_mass(pixels):
    rows, columns = pixels[0].sum(1), pixels[0].sum(0)
    return [float((part * (torch.arange(28) + 0.5)).sum() / part.sum()) for part in (rows, columns)]


@pytest.mark.parametrize(("paper", "ink", "words"), [(0.9, 0.1, "dark on light"), (0.05, 0.6, "light on dark")])
@pytest.mark.parametrize("at", [(5, 10), (38, 60), (20, 3)])
def test_the_box_is_scaled_to_twenty_and_put_in_the_middle(paper, ink, words, at):
    found = read_handwriting(bar(60, 12, at, paper=paper, ink=ink))
    assert found.how == f"{words}, cropped 60x12 to 20x4"
    assert found.pixels.shape == (1, 28, 28)
    bright = found.pixels[0] > 0.5
    assert (int(bright.any(1).sum()), int(bright.any(0).sum())) == (20, 4)
    assert center_of_mass(found.pixels) == pytest.approx([14, 14], abs=0.6)
    assert found.pixels.aminmax() == (0.0, 1.0)


def test_the_center_of_mass_is_in_the_middle_not_the_box():
    """A T has its weight at the top."""
    picture = bar(8, 48, (10, 16))
    picture[0, 10:70, 36:44] = 0.1
    found = read_handwriting(picture)
    assert center_of_mass(found.pixels) == pytest.approx([14, 14], abs=0.6)
    rows = (found.pixels[0].sum(1) > 0.5).nonzero().flatten()
    assert int(rows[0]) > 5  # would be 4, were the box in the middle
    assert int(rows[-1]) - int(rows[0]) == 19


def test_mnist_s_own_form_is_taken_as_it_is():
    digit = torch.zeros(1, 28, 28)
    digit[0, 4:24, 10:14] = 0.8
    found = read_handwriting(digit)
    assert found.how == "light on dark, as it is"
    assert found.pixels is digit


def test_specks_are_dirt_and_two_strokes_are_a_digit():
    picture = bar(60, 12, (20, 30))
    clean = read_handwriting(picture)
    picture[0, 5:8, 70:73] = 0.1
    speckled = read_handwriting(picture)
    assert speckled.how == clean.how
    torch.testing.assert_close(speckled.pixels, clean.pixels, atol=0.02, rtol=0)
    picture[0, 20:26, 50:70] = 0.1  # a stroke of its own
    assert read_handwriting(picture).how.endswith("cropped 60x40 to 20x13")


def test_thin_pens_are_widened():
    thin = read_handwriting(F.pad(bar(200, 3, size=(200, 3)), (60, 60, 40, 40), value=0.9))
    assert float(thin.pixels[0].sum(1).max()) > 1.5
    thick = read_handwriting(bar(60, 12, (20, 30)))
    assert float(thick.pixels[0].sum(1).max()) == pytest.approx(4, abs=0.3)


def test_large_pictures_are_told_in_their_own_pixels():
    found = read_handwriting(bar(1200, 240, (200, 300), size=(2000, 1600)))
    assert found.how == "dark on light, cropped 1200x240 to 20x4"


@pytest.mark.parametrize("light", [0.0, 0.6])
def test_blank_paper_has_no_digit(light):
    lit = torch.linspace(1 - light, 1, 90).expand(1, 70, 90) * 0.9
    with pytest.raises(DataError, match="no digit found: the picture is blank"):
        read_handwriting(lit + 0.005 * torch.randn(1, 70, 90))


def test_tiny_pictures_are_no_trouble():
    for size in ((1, 1), (2, 3), (5, 5)):
        with pytest.raises(DataError, match="blank"):
            read_handwriting(torch.full((1, *size), 0.5))
    assert read_handwriting(bar(4, 2, (1, 2), size=(6, 6))).pixels.shape == (1, 28, 28)


def test_other_sizes_have_the_same_proportions():
    found = read_handwriting(bar(60, 12, (20, 30)), size=(56, 56))
    assert found.how.endswith("to 40x8")


def test_a_photograph_is_what_it_says():
    digit = torch.zeros(1, 28, 28)
    digit[0, 4:24, 10:14] = 1.0
    picture = photograph(digit, scale=5, margins=(10, 20, 30, 40), light=0.5)
    assert picture.shape == (1, 28 * 5 + 70, 28 * 5 + 30)
    assert float(picture[0, 0, 0]) == pytest.approx(0.85)
    assert float(picture[0, -1, -1]) == pytest.approx(0.425)
