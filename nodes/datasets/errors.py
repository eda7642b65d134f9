"""What is wrong with a dataset, a picture or a mask: as parts for programs, as one text for people."""

from __future__ import annotations

from .names import shown


class ReadError(ValueError):
    """Something of a dataset cannot be read, or must not be.

    Attributes:
        code: stable, for programs, such as ``data.image_broken``.
        what: what is wrong.
        where: path or address, escaped so that it can be printed.
        expected: what would be right.
        mend: what the person can do.
    """

    def __init__(self, code: str, what: str, where: object = "", expected: str = "", mend: str = "") -> None:
        self.code, self.what, self.where, self.expected, self.mend = code, what, shown(str(where)), expected, mend
        text = f"{self.where} {what}." if self.where else f"{what}."
        super().__init__(text + (f" Expected: {expected}." if expected else "") + (f" {mend}." if mend else ""))
