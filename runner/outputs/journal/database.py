"""The journal as a database file: opened by one process, written in transactions, with errors in our words."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import DefectForgeError, Problem, RequestError, StorageError, request_error
from ..lock import FolderLock, InUse
from .schema import SCHEMA


class Database:
    """One writer process, many threads. Another run on the same folder is refused; anybody may read meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._durable = True
        try:
            self._held = FolderLock(path.with_suffix(".lock"))
        except InUse as error:
            raise _in_use("another run holds it", path) from error
        except OSError as error:
            raise _while_running(error, path) from error
        try:
            try:
                self._db = _opened(path)
            except sqlite3.OperationalError as error:
                if not any(word in str(error) for word in ("I/O", "unable to open", "protocol")):
                    raise
                # A file system without shared memory between processes: nobody can read while the run goes on.
                self._db = _opened(path, exclusive=True)
        except sqlite3.Error as error:
            self._held.release()
            raise _at_opening(error, path) from error

    def close(self) -> None:
        # A full disk cannot take the log into the database now; it is read from the log at the next start.
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._held.release()

    def _do(self, sql: str, *values: Any) -> sqlite3.Cursor:
        with self._lock:
            try:
                return self._db.execute(sql, values)
            except sqlite3.Error as error:
                raise _while_running(error, self._path) from error

    def _rows(self, sql: str) -> Iterator[Any]:
        """Plain tuples: a hundred thousand rows in a moment."""
        cursor = self._do(sql)
        cursor.row_factory = None
        return cursor

    @contextlib.contextmanager
    def together(self, durable: bool = True) -> Iterator[None]:
        """All of it or nothing, whatever interrupts it. Inside another one it is a part of that.

        Args:
            durable: on the disk when it returns. Otherwise the end of this process cannot undo it, but a power cut can.
        """
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            if durable != self._durable:
                self._do(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self._do("BEGIN IMMEDIATE")
            try:
                yield
                self._do("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                raise


def _opened(path: Path, exclusive: bool = False) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=1.0, check_same_thread=False, isolation_level=None)
    database.row_factory = sqlite3.Row
    try:
        database.execute(f"PRAGMA locking_mode={'EXCLUSIVE' if exclusive else 'NORMAL'}")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(SCHEMA)
        database.execute("BEGIN IMMEDIATE")
        database.execute("COMMIT")
        # Others only read, and a reader may be copying: wait for it instead of failing.
        database.execute("PRAGMA busy_timeout=30000")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _in_use(said: str, path: Path) -> RequestError:
    return request_error(
        "out.in_use",
        f"the output folder is in use: {said}",
        where=str(path),
        expected="no other run on the same --out",
        mend="wait for the other run, or choose another --out",
    )


def is_locked(error: sqlite3.Error) -> bool:
    """Whether somebody else keeps the journal: a writer, or a run on a file system that lends no memory between
    processes."""
    return "locked" in str(error) or "busy" in str(error)


def _at_opening(error: sqlite3.Error, path: Path) -> DefectForgeError:
    said = str(error)
    if is_locked(error):
        return _in_use(said, path)
    if isinstance(error, sqlite3.OperationalError) and not said.startswith(("no such", "table", "near")):
        return _while_running(error, path)
    return request_error(
        "out.journal_broken",
        f"the journal cannot be used: {said}",
        where=str(path),
        expected="the journal of an earlier run, or none",
        mend="choose another --out (the pictures there stay as they are)",
    )


def _while_running(error: Exception, path: Path) -> StorageError:
    full = "full" in str(error) or "I/O" in str(error)
    return StorageError(
        Problem(
            "out.write",
            f"the output cannot be written: the journal says: {error}",
            where=str(path),
            expected="free disk space and write permission" if full else "a folder that can be written",
            mend="make room, or see to the permission, and run the same command again: it goes on where it stopped",
        )
    )
