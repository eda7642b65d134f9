"""The scores of a batch on their way through a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .choice import Chosen
from .measures import Scores


@dataclass(frozen=True)
class ScoreSheet:
    """A row of scores for each picture, and the draws that were refused before: their scores and the reason."""

    rows: tuple[Scores, ...]
    refused: tuple[dict[str, Any], ...] = ()

    def chosen(self, choice: Chosen) -> ScoreSheet:
        """The sheet after a choice: rows of what is kept, and the refused ones added to those of earlier choices."""
        refused = [
            {"draw": index, "reason": reason, "scores": self.rows[index]} for index, reason in choice.refused.items()
        ]
        return ScoreSheet(tuple(self.rows[index] for index in choice.kept), (*self.refused, *refused))
