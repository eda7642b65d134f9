"""Any exception as one message and an exit code. The nets of the command line end here; rooms raise DefectForgeError
themselves where they know more."""

from __future__ import annotations

import errno
import os
import traceback
from pathlib import Path

from .errors import SOME_JOBS_FAILED, DefectForgeError, Problem, RequestError, StorageError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
NO_SUCH_PLACE = {
    errno.ENOENT: ("there is no such file or folder", "a path that exists"),
    errno.ENOTDIR: ("a part of the path is a file", "folders all the way"),
    errno.EISDIR: ("it is a folder", "a file"),
    errno.EEXIST: ("it is there already, and is no folder", "a folder, or a name that is free"),
    errno.ELOOP: ("its links lead round in a circle", "a path that leads somewhere"),
    errno.ENAMETOOLONG: ("the name is too long", "at most 255 bytes a name (fewer on some disks)"),
    errno.EINVAL: ("the name cannot be used here", "a name without unusual characters"),
    errno.EILSEQ: ("the name cannot be used here", "a name without unusual characters"),
}
TRACEBACKS = "DEFECTFORGE_TRACEBACK"
PACKAGE = Path(__file__).resolve().parent


class InternalError(DefectForgeError):
    """A fault of DefectForge itself."""

    exit_code = SOME_JOBS_FAILED


def explained(error: BaseException) -> DefectForgeError:
    """What to tell the person at the keyboard."""
    if isinstance(error, DefectForgeError):
        return error
    if isinstance(error, OSError):
        return of_system(error)
    if isinstance(error, MemoryError):
        return StorageError(
            Problem(
                "machine.memory",
                "the memory of this machine is full",
                expected="room for the pictures of a job",
                mend="close other programs, or take smaller pictures; the same command goes on where it stopped",
            )
        )
    if isinstance(error, RecursionError):
        return RequestError(
            Problem(
                "request.too_deep",
                "a file of the request is nested too deeply to be read",
                where=_place(error),
                expected="a plan, workflow or record as programs write it",
                mend="look at the files that the command names",
            )
        )
    if isinstance(error, RuntimeError) and ("home directory" in str(error) or "Symlink loop" in str(error)):
        return RequestError(
            Problem("path.leads_nowhere", f"a path leads nowhere: {error}", expected="a path that exists")
        )
    if isinstance(error, UnicodeEncodeError):
        return RequestError(
            Problem(
                "request.not_text",
                f"a name holds bytes that are no text: {ascii(error.object)[:200]}",
                expected="names in UTF-8",
                mend="rename the file or folder",
            )
        )
    return InternalError(
        Problem(
            "internal",
            f"a fault of DefectForge itself: {type(error).__name__}: {error}",
            where=_place(error),
            expected="no such thing",
            mend=f"please report it with this message; {TRACEBACKS}=1 shows more. What is finished stays, and the same "
            "command goes on",
        )
    )


def of_system(error: OSError) -> DefectForgeError:
    """An error of the operating system: a full disk, a missing right, a path that cannot be."""
    where = " -> ".join(_shown(name) for name in (error.filename, error.filename2) if name is not None)
    said = error.strerror or str(error)
    if error.errno in FULL:
        return StorageError(
            Problem(
                "disk.full",
                f"the disk is full: {said}",
                where=where,
                expected="free disk space",
                mend="make room and run the same command again: it goes on where it stopped",
            )
        )
    if error.errno in FORBIDDEN:
        return RequestError(
            Problem(
                "path.forbidden",
                f"no permission: {said}",
                where=where,
                expected="a file or folder that this user may read, and write where results go",
                mend="change the permission, or choose another path",
            )
        )
    if error.errno in NO_SUCH_PLACE:
        what, expected = NO_SUCH_PLACE[error.errno]
        return RequestError(Problem("path.wrong", f"{what}: {said}", where, expected, "check the path"))
    return StorageError(
        Problem(
            "system.error",
            f"the operating system says: {said}",
            where=where or _place(error),
            expected="files that can be read and written",
            mend="look at disk and memory of this machine; the same command goes on where it stopped",
        )
    )


def wanted_traceback(error: BaseException) -> str:
    """The traceback, where the environment asks for it; developers do."""
    return "".join(traceback.format_exception(error)) if os.environ.get(TRACEBACKS) else ""


def _shown(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, (str, bytes, os.PathLike)) else str(name)


def _place(error: BaseException) -> str:
    """The innermost line of our own that was being done."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if PACKAGE in Path(frame.filename).parents] or list(frames)
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""
