"""The page of a run, whatever state the run's folder is in: whole, old, in progress, empty, damaged, hostile."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.commands.results.report_command import report
from defectforge.runner.errors import OK, RequestError
from defectforge.runner.outputs.journal import Journal
from defectforge.runner.outputs.manifest import select
from defectforge.runner.outputs.marks import Mark
from defectforge.runner.outputs.review import apply_marks
from defectforge.runner.pages.reading import read_run
from defectforge.runner.reporter import Reporter
from PIL import Image

from .conftest import lines, write_run

HOSTILE = """</script><img src=x onerror="window.pwned=1">'"&<!--"""


def page_of(out: Path, single_file: bool = False) -> str:
    assert report(out, single_file, Reporter()) == OK
    return (out / "report.html").read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def rewritten(out: Path, change: Any) -> None:
    records = lines(out)
    for record in records:
        change(record)
    text = "".join(json.dumps(record) + "\n" for record in records)
    (out / "manifest.jsonl").write_text(text, encoding="utf-8")


def test_the_page_names_every_pair_and_its_pictures_lie_beside_it(run):
    data = data_of(page_of(run))
    assert [pair["number"] for pair in data["pairs"]] == list(range(8))
    for pair in data["pairs"]:
        for name, address in pair["views"].items():
            if address is not None and name != "focus":
                Image.open(run / address).verify()
    assert data["pairs"][0]["views"]["strip"] and data["pairs"][2]["label"] == "none"


def test_csv_and_json_hold_the_same_pairs(run):
    page_of(run)
    rows = list(csv.DictReader((run / "report.csv").open(encoding="utf-8-sig")))
    pairs = json.loads((run / "report.json").read_text())["pairs"]
    assert [row["id"] for row in rows] == [pair["id"] for pair in pairs] == [line["id"] for line in lines(run)]
    assert rows[3]["score_quality"] == str(pairs[3]["scores"]["quality"]) and rows[3]["score_grain"] == ""


def test_nothing_is_loaded_from_elsewhere_and_inside_nothing_from_beside(run):
    page = page_of(run, single_file=True)
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert all(
        address is None or address.startswith("data:")
        for pair in data_of(page)["pairs"]
        for name, address in pair["views"].items()
        if name != "focus"
    )


def test_the_run_s_own_files_stay_as_they_are(run):
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    page_of(run)
    assert {p: p.read_bytes() for p in before} == before
    new = {p.relative_to(run).parts[0] for p in run.rglob("*") if p.is_file()} - {
        "hazelnut",
        "manifest.jsonl",
        "run.sqlite",
    }
    assert new == {"report.html", "report.csv", "report.json", "report_files"}


def test_lines_of_0_1_0_are_not_measured(run):
    def old(record: dict[str, Any]) -> None:
        for name in ("label", "requested", "scores", "pair"):
            record.pop(name)

    rewritten(run, old)
    page = page_of(run)
    assert "Not measured" in page and "version 0.1.0" in page
    assert data_of(page)["pairs"][0]["label"] == "requested"
    assert data_of(page)["pairs"][0]["problems"] == []


def test_a_run_in_progress_is_read_without_its_lock(run):
    journal = Journal(run / "run.sqlite")
    try:
        with (run / "manifest.jsonl").open("ab") as file:
            file.write(b'{"id": "half')
        page = page_of(run)
    finally:
        journal.close()
    assert "A run is in progress" in page
    assert "being written" in page
    assert len(data_of(page)["pairs"]) == 8


def test_a_run_without_a_pair(tmp_path):
    Journal(tmp_path / "run.sqlite").close()
    page = page_of(tmp_path)
    assert "There is no pair yet" in page
    assert json.loads((tmp_path / "report.json").read_text())["pairs"] == []


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RequestError, match="neither"):
        report(tmp_path, False, Reporter())
    assert not list(tmp_path.iterdir())


def test_every_missing_or_broken_file_is_named(run):
    records = lines(run)
    (run / records[0]["image"]["path"]).unlink()
    (run / records[1]["image"]["path"]).write_bytes(b"no picture")
    (run / records[3]["mask"]["path"]).unlink()
    (run / records[4]["mask"]["path"]).write_bytes(b"\x89PNG broken")
    Path(records[5]["data"], records[5]["source"]["file"]).unlink()
    (run / "hazelnut/test/hole/999999.png").write_bytes((run / records[6]["image"]["path"]).read_bytes())
    text = (run / "manifest.jsonl").read_text().splitlines()
    (run / "manifest.jsonl").write_text("\n".join([*text[:7], "{broken", text[7]]) + "\n")
    page = page_of(run)
    for name in (
        records[0]["image"]["path"],
        records[1]["image"]["path"],
        records[3]["mask"]["path"],
        records[4]["mask"]["path"],
        records[5]["source"]["file"],
        "hazelnut/test/hole/999999.png",
        "manifest.jsonl, line 8",
    ):
        assert name in page
    pairs = data_of(page)["pairs"]
    assert [bool(pair["problems"]) for pair in pairs] == [True, True, False, True, True, True, False, False]


def test_a_picture_that_was_changed_since_is_named(run):
    path = run / lines(run)[0]["image"]["path"]
    Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    assert "not the one that the line names" in page_of(run)


@pytest.mark.parametrize(
    "change",
    [
        {"scores": {"quality": float("nan"), "presence": "high", "seam": True}},
        {"scores": []},
        {"image": None, "mask": None},
        {"image": {"path": "../../../etc/passwd"}},
        {"image": {"path": "/etc/passwd"}},
        {"source": "nothing", "references": 3, "workflow": [], "server": 7, "times": "now"},
        {"requested": {"size": [3, 3], "counts": [1]}},
        {"number": "x", "seed": None, "type": 5, "data": 1},
    ],
    ids=str,
)
def test_a_line_with_anything_in_it_costs_no_page(run, change):
    records = lines(run)
    records[0].update(change)
    (run / "manifest.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    pairs = data_of(page_of(run))["pairs"]
    assert len(pairs) == 8
    assert all(value is None or isinstance(value, float) for value in pairs[0]["scores"].values())


def test_nothing_outside_the_folder_is_opened_for_a_line(run, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (64, 48), (1, 2, 3)).save(secret)
    rewritten(run, lambda record: record["image"].update(path="../secret.png"))
    pairs = data_of(page_of(run))["pairs"]
    assert all(pair["views"]["result"] is None for pair in pairs)
    assert all("leads out of the folder" in pair["problems"][0] for pair in pairs)


def test_names_with_markup_stay_names(run):
    def hostile(record: dict[str, Any]) -> None:
        record["type"] = record["workflow"]["name"] = HOSTILE
        record["source"]["path"] = record["label"] = HOSTILE
        record["scores"] = {HOSTILE: 0.5}
        record["id"] = f"{HOSTILE}{record['number']}"

    rewritten(run, hostile)
    page = page_of(run)
    assert "<img src=x" not in page
    data = data_of(page)
    assert data["pairs"][0]["type"] == HOSTILE and data["pairs"][0]["scores"] == {HOSTILE: 0.5}


def test_an_out_of_any_name(tmp_path):
    out = write_run(tmp_path).rename(tmp_path / """it's "50 %" #1?&<b>""")
    page = page_of(out)
    assert "<b>" not in page.replace("<b>Not everything", "").split('<h2 id="scores">')[0]
    pair = data_of(page)["pairs"][0]
    path, records = select(shlex.split(pair["command"])[2])
    assert path == (out / "manifest.jsonl").resolve() and records[0]["id"] == pair["id"]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_an_out_whose_name_is_no_text(tmp_path):
    out = write_run(tmp_path).rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff")))
    assert report(out, False, Reporter()) == OK


def test_a_seed_of_twenty_digits_stays_exact(run):
    rewritten(run, lambda record: record.update(seed=2**63 - record["number"]))
    assert data_of(page_of(run))["pairs"][1]["seed"] == str(2**63 - 1)


def test_refused_draws_and_failed_jobs_are_told(run):
    journal = Journal(run / "run.sqlite")
    job = lines(run)[0]["id"]
    journal.refuse(job, 0, 7, [{"draw": 1, "reason": "presence < 0.3", "scores": {"presence": 0.1}}], whole=False)
    journal.failed(lines(run)[7]["id"], "nothing", "nothing is visible")
    journal.close()
    page = page_of(run)
    assert "presence &lt; 0.3" in page and "nothing is visible" in page


def test_pairs_that_are_the_same_are_found(run):
    records = lines(run)
    first, second = (run / records[n]["image"]["path"] for n in (0, 5))  # of one source photo
    second.write_bytes(first.read_bytes())
    rewritten(run, lambda r: r["image"].update(sha256=records[0]["image"]["sha256"]) if r["number"] == 5 else None)
    page_of(run)
    groups = json.loads((run / "report.json").read_text())["alike"]
    assert {"kind": "the same picture", "pairs": [records[0]["id"], records[5]["id"]]} in groups


def test_what_a_review_put_aside_is_told_and_its_views_go(run):
    page_of(run)
    before = len(list((run / "report_files").glob("*-strip.jpg")))
    pair = lines(run)[0]["id"]
    apply_marks(run, {pair: Mark("reject")})
    page = page_of(run)
    assert pair[:12] in page and len(data_of(page)["pairs"]) == 7
    assert len(list((run / "report_files").glob("*-strip.jpg"))) == before - 1


def test_the_cost_of_a_pair_leaves_its_wait_out(run):
    seconds = [pair.seconds for pair in read_run(run).pairs]
    assert seconds[0] == 2.0 and seconds[1:] == [1.0] * 7  # submitted each second, done two later


def test_with_several_servers_a_pair_s_cost_is_not_measured(run):
    journal = Journal(run / "run.sqlite")
    journal.start_run({"server": ["http://a:1", "http://b:1"]}, "0.2.0")
    journal.close()
    assert {pair.seconds for pair in read_run(run).pairs} == {None}


def test_a_journal_that_a_killed_run_left_is_read(run):
    """Its last words are in the write-ahead log beside it."""
    code = (
        "import os, sys; from pathlib import Path; from defectforge.runner.outputs.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]) / 'run.sqlite')\n"
        "journal.refuse('j', 0, 7, [{'draw': 1, 'reason': 'late', 'scores': {}}], whole=True)\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=False)
    found = read_run(run)
    assert [row["reason"] for row in found.refused] == ["late"] and not found.notes and not found.problems
