"""sha256 of big files, remembered as long as size and time of the file stay."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from ..embedded.folders import default_models_directory


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def remembered_sha256(path: Path) -> str:
    """As `sha256_of`, from memory where the file has not been touched since. Forgetting costs only time."""
    store = default_models_directory().parent / "sha256.json"
    stat = path.stat()
    key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
    known: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        known = dict(json.loads(store.read_text(encoding="utf-8")))
    if key not in known:
        known[key] = sha256_of(path)
        part = store.with_name(f"{store.name}.{os.getpid()}.part")
        with contextlib.suppress(OSError):
            store.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(known, indent=0), encoding="utf-8")
            os.replace(part, store)
    return known[key]
