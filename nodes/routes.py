"""Two addresses for ComfyUI's window: what a dataset root holds, and a thumbnail of one of its photos.

``GET /defectforge/dataset?root=`` and ``GET /defectforge/thumbnail?root=&category=&split=&type=&index=``, with
``&mask=1`` for a thumbnail with the ground truth drawn on it, ``&side=`` for another size (up to 1024 px), and
``&of=<relative path>`` to be refused where the dataset has another photo in that place by now. What cannot be answered
comes as status 400 with ``{"error": <the message that the node itself would give>}``.
"""

from __future__ import annotations

import asyncio

from aiohttp import web  # ComfyUI's own server is built on it

from . import host
from .dataset_files import PHOTO, find_photo
from .dataset_listing import THUMBNAIL_SIZE, list_dataset, thumbnail
from .datasets.names import shown

#: Px of the longer side of the largest picture that is handed out.
LARGEST = 1024


async def answer_dataset(request: web.Request) -> web.Response:
    """The categories, splits and types below a root, with the number of their photos."""
    try:
        # Disks are slow and may be far away: in a thread, so that the server goes on answering.
        listing = await asyncio.to_thread(list_dataset, request.query.get("root", ""))
    except (ValueError, OSError) as error:
        return web.json_response({"error": str(error)}, status=400)
    return web.json_response({"categories": listing})


async def answer_thumbnail(request: web.Request) -> web.Response:
    """A small JPEG of one photo; with a header that says how many photos its folder holds."""
    known = request.headers.get("If-None-Match")

    def read() -> tuple[bytes | None, dict[str, str]]:
        root, category, split, kind, index = (request.query.get(name, "") for name in PHOTO)
        photo = find_photo(root, category, split, kind, _number(index, "index"))
        expected = request.query.get("of", photo.relative)
        if photo.relative != expected:
            raise ValueError(f"index: {index} is {shown(photo.relative)} by now, and was {shown(expected)}.")
        side = min(max(_number(request.query.get("side", str(THUMBNAIL_SIZE)), "side"), 1), LARGEST)
        # The browser asks each time, and is sent a picture only when the photo has changed.
        with_mask = request.query.get("mask") == "1"
        tag = f'"{photo.fingerprint()}+{side}{"+mask" if with_mask else ""}"'
        headers = {"Cache-Control": "no-cache", "ETag": tag, "DefectForge-Count": str(photo.count)}
        return None if tag == known else thumbnail(photo, with_mask, side), headers

    try:
        picture, headers = await asyncio.to_thread(read)
    except (ValueError, OSError) as error:
        return web.json_response({"error": str(error)}, status=400)
    if picture is None:
        return web.Response(status=304, headers=headers)
    return web.Response(body=picture, content_type="image/jpeg", headers=headers)


def _number(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name}: {text!r} is not a whole number.") from None


ROUTES = {"/defectforge/dataset": answer_dataset, "/defectforge/thumbnail": answer_thumbnail}


def add_to_window() -> None:
    """Offer the addresses in the running ComfyUI; nothing happens where there is no window (the embedded server)."""
    table = host.window_routes()
    if table is None:
        return
    # With two copies of the pack in custom_nodes, the same address twice would keep ComfyUI from starting.
    taken = {route.path for route in table if isinstance(route, web.RouteDef)}
    for path, answer in ROUTES.items():
        if path not in taken:
            table.get(path)(answer)
