"""The report in Chromium, from the file system: loads, filters, marks by keyboard, and runs nothing of a name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.commands.results.report_command import report
from defectforge.runner.outputs.marks import parse_marks
from defectforge.runner.reporter import Reporter

from .conftest import lines, write_run
from .test_report import HOSTILE, rewritten

pytestmark = pytest.mark.chromium


@pytest.fixture
def opened(browser: Any) -> Iterator[Any]:
    """opened(OUT, width): the page, and at the end of the test that no script failed."""
    contexts, errors = [], []

    def show(out: Path, width: int = 1280, reported: bool = True) -> Any:
        if reported:
            report(out, False, Reporter())
        context = browser.new_context(viewport={"width": width, "height": 900}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((out / "report.html").resolve().as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert not errors


def test_every_picture_loads_and_a_phone_s_width_is_enough(opened, run):
    for width in (1280, 390):
        page = opened(run, width)
        assert page.locator(".card").count() == 8
        page.locator(".card").last.scroll_into_view_if_needed()
        page.wait_for_function("[...document.querySelectorAll('.card img')].every(i => i.complete && i.naturalWidth)")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_alone_reaches_every_mark_and_the_marks_apply(opened, run, tmp_path):
    page = opened(run)
    page.locator(".strip").first.focus()
    for key in ("k", "ArrowRight", "r", "ArrowRight", "l"):
        page.keyboard.press(key)
    page.keyboard.type("crack")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")  # out of the card's marks, into the next card
    with page.expect_download() as download:
        page.locator("#save").focus()
        page.keyboard.press("Enter")
    download.value.save_as(tmp_path / "marks.json")
    marks = parse_marks((tmp_path / "marks.json").read_text(), "marks.json")
    ids = [line["id"] for line in lines(run)]
    assert {pair: (mark.kind, mark.type) for pair, mark in marks.items()} == {
        ids[0]: ("keep", None),
        ids[1]: ("reject", None),
        ids[2]: ("relabel", "crack"),
    }
    page.reload()
    assert page.locator("#tally").text_content() == "1 keep, 1 reject, 1 relabel"


def test_marks_are_pasted_and_what_are_none_is_said(opened, run):
    page = opened(run)
    page.locator(".marks summary").click()
    ids = [line["id"] for line in lines(run)]
    page.locator("#text").fill(json.dumps({"defectforge_marks": 1, "marks": {ids[3]: {"mark": "reject"}}}))
    page.locator("#take").click()
    assert page.locator('.card[data-mark="reject"]').count() == 1
    page.locator("#text").fill("{}")
    page.locator("#take").click()
    assert "not taken over" in page.locator("#said").text_content()
    assert page.locator('.card[data-mark="reject"]').count() == 1


def test_filter_and_sort(opened, run):
    page = opened(run)
    numbers = lambda: [int(t[:6]) for t in page.locator(".card b").all_text_contents()]  # noqa: E731
    page.locator("[name=method]").select_option("transplant")
    assert numbers() == [1, 4, 7]
    page.locator("[name=sort]").select_option("score quality")
    page.locator("[name=order]").select_option("down")
    assert numbers() == [7, 4, 1]
    page.locator("#controls [type=reset]").click()
    page.wait_for_function("document.querySelectorAll('.card').length === 8")
    page.locator(".ranges summary").click()
    page.locator('[name="from quality"]').fill("0.05")
    assert numbers() == [5, 6, 7]
    page.locator("[name=seed]").fill("106")
    assert numbers() == [6]
    page.locator('[name="from grain"]').fill("0")  # measured for none
    assert numbers() == []


def test_the_close_view_slides_zooms_and_walks(opened, run):
    page = opened(run)
    page.locator(".strip").first.press("Enter")
    viewer = page.locator("#viewer")
    assert viewer.is_visible()
    page.wait_for_function("document.querySelector('#viewer img.result').naturalWidth === 64")
    page.locator("[name=slide]").press("End")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.sheet .result')).clipPath")
        == "inset(0px 0px 0px 100%)"
    )
    page.locator("[name=zoom]").press("End")
    assert page.evaluate("document.querySelector('.sheet').offsetWidth > document.querySelector('.stage').offsetWidth")
    page.locator("[value=difference]").check()
    assert page.locator(".sheet .difference").is_visible() and not page.locator(".sheet .result").is_visible()
    page.locator('[data-do="next"]').press("Enter")
    assert "000001" in page.locator("#viewer-title").text_content()
    page.locator('[data-do="next"]').press("r")
    page.keyboard.press("Escape")
    viewer.wait_for(state="hidden")
    # The page gives the focus back a moment after it has closed the view.
    page.wait_for_function("document.activeElement.closest('.card')?.dataset.mark === 'reject'", timeout=5000)


def test_a_name_runs_nothing(opened, run):
    def hostile(record: dict[str, Any]) -> None:
        record["type"] = record["workflow"]["name"] = record["label"] = record["source"]["path"] = HOSTILE
        record["scores"] = {HOSTILE: 0.5}
        record["id"] = f"{HOSTILE}{record['number']}"

    rewritten(run, hostile)
    page = opened(run)
    page.locator(".strip").first.press("Enter")
    assert page.evaluate("window.pwned === undefined && !document.querySelector('img[src=x]')")
    assert HOSTILE in page.locator("#viewer").text_content()


def test_the_automatic_accessibility_check_finds_nothing(opened, run, axe):
    page = opened(run)
    page.locator(".strip").first.press("k")
    for place in ("page", "close view"):
        if place == "close view":
            page.locator(".strip").first.press("Enter")
        assert axe(page) == [], place


@pytest.mark.slow
def test_two_thousand_pairs(opened, tmp_path):
    """How many and in which order, not how fast: the machine that tests may be busy."""
    page = opened(write_run(tmp_path, 2000))
    assert page.locator("#count").text_content() == "2000 of 2000 pairs shown"
    page.wait_for_function("document.querySelectorAll('.card').length === 2000")
    loaded = page.evaluate(
        "[...document.querySelectorAll('.card img')].filter(i => i.complete && i.naturalWidth).length"
    )
    assert 0 < loaded < 400  # only what is near is loaded
