"""The WORKFLOW argument: a name that ships, a file of either form, a picture that holds one, or standard input.

Pictures are read for their metadata only; nothing of them is decoded.
"""

from __future__ import annotations

import functools
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import did_you_mean, request_error

STANDARD_INPUT = "-"
PNG = b"\x89PNG\r\n\x1a\n"
# The longest text taken out of a picture.
MOST_TEXT = 256 * 1024 * 1024
EXPECTED = (
    "a workflow saved in ComfyUI's window (JSON), an API export, or a PNG or WEBP that ComfyUI saved with its workflow"
)
# What a file is by its first bytes, where it is something else.
KINDS = [
    (b"\xff\xd8\xff", "a JPEG photo; ComfyUI keeps workflows in PNG and WEBP only"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"II*\x00", "a TIFF picture"),
    (b"MM\x00*", "a TIFF picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x80\x02", "a Python pickle (a .ckpt or .pt file)"),
    (b"<", "a web page or XML"),
    (b"#!", "a script"),
]


def read(reference: str | Path, shipped: Path) -> tuple[bytes, Path]:
    """The bytes of a workflow and the path they came from; `shipped` is the folder of those that come along.

    Raises:
        RequestError: there is nothing of that name, or it cannot be read.
    """
    if str(reference) == STANDARD_INPUT:
        return _standard_input(), Path("standard input")
    path = Path(reference)
    try:
        if not path.is_file():
            own = shipped / f"{path.stem}.json"
            is_bare_name = len(path.parts) == 1 or path.parent.name == "workflows"
            if not (is_bare_name and own.is_file()):
                is_folder = path.is_dir()
                raise request_error(
                    "workflow.not_found",
                    f"'{reference}' is a folder" if is_folder else f"there is no workflow '{reference}'",
                    where=str(path.absolute()),
                    expected="a path of a workflow file, or the name of one that comes with DefectForge",
                    mend=did_you_mean(path.stem, sorted(entry.stem for entry in shipped.glob("*.json"))),
                )
            path = own
        return path.read_bytes(), path
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise request_error(
            "workflow.unreadable", f"the workflow cannot be read: {reason}", str(reference)[:200], EXPECTED
        ) from error


@functools.cache
def _standard_input() -> bytes:
    """Read once: a command may load its workflow again."""
    return sys.stdin.buffer.read()


def text_of(raw: bytes, where: str) -> str:
    """The JSON text in a file: the file itself in any Unicode encoding, or what ComfyUI wrote into a picture.

    Raises:
        RequestError: the file is something else, and what.
    """
    if raw.startswith(PNG):
        return _from_picture(_png_texts(raw), "PNG", where)
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        return _from_picture(_webp_texts(raw), "WEBP", where)
    if not raw.strip():
        raise request_error(
            "workflow.truncated", "the workflow file is empty", where, EXPECTED, "save or copy it again"
        )
    kind = kind_of(raw)
    if kind:
        raise request_error("workflow.not_json", f"the file is {kind}, not a workflow", where, EXPECTED)
    try:
        return raw.decode(_encoding(raw))
    except UnicodeDecodeError as error:
        what = "binary data" if b"\x00" in raw[:1024] else "text, but not in a Unicode encoding (UTF-8, UTF-16)"
        raise request_error("workflow.not_json", f"the file is {what}: {error}", where, EXPECTED) from error


def kind_of(raw: bytes) -> str:
    """What a file is that cannot be a workflow, or ""."""
    if len(raw) > 9 and raw[8:9] == b"{" and struct.unpack("<Q", raw[:8])[0] < len(raw):
        return "a safetensors model"
    text = raw[3:] if raw.startswith(b"\xef\xbb\xbf") else raw
    return next((kind for start, kind in KINDS if text.lstrip().startswith(start) or raw.startswith(start)), "")


def _encoding(raw: bytes) -> str:
    if raw.startswith((b"\xff\xfe\x00\x00", b"\x00\x00\xfe\xff")):
        return "utf-32"
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    if len(raw) > 1 and raw[1] == 0:
        return "utf-16-le"
    if raw[0] == 0:
        return "utf-16-be"
    return "utf-8-sig"


def _from_picture(texts: Iterator[tuple[str, bytes]], kind: str, where: str) -> str:
    found: dict[str, bytes] = {}
    for name, text in texts:
        found.setdefault(name.lower(), text)
    for name in ("workflow", "prompt"):
        if name in found:
            return found[name].decode("utf-8", "replace")
    what = "parameters of another program" if "parameters" in found else "no workflow"
    raise request_error(
        "workflow.no_metadata",
        f"the {kind} holds {what} in its metadata",
        where,
        "a picture as ComfyUI saved it (programs that send or edit pictures take the workflow away)",
        "use the workflow's JSON, or the original file",
    )


def _png_texts(raw: bytes) -> Iterator[tuple[str, bytes]]:
    at = len(PNG)
    while at + 8 <= len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        kind, body = raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]
        at += 12 + length
        name, _, text = body.partition(b"\x00")
        if kind in (b"tEXt", b"comf"):
            yield name.decode("latin-1"), text
        elif kind == b"zTXt" and text[:1] == b"\x00":
            yield name.decode("latin-1"), _inflated(text[1:])
        elif kind == b"iTXt" and len(text) > 2:
            compressed, rest = text[0] == 1, text[2:].split(b"\x00", 2)
            if len(rest) == 3:
                yield name.decode("latin-1"), _inflated(rest[2]) if compressed else rest[2]


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, MOST_TEXT)
    except zlib.error:
        return b""


def _webp_texts(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Texts such as 'workflow:{...}' in the tags of the EXIF chunk."""
    at = 12
    while at + 8 <= len(raw):
        (length,) = struct.unpack("<I", raw[at + 4 : at + 8])
        if raw[at : at + 4] == b"EXIF":
            body = raw[at + 8 : at + 8 + length]
            yield from _exif_texts(body[6:] if body.startswith(b"Exif\x00\x00") else body)
            return
        at += 8 + length + length % 2


def _exif_texts(body: bytes) -> Iterator[tuple[str, bytes]]:
    order = "<" if body[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", body, 4)
        (count,) = struct.unpack_from(f"{order}H", body, start)
        for entry in range(count):
            _, kind, size, offset = struct.unpack_from(f"{order}HHII", body, start + 2 + 12 * entry)
            if kind == 2:
                name, colon, text = body[offset : offset + size].rstrip(b"\x00").partition(b":")
                if colon:
                    yield name.decode("latin-1"), text
    except struct.error:
        return
