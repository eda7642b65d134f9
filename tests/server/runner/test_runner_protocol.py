"""Facts of ComfyUI's protocol that a client has to know; each test fails without the line that knows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from defectforge.runner.errors import OK, SOME_JOBS_FAILED
from defectforge.runner.servers.client import Client
from defectforge.runner.servers.worker import Timing

Start = Callable[..., Any]


def test_a_rejected_graph_is_not_sent_again(start: Start, go: Any, recorder: Any) -> None:
    error = {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": ""}
    item = {"type": "value_not_in_list", "message": "Value not in list", "details": "ckpt_name: 'x' not in []"}
    body = {"error": error, "node_errors": {"4": {"class_type": "X", "errors": [item], "dependent_outputs": ["4"]}}}
    posts = []

    def reject(request: web.Request) -> web.Response | None:
        if request.path != "/prompt":
            return None
        posts.append(request)
        return web.json_response(body, status=400)

    assert go(start(intercept=reject), count=2) == SOME_JOBS_FAILED
    assert len(posts) == 2
    assert "'Save pair': Value not in list (ckpt_name: 'x' not in [])" in recorder.of("failed")[0]["text"]


def test_a_server_that_ignores_our_job_ids_is_refused(start: Start, go: Any, recorder: Any) -> None:
    """Before ComfyUI 0.3.45: it gives an id of its own, and the job could never be found again."""

    def old(request: web.Request) -> web.Response | None:
        answer = {"prompt_id": "its-own", "number": 1, "node_errors": {}}
        return web.json_response(answer) if request.path == "/prompt" else None

    server = start(intercept=old)
    assert go(server, count=1) == SOME_JOBS_FAILED
    assert "needs ComfyUI 0.3.45" in recorder.of("failed")[0]["text"]
    assert server.deleted == ["its-own"]


def test_what_is_sent_avoids_the_server_s_traps(start: Start, go: Any) -> None:
    requests: list[web.Request] = []
    server = start(intercept=requests.append, announce=True)
    deepest = []
    tell = server._tell

    async def look(kind: str, data: dict[str, Any]) -> None:
        deepest.append(len(server.pending) + (server.running is not None))
        await tell(kind, data)

    server._tell = look
    assert go(server, count=8) == OK
    assert max(deepest) <= 2, "the server gives the whole graphs of all that wait with each look at its queue"
    prefixes = [body["prompt"]["4"]["inputs"]["filename_prefix"] for body in server.posted]
    assert len(set(prefixes)) == 8, "a cached repeat announces the files of the first one"
    assert all(prefix.count("/") == 2 for prefix in prefixes), "the saver lists its folder for every picture"
    assert all(name.count("/") >= 3 for name in server.files if name.startswith("input/")), "never the root of input"
    assert len({body["client_id"] for body in server.posted}) == 1
    assert not any("Origin" in request.headers for request in requests), "behind another name it would be refused"
    views = [request for request in requests if request.path == "/view" and request.method == "GET"]
    assert views and all(set(view.query) == {"filename", "subfolder", "type"} for view in views), (
        "preview= and channel= decode on the server's event loop"
    )
    assert not any(request.path in ("/history", "/interrupt", "/free") for request in requests)
    assert not any(request.path.startswith("/internal") for request in requests), "declared the window's own"


def test_the_client_id_stays_over_a_reconnect(start: Start, go: Any) -> None:
    """Jobs belong to the id that queued them: another one would hear nothing of them."""
    ids = []

    def note(request: web.Request) -> None:
        if request.path == "/ws":
            ids.append(request.query["clientId"])

    assert go(start(drop_socket_before={0, 1}, intercept=note)) == OK
    assert len(ids) > 1 and len(set(ids)) == 1


def test_frames_of_other_kinds_are_passed_over(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    asked: list[str] = []
    server = start(announce=True, intercept=lambda request: asked.append(request.path))
    tell = server._tell

    async def chatty(kind: str, data: dict[str, Any]) -> None:
        for socket in list(server._sockets):
            await socket.send_bytes(b"\x00\x00\x00\x01\x00\x00\x00\x01\xff\xd8preview")
            await socket.send_json({"type": "crystools.monitor", "data": {"cpu": 3}})
            await socket.send_json({"type": "executing", "data": {"node": "7"}})
        await tell(kind, data)

    server._tell = chatty
    assert go(server, timing=Timing(reconcile=60.0)) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert not any("/history" in path for path in asked), "the socket went on to tell what became of the jobs"


def test_others_jobs_are_not_taken_for_ours(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    """Progress of jobs without a client goes to everybody."""
    server = start(announce=True)
    tell = server._tell

    picture = {"filename": "of-others.png", "subfolder": "", "type": "output"}
    output = {"defectforge_pairs": [{"image": picture, "mask": picture, "record": {}}]}

    async def with_others(kind: str, data: dict[str, Any]) -> None:
        await tell(kind, data)
        for other, node in (("execution_start", None), ("executed", "4"), ("execution_success", None)):
            await tell(other, {"prompt_id": "a-stranger", "node": node, "output": output})
        await tell("executing", {"prompt_id": "a-stranger", "node": None})

    server._tell = with_others
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)


def test_a_job_that_moves_between_two_looks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ran while we asked for the history, and was done when we asked for the queue."""
    client = Client("http://a:1", "me")
    answers = iter([None, {"outputs": {}}])
    monkeypatch.setattr(client, "history", lambda prompt_id: next(answers))
    monkeypatch.setattr(client, "queued_ids", lambda: (set(), set()))
    assert client.find("x") == ("done", {"outputs": {}})


def test_a_job_that_somebody_interrupted_is_tried_once_more(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    server = start()
    real, times = server._finish, [1]

    def interrupted(prompt_id: str, status: str, messages: list[Any], outputs: Any = None) -> None:
        if times[0]:
            times[0] -= 1
            real(prompt_id, "error", [["execution_interrupted", {}]])
        else:
            real(prompt_id, status, messages, outputs)

    server._finish = interrupted
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert len(server.executed) == 5


def test_a_name_taken_by_other_bytes_is_written_over(start: Start, go: Any, pairs: Any, tmp_path: Path) -> None:
    """A broken earlier upload: the server keeps the new bytes under another name unless told to overwrite."""
    server = start()
    upload, forms = server._upload, []

    async def taken(request: web.Request) -> web.Response:
        form = await request.post()
        forms.append(dict(form))
        if "overwrite" in form:
            return await upload(request)
        return web.json_response({"name": "x (1).png", "subfolder": form["subfolder"], "type": "input"})

    server._upload = taken
    server.call(server._runner.cleanup())
    server._work.cancel()
    server.call(server._start(0))
    assert go(server) == OK
    pairs(tmp_path / "out").assert_whole(4)
    assert [form.get("overwrite") for form in forms[:2]] == [None, "true"]
