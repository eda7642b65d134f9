"""What the ComfyUI registry asks of a pack: metadata, an icon it can fetch, and nothing heavy in what it packs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]


def test_the_pack_has_what_the_registry_shows(pyproject):
    comfy = pyproject["tool"]["comfy"]
    assert comfy["PublisherId"] and comfy["DisplayName"] == "DefectForge"
    assert pyproject["project"]["description"] and pyproject["project"]["urls"]["Repository"].startswith("https://")


def test_the_name_is_one_that_the_registry_accepts(pyproject):
    name = pyproject["project"]["name"]
    assert re.fullmatch(r"[a-z][a-z0-9_-]{0,98}[a-z0-9]", name) and not name.startswith("comfyui")


def test_the_version_is_semantic_and_in_the_changelog(pyproject):
    version = pyproject["project"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert version in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_icon_is_a_file_of_this_repository_and_small_enough(pyproject):
    url, repository = pyproject["tool"]["comfy"]["Icon"], pyproject["project"]["urls"]["Repository"]
    owner = repository.removeprefix("https://github.com/")
    start = f"https://raw.githubusercontent.com/{owner}/main/"
    assert url.startswith(start)
    with Image.open(ROOT / url.removeprefix(start)) as icon:
        assert icon.size[0] == icon.size[1] <= 400


def test_the_floor_is_the_version_that_was_tested(pyproject):
    assert pyproject["tool"]["comfy"]["requires-comfyui"] == ">=0.3.64"


def test_what_a_user_does_not_run_is_not_packed_and_the_rest_is():
    """The list is read as git reads a .gitignore: `docs/` without a slash in front would also drop the help pages."""
    pathspec = pytest.importorskip("pathspec", reason="mypy brings it")
    ignored = pathspec.GitIgnoreSpec.from_lines((ROOT / ".comfyignore").read_text(encoding="utf-8").splitlines())
    left_out = {"tests/conftest.py", "docs/runner.md", ".github/workflows/test.yml", ".ci/run"}
    packed = ["__init__.py", "requirements.txt", "README.md", "LICENSE"]
    for folder in ("nodes", "workflows", "runner", "locales", "subgraphs"):
        packed += [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert {path for path in left_out if ignored.match_file(path)} == left_out
    assert [path for path in packed if ignored.match_file(path)] == []


def test_every_room_of_the_house_is_packed(pyproject):
    """A wheel holds the listed packages alone: a room that is not listed is missing after `pip install .`."""
    rooms = {
        ".".join(("defectforge", *folder.relative_to(ROOT).parts))
        for top in ("nodes", "runner")
        for folder in [ROOT / top, *(ROOT / top).rglob("*")]
        if (folder / "__init__.py").is_file()
    }
    assert set(pyproject["tool"]["setuptools"]["packages"]) == rooms | {"defectforge"}
