"""DefectForge: labelled datasets of plausible defects from photos of good parts, as a ComfyUI node pack.

Importing this package imports nothing else. ComfyUI calls `comfy_entrypoint`; the runner and the tests import the
same package without ComfyUI (specs: an eager root ``__init__`` breaks pytest and headless use).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

__version__ = "0.1.0"

#: Served by ComfyUI under ``/extensions/<folder>/``; ``docs/<NodeId>.md`` in it are the nodes' help pages.
WEB_DIRECTORY = "./nodes/web"


async def comfy_entrypoint() -> ComfyExtension:
    """Give ComfyUI the list of nodes. Imports happen here so that importing the package stays free of side effects."""
    import logging

    try:
        from .nodes.extension import DefectForgeExtension
        from .nodes.routes import add_to_window

        # Not in the extension's on_load: v0.3.64, the oldest ComfyUI that this pack supports, does not call it.
        add_to_window()
    except Exception:
        # ComfyUI logs only the message of a failing entry point; the traceback is what a user needs to report.
        logging.getLogger(__name__).exception("DefectForge could not load its nodes")
        raise
    return DefectForgeExtension()
