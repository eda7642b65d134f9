"""Each help page shows at a glance what its node does: a picture of its own, small, described, and shipped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "nodes" / "web" / "docs"
#: ComfyUI shows DOCS/<node>.md, or DOCS/<node>/<language>.md; both find pictures relative to DOCS.
PAGES = sorted(DOCS.rglob("*.md"))
LARGEST = 60_000
PICTURE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<file>[^)]*)\)")


def node_of(page: Path) -> str:
    return page.stem if page.parent == DOCS else page.parent.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_each_help_page_has_its_node_s_picture_near_the_top(page):
    text = page.read_text(encoding="utf-8")
    pictures = [found["file"] for found in PICTURE.finditer(text)]
    assert pictures[:1] == [f"{node_of(page)}.jpg"]
    assert all((DOCS / file).is_file() for file in pictures)
    assert text.index("![") < text.index("\n| "), "the picture comes before the tables"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_picture_says_in_words_what_it_shows(page):
    for found in PICTURE.finditer(page.read_text(encoding="utf-8")):
        assert 20 < len(found["text"]) < 160
        assert "\n" not in found["text"]


@pytest.mark.parametrize("file", sorted(DOCS.glob("*.jpg")), ids=lambda file: file.stem)
def test_pictures_are_small(file):
    assert file.stat().st_size <= LARGEST
    with Image.open(file) as picture:
        assert picture.format == "JPEG"
        assert 300 <= picture.width <= 800


def test_no_picture_is_left_over():
    shown = {found["file"] for page in PAGES for found in PICTURE.finditer(page.read_text(encoding="utf-8"))}
    assert {file.name for file in DOCS.iterdir() if file.suffix != ".md" and file.is_file()} == shown


def test_pictures_are_installed_with_the_package(pyproject):
    patterns = pyproject["tool"]["setuptools"]["package-data"]["defectforge.nodes"]
    installed = {file for pattern in patterns for file in (ROOT / "nodes").glob(pattern)}
    assert set(DOCS.iterdir()) <= installed
