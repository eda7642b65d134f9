"""Photos that are written strip by strip read back as they were."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from defectforge.nodes import output_nodes
from defectforge.nodes.output_nodes import DefectForgeSaveDefectPair
from defectforge.nodes.pairs.large_png import LargePicture, write_large
from PIL import Image
from PIL.PngImagePlugin import PngInfo


@pytest.mark.parametrize("shape", [(1, 1, 3), (256, 7, 3), (257, 64), (700, 33, 3), (513, 5)])
def test_every_pixel_reads_back(shape):
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    channels = shape[2] if len(shape) == 3 else 1
    write_large(file, LargePicture(shape[1], shape[0], channels, lambda start, end: pixels[start:end]))
    with Image.open(file) as read:
        read.load()
        assert read.mode == ("RGB" if channels == 3 else "L")
        assert np.array_equal(np.asarray(read), pixels)


def test_texts_are_read_by_pillow():
    info = PngInfo()
    info.add_text("prompt", '{"1": "größer"}')
    file = io.BytesIO()
    rows = np.zeros((4, 4), np.uint8)
    write_large(file, LargePicture(4, 4, 1, lambda a, b: rows[a:b]), [(chunk[0], chunk[1]) for chunk in info.chunks])
    with Image.open(file) as read:
        assert read.text == {"prompt": '{"1": "größer"}'}


def test_a_large_pair_holds_the_same_pixels_as_a_small_one(embedded_host, monkeypatch):
    image = torch.rand(1, 300, 40, 3, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(300, 40)
    mask[20:280, 9:30] = 1.0
    found = []
    for limit in (1 << 25, 0):
        monkeypatch.setattr(output_nodes, "_LARGE", limit)
        node = DefectForgeSaveDefectPair.PREPARE_CLASS_CLONE(None)
        said = node.execute(image, mask, "run", "hazelnut", "hole", "").ui["defectforge_pairs"][0]
        refs = [said[role] for role in ("image", "mask")]
        paths = [embedded_host / "output" / ref["subfolder"] / ref["filename"] for ref in refs]
        found.append([np.asarray(Image.open(path)) for path in paths])
        assert all("defectforge" in Image.open(path).text for path in paths[:1])
    assert all(np.array_equal(small, large) for small, large in zip(*found, strict=True))
