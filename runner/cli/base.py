"""The group that all commands belong to, what they share, and how each of them ends."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..version import version

FOLDER = click.Path(file_okay=False, path_type=Path)
HEADER_FILE = click.option(
    "--header-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Lines 'Name: value' sent to every --server, to log in; or DEFECTFORGE_HEADERS.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version(), prog_name="defectforge")
def cli() -> None:
    """Photos of good parts in, a labelled dataset of plausible defects out.

    Exit codes: 0 all done, 1 some jobs failed, 2 the request is wrong, 3 no server, 130 interrupted (resumable).
    """


def graph_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that change what a workflow computes and where."""
    options = [
        click.option(
            "--set", "set_", multiple=True, metavar="'Title.input=value'", help="Set an input by its node's title."
        ),
        click.option("--model", metavar="NAME", help="Checkpoint and working size together; see `defectforge models`."),
        click.option("--lora", metavar="FILE", help="File of the LoRA loader; our own server gets a copy of it."),
        click.option(
            "--server", multiple=True, metavar="URL", help="A ComfyUI server; without it, our own is started."
        ),
        HEADER_FILE,
        click.option("--models", type=FOLDER, help="Models folder of the embedded server."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def fail(error: Exception) -> int:
    raise error


def guarded(reporter: Any, work: Callable[[], int]) -> int:
    """Run, and turn whatever goes wrong into one message and its exit code."""
    from .. import interrupts
    from ..errors import INTERRUPTED
    from ..explain import explained, wanted_traceback

    try:
        return work()
    except (KeyboardInterrupt, click.exceptions.Abort):
        reporter.line("interrupted")
        return INTERRUPTED
    except (click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:
        if interrupts.asked():  # a Ctrl-C inside an import comes out as another exception
            reporter.line("interrupted")
            return INTERRUPTED
        if text := wanted_traceback(error):
            print(text, file=sys.stderr)
        told = explained(error)
        reporter.error(told)
        return told.exit_code
    finally:
        reporter.close()
