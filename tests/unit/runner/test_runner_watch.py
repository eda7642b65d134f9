"""What can be seen of a run while it goes on: figures, a log, metrics, the journal from another shell."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from defectforge.runner.amounts import duration, speed
from defectforge.runner.commands.requests.moments import seconds, until
from defectforge.runner.commands.requests.plan_file import read_plan
from defectforge.runner.commands.requests.request import Request, with_plan_file
from defectforge.runner.commands.running.status import lines, status
from defectforge.runner.errors import OK, RequestError
from defectforge.runner.outputs.journal import Journal
from defectforge.runner.reporter import MOST_FAILURES, MOST_LINES, Reporter
from defectforge.runner.reporting import make_reporter
from defectforge.runner.watch.journal_view import view
from defectforge.runner.watch.tally import Tally

A, B = "http://a:8188", "http://b:8188"


def job(index: int) -> Any:
    photo = SimpleNamespace(relative=f"good/{index:03d}.png")
    return SimpleNamespace(
        id=f"{index:064x}",
        index=index,
        number=index,
        seed=index,
        category="hazelnut",
        type="hole",
        source=SimpleNamespace(photo=photo),
    )


def done(index: int, server: str = A) -> tuple[str, dict[str, Any]]:
    image = {"path": f"hazelnut/test/hole/{index:06d}.png"}
    return "done", {"job": job(index), "server": server, "record": {"image": image, "mask": image}}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_server_has_its_speed_and_the_run_its_rest() -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.begin(100, 10)
    for index in range(21):
        for server, every in ((A, 1), (B, 4)):
            if index % every == 0:
                tally.event("started", {"job": job(index), "server": server})
        clock.now += 2.0
        tally.event(*done(index, A))
        if index % 4 == 0:
            tally.event(*done(index, B))
    assert tally.servers[A].rate(clock.now) == pytest.approx(0.5)
    assert tally.servers[B].rate(clock.now) == pytest.approx(0.125)
    assert tally.remaining == pytest.approx((100 - 10 - 27) / 0.625)
    tally.event("server", {"server": B, "state": "away", "text": "no answer"})
    assert tally.rate == pytest.approx(0.5), "who is away makes nothing"
    assert tally.line(B) == f"{B}: away (no answer)"
    clock.now += 1000.0
    assert tally.rate < 0.01, "and a server that stands still gets slower"


@pytest.mark.parametrize(
    ("value", "text"), [(12.34, "12.3 jobs/s"), (0.5, "30.0 jobs/min"), (0.003, "10.8 jobs/h"), (0.0, "0.0 jobs/h")]
)
def test_speeds_read_well(value: float, text: str) -> None:
    assert speed(value) == text


def test_durations_read_well() -> None:
    assert [duration(s) for s in (5, 65, 5400, 200_000)] == ["5 s", "1 min", "1 h 30 min", "2 d 7 h"]


def test_a_run_of_days_does_not_flood() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    reporter.begin(100_000, 0, "OUT")
    for index in range(2000):
        reporter.event(*done(index))
        reporter.event("failed", {"job": job(index), "server": A, "text": "no", "code": "job.error"})
        reporter.tick()
    assert len(stream.getvalue().splitlines()) < MOST_FAILURES + 5


def test_a_server_that_needs_somebody_and_one_that_is_back_are_told_once_in_a_while() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    reporter.begin(100_000, 0, "OUT")
    reporter.event(*done(0, A))
    for _ in range(3):
        reporter.event("server", {"server": B, "state": "needs help", "text": f"the disk of the server at {B} is full"})
        reporter.event("server", {"server": B, "state": "on trial", "text": ""})
        reporter.event("server", {"server": B, "state": "up", "text": ""})
    _, trouble, back = stream.getvalue().splitlines()
    assert trouble.startswith(f"warning: the disk of the server at {B} is full; going on with the others")
    assert back == f"{B} works again"


def test_a_small_run_is_told_pair_by_pair() -> None:
    stream = io.StringIO()
    reporter = Reporter(stream)
    reporter.begin(MOST_LINES, 0, "OUT")
    for index in range(5):
        reporter.event(*done(index))
    assert f"[5/{MOST_LINES}] hazelnut/test/hole/000004.png" in stream.getvalue()


def test_the_log_hears_everything(tmp_path: Path) -> None:
    reporter = make_reporter(True, tmp_path / "logs" / "run.log")
    reporter.begin(100_000, 0, "OUT")
    for index in range(300):
        reporter.event(*done(index))
    reporter.event("server", {"server": B, "state": "away", "text": "no answer"})
    reporter.event("warning", {"server": B, "text": "two\nlines"})
    reporter.close()
    said = (tmp_path / "logs" / "run.log").read_text().splitlines()
    assert sum("hole/" in line for line in said) == 300
    assert any(line.endswith(f"server {B}: away (no answer)") for line in said)
    assert all(line[:4].isdigit() or line.startswith("    ") for line in said), "each line has its time"


def test_metrics_are_a_whole_file_at_any_moment(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    path = tmp_path / "defectforge.prom"
    reporter = make_reporter(True, None, path)

    def values() -> dict[str, float]:
        families = parser.text_string_to_metric_families(path.read_text())
        return {f"{s.name}{''.join(sorted(s.labels.values()))}": s.value for family in families for s in family.samples}

    assert values()["defectforge_running"] == 1
    reporter.begin(10, 2, "OUT")
    reporter.event(*done(3))
    reporter.event("failed", {"job": job(4), "server": A, "text": "no", "code": "x"})
    reporter.event("server", {"server": B, "state": "away", "text": ""})
    reporter.end({"text": "", "exit_code": 1})
    found = values()
    assert found["defectforge_jobsdone"] == 3 and found["defectforge_jobsfailed"] == 1
    assert found["defectforge_jobsremaining"] == 6
    assert found[f"defectforge_server_up{A}"] == 1 and found[f"defectforge_server_up{B}"] == 0
    assert found["defectforge_running"] == 0 and found["defectforge_exit_code"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["defectforge.prom"]


@pytest.mark.parametrize("option", ["log", "metrics"])
def test_a_place_that_cannot_be_written_is_told_at_the_start(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="cannot be written"):
        make_reporter(True, **{option: tmp_path / "file" / "x"})


# ---- status


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run of four jobs that goes on: one done, one failed, one on a server."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def fill(journal: Journal) -> None:
    journal.start_run({"workflow": "x"}, "0.1.0")
    journal.add([job(n) for n in range(4)])
    journal.server_stands(A, "up", "")
    journal.server_stands(B, "away", "no answer")
    for n in range(3):
        journal.submitted(job(n).id, A, f"p{n}")
    journal.done(job(0).id)
    journal.failed(job(1).id, "job.error", "it did not work")
    journal.beat(4)


def test_status_reads_the_journal_of_a_run_that_goes_on(out: Path, capsys: Any) -> None:
    """From another process: the run holds the folder all the while."""
    journal = Journal(out / "run.sqlite")
    fill(journal)
    try:
        code = (
            "import sys; from pathlib import Path; from defectforge.runner.commands.running.status import status; "
            "status(Path(sys.argv[1]), False, True)"
        )
        told = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True, check=True)
        found = json.loads(told.stdout)
        assert found["state"] == "running"
        assert found["counts"] == {"done": 1, "failed": 1, "pending": 1, "submitted": 1}
        assert [(server["url"], server["state"]) for server in found["servers"]] == [(A, "up"), (B, "away")]
        journal.beat(4, ended="all is done")
    finally:
        journal.close()
    before = sorted(p.name for p in out.iterdir())
    assert status(out, True, False) == OK, "a run that has ended is not watched"
    said = capsys.readouterr().out
    assert "ended" in said and "1 of 4 jobs done, 1 failed" in said and "it did not work" in said
    assert "all is done" in said, "with the words it ended with"
    assert sorted(p.name for p in out.iterdir()) == before, "nothing is left by looking"


def test_a_server_that_is_away_makes_nothing(out: Path) -> None:
    journal = Journal(out / "run.sqlite")
    journal.start_run({"workflow": "x"}, "0.1.0")
    journal.add([job(n) for n in range(8)])
    for n in range(6):
        journal.submitted(job(n).id, (A, B)[n % 2], f"p{n}")
        journal.done(job(n).id)
    journal.server_stands(A, "up", "")
    journal.server_stands(B, "away", "no answer")
    journal.beat(8)
    journal.close()
    run = view(out)
    rates = {server.url: server.rate for server in run.servers}
    assert rates[A] > 0 and rates[B] > 0
    assert run.rate == rates[A]
    (line,) = (line for line in lines(run, out) if B in line)
    assert "3 done" in line and "jobs/" not in line


def test_a_run_without_a_sign_of_life_is_told(out: Path) -> None:
    journal = Journal(out / "run.sqlite")
    fill(journal)
    journal.close()
    run = view(out, now=time.time() + 3600)
    assert run.state == "interrupted"
    assert "no sign of process" in lines(run, out, now=time.time() + 3600)[0]


def test_where_the_journal_cannot_be_shared_a_copy_is_read(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(out / "run.sqlite")
    fill(journal)
    real = sqlite3.connect

    def refuse(target: str, **options: Any) -> Any:
        if "/out/" in target:
            raise sqlite3.OperationalError("locking protocol")
        return real(target, **options)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert view(out).counts["done"] == 1
    monkeypatch.undo()
    journal.close()


def test_a_folder_without_a_run_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"there is no run\.sqlite"):
        view(tmp_path)


# ---- times


NOON = 1_800_000_000.0


def test_until_is_a_number_or_a_time() -> None:
    assert until("100") == (100, None)
    pairs, moment = until("2090-01-31T06:30")
    assert pairs is None and moment is not None and moment > time.time()
    clock = time.strftime("%H:%M", time.localtime(NOON + 3600))
    assert until(clock, now=NOON)[1] == pytest.approx(NOON + 3600, abs=60)
    earlier = time.strftime("%H:%M", time.localtime(NOON - 3600))
    assert until(earlier, now=NOON)[1] == pytest.approx(NOON + 23 * 3600, abs=3700), "the next one"


@pytest.mark.parametrize("text", ["0", "-3", "soon", "25:00", "2001-01-01", "1e3", "", "99999999", "６"])
def test_until_is_nothing_else(text: str) -> None:
    with pytest.raises(RequestError, match="--until"):
        until(text)


def test_a_time_in_a_plan_is_no_number_to_the_base_of_sixty(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("until: 22:00\ncount: 8\n")
    assert read_plan(plan) == {"until": "22:00", "count": 8}
    request = with_plan_file(Request(), plan)
    assert request.until is None and request.until_time is not None and request.count == 8


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0), ("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1d", 86400)]
)
def test_patience_is_written_as_people_write_it(text: str, value: float) -> None:
    assert seconds(text, "--patience") == value


@pytest.mark.parametrize("text", ["", "-1", "ten", "1 week", "nan"])
def test_patience_is_nothing_else(text: str) -> None:
    with pytest.raises(RequestError, match="--patience"):
        seconds(text, "--patience")
