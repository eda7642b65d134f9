"""Pascal VOC: boxes as XML, classes and objects as palette PNGs, lists of names. The pictures stay PNG, unchanged."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ..masks import box, parts
from .pairs import Pair, Split, write_mask

MOST_CLASSES = 254


def write(split: Split, dest: Path) -> list[str]:
    """DEST/{JPEGImages,Annotations,SegmentationClass,SegmentationObject,ImageSets}, DEST/labelmap.txt."""
    palette = colours()
    for kind in ("Main", "Segmentation"):
        (dest / "ImageSets" / kind).mkdir(parents=True)
    (dest / "Annotations").mkdir()
    for side, pairs in split.sides():
        names = "".join(f"{pair.name}\n" for pair in pairs)
        for kind in ("Main", "Segmentation"):
            (dest / "ImageSets" / kind / f"{side}.txt").write_text(names, encoding="utf-8")
        for pair in pairs:
            split.place(pair.image, dest / "JPEGImages" / f"{pair.name}{pair.image.suffix}")
            tree = ElementTree.ElementTree(_annotation(pair))
            ElementTree.indent(tree)
            tree.write(dest / "Annotations" / f"{pair.name}.xml", encoding="utf-8")
            classes = pair.mask * np.uint8(split.class_index(pair) + 1)
            objects = np.zeros(pair.mask.shape, np.uint8)
            for number, part in enumerate(parts(pair.mask)[:MOST_CLASSES], 1):
                objects[part] = number
            write_mask(classes, dest / "SegmentationClass" / f"{pair.name}.png", palette)
            write_mask(objects, dest / "SegmentationObject" / f"{pair.name}.png", palette)
    lines = [f"{name}:{':'.join(map(str, palette[3 * i : 3 * i + 3]))}::" for i, name in enumerate(_labels(split))]
    head = "# label:color_rgb:parts:actions\n"
    (dest / "labelmap.txt").write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return ["the pictures in JPEGImages are PNG: writing them as JPEG would change their pixels"]


def _labels(split: Split) -> list[str]:
    return ["background", *split.classes]


def _annotation(pair: Pair) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _texts(root, folder="JPEGImages", filename=f"{pair.name}{pair.image.suffix}")
    _texts(ElementTree.SubElement(root, "source"), database="DefectForge", annotation=pair.record["id"])
    _texts(ElementTree.SubElement(root, "size"), width=pair.size[0], height=pair.size[1], depth=3)
    _texts(root, segmented=1)
    for part in parts(pair.mask):
        left, top, width, height = box(part)
        one = ElementTree.SubElement(root, "object")
        _texts(one, name=pair.class_name, pose="Unspecified", truncated=0, difficult=0)
        # Pixels are counted from 1 there, the last one included.
        limits = {"xmin": left + 1, "ymin": top + 1, "xmax": left + width, "ymax": top + height}
        _texts(ElementTree.SubElement(one, "bndbox"), **limits)
    return root


def _texts(parent: ElementTree.Element, **values: object) -> None:
    for name, value in values.items():
        ElementTree.SubElement(parent, name).text = str(value)


def colours() -> list[int]:
    """VOC's own palette: 256 colours as R, G, B, by the bits of the index."""
    palette = []
    for index in range(256):
        rgb, left = [0, 0, 0], index
        for shift in range(7, -1, -1):
            for channel in range(3):
                rgb[channel] |= (left >> channel & 1) << shift
            left >>= 3
        palette += rgb
    return palette
