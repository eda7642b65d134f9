"""Photos: one nut on a dark table, with or without a defect, from a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import defects
from .noise import Floats
from .shape import NutShape, Surface, View, look
from .shell import Shell, contact_shadow, sensor_grain, table

Picture = NDArray[np.uint8]

_FILL = np.array([5.0, 7.0, 10.0], np.float32)  # the bluish table lifts the shadows
_PLACING = 160  # defects are placed on a whole view of this size, so that a seed means the same spot at every size


class Nut:
    """One nut: its shape, surface and table, all from ``seed``."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.shape = NutShape.random(np.random.default_rng([seed, 1]))
        self.shell = Shell.random(np.random.default_rng([seed, 2]))

    def defect(self, kind: str, seed: int | None = None) -> defects.Defect:
        """A defect of ``kind`` on this nut; ``seed`` (by default the nut's) chooses spot and shape.

        Raises:
            ValueError: for an unknown kind, or when the pose leaves no room for it.
        """
        if kind not in defects.ALL_KINDS:
            raise ValueError(f"unknown kind of defect {kind!r}: expected one of {', '.join(defects.ALL_KINDS)}")
        number = self.seed if seed is None else seed
        rng = np.random.default_rng([number, 3, defects.ALL_KINDS.index(kind)])
        return defects.place(rng, kind, look(self.shape, View(), _PLACING), self.shell)

    def has_room(self, kind: str) -> bool:
        """Whether enough of the shell is in sight for a defect of ``kind``."""
        try:
            self.defect(kind)
        except defects.NoRoomError:
            return False
        return True

    def photos(
        self, size: int, wanted: list[defects.Defect | None], view: View | None = None
    ) -> list[tuple[Picture, Picture]]:
        """The same photo with each of the ``wanted`` defects (None: without), sharing the costly geometry.

        Returns pairs of picture ``(size, size, 3)`` and mask ``(size, size)`` with values 0 and 255.
        """
        frame = view or View()
        surface = look(self.shape, frame, size)
        rng = np.random.default_rng([self.seed, 4])
        back = table(rng, frame, size)
        alpha = surface.alpha
        back *= (1.0 - 0.11 * contact_shadow(alpha, frame) * (1.0 - alpha))[..., None]
        light = self.shell.light_on(surface)
        lit = self.shell.albedo(surface) * light[:, None] + _FILL
        grain = sensor_grain(np.random.default_rng([self.shell.grain_seed, size]), size)
        results = []
        for defect in wanted:
            colour, label = lit, np.zeros(len(light), np.float32)
            if defect is not None:
                colour, label = defects.draw(surface, self.shell, defect, lit, light)
            results.append((_develop(surface, colour, back, grain), _mask(surface, label)))
        return results


def _develop(surface: Surface, colour: Floats, back: Floats, grain: Floats) -> Picture:
    alpha = surface.alpha[..., None]
    picture = back * (1.0 - alpha) + surface.picture(colour.astype(np.float32)) * alpha + grain
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _mask(surface: Surface, label: Floats) -> Picture:
    return ((surface.picture(label.astype(np.float32)) > 0.5) & (surface.alpha > 0.5)).astype(np.uint8) * 255


def draw_nut(seed: int, size: int = 512, view: View | None = None) -> Picture:
    """A photo of a sound hazelnut: ``(size, size, 3)`` uint8 sRGB."""
    return Nut(seed).photos(size, [None], view)[0][0]


def draw_defect(
    seed: int, kind: str = "hole", size: int = 512, defect_seed: int | None = None, view: View | None = None
) -> tuple[Picture, Picture]:
    """The nut of ``draw_nut(seed)`` with a defect: picture and its mask ``(size, size)`` uint8 with values 0 and 255.

    ``defect_seed`` gives other defects on the same nut. Raises ValueError for an unknown ``kind``.
    """
    nut = Nut(seed)
    return nut.photos(size, [nut.defect(kind, defect_seed)], view)[0]


def draw_pair(
    seed: int, kind: str = "hole", size: int = 512, defect_seed: int | None = None, view: View | None = None
) -> tuple[Picture, Picture, Picture]:
    """The sound photo, the same photo with a defect, and the defect's mask."""
    nut = Nut(seed)
    (sound, _), (broken, mask) = nut.photos(size, [None, nut.defect(kind, defect_seed)], view)
    return sound, broken, mask
