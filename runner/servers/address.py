"""Where a server is and how to log in there: `--server` and header files, read once, never shown."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ..errors import RequestError, request_error

Header = tuple[str, str]
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
HEADERS_VARIABLE = "DEFECTFORGE_HEADERS"
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: These belong to the protocol; another value would break it.
RESERVED = re.compile(
    r"(?i)host|connection|upgrade|origin|expect|te|trailer|transfer-encoding|content-.*|sec-websocket-.*"
)
MAX_HEADERS = 64 << 10
EXAMPLE = "http://HOST:8188, https://NAME/path, or http://[::1]:8188"
#: Secrets that are shorter could be any word of a message; they are never part of one either.
SHORTEST_SECRET = 4


@dataclass(frozen=True)
class Address:
    """`url` holds neither user nor password, so it may stand in journals and messages; `headers` hold them."""

    url: str
    headers: tuple[Header, ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK

    @property
    def websocket_url(self) -> str:
        scheme, _, rest = self.url.partition("://")
        return f"{'wss' if scheme == 'https' else 'ws'}://{rest}"

    def hide(self, text: str) -> str:
        """A text of the server or of a library, without what logs us in: some servers send it back."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    def moved(self, url: str) -> Address:
        return replace(self, url=url)


def parse(text: str, headers: Sequence[Header] = ()) -> Address:
    """'host:8188', 'http://host:8188/' and 'http://user:password@host:8188' are one server.

    Args:
        headers: further ones for every request, from `read_headers`.

    Raises:
        RequestError: not an address of a server. The message holds no password.
    """
    try:
        parts = urlsplit(text.strip() if "://" in text else f"http://{text.strip()}")
        port, host = parts.port, parts.hostname
    except ValueError as error:
        raise _wrong(text, _why(text, error)) from None
    if text.strip() == "" or not host:
        raise _wrong(text, "it names no host")
    if parts.scheme not in ("http", "https"):
        raise _wrong(text, f"'{parts.scheme}' is not a way to talk to a server")
    if not text.strip().isprintable() or " " in text.strip() or "\\" in text:
        raise _wrong(text, "it holds a character that no address has")
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _wrong(text, "an address has no ? and no #; what logs in goes into --header-file")
    if port == 0 or parts.netloc.endswith(":"):
        raise _wrong(text, "the port is missing after the colon, or 0")
    _check_host(text, host)
    login = list(_login(parts))
    names = {name.lower() for name, _ in headers}
    if login and "authorization" in names:
        raise request_error(
            "server.two_logins",
            "a user in the address of the server, and an Authorization among the headers",
            where=f"--server {shown(text)}",
            expected="one of the two",
            mend="take the user out of the address, or the line out of the headers",
        )
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
    return Address(url, (*login, *headers), _secrets(parts, (*login, *headers)))


def _login(parts: SplitResult) -> Iterator[Header]:
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        yield "Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"


def _secrets(parts: SplitResult, headers: Sequence[Header]) -> tuple[str, ...]:
    found = [value for _, value in headers] + [word for _, value in headers for word in value.split()]
    for given in (parts.password, parts.username if not parts.password else None):
        if given:
            found += [given, unquote(given), quote(unquote(given), safe=""), quote(unquote(given))]
    # Long ones first: a short one may be part of a longer one.
    return tuple(sorted({word for word in found if len(word) >= SHORTEST_SECRET}, key=len, reverse=True))


def _check_host(text: str, host: str) -> None:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError as error:
            raise _wrong(text, "what stands in brackets is no IPv6 address") from error
        return
    try:
        if not host.isascii():
            host.encode("idna")
        elif len(host) > 253 or not all(0 < len(label) < 64 for label in host.rstrip(".").split(".")):
            raise ValueError("a part of the name is empty or longer than 63 letters")
        elif not re.fullmatch(r"[A-Za-z0-9._-]+", host):
            raise ValueError("a name holds letters, digits, dots and hyphens")
    except ValueError as error:
        raise _wrong(text, f"the host's name cannot be: {error}") from error


def _why(text: str, error: ValueError) -> str:
    if "@" in text:
        return "it cannot be read: write / : @ ? # in a user or password as %2F %3A %40 %3F %23"
    if text.count(":") > 2 and "[" not in text:
        return "an IPv6 address stands in brackets"
    return "the port is no number up to 65535" if "ort" in str(error) else "it cannot be read"


def _wrong(text: str, why: str) -> RequestError:
    return request_error(
        "server.address",
        f"this is no address of a server: {why}",
        where=f"--server {shown(text)}",
        expected=EXAMPLE,
        mend="check the address",
    )


def shown(text: str) -> str:
    """An address as it was given, without what may be secret in it."""
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        scheme, rest = "", text
    if "@" in rest:
        rest = f"***@{rest.rpartition('@')[2]}"
    return f"{scheme}{slashes}" + re.sub(r"([?#]).*", r"\1***", rest, flags=re.DOTALL)


def read_headers(file: Path | None) -> tuple[Header, ...]:
    """Headers for every request to a named server: lines 'Name: value' of a file and of DEFECTFORGE_HEADERS.

    The file's win over the variable's. Messages name the line, never the value.

    Raises:
        RequestError: unreadable, or not such lines.
    """
    found = {name.lower(): (name, value) for name, value in _lines(os.environ.get(HEADERS_VARIABLE, ""), None)}
    if file is not None:
        try:
            with file.open("rb") as opened:
                raw = opened.read(MAX_HEADERS + 1)
            text = raw.decode("utf-8-sig")
        except (OSError, ValueError) as error:
            said = "it is not text" if isinstance(error, UnicodeError) else getattr(error, "strerror", "") or "no path"
            raise request_error(
                "headers.unreadable",
                f"the file with headers cannot be read: {said}",
                where=f"--header-file {file}",
                expected="a text file with lines 'Name: value'",
                mend="check the path and the permission",
            ) from None
        if len(raw) > MAX_HEADERS:
            raise _no_header("it is longer than any server takes", file, 0)
        found |= {name.lower(): (name, value) for name, value in _lines(text, file)}
    return tuple(found.values())


def _lines(text: str, file: Path | None) -> Iterator[Header]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, value = line.partition(":")
        name, value = name.strip(), value.strip()
        if not colon or not TOKEN.fullmatch(name) or not value:
            raise _no_header("it is not 'Name: value'", file, number)
        if RESERVED.fullmatch(name):
            raise _no_header(f"'{name}' belongs to the protocol", file, number)
        if not all(char.isprintable() and ord(char) < 256 for char in value):
            raise _no_header("its value holds characters that a header cannot have", file, number)
        yield name, value


def _no_header(why: str, file: Path | None, line: int) -> RequestError:
    return request_error(
        "headers.wrong",
        f"this is no header: {why}",
        where=f"{f'--header-file {file}' if file is not None else HEADERS_VARIABLE}, line {line}",
        expected="lines such as 'Authorization: Bearer TOKEN'",
        mend="change that line (its value is not shown here, it may be secret)",
    )
