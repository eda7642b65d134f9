"""What went wrong, said once: what, where, what was expected, how to mend it, and the exit code that follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any

LONGEST = 4000
"""Characters of one sentence that are shown; a sentence may quote what somebody else wrote."""

OK = 0
SOME_JOBS_FAILED = 1
BAD_REQUEST = 2
NO_SERVER = 3
INTERRUPTED = 130


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    `code` is stable and for programs (`--json`); the four sentences are for people.
    """

    code: str
    what: str
    where: str = ""
    expected: str = ""
    mend: str = ""

    def text(self) -> str:
        lines = [printable(self.what).replace("\n", "\\n")]
        for label, sentence in (("where", self.where), ("expected", self.expected), ("to mend it", self.mend)):
            if sentence:
                lines.append(f"  {label}: {printable(sentence)}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value}


class DefectForgeError(Exception):
    """Base of every error that reaches the user; carries one or more problems, all reported at once."""

    exit_code = BAD_REQUEST

    def __init__(self, problems: Problem | Sequence[Problem]) -> None:
        self.problems: list[Problem] = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__(self.text())

    def text(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0].text()
        parts = [f"{len(self.problems)} problems:"]
        parts += [f"{n}. {problem.text()}" for n, problem in enumerate(self.problems, 1)]
        return "\n".join(parts)


class RequestError(DefectForgeError):
    """The request is wrong; nothing was queued."""

    exit_code = BAD_REQUEST


class ServerError(DefectForgeError):
    """No server answers, or it stopped working and could not be brought back."""

    exit_code = NO_SERVER


class StorageError(DefectForgeError):
    """The output folder cannot be written any more; the journal stays resumable."""

    exit_code = SOME_JOBS_FAILED


def request_error(code: str, what: str, where: str = "", expected: str = "", mend: str = "") -> RequestError:
    return RequestError(Problem(code, what, where, expected, mend))


def server_error(code: str, what: str, where: str = "", expected: str = "", mend: str = "") -> ServerError:
    return ServerError(Problem(code, what, where, expected, mend))


def printable(text: str, longest: int = LONGEST) -> str:
    """The text as any terminal and any log can show it: names may hold control characters, bytes that are no UTF-8, or
    a million letters. Line breaks stay."""
    if len(text) > longest:
        text = f"{text[: longest * 3 // 4]} ... {text[-longest // 4 :]}"
    escaped = (char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)
    return "".join(escaped)


def quoted(value: object, longest: int = 80) -> str:
    """A value as a message quotes it: short, whatever it is."""
    try:
        return printable(repr(value), longest)
    except (RecursionError, ValueError):  # nested too deeply, or a whole number of thousands of digits
        return f"a {type(value).__name__}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word most like this one, if any is like it at all."""
    by_lower = {name.lower(): name for name in known}
    # The comparison takes the square of the length.
    near = get_close_matches(word[:100].lower(), list(by_lower), n=1, cutoff=0.5)
    return by_lower[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str], limit: int = 12) -> str:
    """The nearest known word as a question, and the list of what there is."""
    names = sorted(set(known))
    if not names:
        return "there is none"
    near = nearest(word, names)
    listed = first_of([f"'{name}'" for name in names], limit)
    return (f"did you mean '{near}'? " if near else "") + f"there is {listed}"


def first_of(names: Sequence[object], most: int) -> str:
    """The first of many names as a list in a sentence: 'a, b, ...'."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")
