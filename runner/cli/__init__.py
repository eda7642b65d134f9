"""The command line. Each command is a few lines; the work is elsewhere."""

from . import files, results, running
from .base import cli, guarded

__all__ = ["cli", "files", "guarded", "results", "running"]
