"""Opening pictures: upright, in 8-bit RGB, nothing black or neon in silence, and one clear error for what is none."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from defectforge.nodes.datasets import pictures
from defectforge.nodes.datasets.errors import ReadError
from defectforge.nodes.datasets.pictures import read_photo, thumbnail
from PIL import Image, ImageOps

ORIENTATION = 0x0112


def stored_turned(colours: np.ndarray, orientation: int) -> Image.Image:
    """The picture whose EXIF makes it look like `colours`."""
    back = {6: 8, 8: 6}.get(orientation, orientation)
    picture = Image.fromarray(colours)
    picture.getexif()[ORIENTATION] = back
    turned = ImageOps.exif_transpose(picture)
    turned.getexif()[ORIENTATION] = orientation
    return turned


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_exif_orientation_is_applied_once(save, colours, orientation, suffix):
    turned = stored_turned(colours, orientation)
    path = save(f"photo.{suffix}", turned, exif=turned.getexif(), **({"lossless": True} if suffix == "webp" else {}))
    picture = read_photo(path)
    assert np.array_equal(picture.pixels, colours)
    assert picture.stored == (turned.width, turned.height)
    assert picture.orientation == orientation
    assert picture.notes == ()


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0"]
)
def test_broken_exif_data_leaves_the_photo_as_it_is(save, colours, exif):
    path = save("photo.jpg", colours, exif=exif, quality=95)
    assert read_photo(path).size == (80, 60)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_exif_does_not_know_turns_nothing(save, colours, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    assert read_photo(save("photo.jpg", colours, exif=exif)).orientation == 1


def ramp(dtype: type, top: float) -> np.ndarray:
    """Levels from 0 to `top`, as a grey picture of 16 x 16."""
    return (np.linspace(0, 1, 256) * top).round(6 if top == 1 else 0).astype(dtype).reshape(16, 16)


EXPECTED = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize(
    ("levels", "suffix", "says"),
    [
        (ramp(np.uint16, 65535), "png", ""),
        (ramp(np.uint16, 65535), "tif", ""),
        (ramp(np.uint16, 4095), "tif", "12 bits"),
        (ramp(np.uint16, 255), "png", "8 bits"),
        (ramp(np.int32, 65535), "tif", "16 bits"),
        (ramp(np.int32, 4095), "tif", "12 bits"),
        (ramp(np.int32, 2_000_000_000), "tif", "fit no usual range"),
        (ramp(np.float32, 1), "tif", "0 to 1"),
        (ramp(np.float32, 65535), "tif", "16 bits"),
        (ramp(np.float32, 4095) - 2000, "tif", "fit no usual range"),
    ],
    ids=["16", "16 tif", "12 in 16", "8 in 16", "16 in 32", "12 in 32", "32", "0-1", "float 16", "negative"],
)
def test_deep_grey_levels_keep_their_tone(save, levels, suffix, says):
    picture = read_photo(save(f"photo.{suffix}", levels))
    assert np.abs(picture.pixels[..., 0].astype(int) - EXPECTED).max() <= 1
    assert (picture.pixels[..., :1] == picture.pixels).all()
    assert says in " ".join(picture.notes) and bool(says) == bool(picture.notes)


def tiff(levels: np.ndarray, photometric: int) -> bytes:
    """An unsigned grey TIFF, written by hand: Pillow calls 32 bits signed, and writes no negatives."""
    height, width = levels.shape
    bits = 8 * levels.dtype.itemsize
    entries = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: photometric,
        273: 0,
        277: 1,
        278: height,
        279: 0,
        339: 1,
    }
    entries |= {273: 10 + 12 * len(entries) + 4, 279: levels.nbytes}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + levels.tobytes()


def test_unsigned_32_bits_are_not_taken_for_negative_ones():
    levels = np.linspace(0, 2**32 - 1, 256).astype(np.uint32).reshape(16, 16)
    assert np.abs(read_photo(tiff(levels, 1)).pixels[..., 0].astype(int) - EXPECTED).max() <= 1


def test_a_negative_of_16_bits_is_turned_into_a_positive():
    levels = 65535 - ramp(np.uint16, 65535)
    assert np.abs(read_photo(tiff(levels, 0)).pixels[..., 0].astype(int) - EXPECTED).max() <= 1


@pytest.mark.parametrize(("bits", "tags"), [(10, {281: 1023}), (14, {281: 16383})])
def test_the_file_s_own_word_on_its_bits_counts(tmp_path, bits, tags):
    levels = ramp(np.uint16, 2**bits - 1)
    Image.fromarray(levels).save(tmp_path / "photo.tif", tiffinfo=tags)
    picture = read_photo(tmp_path / "photo.tif")
    assert np.abs(picture.pixels[..., 0].astype(int) - EXPECTED).max() <= 1
    assert f"{bits} bits" in picture.notes[0]


def png(samples: np.ndarray, significant: int | None = None) -> bytes:
    """A 16-bit PNG, which Pillow does not write in colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = samples.shape
    kind = {1: 0, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    said = b"" if significant is None else chunk(b"sBIT", bytes([significant] * channels))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + said + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_12_bits_in_16_is_not_black(channels):
    samples = np.random.default_rng(0).integers(0, 4096, (20, 30, channels))
    samples[..., 3:] = 4095
    picture = read_photo(png(samples))
    assert np.abs(picture.pixels - samples[..., :3] / 4095 * 255).max() <= 1
    assert "12 bits" in picture.notes[0]


def test_colour_of_16_bits_needs_no_word():
    samples = np.random.default_rng(0).integers(0, 65536, (20, 30, 3))
    picture = read_photo(png(samples))
    assert np.abs(picture.pixels - samples / 65535 * 255).max() <= 1
    assert picture.notes == ()


def test_the_significant_bits_of_a_png_count():
    picture = read_photo(png(ramp(np.uint16, 1023)[..., None], significant=10))
    assert np.abs(picture.pixels[..., 0].astype(int) - EXPECTED).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_what_lies_under_transparency_is_black_and_half_of_it_half(save, mode):
    drawn = Image.new("RGBA", (8, 4), (0, 255, 0, 0))
    drawn.paste((200, 200, 200, 255), (2, 0, 4, 4))
    drawn.paste((200, 200, 200, 128), (4, 0, 8, 4))
    picture = read_photo(
        save("photo.tif" if mode == "PA" else "photo.png", drawn.convert("LA" if mode == "PA" else mode))
    )
    assert picture.pixels[0, :, 1].tolist() == [0, 0, 200, 200, 100, 100, 100, 100]
    assert "transparent in places" in picture.notes[0]


@pytest.mark.parametrize(
    ("transparent", "expected"), [((0, 0, 0), [0, 90]), ((120, 90, 60), [0, 0])], ids=["of black", "of a colour"]
)
def test_a_colour_that_counts_as_transparent_never_shows(save, transparent, expected):
    drawn = Image.new("RGB", (8, 4), (120, 90, 60))
    drawn.paste((0, 0, 0), (0, 0, 4, 4))
    picture = read_photo(save("photo.png", drawn, transparency=transparent))
    assert picture.pixels[0, [0, 5], 1].tolist() == expected


def test_a_photo_that_is_transparent_throughout_is_refused(save):
    with pytest.raises(ReadError, match="transparent throughout"):
        read_photo(save("photo.png", Image.new("RGBA", (8, 4), (90, 80, 70, 0))))


@pytest.mark.parametrize("mode", ["1", "L", "P", "YCbCr", "CMYK"])
def test_modes_of_8_bits_come_as_they_are_seen(save, mode):
    drawn = Image.new("RGB", (8, 8), (255, 255, 255))
    drawn.paste((0, 0, 0), (0, 0, 4, 8))
    suffix = "tif" if mode == "CMYK" else "jpg" if mode == "YCbCr" else "png"
    picture = read_photo(save(f"photo.{suffix}", drawn.convert(mode)))
    assert picture.pixels[4, [1, 6]].tolist() == pytest.approx(np.array([[0] * 3, [255] * 3]), abs=3)


def test_a_cmyk_jpeg_is_not_inverted(save):
    path = save("photo.jpg", Image.new("RGB", (16, 16), (200, 120, 60)).convert("CMYK"), quality=95)
    assert read_photo(path).pixels[8, 8].tolist() == pytest.approx([200, 120, 60], abs=6)


@pytest.mark.parametrize("suffix", ["tif", "gif", "webp"])
def test_of_several_pages_the_first_is_read_and_it_is_said(save, colours, suffix):
    first, second = Image.fromarray(colours), Image.new("RGB", (80, 60), "white")
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(f"photo.{suffix}", first, save_all=True, append_images=[second], **options)
    picture = read_photo(path)
    assert np.abs(picture.pixels.astype(int) - colours).max() <= 2
    assert "2 pages" in picture.notes[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(save, value):
    levels = np.full((8, 8), 0.5, np.float32)
    levels[3, 3] = value
    with pytest.raises(ReadError, match="no numbers"):
        read_photo(save("photo.tif", levels))


def test_a_black_photo_is_said_to_be_black(save):
    assert read_photo(save("photo.png", np.zeros((8, 8, 3), np.uint8))).notes == ("it is black throughout",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no picture at all",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"II*\0\x08\0\0\0",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
    ],
    ids=["empty", "text", "png", "jpeg", "tiff", "postscript"],
)
def test_what_is_no_picture_is_named(tmp_path, data):
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with pytest.raises(ReadError, match=r"photo\.png does not decode as a picture") as caught:
        read_photo(path)
    assert caught.value.code == "data.image_broken"


def test_a_photo_that_is_cut_off_is_named(save, colours):
    path = save("photo.png", colours)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ReadError, match="does not decode"):
        read_photo(path)


def flat_png(width: int, height: int) -> bytes:
    """One grey level, a few bytes a row: large pictures in small files."""
    buffer = io.BytesIO()
    Image.new("1", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "height"), [(20000, 2000), (12000, 8000)])
def test_a_large_photo_is_no_bomb(width, height, recwarn):
    assert read_photo(flat_png(width, height)).size == (width, height)
    assert not [warning for warning in recwarn if "DecompressionBomb" in warning.category.__name__]


def test_above_the_limit_the_error_names_the_option_that_raises_it(save, monkeypatch):
    path = save("photo.png", np.zeros((300, 400, 3), np.uint8))
    monkeypatch.setenv("DEFECTFORGE_MAX_PIXELS", "100000")
    with pytest.raises(ReadError, match=r"400x300 px, 0 MP.*at most 0\.1 MP.*--max-pixels 120000") as caught:
        read_photo(path)
    assert "DEFECTFORGE_MAX_PIXELS=120000" in str(caught.value)
    monkeypatch.setenv("DEFECTFORGE_MAX_PIXELS", "120000")
    assert read_photo(path).size == (400, 300)


def test_pillow_s_limit_is_left_as_it_was(save, colours):
    before = Image.MAX_IMAGE_PIXELS
    read_photo(save("photo.png", colours))
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("text", ["many", "0", "-5"])
def test_a_limit_that_is_no_number_is_said(monkeypatch, text):
    monkeypatch.setenv("DEFECTFORGE_MAX_PIXELS", text)
    with pytest.raises(ReadError, match="DEFECTFORGE_MAX_PIXELS"):
        pictures.max_pixels()


def test_a_thumbnail_is_upright(save, colours):
    turned = stored_turned(np.kron(colours, np.ones((8, 8, 1), np.uint8)), 6)
    path = save("photo.jpg", turned, exif=turned.getexif(), quality=95)
    small = np.asarray(Image.open(io.BytesIO(thumbnail(path, 80))))
    assert small.shape == (60, 80, 3)
    assert np.abs(small[5, 5].astype(int) - colours[5, 5]).max() < 12
    assert np.abs(small[55, 5].astype(int) - colours[55, 5]).max() < 12
