"""What servers do wrong, and that no pair is lost, doubled or torn by it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner import interrupts
from defectforge.runner.errors import INTERRUPTED, NO_SERVER, OK, SOME_JOBS_FAILED
from defectforge.runner.servers.worker import Timing

Start = Callable[..., Any]


def test_nothing_wrong(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start()
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.posted) == 4
    assert all(isinstance(body["extra_data"], dict) and "number" not in body for body in server.posted)


def test_a_500_behind_which_the_job_was_queued_is_not_queued_again(
    start: Start, go: Any, pairs: Any, tmp_path: Path
) -> None:
    server = start(answer_500_but_queue={0, 2})
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.executed) == 4


def test_a_job_whose_answer_was_lost_on_the_way_is_not_queued_again(
    start: Start, go: Any, pairs: Any, tmp_path: Path
) -> None:
    server = start(answer_never_but_queue={0, 2})
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.executed) == 4, "no uniqueness there: the same id twice would be computed twice"


def test_a_500_without_the_job_is_tried_again_but_not_for_ever(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any
) -> None:
    assert go(start(answer_500={0, 2})) == OK
    pairs(tmp_path / "out").assert_whole(4)
    server = start(answer_500=set(range(1000)))
    assert go(server, count=5) == SOME_JOBS_FAILED
    assert "answered 500" in recorder.of("failed")[0]["text"]
    assert len(server.posted) < 10


def test_a_job_accepted_in_part_is_a_rejection(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any
) -> None:
    server = start(answer_node_errors={1})
    assert go(server) == SOME_JOBS_FAILED
    assert server.deleted == [server.posted[1]["prompt_id"]]
    (failure,) = recorder.of("failed")
    assert "accepted only in part" in failure["text"] and "'Save pair': Value not in list (mask)" in failure["text"]
    assert len(pairs(tmp_path / "out").records) == 3


def test_the_history_may_be_late(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    assert go(start(empty_history_answers=5)) == OK
    pairs(tmp_path / "out").assert_whole(4)


def test_a_dropped_socket_loses_no_result(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start(drop_socket_before={0, 1, 3})
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.executed) == 4
    assert server.connections > 1


def test_a_deaf_socket_is_noticed_and_replaced(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any
) -> None:
    server = start(deaf=True, seconds=0.5)  # long enough to be noticed before the last job is found by asking
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert server.connections == 2
    assert any("deaf" in warning["text"] for warning in recorder.of("warning"))


def test_a_lost_job_is_queued_again(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start(lose={0, 3})
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.posted) == 6


def test_a_server_that_loses_everything_ends_in_failures_not_in_a_circle(start: Start, go: Any) -> None:
    server = start(lose=set(range(1000)))
    assert go(server, timing=Timing(reconcile=0.02, status_echo=5.0), count=1) == SOME_JOBS_FAILED
    assert 2 < len(server.posted) < 20


def test_a_restarted_server_gets_its_jobs_again(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start(die_while_running=1)
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)


def test_a_restarted_server_that_lost_its_photos_gets_them_again(
    start: Start, go: Any, pairs: Any, tmp_path: Path
) -> None:
    server = start(die_while_running=1, forget_inputs=True)
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)


def test_a_death_of_the_server_costs_no_attempt(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    """It dies, then runs out of memory once: the second attempt at the job is still to be had."""
    server = start(die_while_running=1, fail={1: "torch.OutOfMemoryError"})
    assert go(server, count=1) == OK
    pairs(tmp_path / "out").assert_whole(1)
    assert len(server.posted) == 3


def test_a_queue_that_somebody_clears_is_filled_again(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    """Silent: no message names the job, and the history never knew it."""
    server = start()
    tell, cleared = server._tell, []

    async def clear(kind: str, data: dict[str, Any]) -> None:
        if kind == "execution_success" and not cleared:
            while not server.pending:  # the runner keeps a second job there while the first one runs
                await asyncio.sleep(0.01)
            cleared.extend(server.pending)
            server.pending.clear()
        await tell(kind, data)

    server._tell = clear
    assert go(server) == OK
    assert len(cleared) == 1
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.executed) == 4 and len(server.posted) == 5


def test_a_job_that_kills_the_server_twice_is_put_aside(start: Start, go: Any, recorder: Any, nuts: Path) -> None:
    server = start(die_while_running=2)
    timing = Timing(reconcile=0.05, status_echo=5.0, give_up=30.0)
    assert go(server, count=1, timing=timing) == SOME_JOBS_FAILED
    assert "died twice" in recorder.of("failed")[0]["text"]


def test_a_job_error_fails_that_job_alone(start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any) -> None:
    server = start(fail={1: "ValueError"})
    assert go(server) == SOME_JOBS_FAILED
    assert recorder.of("failed")[0]["text"] == "'Hole mask': it did not work"
    assert len(server.executed) == 4, "the same values on the same server would fail the same way"
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.executed) == 5, "a second run does only what is missing"


def test_a_job_error_is_tried_once_more_on_another_server(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    servers = start(fail=dict.fromkeys(range(1, 3), "ValueError")), start()
    assert go(*servers) == OK
    pairs(tmp_path / "out").assert_whole(4)


def test_out_of_memory_frees_the_server_and_tries_once_more(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start(fail={0: "torch.OutOfMemoryError"})
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert server.freed == 1


def spoil(role: str, data: bytes | None) -> Callable[[int, dict[str, bytes]], dict[str, bytes]]:
    def change(order: int, made: dict[str, bytes]) -> dict[str, bytes]:
        if order != 0:
            return made
        return {**made, role: data} if data is not None else {}

    return change


@pytest.mark.parametrize(
    ("role", "shape", "reason"),
    [
        ("mask", (192, 192), "the mask is empty"),
        ("mask", (64, 64), "differ in size"),
        ("image", None, "does not decode"),
        ("", None, "nothing was saved"),
    ],
)
def test_success_is_believed_only_with_its_outputs(
    start: Start,
    go: Any,
    pairs: Any,
    tmp_path: Path,
    recorder: Any,
    faulty_module: Any,
    role: str,
    shape: Any,
    reason: str,
) -> None:
    data = faulty_module.as_png(np.zeros(shape, np.uint8)) if shape else (b"torn" if role else None)
    assert go(start(spoil=spoil(role, data))) == SOME_JOBS_FAILED
    assert reason in recorder.of("failed")[0]["text"]
    found = pairs(tmp_path / "out")
    assert len(found.images) == len(found.masks) == len(found.records) == 3
    assert found.leftovers == []


def test_a_worker_that_is_dead_behind_a_live_server_is_found_out(start: Start, go: Any, recorder: Any) -> None:
    server = start(never_finish={1}, ignore_interrupts=True)
    timing = Timing(reconcile=0.2, status_echo=0.2, stall=0.6, wind_down=0.2)
    assert go(server, timing=timing) == NO_SERVER
    assert server.interrupted == [server.posted[1]["prompt_id"]], "only ever our own job"
    assert any("without a sign of life" in line for line in recorder.lines)


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], bool]], None]:
    """Ctrl-C is pressed once something holds."""
    return lambda holds: monkeypatch.setattr(interrupts, "asked", holds)


def test_the_end_of_a_run_leaves_jobs_of_others_alone(start: Start, go: Any, ctrl_c: Any) -> None:
    server = start()
    server.running = "a-stranger"
    server.pending.append("another-one")
    ctrl_c(lambda: len(server.posted) == 2)
    assert go(server) == INTERRUPTED
    assert server.running == "a-stranger" and server.pending == ["another-one"]
    assert server.interrupted == []
    assert sorted(server.deleted) == sorted(body["prompt_id"] for body in server.posted) != []


def test_the_end_of_a_run_does_not_wait_for_a_node_that_cannot_be_interrupted(
    start: Start, go: Any, ctrl_c: Any
) -> None:
    server = start(never_finish={0}, ignore_interrupts=True)
    ctrl_c(lambda: bool(server.executed))
    began = time.monotonic()
    assert go(server) == INTERRUPTED
    assert time.monotonic() - began < 60.0
    assert server.interrupted == [server.posted[0]["prompt_id"]]


def test_a_hanging_job_that_can_be_interrupted_is_tried_once_more(
    start: Start, go: Any, pairs: Any, tmp_path: Path
) -> None:
    server = start(never_finish={1})
    assert go(server, timing=Timing(reconcile=0.2, status_echo=0.2, stall=0.6, wind_down=0.2)) == OK
    pairs(tmp_path / "out").assert_whole(4)


def test_a_server_that_goes_away_for_good_ends_the_run_and_the_next_one_goes_on(
    start: Start, go: Any, pairs: Any, tmp_path: Path, recorder: Any
) -> None:
    server = start(never_finish={2})
    recorder.event = lambda name, data, keep=recorder.event: (  # type: ignore[method-assign]
        keep(name, data),
        server.call(server._stop()) if name == "done" and data["job"].index == 1 else None,
    )
    assert go(server, timing=Timing(reconcile=0.2, give_up=0.5)) == NO_SERVER
    pairs(tmp_path / "out").assert_whole(2)
    del recorder.event
    assert go(start()) == OK
    pairs(tmp_path / "out").assert_whole(4)
