"""`defectforge serve`: the embedded server by itself."""

from __future__ import annotations

from pathlib import Path

from ...errors import INTERRUPTED, NO_SERVER, OK
from ...reporter import Reporter


def serve(
    reporter: Reporter,
    port: int,
    listen: str,
    models: Path | None,
    data: tuple[Path, ...],
    device: str | None,
    follow: str | None = None,
) -> int:
    """Start it, say where, and wait for its end or Ctrl-C."""
    from ...embedded import launch

    server = launch.start(
        models=[models] if models is not None else [], data=data, device=device, follow=follow, listen=listen, port=port
    )
    try:
        reporter.line(f"embedded server at {server.url}, log in {server.log}; Ctrl-C stops it")
        code = server.process.wait()
        reporter.line(f"the server ended (exit code {code}); its log ends with:\n{server.tail()}")
        return OK if code == 0 else NO_SERVER
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        server.stop()
