"""Protection of a server on the loopback interface from web pages that post to it."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address means this machine itself; a name must mean nothing else."""
    if not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)


def foreign_origin(host: str | None, origin: str | None) -> bool:
    """Whether a request to a loopback `Host` comes from a page of another `Origin`.

    Browsers let any page post to 127.0.0.1; such a request names the page's own origin, or "null" from a sandboxed
    frame or a local file. ComfyUI has the same check, but lets "null" pass.
    """
    if not host or not origin:
        return False
    try:
        wanted, came_from = urlsplit(f"//{host.lower()}"), urlsplit(origin.lower())
        ports = wanted.port, came_from.port
    except ValueError:
        return True
    if not is_loopback(wanted.hostname):
        return False
    if wanted.hostname != came_from.hostname:
        return True
    # Some browsers leave out the port; then only the names count.
    return None not in ports and ports[0] != ports[1]


@web.middleware
async def origin_only(request: web.Request, handler: Handler) -> web.StreamResponse:
    host, origin = request.headers.get("Host"), request.headers.get("Origin")
    if foreign_origin(host, origin):
        log.warning("request from origin %s to %s refused", origin, host)
        return web.Response(status=403)
    if request.method == "OPTIONS":
        return web.Response()
    return await handler(request)
