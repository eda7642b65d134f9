"""Ctrl-C at any moment: exit code 130, one message, nothing half-written, and the same command goes on.

DEFECTFORGE_FUZZ=N tries N moments instead of a handful.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from defectforge.runner import interrupts
from defectforge.runner.errors import INTERRUPTED, OK

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

#: Says when the interpreter's own start, which no program can guard, is over.
PROGRAM = "import defectforge.runner.__main__ as m; print('up', flush=True); m.main()"
MOMENTS = max(6, int(os.environ.get("DEFECTFORGE_FUZZ", "0")) // 50)
LONGEST = 3.0


def begin(arguments: list[Any], environment: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    return process


def assert_quiet(text: str) -> None:
    for word in ("Traceback", "Exception ignored", "fault of DefectForge", "Error:"):
        assert word not in text, text
    assert text.count("interrupted") <= 2, text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
def test_at_any_moment_of_a_run(
    nuts: Path, place_workflow: Path, start: Any, environment: dict[str, str], tmp_path: Path, pairs: Any, cli: Any,
    number: signal.Signals,
) -> None:  # fmt: skip
    out, chance = tmp_path / "out", random.Random(7)
    line = ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--count", 60, "--out", out]
    line += ["--server", start().url]
    codes = []
    for _ in range(MOMENTS):
        process = begin(line, environment)
        time.sleep(LONGEST * chance.random() ** 2)  # the moment itself is what is tried; most of them early
        process.send_signal(number)
        _, text = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert process.returncode in (INTERRUPTED, OK), text
        assert_quiet(text)
        found = pairs(out)
        found.assert_no_image_without_mask()
        assert found.leftovers == [] and list(tmp_path.rglob("*.part")) == []
    assert INTERRUPTED in codes
    assert cli(*line).returncode == OK
    pairs(out).assert_whole(60)


@pytest.mark.parametrize("after", [0.0, 0.4, 1.5])
def test_while_our_own_server_starts_no_server_is_left(
    nuts: Path, place_workflow: Path, environment: dict[str, str], tmp_path: Path, after: float
) -> None:
    line = ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--out", tmp_path / "out"]
    process = begin(line, environment)
    assert process.stderr is not None
    children: list[psutil.Process] = []
    for text in process.stderr:
        if "starting the embedded server" in text:
            break
    time.sleep(after)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED, text
    assert_quiet(text)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("defectforge-run-")] == []


def test_a_second_ctrl_c_leaves_at_once(
    nuts: Path, place_workflow: Path, start: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    line = ["run", place_workflow, "--data", nuts, "--category", "hazelnut", "--out", tmp_path / "out", "--json"]
    server = start(never_finish={0}, ignore_interrupts=True)
    process = begin([*line, "--server", server.url], environment)
    assert process.stdout is not None
    for text in process.stdout:
        if '"started"' in text:
            process.send_signal(signal.SIGINT)
        if "stopping" in text:
            break
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert time.monotonic() - began < 8
    assert_quiet(text)


def test_a_ctrl_c_that_python_would_lose_in_a_destructor_comes_again() -> None:
    kept = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    hook = sys.unraisablehook

    class Closing:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    try:
        interrupts.watch()
        with pytest.raises(KeyboardInterrupt):
            made = Closing()
            del made
            threading.Event().wait(10)
        assert interrupts.asked()
    finally:
        # Not by monkeypatch: it would bring the Ctrl-C back for every test that follows.
        interrupts._asked = 0
        sys.unraisablehook = hook
        for number, handler in kept.items():
            signal.signal(number, handler)
