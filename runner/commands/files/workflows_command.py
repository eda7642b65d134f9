"""`defectforge workflows`: what comes along, and its queue forms."""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import BAD_REQUEST, OK
from ...graphs import export
from ...graphs.graph import SHIPPED, shipped_workflows
from ...reporter import Reporter


def list_workflows(reporter: Reporter) -> int:
    """Print each workflow's name with the headline of its note."""
    for name in shipped_workflows():
        reporter.line(f"{name:26} {headline(name)}")
    return OK


def headline(name: str) -> str:
    """The first line of the note 'Set first'."""
    data = json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))
    notes = [node["widgets_values"][0] for node in data["nodes"] if node.get("title") == "Set first"]
    return notes[0].splitlines()[0].lstrip("# ") if notes else ""


def export_workflows(
    servers: tuple[str, ...], check_only: bool, reporter: Reporter, header_file: Path | None = None
) -> int:
    """Write workflows/api from the window forms, or (`check_only`) say which are not what they should be."""
    from ..preparing.fleet import fleet

    with fleet(servers, None, reporter, header_file) as ships:
        object_info = ships.sites[0].client.object_info()
    if check_only:
        stale = export.stale(object_info)
        for name in stale:
            reporter.line(f"{export.api_path(name)} is not what workflows/{name}.json gives")
        return BAD_REQUEST if stale else OK
    for path in export.write(object_info):
        reporter.line(f"{'wrote' if path.exists() else 'removed'} {path}")
    return OK
