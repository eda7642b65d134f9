"""The types of defect: how each is drawn, how large it is, where on a part it belongs, how it lies."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import blobs, lines
from .drawing import Shape

#: Where a type belongs: inside the part's outline, on it, or at it, taking all that lies beyond.
INSIDE, EDGE, CUT_OFF = "inside", "edge", "cut off"

#: How a defect lies.
AS_TYPE, ALONG_PART, ACROSS_PART = "as the type does", "along the part", "across the part"
ALONG_LINES, ACROSS_LINES, ANY = "along the photo's lines", "across the photo's lines", "any direction"
ORIENTATIONS = (AS_TYPE, ALONG_PART, ACROSS_PART, ALONG_LINES, ACROSS_LINES, ANY)


@dataclass(frozen=True)
class DefectType:
    """One type of defect.

    Attributes:
        draw: draws one of unit area along the x axis; None: it has no shape of its own (a missing part).
        size: least and greatest area, as shares of the part.
        where: `INSIDE`, `EDGE` or `CUT_OFF`.
        lies: its own orientation, and the spread of it (rad).
        rim: least distance of its middle from the part's edge, in radii of a disc of its area.
        radial: range of its distance from the part's centre in radii, outside of which it is rare; None: anywhere.
        usual: whether it is rare off the part's usual surface (the base of a nut, a label).
        on_texture: factor on its own sizes where the part fills its picture: a photo shows a large piece of a texture.
    """

    draw: Callable[[np.random.Generator], Shape] | None
    size: tuple[float, float]
    where: str = INSIDE
    lies: tuple[str, float] = (ANY, 0.0)
    rim: float = 0.0
    radial: tuple[float, float] | None = None
    usual: bool = True
    on_texture: float = 0.15


#: By plain name, in the order in which they are offered.
TYPES: dict[str, DefectType] = {
    "hole": DefectType(blobs.hole, (0.012, 0.07), lies=(ALONG_LINES, 0.1), rim=1.3, radial=(0.12, 0.6)),
    "crack": DefectType(lines.crack, (0.006, 0.025), lies=(ALONG_LINES, 0.35), on_texture=0.5),
    "scratch": DefectType(lines.scratch, (0.002, 0.012), on_texture=0.5),
    "cut": DefectType(lines.cut, (0.004, 0.015), on_texture=0.5),
    "spot": DefectType(blobs.spot, (0.002, 0.025), usual=False),
    "stain": DefectType(blobs.stain, (0.03, 0.12), usual=False),
    "dent": DefectType(blobs.dent, (0.012, 0.05), rim=1.2),
    "chip": DefectType(blobs.chip, (0.006, 0.03), EDGE, usual=False),
    "missing part": DefectType(None, (0.05, 0.2), CUT_OFF, usual=False),
    "line break": DefectType(lines.line_break, (0.001, 0.004), lies=(ALONG_LINES, 0.1), usual=False, on_texture=1.0),
    "thread pull": DefectType(lines.thread_pull, (0.002, 0.008), lies=(ALONG_LINES, 0.12), usual=False, on_texture=1.0),
}

#: Words in a dataset's own name of a type, first hit wins; MVTec AD's and VisA's names are all covered.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"flip|swap|misplaced|pill type|stuck together|combined|wrong|manipulated|melt$|melded$|wick", ""),
    (r"middle|fold", "crack"),
    (r"thread( pull)?$|pulled|loose thread|fabric border|fabric interior", "thread pull"),
    (r"glue|oil|liquid|stain|imprint|print|color$|colour$|discolou?r|burnt|leak|wax (melded|in)", "stain"),
    (r"chip|edge|broken small|thread (side|top)|teeth|damage", "chip"),
    (r"missing|broken large|cut lead|defective|corner", "missing part"),
    (r"contamination|spot|partic|dirt|foreign|dust|extra|bubble", "spot"),
    (r"scratch|stroke|scuff", "scratch"),
    (r"broken|line break|wire", "line break"),
    (r"poke|hole|\bpit\b|puncture", "hole"),
    (r"cut|gash|slit", "cut"),
    (r"crack|fissure|break", "crack"),
    (r"bent|squeeze|dent|rough|bulge|deform", "dent"),
)


def type_named(name: str) -> str:
    """The type in `TYPES` that a dataset's name of a type means: ``metal_contamination`` -> ``spot``.

    Raises:
        ValueError: unknown, or a name that changes the whole part, such as ``flip``.
    """
    plain = " ".join(re.split(r"[\s_\-]+", name.strip().lower()))
    if plain in TYPES:
        return plain
    for pattern, found in _WORDS:
        if re.search(pattern, plain):
            if found:
                return found
            raise ValueError(
                f"defect type {name!r} changes the whole part (or mixes several defects), so no mask can be drawn for "
                f"it. Move a real one with Transplant Defect, or choose one of: {', '.join(TYPES)}."
            )
    close = difflib.get_close_matches(plain, TYPES, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(
        f"defect type {name!r} is unknown: {hint}Known are {', '.join(TYPES)}, and MVTec AD's and VisA's names."
    )
