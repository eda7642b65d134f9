"""`defectforge convert`: the queue form of a saved graph, as ComfyUI's window would queue it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ...errors import OK, Problem, StorageError
from ...graphs.convert import queue_form
from ...graphs.graph import Graph, load
from ...outputs.files import write_whole
from ...reporter import Reporter
from ..preparing.fleet import fleet


def convert(workflow: str, servers: tuple[str, ...], out: Path | None, seed: int, reporter: Reporter) -> int:
    """Write the queue form to `out`, or to standard output; remarks go where messages go.

    The first server's description of its nodes is what the fields are named by; without one our own server's is.
    """
    saved = load(workflow)
    if saved.form == "queue":
        return _give(queue_form(saved, {}), out, reporter)
    with fleet(servers, None, reporter) as ships:
        site = ships.sites[0]
        graph = queue_form(saved, site.client.object_info(), site.is_embedded, seed=seed, say=reporter.line)
    return _give(graph, out, reporter)


def _give(graph: Graph, out: Path | None, reporter: Reporter) -> int:
    text = json.dumps(graph, indent=2, ensure_ascii=False) + "\n"
    if out is None:
        try:
            sys.stdout.buffer.write(text.encode("utf-8"))
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has seen enough (`| head`); Python must not try again when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    _write(out, text)
    reporter.line(f"{len(graph)} nodes: {out}")
    return OK


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text.encode())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(
            Problem("convert.not_written", f"the queue form cannot be written: {reason}", str(path), "a writable path")
        ) from error
