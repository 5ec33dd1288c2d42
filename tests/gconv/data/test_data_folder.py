"""Folders of pictures: the two layouts, what is left out and why, and what workers do."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, Subset

from gconv import data
from gconv.data import DataError, FolderData, MissingDataError

Image = pytest.importorskip("PIL.Image")


def picture(path: Path, value: int, size=(6, 8), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), value if mode == "L" else (value, value, value)).save(path)


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """ROOT/train and ROOT/val with the classes cat and dog; a picture's brightness is its number."""
    for part, count in (("train", 5), ("val", 2)):
        for label, name in enumerate(("dog", "cat")):
            for i in range(count):
                picture(tmp_path / part / name / f"{i}.png", 100 * label + i)
    return tmp_path


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """ROOT/CLASS with ten pictures a class."""
    for label, name in enumerate("ab"):
        for i in range(10):
            picture(tmp_path / name / f"{i}.png", 100 * label + i)
    return tmp_path


def brightness(pictures: torch.Tensor) -> list[int]:
    return (pictures.mean((-3, -2, -1)) * 255).round().int().tolist()


def test_the_layout_of_imagenet(split):
    found = data.load_lazily(split)
    assert isinstance(found, FolderData)
    assert found.classes == ("cat", "dog")  # in alphabetic order
    assert (found.size, found.in_channels, found.num_classes) == ((6, 8), 3, 2)
    assert found.train.labels.tolist() == [0] * 5 + [1] * 5
    assert brightness(found.train[list(range(10))][0]) == [100, 101, 102, 103, 104, 0, 1, 2, 3, 4]
    assert found.test.labels.tolist() == [0, 0, 1, 1]
    pixels, label = found.test[3]
    assert (brightness(pixels), int(label)) == (1, 1)
    assert found.title.endswith("14 pictures (14 RGB) read as RGB, 6x8")
    assert repr(found).endswith("10 train + 4 test pictures, 3x6x8, 2 classes)")


def test_test_stands_for_val(split):
    (split / "val").rename(split / "test")
    assert len(data.load_folder(split).test) == 4


def test_a_fifth_is_held_out_of_one_level_always_the_same(flat):
    first, again = data.load_folder(flat), data.load_folder(flat)
    assert (len(first.train), len(first.test)) == (16, 4)
    assert first.test.labels.tolist() == [0, 0, 1, 1]
    assert first.test.paths == again.test.paths
    assert not set(first.test.paths) & set(first.train.paths)
    assert first.title.endswith("6x8; 20% of each class held out")


def test_in_memory_it_is_like_any_data_set(split):
    found = data.load(str(split))
    assert isinstance(found, data.ImageData)
    assert brightness(found.train_images) == [100, 101, 102, 103, 104, 0, 1, 2, 3, 4]
    assert found.test_labels.tolist() == [0, 0, 1, 1]
    lazy = data.load_lazily(split)
    assert lazy.moments() == pytest.approx(found.moments())


def test_pictures_may_lie_deeper_and_other_files_are_passed_over(flat):
    picture(flat / "a" / "more" / "deep.JPG", 50)
    (flat / "a" / "notes.txt").write_text("no picture")
    (flat / "a" / ".hidden.png").write_bytes(b"no picture")
    (flat / "README.md").write_text("no class")
    found = data.load_folder(flat)
    assert len(found.train) + len(found.test) == 21
    assert found.skipped == ()


def test_sizes_that_differ_are_brought_to_one(flat):
    picture(flat / "a" / "big.png", 50, size=(30, 20))
    assert data.load_folder(flat).size == (224, 224)
    assert data.load(flat, size=(5, 7)).train_images.shape[1:] == (3, 5, 7)


def test_grey_pictures_have_one_channel_unless_all_are_not(flat):
    for path in flat.rglob("*.png"):
        picture(path, 7, mode="L")
    assert data.load_folder(flat).in_channels == 1
    assert data.load_folder(flat, channels=3).train[[0]][0].shape == (1, 3, 6, 8)
    picture(flat / "a" / "0.png", 7)
    found = data.load_folder(flat)
    assert found.in_channels == 3
    assert "(19 grey, 1 RGB) read as RGB" in found.title


@pytest.fixture
def damaged(flat: Path) -> Path:
    """Two of class a cannot be read: one is empty, of one the second half is missing."""
    (flat / "a" / "zero.png").write_bytes(b"")
    noise = torch.randint(0, 255, (6, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.numpy()).save(flat / "a" / "half.png")
    content = (flat / "a" / "half.png").read_bytes()
    (flat / "a" / "half.png").write_bytes(content[: len(content) // 2])
    return flat


def reasons(found) -> dict[str, str]:
    return {skipped.path.name: skipped.why for skipped in found.skipped}


def test_unreadable_pictures_are_left_out_with_the_reason(damaged):
    found = data.load(damaged)
    assert len(found.train_labels) + len(found.test_labels) == 20
    assert set(reasons(found)) == {"zero.png", "half.png"}
    assert "the file is empty" in reasons(found)["zero.png"]
    assert "truncated" in reasons(found)["half.png"]
    assert "1 that cannot be read left out" in found.title  # what its first bytes told


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_leave_damaged_pictures_out_of_batches_and_count_them(damaged, workers):
    found = data.load_lazily(damaged)
    assert set(reasons(found)) == {"zero.png"}
    for part in (found.train, found.test):
        order = BatchSampler(SequentialSampler(part), 4, drop_last=False)
        batches = list(DataLoader(part, sampler=order, batch_size=None, num_workers=workers))
        assert sum(len(labels) for _, labels in batches) == sum("half" not in path for path in part.paths)
        for pictures, labels in batches:
            assert [value // 100 for value in brightness(pictures)] == labels.tolist()
    assert set(reasons(found)) == {"zero.png", "half.png"}


def test_where_nothing_can_be_read_the_next_picture_stands_in(damaged):
    found = data.load_lazily(damaged)
    part = next(part for part in found.parts if any("half" in path for path in part.paths))
    at = next(i for i, path in enumerate(part.paths) if "half" in path)
    after = (at + 1) % len(part)
    for pixels, label in (part[at], Subset(part, [at])[0]):
        assert torch.equal(pixels, part[after][0])
        assert label == part.labels[after]
    pictures, labels = part[[at]]
    assert torch.equal(pictures[0], part[after][0])
    assert labels.tolist() == [int(part.labels[after])]


def test_strict_refuses_at_once(damaged):
    with pytest.raises(DataError) as caught:
        data.load_lazily(damaged, strict=True)
    message = str(caught.value)
    assert "2 pictures cannot be read" in message
    assert "zero.png" in message
    assert "half.png" in message


def test_the_strict_take_a_folder_without_fault(split):
    assert len(data.load_lazily(split, strict=True).train) == 10


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda root: None, "found no folders; expected a folder for each of two or more classes"),
        (lambda root: (root / "a").mkdir(), "found one folder, a; expected"),
        (lambda root: [(root / name).mkdir() for name in "ab"], "found no pictures for the train part; expected files"),
        (lambda root: (root / "train").mkdir(), "has train/ but none of val, test, validation"),
    ],
)
def test_folders_without_pictures(tmp_path, change, match):
    change(tmp_path)
    with pytest.raises(DataError, match=match):
        data.load_lazily(tmp_path)


def test_a_class_without_pictures(split):
    (split / "train" / "bird").mkdir()
    with pytest.raises(DataError, match="found no readable pictures of bird in the train part"):
        data.load_lazily(split)


def test_a_class_of_which_none_can_be_read(flat):
    for path in (flat / "b").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match=r"no readable pictures of b in the train part \(10 cannot be read, the first: "
    ):
        data.load_lazily(flat)


def test_classes_that_were_not_trained_on(split):
    picture(split / "val" / "horse" / "0.png", 3)
    with pytest.raises(DataError, match=r"has classes that .*train has not: horse; the training part's are cat, dog"):
        data.load_lazily(split)


def test_what_is_no_folder(tmp_path):
    with pytest.raises(MissingDataError, match="is no folder; give ROOT with"):
        data.load(tmp_path / "nothing")
    with pytest.raises(MissingDataError, match="is no folder"):
        data.load("./mnist")
    with pytest.raises(ValueError, match=r"did you mean 'mnist'.*or a folder of pictures"):
        data.load("mnst")


def test_too_much_for_memory(split):
    with pytest.raises(DataError, match=r"14 pictures of 20000x20000 take 62.6 GiB in memory; make them smaller"):
        data.load(split, size=(20_000, 20_000))


def test_a_set_s_name_goes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not data.is_folder("digits")
    assert data.is_folder("./digits")
    assert data.is_folder(tmp_path)
