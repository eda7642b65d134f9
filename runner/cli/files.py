"""Commands about files that come along or are fetched: models, workflows."""

from __future__ import annotations

from pathlib import Path

import click

from ..reporting import make_reporter
from .base import FOLDER, HEADER_FILE, cli, guarded


@cli.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Which model files there are, where they go, and whether they are there."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


MODELS = click.option("--models", "folder", type=FOLDER, help="Models folder, if not the default one.")


@models.command("list")
@MODELS
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
def list_models(folder: Path | None = None, as_json: bool = False) -> int:
    """Every model: file, folder, address, hash, working size."""
    from ..commands.files.models_command import list_all

    return guarded(make_reporter(False), lambda: list_all(folder, as_json))


@models.command()
@click.argument("names", nargs=-1)
@MODELS
def verify(names: tuple[str, ...], folder: Path | None) -> int:
    """Check the files that are there against their hashes."""
    from ..commands.files.models_command import verify_all

    reporter = make_reporter(False)
    return guarded(reporter, lambda: verify_all(names, folder, reporter))


@models.command()
@click.argument("name")
@MODELS
def fetch(name: str, folder: Path | None) -> int:
    """Write (our own models) or download (all others) the file of model NAME."""
    from ..commands.files.models_command import fetch_one

    reporter = make_reporter(False)
    return guarded(reporter, lambda: fetch_one(name, folder, reporter))


@cli.group(invoke_without_command=True)
@click.pass_context
def workflows(context: click.Context) -> None:
    """The workflows that come along."""
    if context.invoked_subcommand is None:
        from ..commands.files.workflows_command import list_workflows

        reporter = make_reporter(False)
        guarded(reporter, lambda: list_workflows(reporter))


@workflows.command()
@click.option("--server", multiple=True, metavar="URL", help="A ComfyUI server; without it, our own is started.")
@HEADER_FILE
@click.option("--check", "check_only", is_flag=True, help="Write nothing; exit code 2 if one is not up to date.")
def export(server: tuple[str, ...], header_file: Path | None, check_only: bool) -> int:
    """Make the queue forms (workflows/api) from the window forms (workflows)."""
    from ..commands.files.workflows_command import export_workflows

    reporter = make_reporter(False)
    return guarded(reporter, lambda: export_workflows(server, check_only, reporter, header_file))
