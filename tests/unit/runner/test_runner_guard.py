"""What was launched ends with its run, also when the run is killed -9."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from defectforge.runner.servers.local.launched import GUARD

#: A server that does not want to end, with a process of its own.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""
RUN = """
import subprocess, sys, time
server = subprocess.Popen([*sys.argv[2:], sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True, start_new_session=True)
print(server.pid, server.stdout.readline(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("victim", ["run", "guard"])
def test_nothing_is_left_ten_seconds_after_a_kill(number: int, victim: str) -> None:
    if victim == "guard" and sys.platform != "linux":
        pytest.skip("only Linux ends a process with the one that started it")
    run = subprocess.Popen([sys.executable, "-c", RUN, STUBBORN, *GUARD], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    guard, grandchild = (int(word) for word in run.stdout.readline().split())
    server = psutil.Process(grandchild).parent()
    assert server is not None
    left = [psutil.Process(guard), server]
    if victim == "run" or number == signal.SIGTERM:
        left.append(psutil.Process(grandchild))
    try:
        psutil.Process(run.pid if victim == "run" else guard).send_signal(number)
        _, alive = psutil.wait_procs(left, timeout=10)
        # What was adopted by an init that does not wait stays as a name without a process.
        assert [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    finally:
        run.kill()
        run.wait()
        run.stdout.close()
        for process in left:
            if process.is_running():
                process.kill()
        if psutil.pid_exists(grandchild):
            psutil.Process(grandchild).kill()


def test_the_guard_gives_the_server_s_exit_code() -> None:
    with subprocess.Popen([*GUARD, sys.executable, "-c", "raise SystemExit(7)"], stdin=subprocess.PIPE) as guard:
        assert guard.wait(60) == 7


def test_the_guard_needs_nothing_but_the_standard_library() -> None:
    """It runs beside whatever Python a ComfyUI has."""
    text = Path(GUARD[1]).read_text("utf-8")
    assert "from ." not in text and "import psutil" not in text
