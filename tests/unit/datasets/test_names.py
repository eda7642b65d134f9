"""Names: litter, order, equal spellings, and what of them may travel to other machines."""

from __future__ import annotations

import pytest
from defectforge.nodes.datasets.names import (
    check_name,
    check_output_name,
    is_litter,
    is_picture,
    mask_stem,
    natural_key,
    nearest,
    safe_name,
    shown,
    stem_of,
    unreadable,
)

COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    "name",
    ["@eaDir", ".ipynb_checkpoints", "._001.png", "Thumbs.db", ".DS_Store", "desktop.ini", "__MACOSX", "THUMBS.DB"],
)
def test_litter_is_told_by_its_name(name):
    assert is_litter(name)
    assert not is_picture(name)


@pytest.mark.parametrize("name", ["000.PNG", "a.Jpg", "b.jfif", "c.TIFF", "d.bmp", "e.WebP"])
def test_pictures_are_told_by_their_suffix_in_any_case(name):
    assert is_picture(name)


def test_numbers_in_names_count_as_numbers():
    names = ["10.png", "2.PNG", "1.jpg", "2_b.tif", "b1.png", "1b.png", "\u00b2.png", "9" * 5000 + ".png"]
    assert sorted(names, key=natural_key)[:4] == ["1.jpg", "1b.png", "2.PNG", "2_b.tif"]


@pytest.mark.parametrize("name", ["000_mask.png", "000-mask.TIF", "000_Mask.bmp"])
def test_a_mask_is_told_by_its_ending(name):
    assert mask_stem(name) == "000"
    assert mask_stem("000.png") is None and mask_stem("_mask.png") is None


def test_two_spellings_of_an_accent_are_one_name():
    assert stem_of(f"{COMPOSED}.png") == stem_of(f"{DECOMPOSED}.png")
    assert safe_name(COMPOSED) == safe_name(DECOMPOSED) == COMPOSED
    assert natural_key(COMPOSED) != natural_key("cafe")


ODD = [
    'a "quote".png', "it's.png", "back\\slash.png", "a:b.png", "line\nend.png", "tab\t.png", "dot.", "space ", "CON",
    "nul.png", "com1.txt", "\udcff.png", "x" * 250 + ".png", "?*<>|.png", "", "...", "\x1b[31mred.png",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_any_name_becomes_a_safe_one(name):
    safe = safe_name(name)
    assert safe_name(safe) == safe, "and stays it"
    assert safe and len(safe.encode("utf-8")) <= 80
    assert not set(safe) & set('<>:"/\\|?*\n\t\x1b') and safe.isprintable()
    assert safe[-1] not in ". " and safe.split(".")[0].lower() not in ("con", "nul", "com1")
    assert safe.endswith(".png") == name.endswith(".png"), "a picture keeps its suffix"


def test_what_is_safe_already_is_left_alone():
    for name in (
        "hazelnut",
        "000.png",
        "structural_anomalies",
        "\u30ca\u30c3\u30c8",
        "\U0001f95c.png",
        "it's.png",
        "a b",
    ):
        assert safe_name(name) == name


def test_names_that_differ_stay_different():
    assert len({safe_name(name) for name in ODD}) == len(ODD)
    assert safe_name("a:b") != safe_name("a?b")


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("line\nend", r"line\nend"),
        ("\udcffx", r"\xffx"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202egnp", r"\u202egnp"),
        ("é", "é"),
    ],
)
def test_names_are_printed_with_escapes(name, printed):
    assert shown(name) == printed


def test_what_cannot_travel_says_why():
    assert "no UTF-8" in (unreadable("\udcff.png") or "")
    assert "control character" in (unreadable("a\nb") or "")
    assert unreadable("\U0001f95c é 'quote' back\\slash.") is None


@pytest.mark.parametrize("name", ["../secret", "..", "", "C:", "a\\b", "a/b", "."])
def test_names_that_are_paths_are_refused(name):
    with pytest.raises(ValueError, match=r"^category: .* is not a folder's bare name"):
        check_name(name, "category")


@pytest.mark.parametrize("name", ["dot.", "CON", 'a"b', "x" * 100, "line\nend", "why?"])
def test_an_output_name_that_some_machine_cannot_hold_is_refused_with_one_that_would_do(name):
    with pytest.raises(ValueError, match=r"^type: .* cannot be a folder's name everywhere") as caught:
        check_output_name(name, "type")
    assert safe_name(name) in str(caught.value)
    check_output_name(safe_name(name), "type")


@pytest.mark.parametrize(
    ("name", "hint"),
    [("hol", "did you mean 'hole'"), ("HOLE", "did you mean 'hole'"), ("zebra", "There are: crack, hole")],
)
def test_misspelt_names_get_the_nearest_right_one(name, hint):
    assert hint in nearest(name, ["hole", "crack"])
    assert nearest("hole", []) == "there is none at all"
