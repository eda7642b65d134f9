"""`defectforge models list | verify | fetch`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import DownloadColumn, Progress, TransferSpeedColumn

from ...checkpoints.fetch import check_hash, fetch
from ...checkpoints.models import Model, find, local_path, models_directory, path_of, table
from ...errors import OK, DefectForgeError, Problem, RequestError
from ...reporter import Reporter


def list_all(folder: Path | None, as_json: bool) -> int:
    if as_json:
        print(json.dumps([asdict(model) | {"present": _present(model, folder)} for model in table()], indent=2))
        return OK
    # Blocks, not columns: addresses and hashes are there to be copied, and must not be cut or folded.
    show = partial(Console(highlight=False).print, soft_wrap=True)
    show(f"models folder: {models_directory(folder)}")
    for model in table():
        there = "[green]there[/]" if _present(model, folder) else "[dim]not there[/]"
        source = f"defectforge models fetch {model.name}" if model.is_generated else str(model.url)
        show(f"\n[bold]{model.name}[/]  {model.kind}, {model.native_size} px, {there}")
        show(f"  {model.folder}/{model.file}")
        show(f"  {source}")
        show(f"  sha256 {model.sha256 or ('written here' if model.is_generated else 'not known')}")
        show(f"  {escape(model.licence)}; {escape(model.note)}")
    return OK


def verify_all(names: Sequence[str], folder: Path | None, reporter: Reporter) -> int:
    """Check named models, or all that are there; a named one that is missing counts as wrong.

    Raises:
        RequestError: all that is wrong, at once.
    """
    problems: list[Problem] = []
    for model in [find(name) for name in names] or table():
        path = local_path(model.folder, model.file, folder)
        if path is None:
            if names:
                problems.append(
                    Problem(
                        "models.missing", f"{model.name}: missing", str(folder or ""), "its file", model.how_to_get()
                    )
                )
            continue
        try:
            check_hash(model, path)
        except DefectForgeError as error:
            problems += error.problems
        else:
            reporter.line(f"{model.name}: {'right' if model.sha256 else 'there, its hash is not pinned'} ({path})")
    if problems:
        raise RequestError(problems)
    return OK


def fetch_one(name: str, folder: Path | None, reporter: Reporter) -> int:
    model = find(name)
    directory = models_directory(folder)
    target = path_of(model, directory)
    reporter.line(f"{model.name}: {model.url or 'written here'} -> {target}")
    with Progress(*Progress.get_default_columns(), DownloadColumn(), TransferSpeedColumn(), transient=True) as progress:
        task = progress.add_task(model.file, total=model.bytes, visible=not model.is_generated)
        fetch(model, directory, lambda done, total: progress.update(task, completed=done, total=total))
    reporter.line(f"{model.name} is at {target}")
    return OK


def _present(model: Model, folder: Path | None) -> bool:
    return local_path(model.folder, model.file, folder) is not None
