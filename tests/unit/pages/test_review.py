"""A rejected pair leaves the dataset and comes back byte for byte, wherever the program is killed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.commands.results.export_command import export
from defectforge.runner.commands.results.review_command import review
from defectforge.runner.errors import OK, RequestError
from defectforge.runner.outputs import review as module
from defectforge.runner.outputs.commit import Committer
from defectforge.runner.outputs.journal import Journal
from defectforge.runner.outputs.manifest import Manifest
from defectforge.runner.outputs.marks import Mark, parse_marks
from defectforge.runner.outputs.review import apply_marks, settle, undo
from defectforge.runner.reporter import Reporter

from .conftest import lines, write_run

REJECT = Mark("reject")


class Killed(BaseException):
    """Stands for kill -9: nothing in the program may catch it."""


def content(out: Path) -> dict[str, bytes]:
    """Every file but the journal's, and every folder that is not empty."""
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if not name.startswith("run.sqlite")}


def ids(out: Path) -> list[str]:
    return [line["id"] for line in lines(out)]


def resumed(out: Path) -> None:
    """What the next `defectforge run` on the folder does before it queues anything."""
    journal = Journal(out / "run.sqlite")
    try:
        settle(out, journal)
        Committer(out, journal, Manifest(out / "manifest.jsonl")).recover()
    finally:
        journal.close()


def test_a_rejected_pair_leaves_test_ground_truth_manifest_and_every_export(run, tmp_path):
    rejected = lines(run)[1]
    assert apply_marks(run, {rejected["id"]: REJECT})["rejected"] == 1
    for role in ("image", "mask"):
        assert not (run / rejected[role]["path"]).exists()
        assert (run / "rejected" / rejected[role]["path"]).is_file()
    assert rejected["id"] not in ids(run)
    for to in ("coco", "csv", "anomalib", "yolo-seg", "voc"):
        assert export(run, to, tmp_path / to, Reporter(), "recorded", 0.5, 0, False) == OK
        told = [p.read_bytes() for p in (tmp_path / to).rglob("*") if p.suffix in (".csv", ".json", ".txt", ".xml")]
        assert not any(b"000001" in text for text in told)
        assert not list((tmp_path / to).rglob("*000001*"))


@pytest.mark.parametrize("chosen", [[0], [7], [2], [1, 2, 5], list(range(8))], ids=str)
def test_undo_brings_everything_back_byte_for_byte(run, chosen):
    before = content(run)
    marks = {pair: REJECT for n, pair in enumerate(ids(run)) if n in chosen}
    apply_marks(run, marks)
    assert len(ids(run)) == 8 - len(chosen)
    assert undo(run) == len(chosen)
    assert content(run) == before
    resumed(run)
    assert content(run) == before


def test_pairs_come_back_one_by_one_in_any_order_to_their_own_line(run):
    before, order = content(run), ids(run)
    for n in (2, 5, 3):
        apply_marks(run, {order[n]: REJECT})
    for n in (5, 2, 3):
        undo(run, [order[n]])
    assert content(run) == before


def test_a_run_that_goes_on_does_not_make_a_rejected_pair_again(run):
    apply_marks(run, {ids(run)[0]: REJECT})
    after = content(run)
    resumed(run)
    assert content(run) == after
    journal = Journal(run / "run.sqlite")
    assert {row["state"] for row in journal.in_state("done")} == {"done"}
    assert len(journal.in_state("done")) == 8
    journal.close()


def test_lines_that_a_run_adds_meanwhile_stay_behind_the_others(run, tmp_path):
    order = ids(run)
    apply_marks(run, {order[7]: REJECT, order[3]: REJECT})
    journal = Journal(run / "run.sqlite")
    more = {**lines(run)[0], "id": "f" * 64, "number": 90}
    Manifest(run / "manifest.jsonl").append(more)
    journal.close()
    undo(run)
    assert ids(run) == [*order, "f" * 64]


@pytest.mark.parametrize("kind", ["reject", "relabel", "undo"])
@pytest.mark.parametrize("call", range(9))
def test_whatever_kills_it_the_next_one_does_the_rest(tmp_path, monkeypatch, kind, call):
    """Killed before or after each rename, each write of the manifest and each word to the journal."""
    out = write_run(tmp_path)
    order = ids(out)
    marks = {order[n]: Mark("relabel", "crack") if kind == "relabel" else REJECT for n in (1, 4)}
    before = content(out)
    apply_marks(out, marks)
    wanted = content(out)
    if kind == "undo":
        wanted, before = before, wanted
    else:
        undo(out)
    assert content(out) == before

    calls = 0

    def killing(real: Any) -> Any:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call + 1:
                raise Killed
            result = real(*arguments, **more)
            calls += 1
            if calls == call + 1:
                raise Killed
            return result

        return wrapped

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", killing(os.replace))
        patch.setattr(module, "write_whole", killing(module.write_whole))
        patch.setattr(Journal, "settle", killing(Journal.settle))
        with contextlib.suppress(Killed):
            undo(out) if kind == "undo" else apply_marks(out, marks)
    assert all(
        (out / line["image"]["path"]).is_file() or (out / "rejected" / line["image"]["path"]).is_file()
        for line in map(json.loads, before["manifest.jsonl"].splitlines())
        if kind == "reject"
    )
    resumed(out)
    found = content(out)
    assert {name: data for name, data in found.items() if not name.endswith(".part")} == wanted


def test_kill_9_in_the_middle_of_many(tmp_path):
    """A real process, killed while it moves forty pairs; then undone."""
    import signal
    import subprocess
    import sys

    out = write_run(tmp_path, 40)
    before, marks = content(out), {pair: {"mark": "reject"} for pair in ids(out)}
    (tmp_path / "marks.json").write_text(json.dumps({"defectforge_marks": 1, "marks": marks}))
    code = (
        "import os, sys; real = os.replace; n = 0\n"
        "def slow(a, b):\n"
        "    global n; real(a, b); n += 1\n"
        "    if n == 30: print('now', flush=True); sys.stdin.read()\n"
        "os.replace = slow\n"
        "from defectforge.runner.__main__ import main; main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "review", str(out), str(tmp_path / "marks.json")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert content(out) != before
    assert undo(out) == 40
    assert content(out) == before


def test_a_relabelled_pair_gets_its_type_in_names_line_and_export(run, tmp_path):
    old = lines(run)[0]
    apply_marks(run, {old["id"]: Mark("relabel", "crack")})
    new = lines(run)[0]
    assert (new["type"], new["relabelled_from"]) == ("crack", "hole")
    assert new["image"]["path"] == "hazelnut/test/crack/hole-000000.png"
    assert (run / new["image"]["path"]).is_file() and (run / new["mask"]["path"]).is_file()
    assert new["image"]["sha256"] == old["image"]["sha256"]
    assert export(run, "csv", tmp_path / "csv", Reporter(), "recorded", 0.0, 0, False) == OK
    assert "crack" in (tmp_path / "csv/pairs.csv").read_text()


def test_marks_may_change_their_mind(run):
    before, pair = content(run), ids(run)[1]
    apply_marks(run, {pair: Mark("relabel", "crack")})
    apply_marks(run, {pair: REJECT})
    assert (run / "rejected/hazelnut/test/hole/000001.png").is_file()
    assert apply_marks(run, {pair: REJECT})["left as they are"] == 1
    assert apply_marks(run, {pair: Mark("keep")})["brought back"] == 1
    assert content(run) == before
    assert not (run / "rejected").exists() and not (run / "hazelnut/test/crack").exists()


def test_a_pair_without_a_label_and_one_whose_file_is_gone_can_be_rejected(run):
    unlabelled, damaged = lines(run)[2], lines(run)[3]
    (run / damaged["image"]["path"]).unlink()
    before = content(run)
    apply_marks(run, {unlabelled["id"]: REJECT, damaged["id"]: REJECT})
    assert len(ids(run)) == 6
    undo(run)
    assert content(run) == before


def test_one_of_several_pairs_of_a_job(tmp_path):
    out = write_run(tmp_path, 2)
    journal = Journal(out / "run.sqlite")
    row = journal.in_state("done")[0]
    first = json.loads(row["record"])
    second = {**first, "id": f"{first['id']}-2", "number": 50, "pair": 1}
    second["image"] = {**first["image"], "path": "hazelnut/test/hole/000050.png"}
    second["mask"] = {**first["mask"], "path": "hazelnut/ground_truth/hole/000050_mask.png"}
    for role in ("image", "mask"):
        (out / second[role]["path"]).write_bytes((out / first[role]["path"]).read_bytes())
    outputs = [
        {"role": r, **{k: p[r][k] for k in ("path", "sha256")}} for p in (first, second) for r in ("mask", "image")
    ]
    journal.committing(row["id"], [first, second], outputs)
    journal.done(row["id"])
    journal.close()
    Manifest(out / "manifest.jsonl").append(second)
    before = content(out)
    apply_marks(out, {first["id"]: REJECT})
    resumed(out)
    assert ids(out)[0] != first["id"] and second["id"] in ids(out)
    undo(out)
    resumed(out)
    assert content(out) == before


def refused(work: Any, code: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        work()
    assert {problem.code for problem in caught.value.problems} == {code}
    return caught.value


def test_what_cannot_be_is_refused_and_nothing_changes(run, tmp_path):
    before = content(run)
    refused(lambda: apply_marks(run, {ids(run)[0]: REJECT, "nobody": REJECT}), "review.unknown_pair")
    refused(lambda: undo(run, ["nobody"]), "review.unknown_pair")
    refused(lambda: apply_marks(tmp_path / "nowhere", {}), "review.no_run")
    refused(lambda: review(run, None, False, Reporter()), "review.no_marks")
    taken = run / "hazelnut/test/crack/hole-000000.png"
    taken.parent.mkdir()
    taken.write_bytes(b"mine")
    refused(lambda: apply_marks(run, {ids(run)[0]: Mark("relabel", "crack")}), "review.taken")
    assert taken.read_bytes() == b"mine"
    taken.unlink()
    assert content(run) == before


def test_a_run_in_progress_is_not_touched(run):
    journal = Journal(run / "run.sqlite")
    try:
        refused(lambda: apply_marks(run, {ids(run)[0]: REJECT}), "out.in_use")
    finally:
        journal.close()


def test_a_line_that_names_files_outside_is_refused(run):
    everything = lines(run)
    everything[0]["image"]["path"] = "../../victim/x/y.png"
    (run / "manifest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in everything))
    refused(lambda: apply_marks(run, {everything[0]["id"]: REJECT}), "review.path")


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[]",
        '{"marks": {}}',
        '{"defectforge_marks": 1, "marks": {"a": {"mark": "burn"}}}',
        '{"defectforge_marks": 1, "marks": {"a": {"mark": "relabel"}}}',
        '{"defectforge_marks": 1, "marks": {"a": {"mark": "relabel", "type": "../x"}}}',
        '{"defectforge_marks": 1, "marks": {"a": {"mark": "relabel", "type": "good"}}}',
        "[" * 100000,
    ],
)
def test_what_are_no_marks_is_said(text):
    refused(lambda: parse_marks(text, "marks.json"), "review.marks")
