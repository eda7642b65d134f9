"""The WebSocket side: clients by id, each with its own queue of messages, fed from any thread."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp import web

log = logging.getLogger(__name__)

#: A client that reads nothing is dropped when this many messages wait for it.
MAXIMUM_BACKLOG = 10_000


class _Client:
    """One connection. A slow one delays nobody else: every client has its own sender."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.BaseTransport | None) -> None:
        self.socket = socket
        self._transport = transport
        self.features: dict[str, Any] = {}
        self.messages: asyncio.Queue[str | bytes] = asyncio.Queue()
        self.sender = asyncio.create_task(self._send())

    def put(self, message: str | bytes) -> None:
        if self.messages.qsize() >= MAXIMUM_BACKLOG:
            log.warning("a WebSocket client does not read its messages and is dropped")
            self.sender.cancel()
            if isinstance(self._transport, asyncio.Transport):
                self._transport.abort()
            return
        self.messages.put_nowait(message)

    async def _send(self) -> None:
        while True:
            message = await self.messages.get()
            try:
                if isinstance(message, bytes):
                    await self.socket.send_bytes(message)
                else:
                    await self.socket.send_str(message)
            except (ConnectionError, aiohttp.ClientError) as problem:
                log.debug("send error: %s", problem)
                return


class Sockets:
    """All connected clients; an `Outlet` for the executor. Messages keep the order in which they were sent."""

    def __init__(self, server_features: dict[str, Any]) -> None:
        self._server_features = server_features
        self._clients: dict[str, _Client] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the event loop that messages from other threads are handed to."""
        self._loop = loop

    def send(self, event: str, data: dict[str, Any], client_id: str | None) -> None:
        # What a node shows may hold more than JSON knows, a path say: it goes out as text, as in `/history`.
        self._hand_over(json.dumps({"type": event, "data": data}, default=str), client_id)

    def send_bytes(self, frame: bytes, client_id: str | None) -> None:
        self._hand_over(frame, client_id)

    def feature(self, client_id: str | None, name: str) -> bool:
        client = self._clients.get(client_id or "")
        return client is not None and client.features.get(name) is True

    def _hand_over(self, message: str | bytes, client_id: str | None) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._put, message, client_id)

    def _put(self, message: str | bytes, client_id: str | None) -> None:
        if client_id is None:
            for client in list(self._clients.values()):
                client.put(message)
        elif client_id in self._clients:
            self._clients[client_id].put(message)

    async def serve(self, request: web.Request, greeting: Callable[[str], list[tuple[str, dict[str, Any]]]]) -> Any:
        """Handle `/ws`: greet, then listen until the connection ends."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client_id = request.query.get("clientId") or uuid.uuid4().hex
        client = _Client(socket, request.transport)
        replaced = self._clients.get(client_id)
        self._clients[client_id] = client
        if replaced is not None:
            # A dropped line may leave the old connection half open; nothing may be sent to it any more.
            replaced.sender.cancel()
        for event, data in greeting(client_id):
            client.put(json.dumps({"type": event, "data": data}))
        try:
            await self._listen(socket, client)
        finally:
            client.sender.cancel()
            # Only this connection: its successor with the same id must keep getting messages.
            if self._clients.get(client_id) is client:
                del self._clients[client_id]
        return socket

    async def _listen(self, socket: web.WebSocketResponse, client: _Client) -> None:
        first = True
        async for message in socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                continue
            try:
                data = json.loads(message.data)
            except json.JSONDecodeError:
                log.warning("a WebSocket client sent something that is not JSON")
                continue
            # Features are negotiated by the very first message only.
            if first and isinstance(data, dict) and data.get("type") == "feature_flags":
                client.features = dict(data.get("data") or {})
                client.put(json.dumps({"type": "feature_flags", "data": self._server_features}))
            first = False

    async def close(self) -> None:
        clients = list(self._clients.values())
        for client in clients:
            client.sender.cancel()
        closing = (client.socket.close(code=aiohttp.WSCloseCode.GOING_AWAY) for client in clients)
        await asyncio.gather(*closing, return_exceptions=True)
