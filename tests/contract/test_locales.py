"""The window's languages: English as the schemas say it, Japanese complete and up to date."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCALES = ROOT / "locales"
# The English that was translated. After translating anew: copy locales/en/nodeDefs.json to it.
TRANSLATED = Path(__file__).with_name("translated_nodes.json")
JAPANESE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
# Names that Japanese texts write in Latin letters, too.
LATIN = {"VAE", "DefectForge"}


def read(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


def texts(data: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(place, text) of every text in it."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from texts(value, f"{place}/{key}")
    else:
        yield place, data


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("locale_generator", ROOT / "tests" / "tools" / "locales.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_english_is_what_the_schemas_say(generator):
    """`python tests/tools/locales.py` writes it."""
    assert read(LOCALES / "en" / "nodeDefs.json") == generator.node_definitions()
    assert read(LOCALES / "en" / "main.json") == generator.main_definitions()


@pytest.mark.parametrize("file", ["nodeDefs.json", "main.json"])
def test_japanese_has_every_text_and_no_other(file):
    english, japanese = (dict(texts(read(LOCALES / language / file))) for language in ("en", "ja"))
    assert set(japanese) == set(english)
    assert [place for place, text in japanese.items() if text not in LATIN and not JAPANESE.search(text)] == []


def test_no_english_text_has_changed_since_it_was_translated(generator):
    now, then = dict(texts(generator.node_definitions())), dict(texts(read(TRANSLATED)))
    changed = sorted(place for place in now if now[place] != then.get(place))
    assert changed == [], (
        f"translate these anew in locales/ja/nodeDefs.json, then copy the English to {TRANSLATED.name}"
    )


def test_choices_named_in_a_japanese_text_exist(generator):
    """The choices of a combo stay English in the window, so a Japanese text has to quote them as they are."""
    english, japanese = dict(texts(generator.node_definitions())), dict(texts(read(LOCALES / "ja" / "nodeDefs.json")))
    for place, text in japanese.items():
        for quoted in re.findall(r"「([ -~]+)」", text):
            assert quoted in english[place] or quoted in {"mvtec", "good"}, f"{place}: {quoted}"


def test_the_scripts_of_the_window_use_every_text_and_no_other():
    scripts = "".join(path.read_text("utf-8") for path in (ROOT / "nodes" / "web" / "js").glob("*.js"))
    used = set(re.findall(r"""\btext\("(\w+)\"""", scripts))
    assert used == set(read(LOCALES / "en" / "main.json")["defectforge"])


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_translated_text_keeps_its_blanks(language):
    english, other = (read(LOCALES / name / "main.json")["defectforge"] for name in ("en", language))
    for key, words in english.items():
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", other[key])), key
