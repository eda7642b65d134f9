"""The prompt that is being executed: its progress, as messages to its client, and its interruption."""

from __future__ import annotations

import io
import json
import struct
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from PIL import Image

#: First number of a binary WebSocket frame.
PREVIEW_IMAGE = 1
PREVIEW_IMAGE_WITH_METADATA = 4
#: Longest side of a preview, in pixels.
PREVIEW_SIZE = 512


class InterruptProcessingException(Exception):
    """The user asked to stop. Nodes let it pass."""


class Outlet(Protocol):
    """Where messages go: the server's WebSockets. Callable from any thread."""

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        """To one client, or to all for None."""

    def send_bytes(self, frame: bytes, client_id: str | None) -> None: ...

    def feature(self, client_id: str | None, name: str) -> bool:
        """Whether that client has announced a feature."""


class Run:
    """One prompt in execution."""

    def __init__(self, prompt_id: str, client_id: str | None, outlet: Outlet) -> None:
        self.prompt_id = prompt_id
        self.client_id = client_id
        self.node_id: str | None = None
        self._outlet = outlet
        self._interrupted = threading.Event()
        self._states: dict[str, dict[str, Any]] = {}

    def interrupt(self) -> None:
        self._interrupted.set()

    def check_interrupt(self) -> None:
        """Raise `InterruptProcessingException` when the prompt was interrupted."""
        if self._interrupted.is_set():
            raise InterruptProcessingException("interrupted by the user")

    def to_client(self, event: str, data: dict[str, Any]) -> None:
        """A message that only the prompt's own client gets; none without one."""
        if self.client_id is not None:
            self._outlet.send(event, data, self.client_id)

    def start_node(self, node_id: str) -> None:
        self.node_id = node_id
        self._set_state(node_id, "running", 0.0, 1.0)

    def finish_node(self, node_id: str) -> None:
        reached = self._states.get(node_id, {}).get("max", 1)
        self._set_state(node_id, "finished", reached, reached)

    def progress(self, value: float, total: float, preview: Image.Image | None = None) -> None:
        """Progress of the running node; raises when the prompt was interrupted."""
        self.check_interrupt()
        node_id = self.node_id
        if node_id is None:
            return
        with_metadata = self._outlet.feature(self.client_id, "supports_preview_metadata")
        frame = None if preview is None else jpeg(preview)
        self._set_state(node_id, "running", value, total)
        if frame is not None and with_metadata:
            self._outlet.send_bytes(preview_with_metadata(frame, self._identity(node_id)), self.client_id)
        message = {"value": value, "max": total, "prompt_id": self.prompt_id, "node": node_id}
        self._outlet.send("progress", message, self.client_id)
        if frame is not None and not with_metadata:
            self._outlet.send_bytes(preview_frame(frame), self.client_id)

    def _identity(self, node_id: str) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }

    def _set_state(self, node_id: str, state: str, value: float, total: float) -> None:
        self._states[node_id] = {"value": value, "max": total, "state": state} | self._identity(node_id)
        # A message outlives this call, so it gets its own copies.
        nodes = {name: dict(entry) for name, entry in self._states.items()}
        self._outlet.send("progress_state", {"prompt_id": self.prompt_id, "nodes": nodes}, self.client_id)


def jpeg(picture: Image.Image) -> bytes:
    """The preview as JPEG, at most `PREVIEW_SIZE` pixels on its longest side."""
    from PIL import Image, ImageOps

    buffer = io.BytesIO()
    fitted = ImageOps.contain(picture.convert("RGB"), (PREVIEW_SIZE, PREVIEW_SIZE), Image.Resampling.BILINEAR)
    fitted.save(buffer, format="JPEG", quality=95)
    return buffer.getvalue()


def preview_frame(picture: bytes) -> bytes:
    """Frame 1: uint32 event, uint32 kind of picture (1 = JPEG), the picture."""
    return struct.pack(">II", PREVIEW_IMAGE, 1) + picture


def preview_with_metadata(picture: bytes, metadata: dict[str, Any]) -> bytes:
    """Frame 4: uint32 event, uint32 length of the JSON text, the text, the picture."""
    text = json.dumps({**metadata, "image_type": "image/jpeg"}).encode()
    return struct.pack(">II", PREVIEW_IMAGE_WITH_METADATA, len(text)) + text + picture


_lock = threading.Lock()
_current: Run | None = None


def use(run: Run | None) -> None:
    """Set the prompt that is being executed in this process; None when there is none."""
    global _current
    with _lock:
        _current = run


def current() -> Run | None:
    return _current
