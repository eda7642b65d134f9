"""The comparison in Chromium, with three methods and with twenty: readable and reachable, on a desk and a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from defectforge.nodes.algorithms.run_length import encode as to_run_lengths
from defectforge.runner.pages.compare import write_comparison

from .conftest import a_mask, write_run

pytestmark = pytest.mark.chromium
MANY = [f"method_with_a_long_name_{number:02d}" for number in range(20)]


@pytest.fixture(scope="module", params=[3, 20], ids=["3 methods", "20 methods"])
def compared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compared")
    methods = MANY[: request.param]
    for method in methods:

        def said(n: int, method: str = method) -> dict[str, Any]:
            return {"workflow": {"name": method}, "requested": to_run_lengths(a_mask(n))}

        write_run(out / f"made-{method}", 4, more=said).rename(out / method)
    return write_comparison(out, methods, {"left_out_method": "there is no checkpoint for it"}, 4, False)


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    contexts, errors = [], []

    def show(path: Path, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.resolve().as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert not errors


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_no_wider_than_the_window_and_names_stay_in_sight(opened, compared, width):
    """The table scrolls within the page; photos stay at its left, methods at its top."""
    page = opened(compared, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    table = page.locator(".grid-table")
    table.evaluate("table => table.parentElement.scrollIntoView()")
    photo, method = table.locator("tbody th").first, table.locator("thead th").nth(1)
    left, top = photo.bounding_box()["x"], method.bounding_box()["y"]
    table.evaluate("table => table.parentElement.scrollTo(150, 0)")
    assert abs(photo.bounding_box()["x"] - left) < 3
    table.evaluate("table => table.parentElement.scrollTo(0, 150)")
    assert abs(method.bounding_box()["y"] - top) < 3
    assert table.evaluate("table => table.parentElement.scrollTop") > 100, "there is something to scroll"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_automatic_accessibility_check_finds_nothing(opened, compared, axe, scheme):
    assert axe(opened(compared, 1280, scheme)) == []


def test_a_picture_opens_by_keyboard(opened, compared):
    page = opened(compared)
    page.locator("button.picture").first.press("Enter")
    page.wait_for_function("document.querySelector('dialog[open]') !== null")
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('dialog[open]') === null")
