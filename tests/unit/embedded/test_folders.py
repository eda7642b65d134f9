"""Where the embedded server looks for models."""

from __future__ import annotations

import os

import pytest
from defectforge.runner.embedded import folders
from defectforge.runner.embedded.folders import Folders


@pytest.fixture
def place(tmp_path):
    for root in ("one", "two"):
        (tmp_path / root / "checkpoints" / "sub").mkdir(parents=True)
    return Folders(tmp_path / "in", tmp_path / "out", tmp_path / "temp", [tmp_path / "one", tmp_path / "two"])


def touch(path):
    path.touch()
    # Some file systems tell times too coarsely to see two changes in a row.
    at = path.parent.stat().st_mtime_ns + 10_000_000
    os.utime(path.parent, ns=(at, at))


def test_models_of_all_roots_are_listed_once_and_new_ones_are_seen(place):
    one, two = (root / "checkpoints" for root in place.models)
    assert place.model_filenames("checkpoints") == []
    touch(one / "a.safetensors")
    touch(two / "a.safetensors")
    touch(one / "sub" / "b.ckpt")
    touch(one / "notes.txt")
    assert place.model_filenames("checkpoints") == ["a.safetensors", "sub/b.ckpt"]
    touch(two / "c.SFT")
    assert place.model_filenames("checkpoints") == ["a.safetensors", "c.SFT", "sub/b.ckpt"]
    (one / "sub" / "b.ckpt").unlink()
    assert place.model_filenames("checkpoints") == ["a.safetensors", "c.SFT"]
    assert place.model_filenames("loras") == []


def test_the_first_root_wins(place):
    for root in place.models:
        touch(root / "checkpoints" / "a.safetensors")
    assert place.model_path("checkpoints", "a.safetensors") == place.models[0] / "checkpoints" / "a.safetensors"


@pytest.mark.parametrize("name", ["nope.safetensors", "../../secret.safetensors", "/etc/passwd", "sub"])
def test_what_is_no_model_of_this_kind_is_not_found(place, name):
    (place.models[0].parent / "secret.safetensors").touch()
    with pytest.raises(FileNotFoundError, match="--models"):
        place.model_path("checkpoints", name)


def test_given_roots_come_before_comfyuis_and_stand_in_for_the_default(tmp_path, monkeypatch):
    monkeypatch.setenv("DEFECTFORGE_MODELS", str(tmp_path / "default"))
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "comfy"))
    assert folders.model_roots() == [tmp_path / "default", tmp_path / "comfy" / "models"]
    assert folders.model_roots([tmp_path / "own"]) == [tmp_path / "own", tmp_path / "comfy" / "models"]


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/cache"}, "/cache/defectforge/models"),
        ("linux", {"HOME": "/home/me"}, "/home/me/.cache/defectforge/models"),
        ("darwin", {"HOME": "/Users/me"}, "/Users/me/Library/Caches/defectforge/models"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/defectforge/models"),
    ],
)
def test_the_default_folder_follows_the_platform(monkeypatch, platform, variables, expected):
    for name in ("DEFECTFORGE_MODELS", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(folders.sys, "platform", platform)
    assert folders.default_models_directory().as_posix() == expected
