"""The journal of a run, OUT/run.sqlite: which job is where. The truth for resuming; the manifest is for people."""

from __future__ import annotations

from .draws import Draws
from .joining import Joining, in_plan_order
from .progress import Progress
from .reviews import Reviews
from .runs import Runs
from .schema import COMMITTING, DONE, FAILED, PENDING, SUBMITTED
from .stock import Stock, take_stock

__all__ = ["COMMITTING", "DONE", "FAILED", "PENDING", "SUBMITTED", "Journal", "Stock", "in_plan_order", "take_stock"]


class Journal(Progress, Draws, Runs, Reviews, Joining):
    """One writer process, many threads. Another run on the same folder is refused; anybody may read meanwhile."""
