"""The server as a process: how it starts, and every way in which it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests
import websocket
from defectforge.runner.embedded import launch
from defectforge.runner.errors import ServerError

PROGRAM = launch.PROGRAM


def test_a_killed_server_closes_its_connections(own_probe_server, connect, gate):
    client = connect(own_probe_server.url)
    client.connect()
    node = {"class_type": "ProbeLoop", "inputs": {"gate": str(gate), "listens": True}}
    client.submit({"1": node, "2": {"class_type": "ProbeShow", "inputs": {"value": ["1", 0]}}})
    client.until_event("progress")
    own_probe_server.process.send_signal(signal.SIGKILL)
    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        client.until_event("never")
    own_probe_server.process.wait(30)
    with pytest.raises(requests.ConnectionError):
        client.get("/prompt")


def test_a_node_that_ends_the_process_takes_the_server_along(own_probe_server, connect, gate):
    client = connect(own_probe_server.url)
    client.connect()
    waiting = {"class_type": "ProbeLoop", "inputs": {"gate": str(gate), "listens": True}}
    ending = {"class_type": "ProbeFail", "inputs": {"how": "exit", "value": ["1", 0]}}
    client.submit({"1": waiting, "2": ending, "3": {"class_type": "ProbeShow", "inputs": {"value": ["2", 0]}}})
    gate.touch()
    with pytest.raises((websocket.WebSocketConnectionClosedException, ConnectionError)):
        client.until_event("never")
    assert own_probe_server.process.wait(30) == 137


@pytest.mark.parametrize("listens", [True, False], ids=["interruptible", "deaf"])
def test_sigterm_ends_it_in_order_even_while_a_node_runs(own_probe_server, connect, gate, server_folders, listens):
    client = connect(own_probe_server.url)
    client.connect()
    node = {"class_type": "ProbeLoop", "inputs": {"gate": str(gate), "listens": listens}}
    client.submit({"1": node, "2": {"class_type": "ProbeShow", "inputs": {"value": ["1", 0]}}})
    client.until_event("progress")
    argv = client.get("/system_stats").json()["system"]["argv"]
    temp = Path(argv[argv.index("--temp") + 1])
    assert temp == server_folders["temp"]
    before = set(temp.iterdir())
    own_probe_server.process.terminate()
    assert own_probe_server.process.wait(30) == 0
    # Only its own folder of previews is gone.
    assert len(before - set(temp.iterdir())) == 1


def test_it_ends_with_the_process_that_started_it(tmp_path):
    code = (
        "import os, subprocess, sys\n"
        "command = [sys.executable, *sys.argv[1:], '--parent-pid', str(os.getpid())]\n"
        "server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)\n"
        "print(server.stdout.readline(), flush=True)\n"
        "sys.stdin.read()\n"
    )
    folders = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--models", str(tmp_path)]
    starter = subprocess.Popen(
        [sys.executable, "-c", code, str(PROGRAM), "--port", "0", *folders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    ready = json.loads(starter.stdout.readline())
    assert ready["event"] == "ready"
    server = psutil.Process(ready["pid"])
    starter.kill()
    starter.wait(30)
    assert psutil.wait_procs([server], timeout=30)[0] == [server]


def test_a_port_that_is_taken_is_an_error_with_the_logs_end(embedded_server, tmp_path):
    port = int(embedded_server.url.rsplit(":", 1)[1])
    with pytest.raises(ServerError) as failure:
        launch.start(port=port, input=tmp_path, output=tmp_path, models=[tmp_path], log=tmp_path / "log")
    assert failure.value.problems[0].code == "server_died"
    assert f"cannot listen on 127.0.0.1, port {port}" in str(failure.value)
    assert "Traceback" not in str(failure.value)


def test_starting_needs_neither_torch_nor_aiohttp_in_the_client():
    code = (
        "import sys\n"
        f"sys.path.insert(0, {str(Path(PROGRAM).parents[2] / 'tests')!r})\n"
        "import conftest\n"
        "for name in [n for n in sys.modules if n.startswith('defectforge.runner.embedded')]: del sys.modules[name]\n"
        "import defectforge.runner.embedded.launch\n"
        "assert not {'torch', 'aiohttp', 'diffusers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_starts_from_any_folder_by_module_name_too(tmp_path):
    command = [sys.executable, "-m", "defectforge.runner.embedded", "--help"]
    assert "--parent-pid" in subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
