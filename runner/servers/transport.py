"""HTTP to one server: kept-alive connections, log-in, redirects, pauses, bounds. Knows nothing of ComfyUI."""

from __future__ import annotations

import http.client
import json as json_module
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import certifi
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from requests.utils import get_environ_proxies, select_proxy

from . import answers
from .address import Address, parse, shown
from .answers import Answer, Refused, Unreachable

TIMEOUT = (5.0, 60.0)  # connect, read; validation of a big graph happens on the server's event loop
WHOLE_ANSWER = 600.0  # seconds; a server that sends one byte a minute sends for ever
LARGEST_ANSWER = 2 << 30
LONGEST_PAUSE = 300.0  # seconds that a server may make us wait for one request (429), all in all
MAX_REDIRECTS = 5
CONNECTIONS = 4
TROUBLE = (RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
KEEP = {"User-Agent": "defectforge", "Accept": "*/*", "Accept-Encoding": "gzip, deflate", "Connection": "keep-alive"}


class Transport:
    """Thread-safe: a pool of kept-alive connections, one for each thread that asks at the same time."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.wait: Callable[[float], bool] = _sleep
        """Waits so many seconds; true if the wait was cut short because the run ends."""
        self.say: Callable[[str], None] = lambda text: None
        self._lock = threading.Lock()
        self._managers: dict[str, Any] = {}
        self._pools: dict[tuple[str, str], Any] = {}

    @property
    def url(self) -> str:
        """Without user and password."""
        return self.address.url

    def _pool(self, scheme: str, netloc: str) -> tuple[Any, bool]:
        """(connections to a host, whether a proxy wants whole addresses)."""
        found = self._pools.get((scheme, netloc))
        if found is None:
            with self._lock:
                base = f"{scheme}://{netloc}"
                # A proxy from the environment must not swallow a server on this very machine.
                proxy = None if self.address.is_loopback else select_proxy(base, get_environ_proxies(base))
                found = self._manager(proxy).connection_from_url(base), proxy is not None and scheme == "http"
                self._pools[(scheme, netloc)] = found
        return found

    def _manager(self, proxy: str | None) -> Any:
        key = proxy or ""
        if key not in self._managers:
            options: dict[str, Any] = {"maxsize": CONNECTIONS, "block": False}
            bundle = None
            if not self.address.is_loopback:
                bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
            bundle = bundle or certifi.where()
            options["ca_cert_dir" if os.path.isdir(bundle) else "ca_certs"] = bundle
            options["cert_reqs"] = "CERT_REQUIRED"
            if proxy is None:
                self._managers[key] = urllib3.PoolManager(**options)
            else:
                # It knows how to talk to each kind of proxy, and how to log in there.
                self._managers[key] = HTTPAdapter().proxy_manager_for(proxy, **options)
        return self._managers[key]

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

    def _once(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | Mapping[str, str] | None = None,
        json: Any = None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        # The log-in of this address, never one of ~/.netrc.
        sent = {**KEEP, **(headers or {}), **dict(self.address.headers)}
        body: bytes | None = data if isinstance(data, bytes) else None
        if json is not None:
            body, sent["Content-Type"] = json_module.dumps(json).encode(), "application/json"
        elif files is not None:
            fields: dict[str, Any] = {**(data if isinstance(data, Mapping) else {}), **files}
            body, sent["Content-Type"] = urllib3.encode_multipart_formdata(fields)
        reply = None
        try:
            scheme, netloc, path, query, _ = urlsplit(url)
            target = (path or "/") + (f"?{query}" if query else f"?{urlencode(params, safe='/')}" if params else "")
            pool, whole = self._pool(scheme, netloc)
            reply = pool.urlopen(
                method,
                f"{scheme}://{netloc}{target}" if whole else target,
                body=body,
                headers=sent,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=TIMEOUT[0], read=TIMEOUT[1]),
                preload_content=False,
                assert_same_host=False,
            )
            content = _whole_body(reply)
            received = {key.lower(): text for key, text in reply.headers.items()}
            if reply.status >= 400:  # it may quote what we sent
                content = self.address.hide(content.decode("utf-8", "replace")).encode()
                received = {key: self.address.hide(text) for key, text in received.items()}
            return Answer(reply.status, received, content)
        except TROUBLE as error:
            if reply is not None:
                reply.close()  # half an answer is still in this connection
            cause = _root_cause(error)
            kind = Refused if isinstance(cause, ConnectionRefusedError) else Unreachable
            raise kind(self.address.hide(f"{url}: {cause}")) from error
        finally:
            if reply is not None:
                reply.release_conn()

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


def _whole_body(reply: Any) -> bytes:
    """The body within bounds of time and size. Raises OSError."""
    deadline = time.monotonic() + WHOLE_ANSWER
    parts, size = [], 0
    while part := reply.read1(1 << 20):
        parts.append(part)
        size += len(part)
        if size > LARGEST_ANSWER:
            raise OSError(f"the answer is larger than {LARGEST_ANSWER >> 20} MB")
        if time.monotonic() > deadline:
            raise OSError(f"the answer did not end within {WHOLE_ANSWER:.0f} s")
    return b"".join(parts) if len(parts) != 1 else parts[0]


def _root_cause(error: BaseException) -> BaseException:
    """urllib3 wraps http.client wraps the operating system; the last one says what happened in plain words."""
    while error.__context__ is not None:
        error = error.__context__
    return error
