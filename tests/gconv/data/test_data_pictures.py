"""Picture files of every kind as tensors, and what is no picture."""

import io
import pickle
import struct
import zlib
from pathlib import Path

import pytest
import torch

from gconv.data import DataError, read_picture
from gconv.data.pictures import cover, read_header

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

COLOURS = torch.tensor([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], dtype=torch.uint8)


def saved(path: Path, image, **options) -> Path:
    image.save(path, **options)
    return path


def expected(colours=COLOURS):
    return colours.permute(2, 0, 1).float() / 255


def test_rgb_and_its_luminance(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(COLOURS.numpy()))
    assert read_header(path).kind == "RGB"
    assert torch.equal(read_picture(path), expected())
    grey = read_picture(path, channels=1)
    torch.testing.assert_close(grey, torch.tensor([[[0.299, 0.587], [0.114, 1.0]]]))


def test_grey_stays_one_channel_unless_three_are_asked_for(tmp_path):
    values = torch.tensor([[0, 51], [102, 255]], dtype=torch.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(values.numpy()))
    assert read_header(path).kind == "grey"
    torch.testing.assert_close(read_picture(path), values[None] / 255)
    torch.testing.assert_close(read_picture(path, channels=3), values.expand(3, 2, 2) / 255)


def test_a_palette_is_read_by_its_colours(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([1, 0])
    path = saved(tmp_path / "a.png", image)
    assert read_header(path).kind == "palette"
    torch.testing.assert_close(read_picture(path)[:, 0] * 255, torch.tensor([[200.0, 10], [100, 20], [50, 30]]))


def test_what_is_transparent_is_white_paper(tmp_path):
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    path = saved(tmp_path / "a.png", image)
    assert read_header(path).kind == "RGB with alpha"
    assert read_picture(path, channels=1).tolist() == [[[1.0, 0.0]]]
    grey = saved(tmp_path / "b.png", image.convert("LA"))
    assert read_picture(grey).tolist() == [[[1.0, 0.0]]]


def test_sixteen_bits_and_one(tmp_path):
    deep = saved(tmp_path / "a.png", Image.fromarray(np.array([[0, 65535, 13107]], dtype=np.uint16)))
    torch.testing.assert_close(read_picture(deep), torch.tensor([[[0.0, 1.0, 0.2]]]))
    flat = saved(tmp_path / "b.png", Image.new("1", (2, 2), 1))
    assert read_picture(flat).tolist() == [[[1.0, 1.0], [1.0, 1.0]]]


def test_a_camera_s_orientation_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    picture = torch.zeros(8, 16, dtype=torch.uint8)
    picture[:, :8] = 255
    path = saved(tmp_path / "a.jpg", Image.fromarray(picture.numpy()), exif=exif, quality=95)
    assert read_header(path).size == (16, 8)
    turned = read_picture(path)[0]
    assert turned.shape == (16, 8)
    assert turned[:8].mean() > 0.95
    assert turned[8:].mean() < 0.05


def test_covering_keeps_the_middle():
    ramp = torch.linspace(0, 1, 8).expand(1, 1, 4, 8)
    assert torch.equal(cover(ramp, (4, 4)), ramp[..., 2:6])
    assert torch.equal(cover(ramp, (4, 8)), ramp)
    halves = cover(ramp, (2, 2))
    torch.testing.assert_close(halves.mean(), torch.tensor(0.5))
    assert cover(torch.rand(1, 3, 5, 5), (7, 9)).shape == (1, 3, 7, 9)


def test_a_large_jpeg_is_scaled_while_it_is_decoded(tmp_path):
    smooth = torch.linspace(0, 255, 1024).to(torch.uint8).expand(1024, 1024)
    path = saved(tmp_path / "a.jpg", Image.fromarray(smooth.numpy()), quality=95)
    small = read_picture(path, 1, (32, 32))[0]
    torch.testing.assert_close(
        small, torch.linspace(0, 1, 1024).reshape(32, 32).mean(1).expand(32, 32), atol=0.02, rtol=0
    )


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb() -> bytes:
    """A PNG that says it has 60,000 times 60,000 pixels."""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
        + chunk(b"IEND", b"")
    )


def half_a_jpeg() -> bytes:
    buffer = io.BytesIO()
    noise = torch.randint(0, 255, (64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    Image.fromarray(noise.numpy()).save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


class Explodes:
    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"GIF8 not really", "cannot identify"),
        (b"#!/bin/sh\necho no", "cannot identify"),
        (pickle.dumps(Explodes()), "cannot identify"),
        (bomb(), "decompression bomb"),
        (half_a_jpeg(), "truncated"),
    ],
)
def test_what_is_no_picture_is_refused_with_the_reason(tmp_path, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as a picture (")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()


def test_floating_pixels_have_no_known_range(tmp_path):
    path = saved(tmp_path / "a.tiff", Image.fromarray(np.zeros((2, 2), dtype=np.float32)))
    with pytest.raises(DataError, match="mode F have no known range"):
        read_picture(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_picture(tmp_path / "a.png")


def test_other_numbers_of_channels_are_refused(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("L", (2, 2)))
    with pytest.raises(ValueError, match="1 or 3 channels, got channels=4"):
        read_picture(path, channels=4)
