"""Names of files and folders: which are pictures, which are litter, in what order, which are the same, which are safe.

Cameras, clouds and file managers leave files beside photos; file systems spell an accent in two ways; a name that is
fine here may be none on Windows or on the server. No file is touched in this module.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import PurePath

#: Suffixes of picture files, in lower case.
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".tif", ".tiff", ".webp")

#: The type that means "no defect", and the names that other datasets give it.
GOOD = "good"
GOOD_NAMES = frozenset({GOOD, "ok", "normal"})

#: The type under which a photo goes with the mask of its part, instead of one of a defect.
PART = "part-mask"

#: What NAS boxes, file managers, notebooks and file systems leave in folders, in lower case. Hidden names besides.
_LITTER = frozenset(
    {
        "@eadir", "@recycle", "@recently-snapshot", "@tmp", "#recycle", "#snapshot", "$recycle.bin", "__macosx",
        "lost+found", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__pycache__",
    }
)  # fmt: skip

#: Longest name that is written unchanged, in bytes: a path of several still fits into Windows' 260 characters.
_LONGEST = 80

_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f]')
_MASK_ENDINGS = ("_mask", "-mask")


def is_litter(name: str) -> bool:
    """Whether a file or folder was left by a program rather than put there by a person."""
    return name.startswith(".") or name.lower() in _LITTER


def is_picture(name: str) -> bool:
    """Whether a file is a picture by its name; litter never is."""
    return name.lower().endswith(PICTURE_SUFFIXES) and not is_litter(name)


def stem_of(name: str) -> str:
    """The name without its last suffix, in NFC, so that two spellings of one accent are equal."""
    return nfc(PurePath(name).stem)


def mask_stem(name: str) -> str | None:
    """``000`` for ``000_mask.png`` and ``000-Mask.PNG``; None for a name that does not call itself a mask."""
    stem = stem_of(name)
    for ending in _MASK_ENDINGS:
        if stem.lower().endswith(ending) and len(stem) > len(ending):
            return stem[: -len(ending)]
    return None


def nfc(name: str) -> str:
    """The composed spelling, by which names are compared: macOS stores ``é`` as two characters, others as one."""
    return unicodedata.normalize("NFC", name)


def natural_key(name: str) -> tuple[tuple[int, str], ...]:
    """Sorting key that reads runs of digits as numbers: 2 before 10."""
    # Only ASCII digits are numbers here: int("²") is none.
    return tuple(
        (int(part), "") if part.isascii() and part.isdigit() else (-1, part.lower())
        for part in re.split(r"([0-9]{1,4000})", name)
    )


def shown(name: str) -> str:
    """A name as it can be printed: line ends, control characters and bytes that are no text become escapes."""
    return "".join(_escape(character) for character in name)


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def unreadable(name: str) -> str | None:
    """Why a file's name cannot travel through messages, records and servers; None for nearly every name."""
    if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
        return "its name is no UTF-8 text"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "its name holds a line end or another control character"
    return None


def check_name(name: str, what: str) -> None:
    """Refuse a name that could leave its folder.

    Raises:
        ValueError: empty, or with a path separator, a drive colon or dots only.
    """
    if not name or name.strip(". ") == "" or any(character in name for character in "/\\:\0"):
        raise ValueError(f"{what}: '{shown(name)}' is not a folder's bare name such as 'hazelnut' or 'hole'.")


def check_output_name(name: str, what: str) -> None:
    """Refuse a folder's name that Windows, or the server, cannot hold.

    Raises:
        ValueError: with the reason and a name that would do.
    """
    check_name(name, what)
    if safe_name(name) != nfc(name):
        raise ValueError(
            f"{what}: '{shown(name)}' cannot be a folder's name everywhere (Windows knows no <>:\"/\\|?*, no line "
            f"ends, no dot or space at the end, no CON, NUL or COM1; at most {_LONGEST} bytes). "
            f"Take '{safe_name(name)}'."
        )


def safe_name(name: str) -> str:
    """A name that every file system and server can hold; one that is safe already comes back as it is.

    Two different names never become the same: what is changed carries a piece of its hash. NFC and NFD spellings are
    one name, and give one.
    """
    composed = nfc(name)
    cleaned = _UNSAFE.sub("_", shown(composed) if unreadable(composed) else composed)
    cleaned = cleaned.rstrip(". ").lstrip(" ")
    if cleaned == composed and cleaned and not _RESERVED.fullmatch(cleaned) and len(cleaned.encode()) <= _LONGEST:
        return cleaned
    mark = hashlib.sha256(composed.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    suffix = PurePath(cleaned).suffix if is_picture(cleaned) else ""
    body = ("_" if _RESERVED.fullmatch(cleaned) else "") + (cleaned[: -len(suffix)] if suffix else cleaned)
    # Cut between characters, not inside one.
    body = body.encode()[: _LONGEST - len(mark) - 1 - len(suffix.encode())].decode("utf-8", "ignore").rstrip(". ")
    return f"{body}-{mark}{suffix}" if body else f"{mark}{suffix}"


def nearest(name: str, known: Sequence[str]) -> str:
    """A hint for a misspelt name: ``did you mean 'hole'? There are: crack, cut, hole, print``."""
    if not known:
        return "there is none at all"
    by_lower = {entry.lower(): entry for entry in known}
    close = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    guess = f"did you mean '{shown(by_lower[close[0]])}'? " if close else ""
    return f"{guess}There are: {listed(known)}"


def listed(names: Iterable[str], limit: int = 20) -> str:
    """Names for a message, in natural order, cut where there are many."""
    known = sorted(names, key=natural_key)
    return ", ".join(map(shown, known[:limit])) + (", ..." if len(known) > limit else "")
