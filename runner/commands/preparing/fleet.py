"""The servers of a command: those that were named, those that it launches, or one of our own."""

from __future__ import annotations

import contextlib
import shlex
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...checkpoints.models import models_directory
from ...errors import ServerError, request_error
from ...reporter import Reporter
from ...servers.address import Header, read_headers
from ...servers.client import Client, ServerInfo
from ...servers.local.several import launch
from ..requests.request import Request
from .prepare import Site

UNKNOWN = ServerInfo("unknown", "unknown", "", ())


@dataclass(frozen=True)
class Launching:
    """`--launch N --comfyui PATH --comfyui-args ARGS`."""

    count: int = 1
    comfyui: Path | None = None
    arguments: tuple[str, ...] = ()


def launching_of(request: Request) -> Launching | None:
    """What a request wants launched.

    Raises:
        RequestError: it cannot be, or not beside the rest.
    """
    if request.launch is None:
        for option, value in (("--comfyui", request.comfyui), ("--comfyui-args", request.comfyui_args)):
            if value is not None:
                raise request_error(
                    "launch.alone", f"{option} without --launch", expected="--launch N", mend="add --launch 1"
                )
        return None
    for option, given in (
        ("--server", bool(request.server)),
        ("--models", request.models is not None and request.comfyui is not None),
        ("--comfyui-args", request.comfyui_args is not None and request.comfyui is None),
    ):
        if given:
            raise request_error(
                "launch.beside",
                f"--launch{' --comfyui' if request.comfyui else ''} and {option} do not go together",
                expected="one of them",
                mend=f"leave {option} away",
            )
    try:
        arguments = tuple(shlex.split(request.comfyui_args or ""))
    except ValueError as error:
        raise request_error(
            "launch.arguments", f"--comfyui-args: {error}", expected="words, quoted where they hold spaces"
        ) from error
    return Launching(request.launch, request.comfyui, arguments)


@dataclass
class Fleet:
    """The servers, in the order in which they were named."""

    sites: list[Site]


@contextlib.contextmanager
def fleet(
    servers: Sequence[str],
    models: Path | None,
    reporter: Reporter,
    header_file: Path | None = None,
    some_will_do: bool = False,
    launching: Launching | None = None,
) -> Iterator[Fleet]:
    """Connect to every named server, or start the embedded one and stop it at the end.

    Args:
        some_will_do: a server that does not answer is told and may come back, as long as another one answers.
        launching: which servers to launch where none is named; one embedded server by default.

    Raises:
        ServerError: no server, or not every one.
    """
    if servers:
        yield Fleet(_named(servers, reporter, read_headers(header_file), some_will_do))
        return
    if header_file is not None:
        raise request_error(
            "headers.no_server",
            "--header-file is for named servers, and none is named",
            expected="--server URL",
            mend="name the server, or leave --header-file away",
        )
    what = launching or Launching()
    if launching is None:
        reporter.event("note", {"text": "no --server given: starting the embedded server ..."})
    else:
        kind = "embedded servers" if what.comfyui is None else f"processes of the ComfyUI in {what.comfyui}"
        reporter.event("note", {"text": f"starting {what.count} {kind} ..."})
    with launch(what.count, what.comfyui, what.arguments, models) as launched:
        sites = []
        for server, url in launched:
            client = Client(url, str(uuid.uuid4()))
            name = "embedded server" if launching is None else server.name
            reporter.event("note", {"text": f"{name} at {client.url}; it stops when this run ends"})
            folder = models_directory(models) if what.comfyui is None else None
            sites.append(Site(client, client.info(), folder, server))
        yield Fleet(sites)


def fleet_of(request: Request, reporter: Reporter) -> contextlib.AbstractContextManager[Fleet]:
    """The servers that a request for pairs names, wants launched, or gets: what `run` works on and `--dry-run` asks.

    Raises:
        RequestError: the options do not go together; before a server is started.
    """
    launching = launching_of(request)
    return fleet(request.server, request.models, reporter, request.header_file, True, launching)


def _named(servers: Sequence[str], reporter: Reporter, headers: tuple[Header, ...], some_will_do: bool) -> list[Site]:
    clients = [Client(url, str(uuid.uuid4()), headers) for url in servers]
    for client in clients:
        client.http.say = lambda text: reporter.event("warning", {"text": text})
    sites = []
    for client in clients:
        try:
            sites.append(Site(client, client.info()))
        except ServerError as error:
            if not some_will_do or len(clients) == 1:
                raise
            sites.append(Site(client, UNKNOWN, lost=error))
    lost = [site.lost for site in sites if site.lost is not None]
    if len(lost) == len(sites):
        raise lost[0]
    for missing in lost:
        reporter.event("warning", {"text": f"{missing.problems[0].what}; going on with the others"})
    refuse_twins([client.url for client in clients])
    return sites


def refuse_twins(urls: Sequence[str]) -> None:
    """The same server twice would be asked to do four jobs at a time, and be told apart by nobody."""
    for url in urls:
        if urls.count(url) > 1:
            raise request_error(
                "server.twice",
                f"the server {url} is named twice",
                expected="every server once (a redirect may lead two addresses to one)",
                mend="leave one --server away",
            )
