"""Which GPU each launched server gets."""

from __future__ import annotations

import os
import subprocess

from ...errors import request_error

VISIBLE = "CUDA_VISIBLE_DEVICES"


def gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty without any."""
    chosen = os.environ.get(VISIBLE)
    if chosen is not None:
        # What a scheduler or a person has given us; -1 hides them all.
        return [name for part in chosen.split(",") if (name := part.strip()) and name != "-1"]
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in told.stdout.splitlines() if line.strip().isdigit()]


def assignments(count: int) -> list[str | None]:
    """A GPU for each of `count` servers; None for each where there is no GPU at all.

    Raises:
        RequestError: more servers than GPUs, where there are some: two would share the memory of one.
    """
    found = gpus()
    if not found:
        return [None] * count
    if count > len(found):
        raise request_error(
            "launch.too_many",
            f"--launch {count}, and {len(found)} GPUs are here",
            where=f"{VISIBLE}={os.environ[VISIBLE]}" if VISIBLE in os.environ else "nvidia-smi",
            expected=f"at most {len(found)}: one server a GPU",
            mend=f"--launch {len(found)}",
        )
    return list(found[:count])
