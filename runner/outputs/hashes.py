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
    known = _known(store)
    if key not in known:
        known[key] = sha256_of(path)
        part = store.with_name(f"{store.name}.{os.getpid()}.part")
        with contextlib.suppress(OSError):
            store.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_text(json.dumps(known, indent=0), encoding="utf-8")
                os.replace(part, store)
            finally:
                part.unlink(missing_ok=True)
    return known[key]


def _known(store: Path) -> dict[str, str]:
    """What is remembered; a store that is no such thing is forgotten."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(store.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {key: value for key, value in found.items() if isinstance(value, str) and len(value) == 64}
    return {}
