"""`defectforge` and `python -m defectforge.runner`."""

from __future__ import annotations

import sys

MISSING = "the command line needs more packages ({name} is not installed): pip install 'defectforge[runner]'"


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    try:
        import click

        from .cli import cli
    except ModuleNotFoundError as error:
        sys.exit(MISSING.format(name=error.name))
    try:
        # Not standalone: a command's return value is the exit code.
        sys.exit(cli.main(args=arguments, prog_name="defectforge", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(130)


if __name__ == "__main__":
    main()
