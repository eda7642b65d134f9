"""What a server's answer means: typed errors, and what the person at the keyboard can do about each."""

from __future__ import annotations

import email.utils
import json
import re
import time
from dataclasses import dataclass
from typing import Any

from ..errors import ServerError, server_error

DISK_FULL = re.compile(
    r"(?i)no space left on device|errno 28\b|disk quota exceeded|not enough space on the disk|WinError 112"
)
GATEWAY = {502, 503, 504}
REDIRECTS = {301, 302, 303, 307, 308}
GOES_ON = "the same command goes on where it stopped"


class Unreachable(Exception):
    """Refused, reset or timed out: the server is away. Whether a request took effect is unknown."""


class Refused(Unreachable):
    """Nobody listens there: the process is gone, and with it all that it had queued."""


class Unclear(Exception):
    """A 5xx answer. A queued job may hide behind it: the server queues before it fails to answer."""


class Rejected(Exception):
    """The server will not run this graph, now or later."""

    def __init__(self, message: str, node_errors: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.node_errors = node_errors or {}


@dataclass(frozen=True)
class Answer:
    """A whole answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body[:2000].decode("utf-8", "replace")

    def json(self) -> Any:
        """Raises ValueError."""
        try:
            return json.loads(self.body)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def check(answer: Answer, url: str, call: str) -> None:
    """Raise where an answer says something about the server rather than about the request.

    Args:
        url: the server, as messages show it.
        call: the request, such as "POST /prompt".

    Raises:
        ServerError: it wants a log-in, or its disk is full.
        Unreachable: a gateway answers in its place.
        Rejected: 413, the request is too big for it.
    """
    status = answer.status
    if status in (401, 403, 407):
        raise login_wanted(url, f"{call} answered {status}{_reason(answer)}", answer.headers.get("www-authenticate"))
    if status == 507 or (status >= 500 and DISK_FULL.search(answer.text)):
        raise disk_full(url, f"{call} answered {status}{_reason(answer)}")
    if status in GATEWAY:
        raise Unreachable(f"{call} answered {status}: the gateway at {url} gets no answer from the server behind it")
    if status == 413:
        raise Rejected(
            f"{call} answered 413: too big for the server or a proxy before it; start ComfyUI with a larger "
            "--max-upload-size (in MB), and raise the proxy's limit (nginx: client_max_body_size)"
        )


def _reason(answer: Answer) -> str:
    """The first words of a short plain answer; a page of HTML helps nobody."""
    text = " ".join(answer.text.split())
    return f" ({text[:120]})" if text and "<" not in text else ""


def login_wanted(url: str, where: str, scheme: str | None = None) -> ServerError:
    return server_error(
        "server.login",
        f"the server at {url} does not let us in",
        where=where,
        expected=f"a log-in that it accepts{f' ({scheme[:60]})' if scheme else ''}",
        mend="give user and password in the address (http://USER:PASSWORD@HOST), or a token as a line "
        f"'Authorization: Bearer TOKEN' in --header-file FILE or DEFECTFORGE_HEADERS; {GOES_ON}",
    )


def disk_full(url: str, where: str) -> ServerError:
    return server_error(
        "server.disk_full",
        f"the disk of the server at {url} is full",
        where=where,
        expected="room for what is uploaded to and saved on the server",
        mend=f"make room there (its output, input and temp folders), then: {GOES_ON}",
    )


def elsewhere(url: str, location: str, call: str) -> ServerError:
    return server_error(
        "server.redirect",
        f"the server at {url} sends us elsewhere",
        where=f"{call} -> {location}",
        expected="an answer of ComfyUI itself",
        mend="if that is the same server, name it so with --server; if it is a page to log in, give a token with "
        "--header-file",
    )


def too_many(url: str, call: str, seconds: float) -> ServerError:
    return server_error(
        "server.too_many_requests",
        f"the server at {url} takes no more requests from us",
        where=f"{call} answered 429; we shall wait {seconds:.0f} s more",
        expected="a server that takes some requests a second",
        mend=f"raise the limit of the proxy before it for this machine, or come back later: {GOES_ON}",
    )


def pause_wanted(answer: Answer, waited: int) -> float:
    """Seconds to wait after a 429: what Retry-After says (a number or a date), else longer each time."""
    said = answer.headers.get("retry-after", "").strip()
    if said.isascii() and said.isdigit():
        return float(said[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(said).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return min(60.0, 0.5 * 2.0**waited)
