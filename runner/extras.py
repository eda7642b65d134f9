"""Packages that only some commands need. They come with an extra, and a message says with which."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from .errors import request_error

#: Modules whose package has another name.
_PACKAGES = {"sklearn": "scikit-learn", "prometheus_client": "prometheus-client"}


def missing(modules: Iterable[str]) -> list[str]:
    """The packages of these modules that are not installed. Nothing is imported."""
    return [_PACKAGES.get(name, name) for name in modules if importlib.util.find_spec(name) is None]


def require(extra: str, modules: Iterable[str], code: str, who: str) -> None:
    """See that an extra is there before something of it is imported.

    Args:
        extra: of this package, as pyproject names it.
        modules: what is imported of it.
        code: of the error.
        who: needs it, as the message begins.

    Raises:
        RequestError: something is not installed; the text says what brings it.
    """
    packages = missing(modules)
    if packages:
        number = "one more package" if len(packages) == 1 else "more packages"
        raise request_error(
            code,
            f"{who} needs {number}: {', '.join(packages)}",
            expected=f"the extra `{extra}`",
            mend=f"pip install 'defectforge[{extra}]'",
        )
