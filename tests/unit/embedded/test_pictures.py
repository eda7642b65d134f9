"""Picture files come out of LoadImage with the numbers that ComfyUI 0.28.1's decoder gives, on a machine without it.

What these numbers are was measured there (`tests/server/comfyui/test_embedded_parity.py` compares again).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from defectforge.runner.embedded import follows
from defectforge.runner.embedded.core_nodes import eight_bits, jpeg
from defectforge.runner.embedded.core_nodes.pictures import Decoded, decoded
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import picture_kinds

Write = Callable[[tuple[str, bytes]], Path]
KINDS = picture_kinds.encoded()
#: FFmpeg's scaler makes 16 bits of 8 by a shift.
BRIGHTEST = 0xFF00 / 0xFFFF


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(picture: tuple[str, bytes]) -> Path:
        suffix, data = picture
        path = tmp_path / f"picture{suffix}"
        path.write_bytes(data)
        return path

    return written


@pytest.fixture
def read(write: Write) -> Callable[[str], Decoded]:
    return lambda kind: decoded(write(KINDS[kind]))


def by_pillow(kind: str, mode: str) -> np.ndarray:
    return np.array(Image.open(BytesIO(KINDS[kind][1])).convert(mode)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_pictures_and_planes_of_one_size(read, kind):
    picture = read(kind)
    assert picture.colours.dtype == np.float32
    assert picture.colours.shape[-1] == 3
    assert picture.colours.min() >= 0 and picture.colours.max() <= 1
    if picture.opacity is not None:
        assert picture.opacity.dtype == np.float32
        assert picture.opacity.shape == picture.colours.shape[:3]


@pytest.mark.parametrize("kind", ["rgba", "palette", "opaque palette", "keyed palette", "keyed rgb"])
def test_colours_and_opacity_of_8_bits_are_divided_by_255(read, kind):
    picture, expected = read(kind), by_pillow(kind, "RGBA") / np.float32(255)
    np.testing.assert_array_equal(picture.colours[0], expected[..., :3])
    np.testing.assert_array_equal(picture.opacity[0], expected[..., 3])


@pytest.mark.parametrize("kind", ["grey", "grey with alpha", "lossless webp", "bmp", "bmp with alpha", "gif"])
def test_what_passes_the_scaler_is_never_quite_white(read, kind):
    picture = read(kind)
    np.testing.assert_allclose(picture.colours[0], by_pillow(kind, "RGB") * 256 / 65535, rtol=1e-6)
    assert picture.colours.max() <= np.float32(BRIGHTEST)


OPAQUE = {
    "opaque palette": 1,
    "grey bmp": 1,
    "lossless webp": BRIGHTEST,
    "gif": BRIGHTEST,
    "cmyk jpeg": BRIGHTEST,
}
WITHOUT_A_PLANE = ["rgb", "grey", "deep", "bits", "bmp", "tiff", "webp", "jpeg", "animated webp", "deep rgb"]


@pytest.mark.parametrize("kind", OPAQUE)
def test_some_kinds_have_a_plane_of_opacity_though_all_is_opaque(read, kind):
    assert np.unique(read(kind).opacity) == np.float32(OPAQUE[kind])


@pytest.mark.parametrize("kind", WITHOUT_A_PLANE)
def test_other_kinds_have_none(read, kind):
    assert read(kind).opacity is None


def test_16_bits_are_kept(write):
    rng = np.random.default_rng(3)
    levels = rng.integers(0, 65536, (5, 7, 4))
    shapes = {0: levels[..., :1], 2: levels[..., :3], 4: levels[..., :2], 6: levels}
    for colour_type, given in shapes.items():
        picture = decoded(write(_deep(given, colour_type)))
        colours = given[..., :3] if colour_type in {2, 6} else given[..., :1].repeat(3, -1)
        np.testing.assert_array_equal((picture.colours[0] * 65535).round(), colours)
        if colour_type in {4, 6}:
            np.testing.assert_array_equal((picture.opacity[0] * 65535).round(), given[..., -1])


def test_a_transparent_colour_of_16_bits_is_found_by_all_of_them(write):
    levels = np.array([[[256], [257], [512]]])
    np.testing.assert_array_equal(decoded(write(_deep(levels, 0, (257,)))).opacity[0], [[1, 0, 1]])
    colours = np.array([[[256, 1, 2], [256, 1, 3]]])
    np.testing.assert_array_equal(decoded(write(_deep(colours, 2, (256, 1, 3)))).opacity[0], [[1, 0]])


def _deep(levels: np.ndarray, colour_type: int, key: tuple[int, ...] = ()) -> tuple[str, bytes]:
    return ".png", picture_kinds.deep_png(levels, colour_type, key)


@pytest.mark.parametrize(
    ("orientation", "quarters"), [(1, 0), (2, 2), (3, 2), (4, 0), (5, -1), (6, -1), (7, 1), (8, 1), (9, 0)]
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_is_turned_as_its_exif_says_and_never_mirrored(write, kind, orientation, quarters):
    picture = picture_kinds.photo_like(32, 48)
    options = {"lossless": True} if kind == "WEBP" else {}
    path = write((".any", picture_kinds.turned(picture, kind, orientation, **options)))
    plain = decoded(write((".one", picture_kinds.saved(picture, kind, **options)))).colours[0]
    np.testing.assert_array_equal(decoded(path).colours[0], np.rot90(plain, quarters))


@pytest.mark.parametrize(
    ("kind", "count"),
    [("gif", 3), ("transparent gif", 3), ("animated png", 3), ("animated webp", 3), ("pages", 1), ("two views", 1)],
)
def test_animations_give_each_frame_and_other_files_their_first_picture(read, kind, count):
    assert len(read(kind).colours) == count


def test_what_a_gif_leaves_transparent_is_white(read):
    picture = read("transparent gif")
    assert (picture.colours[picture.opacity == 0] == np.float32(BRIGHTEST)).all()


def test_what_only_an_animated_png_without_animations_shows_is_no_frame(write):
    first, *others = picture_kinds.moving(transparent=False)
    data = picture_kinds.saved(first, "PNG", save_all=True, append_images=others, default_image=True)
    assert len(decoded(write((".png", data))).colours) == len(others)


@pytest.mark.parametrize("kind", ["torn png", "torn jpeg", "torn gif"])
def test_a_torn_file_is_read_as_far_as_it_goes(write, kind):
    suffix, data = {
        "torn png": KINDS["torn png"],
        "torn jpeg": (".jpg", KINDS["jpeg"][1][:3000]),
        "torn gif": (".gif", KINDS["gif"][1][:-40]),
    }[kind]
    picture = decoded(write((suffix, data)))
    assert picture.colours[0].std() > 0.05


def test_what_is_no_picture_is_refused(write):
    with pytest.raises(OSError, match="cannot identify"):
        decoded(write((".png", b"not a picture" * 10)))


@pytest.mark.parametrize("size", [(96, 128), (96, 129), (97, 128), (97, 129)])
@pytest.mark.parametrize("sampling", [1, 2])
def test_coarse_chroma_of_one_colour_stays_that_colour(write, size, sampling):
    height, width = size
    picture = Image.new("RGB", (width, height), (200, 40, 90))
    path = write((".jpg", picture_kinds.saved(picture, "JPEG", quality=95, subsampling=sampling)))
    assert np.abs(decoded(path).colours[0] * 255 - (200, 40, 90)).max() < 4


def test_chroma_is_repeated_in_blocks_of_two_by_two(write):
    path = write((".jpg", picture_kinds.saved(picture_kinds.photo_like(96, 128), "JPEG", subsampling=2, quality=92)))
    coloured = jpeg.colours(path, Image.open(path))
    red, luma = coloured[..., 0], np.array(_stored(path))[..., 0].astype(float)
    difference = red - luma
    inside = (coloured.min(-1) > 0) & (coloured.max(-1) < 255)
    blocks = difference.reshape(48, 2, 64, 2).swapaxes(1, 2).reshape(48, 64, 4)
    whole = inside.reshape(48, 2, 64, 2).swapaxes(1, 2).reshape(48, 64, 4).all(-1)
    assert whole.mean() > 0.5
    assert (np.ptp(blocks, axis=-1)[whole] == 0).all()


def _stored(path: Path) -> Image.Image:
    picture = Image.open(path)
    picture.draft("YCbCr", None)
    picture.load()
    return picture


@pytest.mark.parametrize("width", [8, 9, 40, 41])
def test_chroma_of_half_the_width_is_found_again_between_what_libjpeg_makes_of_it(width):
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, (3, (width + 1) // 2, 2)).astype(float)
    padded = np.pad(coarse, ((0, 0), (1, 1), (0, 0)), mode="edge")
    even = np.floor((3 * coarse + padded[:, :-2] + 1) / 4)
    odd = np.floor((3 * coarse + padded[:, 2:] + 2) / 4)
    fine = np.stack((even, odd), axis=2).reshape(3, -1, 2)[:, :width]
    assert np.abs(jpeg.unsmoothed(fine) - coarse).max() <= 1


@pytest.fixture
def following(request: pytest.FixtureRequest) -> Iterator[str]:
    before = follows.version()
    follows.use(request.param)
    yield request.param
    follows.use(before)


@pytest.mark.parametrize(
    ("following", "ours"), [("0.28.1", True), ("0.3.64", False)], indirect=["following"], ids=["0.28.1", "0.3.64"]
)
def test_the_followed_core_chooses_each_rule(following, ours):
    rules = (
        follows.decodes_by_ffmpeg,
        follows.feathers_to_the_far_edges,
        follows.lacking_alpha_is_opaque,
        follows.joins_the_longer_batch,
    )
    assert [rule() for rule in rules] == [ours] * len(rules)
    assert follows.step_noise_offset("cpu") == int(ours)


def test_before_16_bits_came_out_white_and_grey_was_divided_by_255(write):
    deep = eight_bits.decoded(write(KINDS["deep"])).colours
    assert (deep == 1).mean() > 0.9
    np.testing.assert_array_equal(
        eight_bits.decoded(write(KINDS["grey"])).colours[0], by_pillow("grey", "RGB") / np.float32(255)
    )
    assert eight_bits.decoded(write(KINDS["opaque palette"])).opacity is None
    assert eight_bits.mask(write(KINDS["grey"]), "alpha").shape == (1, picture_kinds.HEIGHT, picture_kinds.WIDTH)
