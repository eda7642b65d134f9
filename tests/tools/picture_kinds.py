"""Small picture files of the kinds that decoders treat differently, made on the spot."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 37, 53


def photo_like(height: int, width: int) -> Image.Image:
    """Soft spots of every colour under a little noise."""
    rng = np.random.default_rng(4)
    spots = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    soft = np.array(spots.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    return Image.fromarray((soft + rng.normal(0, 4, soft.shape)).clip(0, 255).astype(np.uint8))


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def turned(picture: Image.Image, kind: str, orientation: int, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture, kind, exif=exif, **options)


def deep_png(levels: np.ndarray, colour_type: int, key: tuple[int, ...] = ()) -> bytes:
    """A PNG of 16 bits, which Pillow cannot write in colours; `key` is the colour that is transparent."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
        + (chunk(b"tRNS", struct.pack(f">{len(key)}H", *key)) if key else b"")
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def moving(transparent: bool) -> list[Image.Image]:
    frames = []
    for step in range(3):
        levels = np.zeros((60, 70, 4), np.uint8) if transparent else np.full((60, 70, 4), 255, np.uint8)
        levels[10 + step * 10 : 25 + step * 10, 10:50] = [200, 30 * step, 10, 255]
        frames.append(Image.fromarray(levels if transparent else levels[..., :3]))
    return frames


def animated(kind: str, transparent: bool = False, **options: Any) -> bytes:
    first, *others = moving(transparent)
    return saved(first, kind, save_all=True, append_images=others, duration=100, **options)


def encoded() -> dict[str, tuple[str, bytes]]:
    """Suffix and bytes of each kind."""
    rng = np.random.default_rng(3)
    rgb = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    rgba = rng.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    deep = rng.integers(0, 65536, (HEIGHT, WIDTH, 4))
    few = rng.integers(0, 3, (HEIGHT, WIDTH, 3)) * 1000
    colours, opacity, grey = Image.fromarray(rgb), Image.fromarray(rgba), Image.fromarray(rgb[..., 0])
    even, odd = photo_like(96, 128), photo_like(97, 129)
    photo = {"quality": 92}
    return {
        "rgb": (".png", turned(colours, "PNG", 6)),
        "rgba": (".png", saved(opacity, "PNG")),
        "grey": (".png", saved(grey, "PNG")),
        "deep": (".png", saved(Image.fromarray(deep[..., 0].astype(np.uint16)), "PNG")),
        "palette": (".png", saved(opacity.quantize(16), "PNG")),
        "bits": (".png", saved(grey.convert("1"), "PNG")),
        "bits in whole rows": (".png", saved(grey.convert("1").resize((64, 37)), "PNG")),
        "opaque palette": (".png", saved(colours.quantize(16), "PNG")),
        "keyed palette": (".png", saved(colours.quantize(16), "PNG", transparency=3)),
        "keyed grey": (".png", saved(Image.fromarray(rgb[..., 0] // 64 * 64), "PNG", transparency=64)),
        "keyed rgb": (".png", saved(Image.fromarray(rgb // 128 * 128), "PNG", transparency=(128, 0, 128))),
        "grey with alpha": (".png", saved(opacity.convert("LA"), "PNG")),
        "deep rgb": (".png", deep_png(deep[..., :3], 2)),
        "deep rgba": (".png", deep_png(deep, 6)),
        "deep grey with alpha": (".png", deep_png(deep[..., :2], 4)),
        "deep keyed grey": (".png", deep_png(few[..., :1], 0, (1000,))),
        "deep keyed rgb": (".png", deep_png(few, 2, (1000, 2000, 0))),
        "mirrored": (".png", turned(colours, "PNG", 2)),
        "mirrored and turned": (".tif", turned(colours, "TIFF", 7)),
        "torn png": (".png", saved(opacity, "PNG")[:5000]),
        "animated png": (".png", animated("PNG")),
        "gif": (".gif", animated("GIF")),
        "transparent gif": (".gif", animated("GIF", transparent=True, disposal=2)),
        "animated webp": (".webp", animated("WEBP", lossless=True)),
        "transparent animated webp": (".webp", animated("WEBP", transparent=True, lossless=True)),
        "lossless webp": (".webp", saved(colours, "WEBP", lossless=True)),
        "lossless webp with alpha": (".webp", saved(opacity, "WEBP", lossless=True, exact=True)),
        "webp": (".webp", saved(even, "WEBP", **photo)),
        "bmp": (".bmp", saved(colours, "BMP")),
        "bmp with alpha": (".bmp", saved(opacity, "BMP")),
        "grey bmp": (".bmp", saved(grey, "BMP")),
        "tiff": (".tif", saved(colours, "TIFF")),
        "pages": (".tif", saved(colours, "TIFF", save_all=True, append_images=[Image.fromarray(255 - rgb)])),
        "cmyk tiff": (".tif", saved(colours.convert("CMYK"), "TIFF")),
        "float tiff": (".tif", saved(Image.fromarray(rng.random((HEIGHT, WIDTH), np.float32) * 255), "TIFF")),
        "jpeg": (".jpg", turned(even, "JPEG", 6, subsampling=0, **photo)),
        "jpeg 4:2:2": (".jpg", saved(even, "JPEG", subsampling=1, **photo)),
        "jpeg 4:2:0": (".jpg", saved(even, "JPEG", subsampling=2, **photo)),
        "odd jpeg 4:2:2": (".jpg", saved(odd, "JPEG", subsampling=1, **photo)),
        "odd jpeg 4:2:0": (".jpg", saved(odd, "JPEG", subsampling=2, **photo)),
        "grey jpeg": (".jpg", saved(even.convert("L"), "JPEG", **photo)),
        "rgb jpeg": (".jpg", saved(even, "JPEG", keep_rgb=True, **photo)),
        "cmyk jpeg": (".jpg", saved(even.convert("CMYK"), "JPEG", **photo)),
        "two views": (".jpg", saved(even, "MPO", save_all=True, append_images=[odd], subsampling=0, **photo)),
    }
