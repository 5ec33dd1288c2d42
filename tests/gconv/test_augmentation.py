"""Augmentation: each operation does what its name says, settings are read and written, and seeds repeat."""

import pytest
import torch
from torch.nn import functional as F

from gconv.training.augmentation import Augmentation, names

pytest.importorskip("kornia")


def augmented(settings, images, labels=None, classes=10, seed=0):
    torch.manual_seed(seed)
    labels = torch.arange(len(images)) % classes if labels is None else labels
    return Augmentation.parse(settings)(images, labels, classes)


@pytest.fixture
def images():
    return torch.rand(64, 1, 12, 10, generator=torch.Generator().manual_seed(1))


def test_crop_is_a_piece_of_the_padded_picture(images):
    changed, _ = augmented("crop:2", images)
    padded = F.pad(images, (2, 2, 2, 2))
    windows = padded.unfold(2, 12, 1).unfold(3, 10, 1).flatten(2, 3)  # all 25 places
    found = (windows == changed[:, :, None]).flatten(3).all(3)[:, 0]
    assert found.any(1).all()
    assert len(found.int().argmax(1).unique()) > 10


def test_flip_turns_about_half_of_them(images):
    changed, labels = augmented("flip", images)
    flipped, same = (changed == images.flip(3)).flatten(1).all(1), (changed == images).flatten(1).all(1)
    assert (flipped | same).all()
    assert 16 < int(flipped.sum()) < 48
    assert labels.tolist() == [i % 10 for i in range(64)]
    assert torch.equal(augmented("flip@1", images)[0], images.flip(3))


def test_affine_moves_what_is_there_and_no_more_than_it_may():
    picture = torch.zeros(100, 1, 41, 41)
    picture[:, :, 20, 20] = 1.0
    wide = F.max_pool2d(picture, 3, 1, 1)
    changed, _ = augmented("affine:0:0.1:0:0", wide)
    weights = changed / changed.sum((2, 3), keepdim=True)
    position = torch.arange(41.0)
    rows, columns = (weights.sum(3) * position).sum(2), (weights.sum(2) * position).sum(2)
    shift = torch.cat([rows, columns]) - 20
    assert float(shift.abs().max()) <= 4.15
    assert float(shift.abs().max()) > 3.0


def test_affine_turns_by_at_most_its_degrees():
    bar = torch.zeros(64, 1, 41, 41)
    bar[:, :, 20, 5:36] = 1.0
    changed, _ = augmented("affine:30:0:0:0", bar)
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    xx, yy, xy = ((changed[:, 0] * m).sum((1, 2)) for m in (x * x, y * y, x * y))
    degrees = torch.rad2deg(0.5 * torch.atan2(2 * xy, xx - yy)).abs()
    assert float(degrees.max()) < 31
    assert float(degrees.max()) > 20


@pytest.mark.parametrize("pixels", [0.5, 2.0])
def test_elastic_moves_by_so_many_pixels(pixels):
    """A ramp tells by how much each place was moved: its value is its position."""
    ramp = torch.linspace(0, 1, 64).expand(32, 1, 64, 64)
    changed, _ = augmented(f"elastic:{pixels}:4", ramp)
    moved = ((changed - ramp) * 63)[:, :, 20:-20, 20:-20]
    assert float(moved.pow(2).mean().sqrt()) == pytest.approx(pixels, rel=0.2)


def test_elastic_fields_are_smooth():
    ramp = torch.linspace(0, 1, 64).expand(16, 1, 64, 64)
    steps = [
        (augmented(f"elastic:1:{smoothness}", ramp)[0] - ramp)[:, :, 20:-20, 20:-20].diff(dim=2).abs().mean()
        for smoothness in (2, 6)
    ]
    assert steps[0] > 2 * steps[1]


def test_cutout_makes_one_square_of_zeros(images):
    changed, _ = augmented("cutout:4", images + 0.001)
    for picture in changed[:, 0]:
        dark = picture == 0
        assert int(dark.sum()) == 16
        rows, columns = dark.any(1).nonzero().flatten(), dark.any(0).nonzero().flatten()
        assert (len(rows), len(columns)) == (4, 4)
    kept = changed != 0
    assert torch.equal(changed[kept], (images + 0.001)[kept])


def test_colours_change_brightness_and_stay_in_range():
    for channels in (1, 3):
        pictures = torch.rand(32, channels, 8, 8)
        changed, _ = augmented("color:0.4", pictures)
        assert changed.shape == pictures.shape
        assert 0 <= float(changed.min()) <= float(changed.max()) <= 1
        assert float((changed.mean((1, 2, 3)) - pictures.mean((1, 2, 3))).abs().max()) > 0.05


def test_mixup_mixes_pictures_and_labels_alike():
    """Pictures that hold their label's number tell in which shares they were mixed."""
    labels = torch.arange(10)
    pictures = F.one_hot(labels, 10).float().reshape(10, 10, 1, 1).expand(10, 10, 4, 4)
    changed, targets = augmented("mixup:1", pictures.clone(), labels)
    torch.testing.assert_close(changed.mean((2, 3)), targets)
    torch.testing.assert_close(targets.sum(1), torch.ones(10))
    assert int(((targets > 0.05) & (targets < 0.95)).any(1).sum()) >= 5


def test_mixup_shares_are_of_a_beta_distribution():
    pictures, labels = torch.zeros(4000, 1, 1, 1), torch.arange(4000)
    for alpha in (0.2, 4.0):
        _, targets = augmented(f"mixup:{alpha}", pictures, labels, classes=4000)
        share = targets[labels, labels]
        assert float(share.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


def test_cutmix_counts_the_area():
    labels = torch.arange(10)
    pictures = F.one_hot(labels, 10).float().reshape(10, 10, 1, 1).expand(10, 10, 16, 16)
    changed, targets = augmented("cutmix", pictures.clone(), labels)
    assert set(changed.unique().tolist()) == {0.0, 1.0}  # rectangles, nothing in between
    torch.testing.assert_close(changed.mean((2, 3)), targets)


def test_of_two_mixes_each_has_its_turn(images):
    torch.manual_seed(0)
    augment = Augmentation.parse("mixup:5,cutmix")
    kinds = []
    for _ in range(30):
        changed, targets = augment(images, torch.arange(64) % 10, 10)
        assert targets.shape == (64, 10)
        kinds.append(bool(torch.isin(changed, images).all()))
    assert 5 < sum(kinds) < 25


def test_a_probability_leaves_the_others_as_they_are(images):
    for settings in ("crop:3@0.25", "affine@0.25", "elastic@0.25", "cutout:3@0.25", "color@0.25"):
        changed, _ = augmented(settings, images)
        touched = (changed != images).flatten(1).any(1)
        assert 5 < int(touched.sum()) < 30, settings
    untouched, targets = augmented("mixup@0", images)
    assert torch.equal(untouched, images)
    assert torch.equal(targets, F.one_hot(torch.arange(64) % 10, 10).float())


def test_seeds_repeat_and_states_go_on(images):
    everything = ",".join(names())
    augment, labels = Augmentation.parse(everything), torch.arange(64) % 10
    torch.manual_seed(3)
    augment(images, labels, 10)
    state = torch.get_rng_state()
    second = augment(images, labels, 10)
    torch.set_rng_state(state)
    again = Augmentation.parse(everything)(images, labels, 10)  # a process that begins anew
    for mine, its in zip(second, again, strict=True):
        assert torch.equal(mine, its)
    assert not torch.equal(second[0], augment(images, labels, 10)[0])


def test_the_picture_given_is_not_changed(images):
    before = images.clone()
    augmented(",".join(names()), images)
    assert torch.equal(images, before)


def test_nothing_asked_nothing_done(images):
    augment, labels = Augmentation.parse(" "), torch.arange(64)
    assert not augment
    assert augment(images, labels, 64) == (images, labels)


@pytest.mark.parametrize(
    ("settings", "whole"),
    [
        ("crop", "crop:4"),
        ("crop:2 , flip", "crop:2,flip"),
        ("flip@0.25", "flip@0.25"),
        ("affine:15", "affine:15:0.1:0.1:0"),
        ("mixup:0.4@0.5", "mixup:0.4@0.5"),
    ],
)
def test_settings_are_written_as_they_are_read(settings, whole):
    augment = Augmentation.parse(settings)
    assert str(augment) == whole
    assert Augmentation.parse(str(augment)) == augment


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ("crp:4", "unknown augmentation 'crp' in 'crp:4': did you mean crop"),
        ("blur", "unknown augmentation 'blur' in 'blur': there are crop, flip"),
        ("flip,", "unknown augmentation ''"),
        ("flip,crop,flip", "'flip' is given twice in 'flip,crop,flip'"),
        ("crop:four", "crop: pixels takes a whole number >= 1, got 'four'"),
        ("crop:2.5", "crop: pixels takes a whole number >= 1, got '2.5'"),
        ("cutout:0", "cutout: pixels takes a whole number >= 1, got '0'"),
        ("affine:nan", "affine: degrees takes a number from 0 to 180, got 'nan'"),
        ("affine:10:2", "affine: shift takes a number from 0 to 1, got '2'"),
        ("mixup:0", "mixup: alpha takes a number from 0.001 to 1000"),
        ("flip@2", "flip: probability takes a number from 0 to 1, got '2'"),
        ("crop:1:2", "augmentation 'crop:1:2' has 2 numbers; at most crop:PIXELS@PROBABILITY"),
    ],
)
def test_wrong_settings_are_named(settings, match):
    with pytest.raises(ValueError, match=match):
        Augmentation.parse(settings)


def test_signals_of_graphs_and_squares_that_do_not_fit():
    with pytest.raises(
        ValueError, match=r"takes floating pictures \(B, C, H, W\), got \(2, 784, 1\).*before pictures become"
    ):
        augmented("flip", torch.zeros(2, 784, 1))
    with pytest.raises(ValueError, match="a square of 9 pixels does not fit pictures of 8x20"):
        augmented("cutout:9", torch.zeros(1, 1, 8, 20))
