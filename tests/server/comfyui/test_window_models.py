"""The window's list of missing models: templates open without it where their files are, and name them where not."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comfyui_hosts
import pytest
from defectforge.runner.graphs.graph import SHIPPED, shipped_workflows
from newer_nodes import skip_if_newer

pytestmark = [pytest.mark.comfyui, pytest.mark.browser, pytest.mark.slow]


def saved(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))
    return data


def files_of(name: str) -> set[tuple[str, str]]:
    """(folder, file name) of each model that the workflow's nodes name."""
    entries = [m for node in saved(name)["nodes"] for m in node.get("properties", {}).get("models", [])]
    return {(entry["directory"], entry["name"]) for entry in entries}


#: One of each set of model files: the window looks at nothing else of the graph.
ONE_OF_EACH = list({frozenset(files_of(name)): name for name in shipped_workflows() if files_of(name)}.values())


@pytest.fixture(scope="module")
def servers(comfyui: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of its own with (True) or without (False) the files; the window only asks for names."""
    with contextlib.ExitStack() as stack:
        kept: dict[bool, Any] = {}

        def server(there: bool) -> Any:
            if there not in kept:
                models = tmp_path_factory.mktemp("models")
                (models / "checkpoints").mkdir()
                for folder, file in {entry for name in shipped_workflows() for entry in files_of(name)}:
                    (models / folder).mkdir(exist_ok=True)
                    if there:
                        (models / folder / file).touch()
                base: Path = tmp_path_factory.mktemp("base")
                kept[there] = stack.enter_context(comfyui_hosts.running(comfyui.cell, base, models))
            return kept[there]

        yield server


def said_of_models(window: Any, name: str) -> str:
    """All that the window shows, once it had the time to look for the files of a workflow that was opened."""
    window.load(saved(name))
    window.page.wait_for_timeout(3_000)
    return str(window.page.evaluate("document.body.innerText"))


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_template_opens_without_it_where_its_models_are(servers, comfyui, new_window, name):
    skip_if_newer(name, comfyui)
    with new_window(servers(True), missing_models=True) as window:
        said = said_of_models(window, name)
        assert not [line for line in said.splitlines() if re.search("missing|issues? found", line, re.IGNORECASE)]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_where_a_model_is_not_the_window_names_it(servers, new_window, name):
    with new_window(servers(False), missing_models=True) as window:
        window.load(saved(name))
        page = window.page
        page.wait_for_function("/missing|issues found/i.test(document.body.innerText)", timeout=30_000)
        details = page.get_by_role("button", name=re.compile("View details|Show missing models"))
        if details.count():  # it says that there are some, or how many
            details.first.click()
        told = "names => { const said = document.body.innerText; return names.every(name => said.includes(name)) }"
        page.wait_for_function(told, arg=[file for _, file in files_of(name)], timeout=30_000)
        assert "missing" in page.evaluate("document.body.innerText").lower()
