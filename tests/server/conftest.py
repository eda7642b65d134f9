"""Real embedded servers in their own processes, and a small client for ComfyUI's protocol."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from defectforge.runner.embedded import launch

#: Nothing here takes long; a test that waits for something that never comes fails after this.
PATIENCE = 60.0


@dataclass
class Outcome:
    """What one prompt gave: all messages that its client got, and its history entry."""

    prompt_id: str
    messages: list[dict[str, Any]]
    frames: list[bytes]
    history: dict[str, Any]

    def events(self) -> list[str]:
        """Message types in order, with the node where there is one; `status` left out, as it may come in between."""
        named = []
        for message in self.messages:
            node = message["data"].get("node", "")
            if message["type"] != "status":
                named.append(f"{message['type']} {node}".strip())
        return named

    def data(self, event: str) -> list[dict[str, Any]]:
        return [message["data"] for message in self.messages if message["type"] == event]


@dataclass
class Client:
    """One client of one server, with its WebSocket."""

    url: str
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    features: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.http = requests.Session()
        self.socket: websocket.WebSocket | None = None
        self.frames: list[bytes] = []

    def connect(self) -> dict[str, Any]:
        """Open the WebSocket (again) and give the first message."""
        self.socket = websocket.create_connection(
            f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}",
            timeout=PATIENCE,
            suppress_origin=True,
        )
        if self.features is not None:
            self.socket.send(json.dumps({"type": "feature_flags", "data": self.features}))
        return self.receive()

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.http.close()

    def get(self, path: str, **query: Any) -> requests.Response:
        return self.http.get(self.url + path, params=query, timeout=PATIENCE)

    def post(self, path: str, body: Any = None, **arguments: Any) -> requests.Response:
        return self.http.post(self.url + path, json=body, timeout=PATIENCE, **arguments)

    def submit(self, prompt: Any, **more: Any) -> requests.Response:
        return self.post("/prompt", {"prompt": prompt, "client_id": self.client_id, **more})

    def receive(self) -> dict[str, Any]:
        """The next text message; binary frames met on the way are collected."""
        assert self.socket is not None, "connect first"
        while True:
            message = self.socket.recv()
            if isinstance(message, str):
                return json.loads(message)
            self.frames.append(message)

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """Messages up to and including the first wanted one."""
        seen = [self.receive()]
        while not wanted(seen[-1]):
            seen.append(self.receive())
        return seen

    def until_event(self, event: str) -> list[dict[str, Any]]:
        return self.until(lambda message: message["type"] == event)

    def finish(self, prompt_id: str) -> Outcome:
        """Wait for the end of a prompt."""
        messages = self.until(
            lambda m: m["type"] == "executing" and m["data"]["node"] is None and m["data"]["prompt_id"] == prompt_id
        )
        # Progress of prompts without a client goes to everybody.
        messages = [message for message in messages if message["data"].get("prompt_id", prompt_id) == prompt_id]
        frames, self.frames = self.frames, []
        return Outcome(prompt_id, messages, frames, self.get(f"/history/{prompt_id}").json()[prompt_id])

    def run(self, prompt: Any, **more: Any) -> Outcome:
        """Submit a prompt and wait for its end."""
        if self.socket is None:
            self.connect()
        answer = self.submit(prompt, **more)
        assert answer.status_code == 200, answer.text
        return self.finish(answer.json()["prompt_id"])


def preview_kind(frame: bytes) -> int:
    return struct.unpack(">I", frame[:4])[0]


@pytest.fixture(scope="session")
def server_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Fresh input, output, temp and models folders of the session's servers."""
    base = tmp_path_factory.mktemp("server")
    folders = {name: base / name for name in ("input", "output", "temp", "models")}
    for folder in folders.values():
        folder.mkdir()
    return folders


@pytest.fixture(scope="session")
def embedded_server(server_folders: dict[str, Path]) -> Iterator[launch.RunningServer]:
    """An embedded server as `defectforge serve` starts it, on a free port."""
    with launch.start(
        models=[server_folders["models"]],
        input=server_folders["input"],
        output=server_folders["output"],
        temp=server_folders["temp"],
        log=server_folders["temp"].parent / "embedded.log",
        device="cpu",
    ) as server:
        yield server


@pytest.fixture(scope="session")
def probe_server(server_folders: dict[str, Path]) -> Iterator[launch.RunningServer]:
    """The same with the probe nodes."""
    with start_probe(server_folders, server_folders["temp"].parent / "probe.log") as server:
        yield server


def start_probe(folders: dict[str, Path], log: Path) -> launch.RunningServer:
    return launch.start(
        models=[folders["models"]],
        input=folders["input"],
        output=folders["output"],
        temp=folders["temp"],
        log=log,
        device="cpu",
        program=Path(__file__).with_name("probe_server.py"),
    )


@pytest.fixture
def own_probe_server(server_folders: dict[str, Path], tmp_path: Path) -> Iterator[launch.RunningServer]:
    """A probe server for one test, which may end it."""
    with start_probe(server_folders, tmp_path / "probe.log") as server:
        yield server


@pytest.fixture
def connect(probe_server: launch.RunningServer) -> Iterator[Callable[..., Client]]:
    """Make clients of the probe server (or of another `url`); all are closed at the end."""
    made: list[Client] = []

    def make(url: str = probe_server.url, **arguments: Any) -> Client:
        made.append(Client(url, **arguments))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    """A connected client of the probe server."""
    made = connect()
    made.connect()
    return made


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file that does not exist yet; `ProbeLoop` runs until it does. It is opened at the end in any case."""
    path = tmp_path / "gate"
    yield path
    path.touch()
