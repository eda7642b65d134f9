"""Amounts in words, as messages and bars say them."""

from __future__ import annotations


def speed(rate: float) -> str:
    """Jobs a second: 0.003 -> '10.8 jobs/h'."""
    for factor, unit in ((1, "s"), (60, "min"), (3600, "h")):
        if rate * factor >= 1 or unit == "h":
            return f"{rate * factor:.1f} jobs/{unit}"
    return ""


def duration(seconds: float) -> str:
    """5400 -> '1 h 30 min'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, days = whole // 60, whole // 86400
    if days:
        return f"{days} d {whole % 86400 // 3600} h"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
