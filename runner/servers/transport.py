"""HTTP to one server: kept-alive connections, log-in, redirects, pauses, bounds. Knows nothing of ComfyUI."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from . import answers
from .address import Address, parse, shown
from .answers import Answer, Unreachable

TIMEOUT = (5.0, 60.0)  # connect, read; validation of a big graph happens on the server's event loop
WHOLE_ANSWER = 600.0  # seconds; a server that sends one byte a minute sends for ever
LARGEST_ANSWER = 2 << 30
LONGEST_PAUSE = 300.0  # seconds that a server may make us wait for one request (429), all in all
MAX_REDIRECTS = 5


class _Session(requests.Session):
    """Follows nothing by itself, and does not choke on where it should go."""

    def resolve_redirects(self, *_: Any, **__: Any) -> Iterator[Any]:
        return iter(())


class Transport:
    """Thread-safe: every thread has its own session."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.wait: Callable[[float], bool] = _sleep
        """Waits so many seconds; true if the wait was cut short because the run ends."""
        self.say: Callable[[str], None] = lambda text: None
        self._local = threading.local()

    @property
    def url(self) -> str:
        """Without user and password."""
        return self.address.url

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _Session()
            # A proxy from the environment must not swallow a server on this very machine.
            session.trust_env = not self.address.is_loopback
            session.auth = self._log_in
            self._local.session = session
        return session

    def _log_in(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As `auth`, not as headers: else a line in ~/.netrc would take the place of what the user gave."""
        request.headers.update(self.address.headers)
        return request

    def call(self, method: str, path: str, **options: Any) -> Answer:
        """One request, whatever pauses and redirects it takes.

        Raises:
            Unreachable, ServerError, Rejected: as `answers.check`; other answers are for the caller to judge.
        """
        url, call = self.url + path, f"{method} {path}"
        hops = pauses = 0
        deadline = time.monotonic() + LONGEST_PAUSE
        while True:
            answer = self._once(method, url, **options)
            if answer.status in answers.REDIRECTS and "location" in answer.headers:
                url = self._followed(url, answer, method, call)
                if "?" in url:  # it holds the query already
                    options.pop("params", None)
                hops += 1
                if hops > MAX_REDIRECTS:
                    raise answers.elsewhere(self.url, "round in a circle", call)
            elif answer.status == 429 or (answer.status == 503 and "retry-after" in answer.headers):
                self._pause(answers.pause_wanted(answer, pauses), deadline, call)
                pauses += 1
            else:
                answers.check(answer, self.url, call)
                return answer

    def _once(self, method: str, url: str, **options: Any) -> Answer:
        try:
            with self._session().request(
                method, url, timeout=TIMEOUT, allow_redirects=False, stream=True, **options
            ) as reply:
                body = _whole_body(reply)
                headers = {key.lower(): text for key, text in reply.headers.items()}
                if reply.status_code >= 400:  # it may quote what we sent
                    body = self.address.hide(body.decode("utf-8", "replace")).encode()
                    headers = {key: self.address.hide(text) for key, text in headers.items()}
                return Answer(reply.status_code, headers, body)
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
            ValueError,
        ) as error:
            # A half-open kept-alive connection would fail the next call too.
            self._session().close()
            raise Unreachable(self.address.hide(f"{url}: {_root_cause(error)}")) from error

    def _followed(self, url: str, answer: Answer, method: str, call: str) -> str:
        """The address to ask instead, with the same method and body. Our log-in goes to nobody else."""
        location = answer.headers["location"]
        shown_there = self.address.hide(shown(location))
        try:
            target = urljoin(url, location)
            here, there = urlsplit(url), urlsplit(target)
            other_host = (here.hostname, here.port) != (there.hostname, there.port)
        except ValueError as error:
            raise answers.elsewhere(self.url, shown_there, call) from error
        if there.scheme not in ("http", "https") or (method != "GET" and answer.status == 303):
            raise answers.elsewhere(self.url, shown_there, call)
        is_upgrade = here.hostname == there.hostname and (here.scheme, there.scheme) == ("http", "https")
        same_path = there.path.endswith(here.path[len(urlsplit(self.url).path) :])
        if not same_path or (self.address.headers and other_host and not is_upgrade):
            raise answers.elsewhere(self.url, shown_there, call)
        return target

    def _pause(self, seconds: float, deadline: float, call: str) -> None:
        if time.monotonic() + seconds > deadline:
            raise answers.too_many(self.url, call, seconds)
        self.say(f"{call} answered 429, too many requests: waiting {seconds:.0f} s, as the server wants")
        if self.wait(seconds):
            raise Unreachable(f"{call}: stopped while the server made us wait")

    def find_home(self, path: str) -> None:
        """Ask once where a redirect leads, and go there from now on: a POST, or a WebSocket, would not get through."""
        url, call = self.url + path, f"GET {path}"
        answer = self._once("GET", url)
        for _ in range(MAX_REDIRECTS):
            if answer.status not in answers.REDIRECTS or "location" not in answer.headers:
                return
            url = self._followed(url, answer, "GET", call)
            base = parse(url.removesuffix(path)).url if url.endswith(path) else self.url
            if base != self.url:
                self.say(f"{self.url} redirects to {base}; going on there")
                self.address = self.address.moved(base)
            answer = self._once("GET", url)


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _whole_body(reply: requests.Response) -> bytes:
    """The body within bounds of time and size. Raises OSError."""
    deadline = time.monotonic() + WHOLE_ANSWER
    parts, size = [], 0
    for part in reply.iter_content(1 << 20):
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise OSError(f"the answer is larger than {LARGEST_ANSWER >> 20} MB")
        if time.monotonic() > deadline:
            raise OSError(f"the answer did not end within {WHOLE_ANSWER:.0f} s")
    return b"".join(parts)


def _root_cause(error: BaseException) -> str:
    """requests wraps urllib3 wraps the operating system; the last one says what happened in plain words."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)
