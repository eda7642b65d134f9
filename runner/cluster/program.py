"""Ray itself: imported late, started or joined by the command, ended with it."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .. import interrupts
from ..errors import server_error
from ..reporter import Reporter

LONGEST_FOLDER = 38
REACH = 10.0
"""Seconds until a machine that does not answer counts as none."""
OBJECT_STORE = 80 << 20
"""Bytes: nothing but small messages travels through Ray; the pictures go through the store."""


@dataclass(frozen=True)
class Cluster:
    """How and where."""

    address: str
    """'local': Ray is started here and ends with the run; 'auto': a Ray that runs, else local; else an address."""
    store: str | None = None
    shard_size: int = 200
    stations: int | None = None
    """None: one for each GPU; without any GPU one for two cores."""


def load_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray's workers, and so the servers, would give way to everything else on the machine (nice 15).
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise server_error(
            "cluster.no_ray",
            f"--cluster needs Ray, which is not installed ({error})",
            expected="the extra 'cluster'",
            mend="pip install 'defectforge[cluster]', here and on every machine of the cluster; or use --shard i/N",
        ) from error
    return ray


@contextlib.contextmanager
def started(ray: Any, cluster: Cluster, reporter: Reporter) -> Iterator[None]:
    common: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False, "namespace": "defectforge"}
    wanted = cluster.stations or 0
    here = {
        "include_dashboard": False, "object_store_memory": OBJECT_STORE,
        "num_cpus": max(wanted, os.cpu_count() or 1), **_short_folder(),
    }  # fmt: skip
    try:
        if cluster.address == "local":
            ray.init(address="local", **here, **common)
        elif cluster.address == "auto":
            try:
                ray.init(address="auto", **common)
            except ConnectionError:
                ray.init(address="local", **here, **common)
        else:
            _reach(cluster.address)
            ray.init(address=cluster.address, **common)
    except (ConnectionError, RuntimeError, ValueError, OSError, TimeoutError) as error:
        raise server_error(
            "cluster.no_ray",
            f"Ray does not answer: {error}",
            where=f"--cluster {cluster.address}",
            expected="auto, local, or the address of a Ray cluster (HOST:6379, or ray://HOST:10001)",
            mend="check the address; `ray status` on one of its machines says whether it runs",
        ) from error
    interrupts.watch()  # Ray has put its own handlers in place
    found = ray.cluster_resources()
    text = f"{found.get('GPU', 0):g} GPUs, {found.get('CPU', 0):g} cores on {len(ray.nodes())} machines"
    reporter.event("note", {"text": f"Ray {ray.__version__}: {text}"})
    try:
        yield
    finally:
        ray.shutdown()


def _short_folder() -> dict[str, str]:
    """Another place for Ray where TMPDIR is long (one for each batch job, say).

    It puts sockets there, and a socket's path may have 107 bytes.
    """
    usual = tempfile.gettempdir()
    if len(os.fsencode(usual)) <= LONGEST_FOLDER:
        return {}
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        if os.access(folder, os.W_OK | os.X_OK):
            return {"_temp_dir": f"{folder}/ray-{os.getuid()}"}
    return {}


def _reach(address: str) -> None:
    """Ray itself asks a machine that does not answer for minutes.

    Raises:
        OSError, ValueError: nobody listens there, or it is no address.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise ValueError(f"'{address}' is no HOST:PORT")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=REACH):
        pass
