"""Times and durations as people write them on the command line."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta

from ...errors import quoted, request_error

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def until(text: str, now: float | None = None) -> tuple[int | None, float | None]:
    """`--until`: (pairs, None) for digits alone, (None, time.time()) for anything with ':' or a date.

    A time of day is the next one; local time where no zone is given.

    Raises:
        RequestError: neither, or a time that has passed.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        if len(text) > 7 or not 1 <= int(text) <= 1_000_000:
            raise _neither(text, "a number of pairs from 1 to 1000000")
        return int(text), None
    present = datetime.fromtimestamp(time.time() if now is None else now).astimezone()
    day = re.fullmatch(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", text)
    try:
        if day:
            hour, minute, second = (int(part or 0) for part in day.groups())
            moment = present.replace(hour=hour, minute=minute, second=second, microsecond=0)
            if moment <= present:
                moment = (moment.replace(tzinfo=None) + timedelta(days=1)).astimezone()
        else:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00") if text.endswith("Z") else text)
            moment = moment if moment.tzinfo is not None else moment.astimezone()
    except (ValueError, OverflowError) as error:
        raise _neither(text, "digits for a number of pairs, or a time such as 06:30 or 2027-01-31T06:30") from error
    if moment <= present:
        raise _neither(text, f"a time to come; it is {present.isoformat(' ', 'minutes')}")
    return None, moment.timestamp()


def _neither(text: str, expected: str) -> Exception:
    return request_error("request.until", f"--until {quoted(text)}", expected=expected, mend="--until 100, or 06:30")


def seconds(text: str, option: str) -> float:
    """'90', '90s', '10m', '2h', '1d' -> seconds.

    Raises:
        RequestError.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)\s*(s|min|m|h|d)?", text.strip().lower())
    if found is None:
        raise request_error(
            "request.duration",
            f"{option} {quoted(text)}",
            expected="seconds, or 90s, 10m, 2h, 1d",
            mend=f"{option} 10m",
        )
    return float(found.group(1)) * UNITS[found.group(2) or ""]
