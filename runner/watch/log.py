"""`--log FILE`: everything that happens, with its time, in files that never fill a disk."""

from __future__ import annotations

import io
import logging
import logging.handlers
import time
from pathlib import Path

from ..errors import DefectForgeError, request_error
from ..explain import of_system
from ..reporter import Reporter

LARGEST, KEPT = 20 << 20, 3
"""Bytes of one file, and how many full ones are kept beside it (FILE.1, FILE.2, ...)."""


class LogReporter(Reporter):
    """One line an event."""

    brief = False

    def __init__(self, path: Path) -> None:
        """Raises RequestError: it cannot be written."""
        super().__init__(io.StringIO())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handler = logging.handlers.RotatingFileHandler(
                path, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8", errors="backslashreplace"
            )
        except (OSError, ValueError) as error:
            said = of_system(error).problems[0].what if isinstance(error, OSError) else str(error)
            raise request_error(
                "log.not_writable",
                f"the log cannot be written: {said}",
                where=f"--log {path}",
                expected="a file in a folder with write permission",
                mend="choose another",
            ) from error
        # A full disk must not end a run of days, nor print a traceback for each line.
        self._handler.handleError = lambda record: None  # type: ignore[method-assign]
        formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
        formatter.converter = time.gmtime
        self._handler.setFormatter(formatter)

    def stands(self, server: str, state: str, text: str) -> None:
        """Every change."""
        self.line(f"server {server}: {state}" + (f" ({text})" if text else ""))

    def line(self, text: str) -> None:
        level = logging.WARNING if text.startswith(("warning:", "failed:")) else logging.INFO
        self._write(level, text)

    def error(self, error: DefectForgeError) -> None:
        self._write(logging.ERROR, error.text())

    def _write(self, level: int, text: str) -> None:
        text = text.replace("\n", "\n    ")
        self._handler.emit(logging.LogRecord("defectforge", level, "", 0, text, (), None))

    def close(self) -> None:
        self._handler.close()
