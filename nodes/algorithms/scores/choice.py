"""Which of several draws to keep: thresholds first, then the best by one score."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .measures import MEANING, Scores

_RULE = re.compile(r"\s*([a-z_]+)\s*(>=|<=)\s*([-+0-9.eE]+)\s*")


@dataclass(frozen=True)
class Threshold:
    """One condition on a score."""

    score: str
    at_least: bool
    value: float

    def __str__(self) -> str:
        return f"{self.score} {'>=' if self.at_least else '<='} {self.value:g}"

    def refuses(self, scores: Scores) -> str | None:
        """Why these scores do not do; None when they do. A score that was not measured decides nothing."""
        found = scores.get(self.score)
        if found is None or (found >= self.value if self.at_least else found <= self.value):
            return None
        return f"{self.score} is {found:.3g}, wanted {self}"


@dataclass(frozen=True)
class Chosen:
    """The draws to keep, best first, and why each other one was refused."""

    kept: tuple[int, ...]
    refused: Mapping[int, str]


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """Read conditions such as ``presence >= 0.3``, one a line or separated by commas; ``#`` begins a comment.

    Raises:
        ValueError: a line that is none, or a score that does not exist.
    """
    found = []
    for line in text.splitlines():
        for part in line.partition("#")[0].split(","):
            if not part.strip():
                continue
            match = _RULE.fullmatch(part)
            try:
                value = float(match[3]) if match else float("nan")
            except ValueError:
                match = None
            if match is None:
                raise ValueError(f"thresholds: {part.strip()!r} is no condition; expected e.g. 'presence >= 0.3'")
            if match[1] not in MEANING:
                raise ValueError(f"thresholds: there is no score {match[1]!r}; there are {', '.join(MEANING)}")
            found.append(Threshold(match[1], match[2] == ">=", value))
    return tuple(found)


def choose(scores: Sequence[Scores], keep: int, thresholds: Sequence[Threshold] = (), by: str = "quality") -> Chosen:
    """Keep the best draws among those that pass every threshold.

    Args:
        scores: of each draw; equal ones keep their order.
        keep: how many at most.
        thresholds: all must hold.
        by: the score that ranks.

    Raises:
        ValueError: nothing may be kept, or an unknown score.
    """
    if keep < 1:
        raise ValueError(f"keep: at least one is kept, got {keep}")
    if by not in MEANING:
        raise ValueError(f"by: there is no score {by!r}; there are {', '.join(MEANING)}")
    refused: dict[int, str] = {}
    passing = []
    for index, row in enumerate(scores):
        reasons = [reason for reason in (threshold.refuses(row) for threshold in thresholds) if reason]
        if not row.get("label_share"):
            reasons = ["nothing is visible"]
        if reasons:
            refused[index] = "; ".join(reasons)
        else:
            passing.append(index)
    ranked = sorted(passing, key=lambda index: -(scores[index].get(by) or 0.0))
    for place, index in enumerate(ranked[keep:], keep + 1):
        refused[index] = (
            f"number {place} by {by} of {len(passing)} that pass; {keep} {'is' if keep == 1 else 'are'} kept"
        )
    return Chosen(tuple(ranked[:keep]), dict(sorted(refused.items())))
