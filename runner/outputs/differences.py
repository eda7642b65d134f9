"""Why a record's pixels may come out otherwise on the server at hand: what is known to differ between the two."""

from __future__ import annotations

import re
from typing import Any

from ..embedded.follows import STEP_NOISE_FROM_NEXT_SEED

#: Which core a record of the embedded server followed that names none.
CORE_OF_UNNAMED = "0.3.64"
#: Samplers that draw fresh noise at each step from the core's ordinary noise source; those of the DPM++ SDE family have
#: another one, which did not change.
FRESH_NOISE = re.compile(
    r"ancestral|^(lcm|ddpm|er_sde|seeds_[23]|sa_solver.*|exp_heun_2_x0_sde|dpm_fast|dpm_adaptive)$"
)


def core_of(server: dict[str, Any]) -> str:
    """The core that a recorded server was, or followed."""
    named = server.get("core")
    if named is None:
        named = server["version"] if server.get("kind") == "comfyui" else CORE_OF_UNNAMED
    return str(named)


def _has_next_seed(core: str) -> bool | None:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", core)
    return None if found is None else tuple(int(part) for part in found.groups()) >= STEP_NOISE_FROM_NEXT_SEED


def fresh_noise_samplers(graph: dict[str, Any]) -> list[str]:
    """Names of the samplers in a graph whose steps draw noise."""
    names = {str(node.get("inputs", {}).get("sampler_name", "")) for node in graph.values()}
    return sorted(name for name in names if FRESH_NOISE.search(name))


def reasons(graph: dict[str, Any], recorded: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Sentences, the most telling first; empty where both servers say the same of themselves.

    Args:
        graph: the record's graph in the queue's form.
        recorded: what the record says of the server that made it.
        now: the same of the server that ran it again.
    """
    then_core, now_core = core_of(recorded), core_of(now)
    found = []
    rules = {_has_next_seed(then_core), _has_next_seed(now_core)}
    on_cpu = any(str(device).startswith("cpu") for server in (recorded, now) for device in server.get("devices", []))
    samplers = fresh_noise_samplers(graph)
    if rules == {True, False} and on_cpu and samplers:
        found.append(
            f"the record was drawn as ComfyUI {then_core} draws and this server draws as {now_core} does: since 0.7.0 "
            f"the noise of each step of {', '.join(samplers)} comes from seed + 1 on a CPU, so other pixels are due"
        )
    labels = {"kind": "server", "version": "version", "devices": "device"}
    for key, label in labels.items():
        if recorded.get(key) != now.get(key):
            found.append(f"the {label} was {_words(recorded.get(key))} and is now {_words(now.get(key))}")
    if then_core != now_core and not found:
        found.append(f"the record was drawn as ComfyUI {then_core} draws; this server draws as {now_core} does")
    return found


def _words(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, (list, tuple)) else str(value)


def mend(recorded: dict[str, Any], now: dict[str, Any]) -> str:
    """How to get a server that draws as the record's did; empty where nothing is known."""
    core = core_of(recorded)
    if core == core_of(now):
        return ""
    return (
        f"start one that draws as it did, with `defectforge serve --follow {core}`, and name it with --server"
        if (recorded.get("kind") == "embedded")
        else f"run it on ComfyUI {core}"
    )
