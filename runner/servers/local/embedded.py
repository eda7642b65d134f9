"""How an embedded server is launched for a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import server_error
from ...extras import missing
from .launched import GUARD, Start

if TYPE_CHECKING:
    from ...embedded.launch import RunningServer

NEEDED = ("torch", "aiohttp", "diffusers", "transformers")


def embedded(models: Path | None, device: str | None = None, environment: Mapping[str, str] | None = None) -> Start:
    """
    Args:
        environment: variables beside those of this process.

    Raises:
        ServerError: its dependencies are not installed.
    """
    packages = missing(NEEDED)
    if packages:
        raise server_error(
            "server.no_embedded",
            f"the embedded server cannot start: {', '.join(packages)} not installed",
            expected="a ComfyUI server given with --server, or the embedded server's dependencies",
            mend="pip install 'defectforge[runner,embedded]', or add --server URL",
        )

    def start(folder: Path) -> RunningServer:
        from ...embedded import launch

        return launch.start(
            models=[models] if models is not None else [],
            input=folder / "input",
            output=folder / "output",
            temp=folder / "temp",
            device=device,
            log=folder / "server.log",
            environment=environment,
            guard=GUARD,
        )

    return start
