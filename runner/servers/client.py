"""One ComfyUI server over HTTP: typed answers, typed errors, one kept-alive connection per thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlparse

import requests

from ..errors import server_error

TIMEOUT = (5.0, 60.0)  # connect, read; validation of a big graph happens on the server's event loop
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Unreachable(Exception):
    """Refused, reset or timed out: the server is away. Whether a request took effect is unknown."""


class Unclear(Exception):
    """A 5xx answer. A queued job may hide behind it: the server queues before it fails to answer."""


class Rejected(Exception):
    """The server will not run this graph, now or later."""

    def __init__(self, message: str, node_errors: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.node_errors = node_errors or {}


@dataclass(frozen=True)
class ServerInfo:
    """What a server says about itself."""

    kind: str  # "comfyui" | "embedded"
    version: str
    python: str
    devices: tuple[str, ...]
    core: str = "unknown"  # the ComfyUI that it is, or follows

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "version": self.version,
            "core": self.core,
            "python": self.python,
            "devices": list(self.devices),
        }


class Client:
    """HTTP calls to one server. Thread-safe: every thread has its own session."""

    def __init__(self, url: str, client_id: str) -> None:
        self.url = normal_url(url)
        self.client_id = client_id
        self._local = threading.local()

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # A proxy from the environment must not swallow a server on this very machine.
            session.trust_env = urlparse(self.url).hostname not in LOOPBACK
            self._local.session = session
        return session

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        try:
            return self._session().request(method, self.url + path, timeout=TIMEOUT, **options)
        except requests.RequestException as error:
            # A half-open kept-alive connection would fail the next call too.
            self._session().close()
            raise Unreachable(f"{self.url}{path}: {_root_cause(error)}") from error

    def _json(self, method: str, path: str, **options: Any) -> Any:
        answer = self._call(method, path, **options)
        if answer.status_code >= 500:
            raise Unclear(f"{method} {path} answered {answer.status_code}")
        if answer.status_code >= 400:
            raise Rejected(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
        try:
            return answer.json()
        except ValueError as error:
            raise Unclear(f"{method} {path} did not answer JSON: {answer.text[:100]!r}") from error

    def info(self) -> ServerInfo:
        """Raises ServerError if this is no ComfyUI-like server or nobody answers."""
        try:
            stats = self._json("GET", "/system_stats")
            system = stats["system"]
            devices = tuple(str(device.get("name", "?")) for device in stats.get("devices", []))
        except Unreachable as error:
            raise server_error(
                "server.unreachable",
                f"no server answers at {self.url}",
                where=str(error),
                expected="a running ComfyUI (or `defectforge serve`)",
                mend="start it, check address and port, or leave --server away to use the embedded server",
            ) from error
        except (Unclear, Rejected, KeyError, TypeError) as error:
            raise server_error(
                "server.not_comfyui",
                f"what answers at {self.url} is not a ComfyUI server: {error}",
                expected="ComfyUI's /system_stats",
                mend="check address and port",
            ) from error
        embedded = system.get("defectforge_version")
        return ServerInfo(
            kind="embedded" if embedded else "comfyui",
            version=str(embedded or system.get("comfyui_version", "unknown")),
            python=str(system.get("python_version", "")).split(" ")[0],
            devices=devices,
            core=str(system.get("comfyui_version", "unknown")),
        )

    def object_info(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._json("GET", "/object_info")
        return answer

    def submit(self, graph: dict[str, Any], prompt_id: str, extra_pnginfo: dict[str, Any] | None = None) -> None:
        """Queue a graph under our own id.

        Raises:
            Rejected: invalid, also where the server accepted a part of it (HTTP 200 with node_errors).
            Unclear, Unreachable: it may or may not be queued; look for the id before asking again.
        """
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": self.client_id,
            # Always an object: null kills the server's worker thread while its HTTP side lives on.
            "extra_data": {"extra_pnginfo": extra_pnginfo} if extra_pnginfo else {},
        }
        answer = self._call("POST", "/prompt", json=body)
        if answer.status_code >= 500:
            raise Unclear(f"POST /prompt answered {answer.status_code}")
        try:
            reply = answer.json()
        except ValueError as error:
            if answer.status_code >= 400:  # 413, or a proxy's own page
                raise Rejected(f"POST /prompt answered {answer.status_code}: {answer.text[:200]}") from error
            raise Unclear(f"POST /prompt answered {answer.status_code} without JSON") from error
        if answer.status_code >= 400:
            raise Rejected(rejection_text(reply, graph), reply.get("node_errors"))
        if reply.get("node_errors"):
            # Only some outputs were queued; a pair without its mask would be "success".
            self.delete_pending([reply.get("prompt_id", prompt_id)])
            raise Rejected("accepted only in part: " + rejection_text(reply, graph), reply["node_errors"])
        if reply.get("prompt_id") != prompt_id:
            self.delete_pending([str(reply.get("prompt_id"))])
            raise Rejected("the server ignores the job id given to it: it needs ComfyUI 0.3.45 or newer")

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        entry: dict[str, Any] | None = self._json("GET", f"/history/{prompt_id}").get(prompt_id)
        return entry

    def queued_ids(self) -> tuple[set[str], set[str]]:
        """(running, pending) ids. The answer holds whole graphs: keep the queue shallow."""
        queue = self._json("GET", "/queue")
        return ({str(item[1]) for item in queue["queue_running"]}, {str(item[1]) for item in queue["queue_pending"]})

    def find(self, prompt_id: str) -> tuple[str, dict[str, Any] | None]:
        """("done", entry), ("running"|"pending", None) or ("absent", None).

        History, queue, history again: the job may move from the one to the other between two looks.
        """
        for _ in range(2):
            entry = self.history(prompt_id)
            if entry is not None:
                return "done", entry
            running, pending = self.queued_ids()
            if prompt_id in running:
                return "running", None
            if prompt_id in pending:
                return "pending", None
        return "absent", None

    def delete_pending(self, prompt_ids: list[str]) -> None:
        self._call("POST", "/queue", json={"delete": prompt_ids})

    def interrupt(self, prompt_id: str) -> None:
        """Only ever ours: without an id it would hit whoever is running."""
        self._call("POST", "/interrupt", json={"prompt_id": prompt_id})

    def free(self) -> None:
        self._call("POST", "/free", json={"unload_models": True, "free_memory": True})

    def has_input(self, subfolder: str, name: str) -> bool:
        query = {"type": "input", "subfolder": subfolder, "filename": name}
        return self._call("HEAD", "/view", params=query).status_code == 200

    def upload(self, data: bytes, subfolder: str, name: str, overwrite: bool = False) -> str:
        """Returns the name under which the server keeps it: another one if the name was taken by other bytes."""
        form = {"type": "input", "subfolder": subfolder, **({"overwrite": "true"} if overwrite else {})}
        reply = self._json("POST", "/upload/image", files={"image": (name, data)}, data=form)
        return str(reply["name"])

    def view(self, reference: dict[str, Any]) -> bytes:
        """The raw file. Never with preview= or channel=: those decode on the server's event loop."""
        query = {key: reference.get(key, "") for key in ("filename", "subfolder", "type")}
        answer = self._call("GET", "/view", params=query)
        if answer.status_code != 200:
            raise Unclear(f"GET /view {query} answered {answer.status_code}")
        return answer.content


def _root_cause(error: BaseException) -> str:
    """requests wraps urllib3 wraps the operating system; the last one says what happened in plain words."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def rejection_text(reply: dict[str, Any], graph: dict[str, Any]) -> str:
    """The server's reasons in one line, nodes called by their titles."""
    error = reply.get("error") or {}
    parts = []
    for node_id, entry in (reply.get("node_errors") or {}).items():
        title = (graph.get(node_id, {}).get("_meta") or {}).get("title") or entry.get("class_type")
        parts += [f"'{title}': {item.get('message')} ({item.get('details')})" for item in entry.get("errors", [])]
    if not parts and isinstance(error, dict):
        parts = [f"{error.get('message')} ({error.get('details')})" if error.get("details") else str(error)]
    return "; ".join(parts) or str(reply)[:300]


def normal_url(url: str) -> str:
    """'host:8188' and 'http://host:8188/' are one server."""
    return (url if "://" in url else f"http://{url}").rstrip("/")
