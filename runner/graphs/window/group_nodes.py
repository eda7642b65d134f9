"""Group nodes, the forerunners of subgraphs."""

from __future__ import annotations

from typing import Any


def expanded(data: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    return data
