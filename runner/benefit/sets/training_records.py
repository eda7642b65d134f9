"""What a LoRA was trained on, read from the file itself: its photos must not be tested."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...checkpoints.lora_files import metadata_of
from ...errors import request_error

SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
#: As the layout names a photo: ``hazelnut/test/hole/000.png``, whatever lies before it.
ADDRESS = re.compile(r"[^\"'\s,;:]+/(?:train|test|test_public)/[^\"'\s,;:]+\.(?:png|jpe?g|bmp|tiff?|webp)", re.I)
#: Keys of a LoRA's metadata that hold the hash of a model.
MODEL_HASH = re.compile(r"hash(_sha256)?$", re.I)

Find = Callable[[str, str], Path | None]
"""(folder, file) of a model -> where it lies here."""


class TrainingRecords:
    """Reads each file once; `notes` says which LoRAs could not be looked into."""

    def __init__(self, find: Find, named: Sequence[Path] = ()) -> None:
        self._find = find
        self._read: dict[Path, str] = {}
        self.notes: list[str] = []
        self._named = [self._text(path) for path in named]
        for path, text in zip(named, self._named, strict=True):
            if not SHA256.search(text) and not ADDRESS.search(text):
                raise request_error(
                    "benefit.no_training_record",
                    "the file names no photo that was trained on",
                    where=str(path),
                    expected="a LoRA of `defectforge lora`, or a text or JSON file with sha256 or paths of the photos",
                    mend="name another --training-record",
                )

    def texts_for(self, record: dict[str, Any]) -> list[str]:
        """The training records that a manifest line leads to, and those that were named."""
        texts = list(self._named)
        for model in record.get("models") or []:
            if model.get("folder") != "loras":
                continue
            if model.get("trained_on"):  # `run` has written it down
                texts.append(json.dumps(model["trained_on"]))
                continue
            path = self._find("loras", model["file"])
            if path is None:
                self._note(f"LoRA {model['file']} is not here: what it was trained on was NOT checked", bool(texts))
                continue
            text = self._text(path)
            if not SHA256.search(text) and not ADDRESS.search(text):
                self._note(f"LoRA {model['file']} has no training record: its photos were NOT checked", bool(texts))
            texts.append(text)
        return texts

    def hashes_for(self, record: dict[str, Any]) -> set[str]:
        return {found for text in self.texts_for(record) for found in SHA256.findall(text)}

    def addresses_for(self, record: dict[str, Any]) -> set[str]:
        return {found for text in self.texts_for(record) for found in ADDRESS.findall(text)}

    def _note(self, text: str, is_covered: bool) -> None:
        if not is_covered and text not in self.notes:
            self.notes.append(text)

    def _text(self, path: Path) -> str:
        if path not in self._read:
            self._read[path] = metadata(path) if path.suffix == ".safetensors" else _plain(path)
        return self._read[path]


def metadata(path: Path) -> str:
    """The text in the header of a safetensors file; no tensor is read.

    Raises:
        RequestError: no such file, or no safetensors file.
    """
    try:
        found = metadata_of(path)
    except (OSError, ValueError) as error:
        raise request_error(
            "benefit.broken_record",
            f"the training record cannot be read: {error}",
            where=str(path),
            expected="a whole safetensors file",
            mend="replace the file",
        ) from error
    # Trainers also write hashes of the base model and of the file itself, which are no photos.
    values = [value for key, value in found.items() if not MODEL_HASH.search(key)]
    # A JSON text inside JSON: its slashes and quotes may be escaped.
    return "\n".join(values).replace("\\/", "/")


def _plain(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").replace("\\/", "/")
    except OSError as error:
        raise request_error(
            "benefit.broken_record", f"the training record cannot be read: {error}", str(path), "a file", "check it"
        ) from error
