"""Files in and out: uploads into the input folder, and `/view` of inputs, outputs and previews."""

from __future__ import annotations

import json
import mimetypes
import os
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from aiohttp import web
from aiohttp.web_request import FileField
from PIL import Image
from PIL.PngImagePlugin import PngImageFile, PngInfo

from ..folders import Folders
from .paths import annotated, inside

#: Served for download only: shown in a browser they could run scripts in the server's name.
ACTIVE_TYPES = frozenset({"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"})


def save_upload(fields: Any, folders: Folders, original: Image.Image | None = None) -> dict[str, str]:
    """Store an uploaded file; the answer holds the name that it really got.

    The same name with the same bytes is stored once; with other bytes it becomes `name (1).png`, unless `overwrite`.
    With `original` (for `/upload/mask`) the uploaded picture's alpha channel is put on that picture.

    Raises:
        web.HTTPBadRequest: no file, an unknown folder type, or a path that leads out of the folder.
    """
    upload = fields.get("image")
    if not isinstance(upload, FileField) or not upload.filename:
        raise web.HTTPBadRequest(text="no file in the form field 'image'")
    kind = fields.get("type") or "input"
    try:
        root = folders.by_type(kind)
    except ValueError as problem:
        raise web.HTTPBadRequest(text=str(problem)) from problem
    subfolder = fields.get("subfolder", "")
    path = inside(root, subfolder, upload.filename)
    if path is None or path == root:
        raise web.HTTPBadRequest(text=f"{subfolder}/{upload.filename} leads out of the {kind} folder")
    data = upload.file.read() if original is None else _masked(original, upload.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    filename = upload.filename
    if str(fields.get("overwrite")) not in ("true", "1"):
        path, filename = _free_name(path, filename, data)
    if not path.exists() or path.read_bytes() != data:
        _write(path, data)
    return {"name": filename, "subfolder": subfolder, "type": kind}


def _free_name(path: Path, filename: str, data: bytes) -> tuple[Path, str]:
    stem, suffix = os.path.splitext(filename)
    folder = path.parent
    count = 1
    while path.exists() and not (path.stat().st_size == len(data) and path.read_bytes() == data):
        filename = f"{stem} ({count}){suffix}"
        path = folder / os.path.basename(filename)
        count += 1
    return path, filename


def _write(path: Path, data: bytes) -> None:
    # Under another name first: a reader, or a crash, never meets half a picture.
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _masked(original: Image.Image, uploaded: IO[bytes]) -> bytes:
    chunks = PngInfo()
    if isinstance(original, PngImageFile):
        for key, text in original.text.items():
            chunks.add_text(key, text)
    picture = original.convert("RGBA")
    with Image.open(uploaded) as mask:
        picture.putalpha(mask.convert("RGBA").getchannel("A"))
    buffer = BytesIO()
    picture.save(buffer, format="PNG", compress_level=4, pnginfo=chunks)
    return buffer.getvalue()


def save_mask(fields: Any, folders: Folders) -> dict[str, str]:
    """`/upload/mask`: the uploaded picture's alpha channel on the picture that `original_ref` names."""
    try:
        reference = json.loads(fields.get("original_ref", ""))
        path = find_file(reference, folders)
    except (json.JSONDecodeError, AttributeError, TypeError) as problem:
        raise web.HTTPBadRequest(text="original_ref must be an object with filename, subfolder and type") from problem
    with Image.open(path) as original:
        return save_upload(fields, folders, original)


def find_file(reference: Any, folders: Folders) -> Path:
    """The file that `filename`, `subfolder` and `type` name.

    Raises:
        web.HTTPBadRequest: no name, a path that leads out, or an unknown folder type.
        web.HTTPForbidden: a subfolder that leads out of its folder.
        web.HTTPNotFound: there is no such file.
    """
    filename, kind = annotated(reference.get("filename") or "")
    if not filename or filename.startswith("/") or ".." in filename:
        raise web.HTTPBadRequest(text="filename is missing or leads out of the folder")
    try:
        root = folders.by_type(kind or reference.get("type") or "output")
    except ValueError as problem:
        raise web.HTTPBadRequest(text=str(problem)) from problem
    folder = inside(root, reference.get("subfolder") or "")
    if folder is None:
        raise web.HTTPForbidden(text="subfolder leads out of the folder")
    path = inside(folder, os.path.basename(filename))
    if path is None or not path.is_file():
        raise web.HTTPNotFound()
    return path


def view(request: web.Request, folders: Folders) -> web.StreamResponse:
    """`/view`: the file as it is, or a smaller `preview`, or one `channel` (rgb, a)."""
    path = find_file(request.query, folders)
    disposition = {"Content-Disposition": f'filename="{path.name}"'}
    if "preview" in request.query:
        body, content_type = _preview(path, request.query["preview"], request.query.get("channel", ""))
        return web.Response(body=body, content_type=content_type, headers=disposition)
    channel = request.query.get("channel", "rgba")
    if channel in ("rgb", "a"):
        return web.Response(body=_channel(path, channel), content_type="image/png", headers=disposition)
    content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if content_type in ACTIVE_TYPES:
        content_type = "application/octet-stream"
    return web.FileResponse(path, headers={**disposition, "Content-Type": content_type})


def _preview(path: Path, wanted: str, channel: str) -> tuple[bytes, str]:
    kind, *rest = wanted.split(";")
    if kind not in ("webp", "jpeg") or "a" in channel:
        kind = "webp"
    quality = int(rest[-1]) if rest and rest[-1].isdigit() else 90
    buffer = BytesIO()
    with Image.open(path) as opened:
        picture = opened.convert("RGB") if kind == "jpeg" or channel == "rgb" else opened
        picture.save(buffer, format=kind, quality=quality)
    return buffer.getvalue(), f"image/{kind}"


def _channel(path: Path, channel: str) -> bytes:
    buffer = BytesIO()
    with Image.open(path) as opened:
        if channel == "rgb":
            picture = opened.convert("RGB")
        else:
            alpha = opened.getchannel("A") if opened.mode == "RGBA" else Image.new("L", opened.size, 255)
            picture = Image.new("RGBA", opened.size)
            picture.putalpha(alpha)
        picture.save(buffer, format="PNG")
    return buffer.getvalue()
