"""`ImageData` holds what it promises, and its helpers do what they say."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from gconv.data import ImageData
from gconv.data.images import permutation, resize


@pytest.fixture
def image_data() -> ImageData:
    """Images whose every pixel is their own number / 100, so that an image can be told after a draw."""
    train = (torch.arange(20) / 100).reshape(20, 1, 1, 1).expand(20, 3, 4, 5)
    test = (torch.arange(50, 60) / 100).reshape(10, 1, 1, 1).expand(10, 3, 4, 5)
    return ImageData("toy", "a toy", train, torch.arange(20) % 3, test, torch.arange(50, 60) % 3, ("a", "b", "c"))


def numbers(images: torch.Tensor) -> list[int]:
    return [round(value * 100) for value in images[:, 0, 0, 0].tolist()]


def test_properties_and_repr(image_data: ImageData):
    assert image_data.num_classes == 3
    assert image_data.in_channels == 3
    assert image_data.size == (4, 5)
    assert repr(image_data) == "ImageData('toy': 20 train + 10 test images, 3x4x5, 3 classes)"


def test_is_frozen_and_compared_by_identity(image_data: ImageData):
    with pytest.raises(FrozenInstanceError):
        image_data.name = "other"  # pyright: ignore[reportAttributeAccessIssue]
    assert image_data != replace(image_data)


def test_subset_draws_without_replacement_and_keeps_labels(image_data: ImageData):
    drawn = image_data.subset(train=12, test=4)
    train, test = numbers(drawn.train_images), numbers(drawn.test_images)
    assert len(set(train)) == 12
    assert set(train) <= set(range(20))
    assert train != sorted(train)
    assert len(set(test)) == 4
    assert set(test) <= set(range(50, 60))
    assert drawn.train_labels.tolist() == [number % 3 for number in train]
    assert drawn.test_labels.tolist() == [number % 3 for number in test]


def test_subsets_are_nested_and_seeded(image_data: ImageData):
    twelve = numbers(image_data.subset(train=12).train_images)
    assert numbers(image_data.subset(train=5).train_images) == twelve[:5]
    assert numbers(image_data.subset(train=12, seed=1).train_images) != twelve
    assert sorted(numbers(image_data.subset(train=20).train_images)) == list(range(20))


def test_subset_leaves_what_it_is_not_asked_for(image_data: ImageData):
    drawn = image_data.subset(train=3)
    assert drawn.test_images is image_data.test_images
    assert drawn.test_labels is image_data.test_labels
    assert (drawn.name, drawn.title, drawn.classes) == (image_data.name, image_data.title, image_data.classes)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train": 21}, "train=21 images"),
        ({"test": 11}, "test=11"),
        ({"train": 0}, "train=0"),
        ({"test": -1}, "test=-1"),
    ],
)
def test_subset_refuses_impossible_counts(image_data: ImageData, counts: dict[str, int], message: str):
    with pytest.raises(ValueError, match=f"{message}.*give 1 to {10 if 'test' in counts else 20}"):
        image_data.subset(**counts)


WRONG = {
    "labels and images differ in number": ({"train_labels": torch.zeros(19, dtype=torch.int64)}, "as many.*19 labels"),
    "no images": ({"test_images": torch.zeros(0, 3, 4, 5), "test_labels": torch.zeros(0).long()}, "not empty"),
    "images of bytes": ({"train_images": torch.zeros(20, 3, 4, 5, dtype=torch.uint8)}, "floating.*uint8"),
    "images without a size": ({"train_images": torch.zeros(20, 3)}, r"of shape \(M, C, \*size\); got \(20, 3\)"),
    "labels of the wrong type": ({"test_labels": torch.zeros(10, dtype=torch.int32)}, "int64.*int32"),
    "labels as vectors": ({"test_labels": torch.zeros(10, 3, dtype=torch.int64)}, r"got \(10, 3\)"),
    "label above": ({"test_labels": torch.full((10,), 3)}, "test labels must lie in 0 to 2.*got 3 to 3"),
    "label below": ({"train_labels": torch.full((20,), -1)}, "train labels must lie in 0 to 2.*got -1 to -1"),
    "pixels above one": ({"train_images": torch.full((20, 3, 4, 5), 255.0)}, r"in \[0, 1\]; got 255 to 255"),
    "pixels below zero": ({"train_images": torch.full((20, 3, 4, 5), -0.5)}, r"in \[0, 1\]; got -0.5"),
    "pixels that are no numbers": ({"train_images": torch.full((20, 3, 4, 5), torch.nan)}, "got nan"),
    "parts of different size": (
        {"test_images": torch.zeros(10, 3, 5, 4)},
        r"train images are \(3, 4, 5\).*\(3, 5, 4\)",
    ),
    "parts of different channels": ({"test_images": torch.zeros(10, 1, 4, 5)}, r"\(3, 4, 5\).*\(1, 4, 5\)"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_wrong_parts_are_refused(image_data: ImageData, fault: str):
    changes, message = WRONG[fault]
    with pytest.raises(ValueError, match=message):
        replace(image_data, **changes)


def test_permutation_is_the_one_numpy_froze():
    # The stream of RandomState(0), as documented since numpy 1.0: what makes subsets the same everywhere.
    assert permutation(10, seed=0).tolist() == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]
    assert permutation(10, seed=0).dtype == torch.int64


def test_resize_up_is_linear_between_pixel_centres():
    ramp = torch.linspace(0, 1, 8).reshape(1, 1, 1, 8).expand(1, 1, 8, 8)
    resized = resize(ramp, (28, 28))
    # Pixel i's centre lies at (i + 1/2) * 8/28 - 1/2 of the old grid; outside the outer centres the border repeats.
    position = ((torch.arange(28) + 0.5) * 8 / 28 - 0.5).clamp(0, 7)
    torch.testing.assert_close(resized[0, 0], (position / 7).expand(28, 28))
    torch.testing.assert_close(resize(ramp.mT, (28, 28)), resized.mT)


def test_resize_down_averages_instead_of_skipping_pixels():
    checkers = ((torch.arange(27).unsqueeze(1) + torch.arange(27)) % 2).to(torch.float32).reshape(1, 1, 27, 27)
    resized = resize(checkers, (9, 9))
    assert checkers[0, 0, 1::3, 1::3].aminmax() == (0.0, 1.0)  # what sampling at the centres would give
    torch.testing.assert_close(resized, torch.full((1, 1, 9, 9), 0.5), atol=0.02, rtol=0)


def test_resize_to_the_same_size_changes_nothing():
    images = torch.rand(3, 1, 8, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(resize(images, (8, 6)), images)


def test_white_never_ends_above_one():
    white = torch.ones(1, 1, 28, 28)
    assert max(resize(white, (side, side)).max().item() for side in range(3, 40)) == 1.0
