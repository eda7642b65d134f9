"""Which node pack a class comes from, so that a receiver of a graph knows what to install."""

from __future__ import annotations

from typing import Any

from ..errors import Problem, nearest

CORE = "ComfyUI itself"
REGISTRY = "https://registry.comfy.org/nodes/"


def pack_of_window_node(node: dict[str, Any]) -> str:
    """The pack's address as the window form records it (properties cnr_id / aux_id), or ""."""
    properties = node.get("properties")
    if not isinstance(properties, dict):
        return ""
    version = f" {properties['ver']}" if properties.get("ver") else ""
    if properties.get("cnr_id") == "comfy-core":
        return f"{CORE}{version}"
    if properties.get("cnr_id"):
        return f"{REGISTRY}{properties['cnr_id']}{version}"
    if properties.get("aux_id"):
        return f"https://github.com/{properties['aux_id']}{version}"
    return ""


def unknown_class_problem(
    class_type: str, where: str, object_info: dict[str, Any], pack: str = "", embedded: bool = False
) -> Problem:
    """A class that the server does not have: the pack to install, or for our own server, another server."""
    if not pack and class_type.startswith("DefectForge"):
        pack = "DefectForge"
    core = pack.removeprefix(CORE).strip() if pack.startswith(CORE) else None
    if core is not None and embedded:
        mend = "needs a ComfyUI server" + (f" of {core} or newer" if core else "") + ": add --server URL"
    elif core is not None:
        mend = f"update ComfyUI on that server{f' to {core} or newer' if core else ''}, and restart it"
    elif embedded:
        mend = "needs a ComfyUI server: add --server URL" + (f", with {pack} installed there" if pack else "")
    elif pack:
        mend = f"install {pack} on that server and restart it"
    else:
        near = nearest(class_type, object_info)
        mend = (f"did you mean '{near}'? Otherwise " if near else "") + "install the pack it comes from on that server"
    return Problem(
        "graph.unknown_node",
        f"the {'embedded ' if embedded else ''}server has no node '{class_type}'",
        where=where,
        expected="nodes that the server knows" + (f"; this one comes from {pack}" if pack else ""),
        mend=mend,
    )
