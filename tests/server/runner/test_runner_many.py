"""Several servers, and a server that goes and comes back."""

from __future__ import annotations

import copy
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from defectforge.runner.errors import NO_SERVER, OK, SOME_JOBS_FAILED
from defectforge.runner.servers.worker import Timing

Start = Callable[..., Any]
#: Long patience: what is done at once must not wait for it.
PATIENT = Timing(reconcile=0.3, status_echo=0.2, stall=30.0, give_up=120.0, wind_down=0.5)


def jobs_of(servers: Any) -> list[int]:
    return [len(server.executed) for server in servers]


def test_what_the_socket_tells_is_not_asked_for(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    def count(request: web.Request) -> None:
        asked[f"{request.method} {request.path.split('/')[1]}"] += 1

    server = start(announce=True, intercept=count)
    assert go(server, count=8, timing=Timing(reconcile=60.0)) == OK
    pairs(tmp_path / "out").assert_whole(8)
    assert asked["POST prompt"] == 8
    assert asked["GET history"] == asked["GET queue"] == 0
    assert asked["POST upload"] == 4, "four photos: each once, however many jobs read it"
    assert asked["GET view"] == 16, "image and mask of each pair, once"


def test_few_connections_carry_everything(start: Start, go: Any) -> None:
    peers = set()

    def look(request: web.Request) -> None:
        if request.path != "/ws" and request.transport is not None:
            peers.add(request.transport.get_extra_info("peername"))

    assert go(start(announce=True, intercept=look), count=12) == OK
    assert len(peers) <= 4, "one for jobs, two for pictures, one for what was asked before the run"


def test_a_blocked_branch_is_no_success_over_the_socket_either(start: Start, go: Any, recorder: Any) -> None:
    server = start(announce=True, spoil=lambda order, made: {} if order == 0 else made)
    assert go(server) == SOME_JOBS_FAILED
    assert "nothing was saved" in recorder.of("failed")[0]["text"]


def test_the_faster_server_gets_more(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    slow, fast = servers = start(seconds=0.5, announce=True), start(seconds=0.01, announce=True)
    assert go(*servers, count=16) == OK
    pairs(tmp_path / "out").assert_whole(16)
    assert len(fast.executed) > 2 * len(slow.executed) > 0


def test_a_lost_server_s_jobs_go_to_the_others_at_once(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    lost, other = start(die_while_running=1, seconds_away=60.0, announce=True), start(announce=True, seconds=0.05)
    assert go(lost, other, count=12, timing=PATIENT) == OK
    pairs(tmp_path / "out").assert_whole(12)
    assert len(other.executed) == 12, "its share, and what the lost one had"


def test_a_server_that_comes_back_works_again(start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any) -> None:
    flaky, other = start(die_while_running=1, seconds_away=2.0, announce=True), start(announce=True, seconds=0.4)
    assert go(flaky, other, count=40, timing=PATIENT) == OK
    pairs(tmp_path / "out").assert_whole(40)
    assert len(flaky.executed) > 3
    states = [data["state"] for data in recorder.of("server") if data["server"] == flaky.url]
    assert states[:3] == ["away", "on trial", "up"]


def test_a_job_that_kills_servers_is_put_aside_before_it_killed_them_all(start: Start, go: Any, recorder: Any) -> None:
    servers = [start(die_while_running=1, seconds_away=1.0) for _ in range(3)]
    assert go(*servers, count=1, timing=PATIENT) in (OK, SOME_JOBS_FAILED)
    assert sum(server.script.die_while_running for server in servers) >= 1


@pytest.mark.parametrize("give_up", [0.0, 1.0])
def test_no_server_left_ends_the_run_after_the_patience(start: Start, go: Any, recorder: Any, give_up: float) -> None:
    servers = [start(die_while_running=1, seconds_away=100.0) for _ in range(2)]
    assert go(*servers, timing=Timing(reconcile=0.3, give_up=give_up)) == NO_SERVER
    text = "\n".join(recorder.lines)
    assert all(server.url in text for server in servers)


def test_a_server_that_needs_somebody_does_not_hold_up_the_others(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any
) -> None:
    full = start(fail=dict.fromkeys(range(100), "OSError"), fail_text="[Errno 28] No space left on device")
    assert go(full, start(announce=True), count=8, timing=PATIENT) == OK
    pairs(tmp_path / "out").assert_whole(8)
    assert recorder.of("failed") == []
    assert ("needs help", full.url) in {(data["state"], data["server"]) for data in recorder.of("server")}


def test_a_server_that_does_not_answer_at_the_start_is_told_and_left(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any
) -> None:
    assert go("http://127.0.0.1:9", start(announce=True), timing=PATIENT) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert any("going on with the others" in warning["text"] for warning in recorder.of("warning"))


def without(known: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in known.items() if key != name}


def test_a_server_without_the_nodes_gets_no_job(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any, known_nodes: dict[str, Any]
) -> None:
    bare = start()
    bare.object_info = without(known_nodes, "DefectForgePlaceHoleMask")
    assert go(bare, start(announce=True), timing=PATIENT) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert bare.posted == []
    assert any("DefectForgePlaceHoleMask" in warning["text"] for warning in recorder.of("warning"))


def test_a_value_that_one_server_has_goes_only_there(
    start: Start, go: Any, pairs: Any, tmp_path: Path, known_nodes: dict[str, Any]
) -> None:
    """Two choices of an input; one server has the first, the other one both."""
    both, first = start(announce=True), start(announce=True)
    first.object_info = copy.deepcopy(known_nodes)
    spec = first.object_info["DefectForgeObjectMask"]["input"]["required"]["when_unsure"]
    choices = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
    values = list(choices)[:2]
    choices[:] = [values[0]]
    varied = f"Object mask.when_unsure={','.join(values)}"
    place = "2"
    assert go(both, first, count=4, vary=(varied,), timing=PATIENT) == OK
    pairs(tmp_path / "out").assert_whole(8)
    seen = {body["prompt"][place]["inputs"]["when_unsure"] for body in first.posted}
    assert seen <= {values[0]}
    assert first.posted and both.posted


def test_a_server_that_comes_back_as_another_program_is_checked_again(
    start: Start, go: Any, pairs: Any, tmp_path: Path, known_nodes: dict[str, Any]
) -> None:
    changed, other = start(die_while_running=1, seconds_away=0.5, announce=True), start(announce=True, seconds=0.3)
    restart = changed._restart

    async def as_another() -> None:
        changed.object_info = without(known_nodes, "DefectForgePlaceHoleMask")
        changed.posted_before = len(changed.posted)
        await restart()

    changed._restart = as_another
    assert go(changed, other, count=16, timing=PATIENT) == OK
    pairs(tmp_path / "out").assert_whole(16)
    assert len(changed.posted) == changed.posted_before


def test_max_failures_ends_the_run(start: Start, go: Any, recorder: Any) -> None:
    server = start(fail=dict.fromkeys(range(100), "ValueError"), announce=True, seconds=0.1)
    assert go(server, count=40, max_failures=2) == SOME_JOBS_FAILED
    assert 3 <= len(recorder.of("failed")) < 12
    assert "--max-failures 2" in "\n".join(recorder.lines)


def test_until_a_time_ends_the_run_and_the_same_command_goes_on(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any
) -> None:
    import time

    server = start(announce=True, seconds=0.2)
    assert go(server, count=60, until_time=time.time() + 1.5) == OK
    made = len(pairs(tmp_path / "out").images)
    assert 0 < made < 60
    pairs(tmp_path / "out").assert_whole(made)
    server.script.seconds = 0.0
    assert go(server, count=60) == OK
    pairs(tmp_path / "out").assert_whole(60)
    assert len(server.executed) == 60


def test_verifying_and_writing_do_not_hold_up_the_server(
    start: Start, go: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes a second for each pair: the server gets its next jobs all the same."""
    from defectforge.runner.outputs import commit

    real, slow = commit._write_part, threading.Event()

    def write(*arguments: Any) -> None:
        slow.wait(0.3)
        real(*arguments)

    monkeypatch.setattr(commit, "_write_part", write)
    server = start(announce=True, seconds=0.02)
    assert go(server, count=6) == OK
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(server.times)]
    assert sorted(gaps)[len(gaps) // 2] < 0.2
