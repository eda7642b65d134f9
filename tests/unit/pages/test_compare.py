"""The comparison: every method's pairs side by side, what is alike and what is not, and which methods there are."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from defectforge.nodes.algorithms.run_length import encode as to_run_lengths
from defectforge.runner.commands.results import compare_command
from defectforge.runner.commands.results.compare_command import (
    ON_REQUEST,
    CompareRequest,
    chosen_methods,
    compare,
    model_for,
)
from defectforge.runner.errors import OK, SOME_JOBS_FAILED, RequestError, request_error
from defectforge.runner.graphs.graph import shipped_workflows
from defectforge.runner.pages.compare import write_comparison
from defectforge.runner.reporter import Reporter
from PIL import Image

from .conftest import a_mask, write_run

METHODS = ("img2img", "inpaint_latent_noise", "transplant")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Three methods of three photos each; the third has masks of its own, and lacks its last pair."""
    for method in METHODS:
        own = method == "transplant"

        def said(n: int, method: str = method, own: bool = own) -> dict[str, Any]:
            # img2img: a workflow that knows of no mask and no scores.
            more: dict[str, Any] = {"workflow": {"name": method}, "requested": to_run_lengths(a_mask(n + 3 * own))}
            return more | ({"requested": None, "scores": {}} if method == "img2img" else {})

        folder = write_run(tmp_path / f"made-{method}", 2 if own else 3, more=said)
        folder.rename(tmp_path / method)
    return tmp_path


def test_a_row_a_photo_and_a_column_a_method(out):
    page = write_comparison(out, METHODS, {"reimagine_normal": "no checkpoint"}, 3, False).read_text()
    heads = re.findall(r'<th scope="col">(\w+)<small>', page.replace("<wbr>", ""))
    assert heads == list(METHODS)
    assert page.count('<tr><th scope="row"><button type="button" class="picture"') == 3
    for source in re.findall(r'<img loading="lazy" src="([^"]+)"', page):
        Image.open(out / source).verify()
    assert "no checkpoint" in page and "no pair was made" in page
    assert Image.open(out / "compare.jpg").size[0] > 400


def test_labels_masks_and_costs_are_told(out):
    write_comparison(out, METHODS, {}, 3, False)
    told = json.loads((out / "compare.json").read_text())
    by_name = {method["name"]: method for method in told["methods"]}
    assert by_name["inpaint_latent_noise"]["labels"] == {"visible": 2, "none": 1}
    assert by_name["inpaint_latent_noise"]["seconds"] == 1.0
    cells = told["rows"][0]["cells"]
    assert cells["inpaint_latent_noise"]["same_mask"] is True
    assert cells["transplant"]["same_mask"] is False
    assert cells["img2img"]["same_mask"] is None
    assert all(row["same_photo"] for row in told["rows"])


def test_what_a_workflow_does_not_score_is_measured_here_in_its_label(out):
    write_comparison(out, METHODS, {}, 3, False)
    first, _, third = (row["cells"]["img2img"] for row in json.loads((out / "compare.json").read_text())["rows"])
    assert first["scored_here"] and first["scores"]["presence"] > 0.5
    assert third["label"] == "none" and third["scores"] == {}
    assert 0.9 < first["kept"] < 1


@pytest.mark.parametrize(
    ("method", "source", "told"),
    [
        ("img2img", {"sha256": "0" * 64}, "other contents of {usual}"),
        ("transplant", {"sha256": "0" * 64, "path": "hazelnut/train/good/007.png"}, "hazelnut/train/good/007.png"),
        ("transplant", {"sha256": None}, "a photo whose contents are not known"),
    ],
)
def test_a_method_that_started_from_another_photo_is_named_and_the_photo(out, method, source, told):
    manifest = out / method / "manifest.jsonl"
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    usual = lines[0]["source"]["path"]
    lines[0]["source"] |= source
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = write_comparison(out, METHODS, {}, 3, False).read_text()
    told = told.format(usual=usual)
    assert f"{method} starts from photos of its own: {told} in the row of {usual}.</p>" in page
    assert page.count("starts from photos of its own") == 1, "a note a method, not one a row"
    first, *others = json.loads((out / "compare.json").read_text())["rows"]
    assert (first["source"], first["same_photo"], first["other_photos"]) == (usual, False, {method: told})
    assert all(row["same_photo"] and not row["other_photos"] for row in others)


def test_pictures_inside_the_page(out):
    page = write_comparison(out, METHODS, {}, 3, True).read_text()
    assert all(source.startswith("data:") for source in re.findall(r'<img loading="lazy" src="([^"]+)"', page))


def test_every_workflow_is_a_method_but_the_one_that_writes_prompts_and_those_that_need_a_trained_file():
    methods = chosen_methods(())
    assert sorted([*methods, "img2prompt", "lora_inpaint", "lora_reference_local", *ON_REQUEST]) == shipped_workflows()
    assert methods[0] == "img2img"
    assert chosen_methods(("transplant", "img2img")) == ["img2img", "transplant"]
    assert chosen_methods(("klein_defect_local", "img2img")) == ["img2img", "klein_defect_local"]
    with pytest.raises(RequestError, match="no method"):
        chosen_methods(("img2img", "nothing"))


def test_drawn_nuts_are_painted_by_the_miniature_that_suits_the_method():
    assert model_for("img2img", None, drawn=True) == "miniature"
    assert model_for("inpaint_latent_noise", None, drawn=True) == "miniature-inpaint"
    assert model_for("instruct_pix2pix", None, drawn=True) == "miniature-ip2p"
    assert model_for("transplant", "sd15", drawn=False) is None  # it loads no checkpoint
    assert model_for("img2img", None, drawn=False) is None
    assert model_for("img2img", "sd15", drawn=True) == "sd15"


@pytest.fixture
def asked(out: Path) -> CompareRequest:
    return CompareRequest(out / "data", None, None, 3, 1, None, METHODS, (), None, None, out, False)


class NoFleet:
    def __enter__(self) -> Any:
        return None

    def __exit__(self, *_: Any) -> None:
        pass


def test_a_method_that_cannot_be_costs_the_others_nothing(asked, monkeypatch):
    def one(request: Any, method: str, *_: Any) -> int:
        if method == "img2img":
            raise request_error("model.missing", "the server has no checkpoint")
        return OK

    monkeypatch.setattr(compare_command, "fleet", lambda *_: NoFleet())
    monkeypatch.setattr(compare_command, "run_one", one)
    assert compare(asked, Reporter()) == SOME_JOBS_FAILED
    page = (asked.out / "compare.html").read_text()
    assert "Left out" in page and "the server has no checkpoint" in page


def test_none_at_all_is_an_error(asked, monkeypatch):
    def one(*_: Any) -> int:
        raise request_error("model.missing", "the server has no checkpoint")

    monkeypatch.setattr(compare_command, "fleet", lambda *_: NoFleet())
    monkeypatch.setattr(compare_command, "run_one", one)
    with pytest.raises(RequestError, match="no method could be run"):
        compare(asked, Reporter())
