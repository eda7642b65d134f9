"""`defectforge models fetch NAME`: generate our own models, download the others (resumable, hash checked)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import requests

from ..errors import Problem, RequestError, ServerError, StorageError, request_error
from ..outputs.hashes import remembered_sha256, sha256_of
from . import miniature
from .models import Model, path_of

OnProgress = Callable[[int, int | None], None]
BLOCK = 1 << 20
RANDOM_OPTIONS = {
    "sd15": ["--in-channels", "4"],
    "sd15-inpaint": ["--in-channels", "9"],
    "sd15-ip2p": ["--in-channels", "8"],
    "sd21-unclip": ["--unclip"],
}


def can_generate(model: Model) -> bool:
    """Whether this installation can write that model: the miniature's weights may be missing."""
    if model.family == "miniature":
        return miniature.available(model.name)
    return model.family == "random-sd15"


def fetch(model: Model, directory: Path, on_progress: OnProgress = lambda done, total: None) -> Path:
    """Put the model's file where the embedded server finds it; does nothing if it is there and right.

    A generated file that is not right (broken, or of another version) is written again; other files are not touched.

    Raises:
        RequestError: it cannot be had here, or what came has another hash.
        ServerError: the download failed; what came so far is kept and continued the next time.
        StorageError: the folder cannot be written.
    """
    target = path_of(model, directory)
    if target.exists():
        try:
            check_hash(model, target)
            return target
        except RequestError:
            if not model.is_generated:
                raise
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if model.is_generated:
            _generate(model, target)
        elif model.kind == "caption":
            raise _by_hand(model, target)
        else:
            _download(model, target, on_progress)
    except OSError as error:
        where = str(target)
        raise StorageError(Problem("models.write", f"the model cannot be written: {error}", where)) from error
    return target


def check_hash(model: Model, path: Path) -> None:
    """Raise RequestError if the file is not the one that the table pins (size first: it is free)."""
    if model.sha256 is None:
        return
    size = path.stat().st_size
    found = f"{size} bytes" if model.bytes not in (None, size) else remembered_sha256(path)
    if found != model.sha256:
        raise request_error(
            "models.corrupt",
            f"the file of model '{model.name}' is broken or another one",
            where=str(path),
            expected=f"sha256 {model.sha256}, {model.bytes} bytes; found {found}",
            mend=model.how_to_get() if model.is_generated else f"delete it, then: {model.how_to_get()}",
        )


def _generate(model: Model, target: Path) -> None:
    if not can_generate(model):
        raise request_error(
            "models.no_weights",
            f"this installation does not hold the weights of '{model.name}'",
            where=str(miniature.DATA),
            expected="a release or a clone that contains them",
            mend="use --model random-sd15 to try out the machinery, or a real checkpoint",
        )
    part = target.with_name(f"{target.stem}.{os.getpid()}.part{target.suffix}")
    try:
        if model.family == "miniature":
            miniature.write_checkpoint(model.name, part)
        else:
            _random_checkpoint(model, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _random_checkpoint(model: Model, path: Path) -> None:
    """In a process of its own: it needs torch, the runner does without."""
    module = f"{__package__.removesuffix('.checkpoints')}.embedded.engine.random_weights.random_checkpoint"
    command = [sys.executable, "-m", module, str(path), *RANDOM_OPTIONS[model.kind]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise request_error(
            "models.not_generated",
            f"the checkpoint '{model.name}' could not be written",
            where=done.stderr.strip().splitlines()[-1] if done.stderr.strip() else module,
            expected="the embedded server's dependencies (torch, safetensors)",
            mend="pip install 'defectforge[runner,embedded]'",
        )


def _download(model: Model, target: Path, on_progress: OnProgress) -> None:
    assert model.url is not None
    part = target.with_name(target.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    try:
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(model.url, stream=True, timeout=(10, 60), headers=headers) as answer:
            if answer.status_code not in (200, 206):
                raise _by_hand(model, target, f"{model.url} answered {answer.status_code}")
            if answer.status_code == 200:
                have = 0
            total = have + int(answer.headers.get("Content-Length") or 0) or model.bytes
            with part.open("ab" if have else "wb") as file:
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    have += len(block)
                    on_progress(have, total)
    except requests.RequestException as error:
        raise ServerError(
            Problem(
                "models.download",
                f"the download of '{model.name}' stopped: {error}",
                where=model.url,
                expected="a network connection to that address",
                mend=f"run the same command again to go on, or download it elsewhere and put it at {target}",
            )
        ) from error
    if model.sha256 is not None and sha256_of(part) != model.sha256:
        found = sha256_of(part)
        part.unlink()
        raise request_error(
            "models.corrupt",
            f"what came as '{model.name}' is not the pinned file",
            where=model.url,
            expected=f"sha256 {model.sha256}; found {found}",
            mend="try again later, or get the file elsewhere",
        )
    os.replace(part, target)


def _by_hand(model: Model, target: Path, what: str = "") -> RequestError:
    return request_error(
        "models.by_hand",
        what or f"model '{model.name}' is not a single file",
        where=str(model.url),
        expected=f"the model at {target}",
        mend=f"get it from {model.url} and put it at {target}",
    )
