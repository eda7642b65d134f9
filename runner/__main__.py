"""`defectforge` and `python -m defectforge.runner`."""

from __future__ import annotations

import contextlib
import io
import os
import sys

from . import interrupts

MISSING = "the command line needs more packages ({name} is not installed): pip install 'defectforge[runner]'"


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    interrupts.watch_loading()
    from .process_title import hide_logins

    hide_logins()
    code = 1
    try:
        code = _run(arguments)
    finally:
        interrupts.ignore()
        code = _flushed(code)
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        import click

        from .cli import cli
        from .errors import BAD_REQUEST, INTERRUPTED, printable
        from .explain import explained, wanted_traceback
    except ModuleNotFoundError as error:
        print(MISSING.format(name=error.name), file=sys.stderr)
        return 1
    for stream in (sys.stdout, sys.stderr):
        # A name may hold what this terminal's encoding does not have.
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        interrupts.watch()
        # Not standalone: a command's return value is the exit code.
        return int(cli.main(args=arguments, prog_name="defectforge", standalone_mode=False) or 0)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        _say(printable(shown.getvalue().rstrip()))
        return BAD_REQUEST
    except (click.exceptions.Abort, KeyboardInterrupt):
        _say("interrupted")
        return INTERRUPTED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException as error:
        if interrupts.asked():
            _say("interrupted")
            return INTERRUPTED
        _say(wanted_traceback(error) + f"error: {explained(error).text()}")
        return explained(error).exit_code


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _flushed(code: int) -> int:
    """What still waits in stdout is written now, where a full disk or a closed pipe can be told; not at the very end,
    where Python would print a traceback."""
    try:
        sys.stdout.flush()
        return code
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _say(f"error: the output cannot be written: {error}")
        return code or 1


if __name__ == "__main__":
    main()
