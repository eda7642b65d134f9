"""One ComfyUI server over HTTP: typed questions, typed answers, typed errors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ..errors import ServerError, server_error
from .address import Header, parse
from .answers import Rejected, Unclear, Unreachable
from .transport import Transport


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
    """Calls to one server. Thread-safe."""

    def __init__(self, url: str, client_id: str, headers: Sequence[Header] = ()) -> None:
        """Raises RequestError if `url` is no address of a server."""
        self.http = Transport(parse(url, headers))
        self.client_id = client_id

    @property
    def url(self) -> str:
        """Where it is, without user and password."""
        return self.http.url

    def _json(self, method: str, path: str, **options: Any) -> Any:
        answer = self.http.call(method, path, **options)
        if answer.status >= 500:
            raise Unclear(f"{method} {path} answered {answer.status}")
        if answer.status >= 400:
            raise Rejected(self.http.address.hide(f"{method} {path} answered {answer.status}: {answer.text[:300]}"))
        try:
            return answer.json()
        except ValueError as error:
            shown = self.http.address.hide(f"{method} {path} did not answer JSON: {answer.text[:100]!r}")
            raise Unclear(shown) from error

    def _object(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._json(method, path, **options)
        if not isinstance(answer, dict):
            raise Unclear(f"{method} {path} answered a {type(answer).__name__} instead of an object")
        return answer

    def info(self) -> ServerInfo:
        """Raises ServerError if this is no ComfyUI-like server, nobody answers, or it does not let us in."""
        try:
            self.http.find_home("/system_stats")
            stats = self._object("GET", "/system_stats")
            system, devices = stats["system"], stats.get("devices") or []
            embedded = system.get("defectforge_version")
            return ServerInfo(
                kind="embedded" if embedded else "comfyui",
                version=str(embedded or system.get("comfyui_version", "unknown")),
                python=str(system.get("python_version", "")).split(" ")[0],
                devices=tuple(str(device.get("name", "?")) for device in devices),
                core=str(system.get("comfyui_version", "unknown")),
            )
        except Unreachable as error:
            raise self._unreachable(error) from error
        except Unclear as error:
            raise self._not_comfyui(error) from error
        except (Rejected, KeyError, TypeError, AttributeError) as error:
            raise self._not_comfyui(error) from error

    def _unreachable(self, error: Exception) -> ServerError:
        text = str(error)
        mend = "start it, check address and port, or leave --server away to use the embedded server"
        if "certificate" in text.lower():
            mend = "give its certificate authority in REQUESTS_CA_BUNDLE=FILE, or use http:// if the server speaks it"
        elif "gateway" in text:
            mend = "start the server behind that gateway, or name that server itself with --server"
        return server_error(
            "server.unreachable",
            f"no server answers at {self.url}",
            where=text,
            expected="a running ComfyUI (or `defectforge serve`)",
            mend=mend,
        )

    def _not_comfyui(self, error: Exception) -> ServerError:
        if isinstance(error, Unclear) and " answered 5" in str(error):
            return server_error(
                "server.broken",
                f"the server at {self.url} fails to answer",
                where=str(error),
                expected="ComfyUI's /system_stats",
                mend="look at the log of that server, and start it again",
            )
        return server_error(
            "server.not_comfyui",
            f"what answers at {self.url} is not a ComfyUI server: {error}",
            expected="ComfyUI's /system_stats",
            mend="check address and port",
        )

    def ping(self) -> None:
        """Returns once the server has time for us.

        Raises:
            Unreachable, Unclear.
        """
        self._object("GET", "/system_stats")

    def object_info(self) -> dict[str, Any]:
        """Every node class the server knows. Raises ServerError if it cannot tell."""
        try:
            found = self._object("GET", "/object_info")
        except Unreachable as error:
            raise self._unreachable(error) from error
        except (Unclear, Rejected) as error:
            raise self._not_comfyui(error) from error
        return {name: entry for name, entry in found.items() if isinstance(entry, dict)}

    def file_metadata(self, folder: str, file: str) -> dict[str, Any]:
        """What a model file on the server says about itself; empty where it, or the server, says nothing."""
        try:
            return self._object("GET", f"/view_metadata/{quote(folder)}?filename={quote(file, safe='')}")
        except (Unreachable, Unclear, Rejected):
            return {}

    def submit(self, graph: dict[str, Any], prompt_id: str, extra_data: str = "{}") -> None:
        """Queue a graph under our own id.

        Args:
            extra_data: an object, as JSON: it may be large, and is the same for every job. Never null, which kills the
                server's worker thread while its HTTP side lives on.

        Raises:
            Rejected: invalid, also where the server accepted a part of it (HTTP 200 with node_errors).
            Unclear, Unreachable: it may or may not be queued; look for the id before asking again.
        """
        body = json.dumps({"prompt": graph, "prompt_id": prompt_id, "client_id": self.client_id})
        answer = self.http.call(
            "POST",
            "/prompt",
            data=f'{body[:-1]}, "extra_data": {extra_data}}}'.encode("ascii"),
            headers={"Content-Type": "application/json"},
        )
        if answer.status >= 500:
            raise Unclear(f"POST /prompt answered {answer.status}")
        try:
            reply = answer.json()
            if not isinstance(reply, dict):
                raise ValueError("no object")
        except ValueError as error:
            if answer.status >= 400:  # a proxy's own page
                text = self.http.address.hide(answer.text[:200])
                raise Rejected(f"POST /prompt answered {answer.status}: {text}") from error
            raise Unclear(f"POST /prompt answered {answer.status} without JSON") from error
        if answer.status >= 400:
            raise Rejected(rejection_text(reply, graph), reply.get("node_errors"))
        if reply.get("node_errors"):
            # Only some outputs were queued; a pair without its mask would be "success".
            self.delete_pending([reply.get("prompt_id", prompt_id)])
            raise Rejected("accepted only in part: " + rejection_text(reply, graph), reply["node_errors"])
        if reply.get("prompt_id") != prompt_id:
            self.delete_pending([str(reply.get("prompt_id"))])
            raise Rejected("the server ignores the job id given to it: it needs ComfyUI 0.3.45 or newer")

    def history(self, prompt_id: str) -> dict[str, Any] | None:
        entry = self._object("GET", f"/history/{prompt_id}").get(prompt_id)
        return entry if isinstance(entry, dict) else None

    def queued_ids(self) -> tuple[set[str], set[str]]:
        """(running, pending) ids. The answer holds whole graphs: keep the queue shallow."""
        queue = self._object("GET", "/queue")
        try:
            running, pending = queue["queue_running"], queue["queue_pending"]
            return {str(item[1]) for item in running}, {str(item[1]) for item in pending}
        except (KeyError, TypeError, IndexError) as error:
            raise Unclear("GET /queue answered something else than ComfyUI's queue") from error

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
        self.http.call("POST", "/queue", json={"delete": prompt_ids})

    def interrupt(self, prompt_id: str) -> None:
        """Only ever ours: without an id it would hit whoever is running."""
        self.http.call("POST", "/interrupt", json={"prompt_id": prompt_id})

    def free(self) -> None:
        self.http.call("POST", "/free", json={"unload_models": True, "free_memory": True})

    def has_input(self, subfolder: str, name: str) -> bool:
        query = {"type": "input", "subfolder": subfolder, "filename": name}
        status = self.http.call("HEAD", "/view", params=query).status
        if status >= 500:
            raise Unclear(f"HEAD /view answered {status}")
        return status == 200

    def upload(self, data: bytes, subfolder: str, name: str, overwrite: bool = False) -> str:
        """Returns the name under which the server keeps it: another one if the name was taken by other bytes."""
        form = {"type": "input", "subfolder": subfolder, **({"overwrite": "true"} if overwrite else {})}
        reply = self._object("POST", "/upload/image", files={"image": (name, data)}, data=form)
        if not isinstance(reply.get("name"), str):
            raise Unclear("POST /upload/image does not say under which name the file is kept")
        return str(reply["name"])

    def view(self, reference: dict[str, Any]) -> bytes:
        """The raw file. Never with preview= or channel=: those decode on the server's event loop."""
        query = {key: str(reference.get(key, "")) for key in ("filename", "subfolder", "type")}
        answer = self.http.call("GET", "/view", params=query)
        if answer.status != 200:
            raise Unclear(f"GET /view {query} answered {answer.status}")
        return answer.body


def rejection_text(reply: dict[str, Any], graph: dict[str, Any]) -> str:
    """The server's reasons in one line, nodes called by their titles."""
    error = reply.get("error") or {}
    parts = []
    try:
        for node_id, entry in (reply.get("node_errors") or {}).items():
            title = (graph.get(node_id, {}).get("_meta") or {}).get("title") or entry.get("class_type")
            parts += [f"'{title}': {item.get('message')} ({item.get('details')})" for item in entry.get("errors", [])]
    except (AttributeError, TypeError):
        return str(reply)[:300]
    if not parts and isinstance(error, dict):
        parts = [f"{error.get('message')} ({error.get('details')})" if error.get("details") else str(error)]
    return "; ".join(parts) or str(reply)[:300]
