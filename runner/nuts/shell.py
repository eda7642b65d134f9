"""Colours of a sound nut: ribbed brown shell, dusty tip, pale rough base scar; and of the dark table under it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .noise import Floats, Meridians, Volume, smoothstep
from .shape import Surface, View


def _colour(*values: float) -> Floats:
    return np.array(values, np.float32)


@dataclass(frozen=True)
class Shell:
    """Everything random about a nut's surface but its shape. Colours are linear mixes of sRGB values 0..255."""

    base: Floats
    light: Floats
    dark: Floats
    scar: Floats
    scar_edge: float
    scar_jag: float
    ribs: Meridians
    fine: Meridians
    fibres: Meridians
    edge: Meridians
    volume: Volume
    rib_strength: float
    dust: float
    lamp: Floats
    gain: float
    grain_seed: int

    @staticmethod
    def random(rng: np.random.Generator) -> Shell:
        warm = rng.uniform(-1.0, 1.0)
        tone = rng.uniform(0.92, 1.10)
        lamp = np.array([rng.normal(0.0, 0.16), rng.normal(-0.06, 0.16), 1.0])
        return Shell(
            base=_colour(127, 67 + 5 * warm, 48 + 4 * warm) * tone,
            light=_colour(168, 97 + 6 * warm, 60) * tone,
            dark=_colour(86, 45, 39) * tone,
            scar=_colour(136, 100, 76) * rng.uniform(0.9, 1.1),
            scar_edge=-rng.uniform(0.62, 0.80),
            scar_jag=rng.uniform(0.012, 0.032),
            ribs=Meridians(rng, int(rng.integers(52, 84)), 6),
            fine=Meridians(rng, 180, 14),
            fibres=Meridians(rng, 300, 46, smooth=0.6),
            edge=Meridians(rng, 110, 3, smooth=1.0),
            volume=Volume(rng),
            rib_strength=rng.uniform(0.7, 1.25),
            dust=rng.uniform(0.0, 1.0),
            lamp=(lamp / np.linalg.norm(lamp)).astype(np.float32),
            gain=rng.uniform(0.94, 1.07),
            grain_seed=int(rng.integers(2**31)),
        )

    def scar_cover(self, surface: Surface) -> Floats:
        """1 on the base scar, 0 on the shell, over the nut's pixels."""
        wobble = self.scar_jag * self.edge.at(surface.cosine, surface.angle) + 0.02 * self.volume.at(
            surface.points, 1.7
        )
        soft = max(0.012, 1.2 * surface.pixel)
        return smoothstep(self.scar_edge - surface.cosine + wobble, -soft, soft)

    def albedo(self, surface: Surface) -> Floats:
        """Unlit colours ``[N, 3]``, 0..255."""
        volume, points = self.volume, surface.points
        sway = 0.05 * volume.at(points, 1.3)
        ribs = self.rib_strength * self.ribs.at(surface.cosine, surface.angle, sway)
        fine = self.fine.at(surface.cosine, surface.angle, sway)
        cloud = volume.at(points, 2.2, 3)
        # Towards the tip the ribs crowd and would alias; they fade there as the dust on real tips hides them.
        near_tip = smoothstep(surface.cosine, 0.80, 0.99)
        stripe = (0.85 * ribs + 0.60 * fine) * (1.0 - 0.6 * near_tip) + 0.30 * cloud
        mix_light = smoothstep(stripe, 0.0, 2.2)[:, None]
        mix_dark = smoothstep(-stripe, 0.0, 2.0)[:, None]
        colour = self.base + mix_light * (self.light - self.base) + mix_dark * (self.dark - self.base)
        silk = self.fibres.at(surface.cosine, surface.angle, sway)
        colour = colour * (1.0 + 0.05 * volume.at(points, 22.0, 3, surface.pixel) + 0.05 * silk)[:, None]

        # Pale dust in streaks that run down from the tip.
        streak = smoothstep(fine + 0.6 * cloud + 4.5 * (surface.cosine - 0.80), -0.4, 2.2)
        dust = np.clip(self.dust * streak * smoothstep(surface.cosine, 0.45, 0.95), 0.0, 1.0)[:, None] * 0.75
        colour = colour + dust * (_colour(139, 113, 92) - colour)
        nub = smoothstep(surface.cosine, 0.982, 0.997)[:, None] * 0.8
        colour = colour + nub * (_colour(150, 122, 96) - colour)

        # Small light scuffs, sparse.
        scuff = smoothstep(volume.at(points * np.array([0.3, 1.0, 1.0], np.float32), 26.0), 2.9, 3.6)[:, None]
        colour = colour + 0.45 * scuff * (_colour(205, 146, 104) - colour)

        cover = self.scar_cover(surface)
        return colour + cover[:, None] * (self._scar(surface) - colour) * 1.0

    def _scar(self, surface: Surface) -> Floats:
        fibre = self.fibres.at(surface.cosine, surface.angle, 0.05 * self.volume.at(surface.points, 5.0))
        cloud = self.volume.at(surface.points, 3.1, 3)
        grain = self.volume.at(surface.points, 30.0, 2, surface.pixel)
        colour = self.scar * (1.0 + 0.16 * fibre + 0.10 * cloud + 0.10 * grain)[:, None]
        # Depth from the scar's border: a light jagged ring, dark line outside it, darker zone inside, light centre.
        depth = self.scar_edge - surface.cosine
        ring = np.exp(-(((depth - 0.028) / 0.026) ** 2)) * smoothstep(fibre + 0.7 * cloud, -1.4, 0.5)
        line = np.exp(-(((depth + 0.002) / 0.012) ** 2))
        zone = np.exp(-(((depth - 0.075) / 0.045) ** 2)) * smoothstep(cloud + 0.6 * fibre, -0.5, 1.8)
        heart = smoothstep(-surface.cosine, 0.965, 0.999)
        colour = colour + (0.85 * ring)[:, None] * (_colour(182, 124, 84) - colour)
        colour = colour + (0.45 * zone)[:, None] * (_colour(84, 62, 52) - colour)
        colour = colour + (0.65 * line)[:, None] * (_colour(70, 42, 34) - colour)
        return (colour + (0.35 * heart)[:, None] * (_colour(168, 130, 98) - colour)).astype(np.float32)

    def light_on(self, surface: Surface) -> Floats:
        """Brightness factor ``[N]`` of a soft lamp above: flat on top, dark at the limb, as on a scanner."""
        facing = np.clip(surface.normals @ self.lamp, 0.0, 1.0)
        return (self.gain * (0.40 + 0.64 * facing**0.85)).astype(np.float32)


def table(rng: np.random.Generator, view: View, size: int) -> Floats:
    """Near-black, slightly blue background ``[size, size, 3]`` with a soft vignette and a few dust specks."""
    level = _colour(37.5, 37.4, 41.6) + rng.uniform(-2.5, 3.5) + rng.normal(0.0, 0.5, 3).astype(np.float32)
    tilt = rng.normal(0.0, 1.0, 2)
    specks = rng.uniform(-1.0, 1.0, (int(rng.integers(2, 9)), 2))
    strengths = rng.uniform(4.0, 22.0, len(specks))
    step = (np.arange(size, dtype=np.float32) + 0.5) / size * 2.0 - 1.0
    x, y = np.meshgrid(view.x + view.half * step, view.y + view.half * step)
    fall = -2.6 * np.exp(-(x**2 + y**2) / 0.9) + tilt[0] * x + tilt[1] * y
    picture = level + fall[..., None].astype(np.float32)
    pixel = 2.0 * view.half / size
    for (sx, sy), strength in zip(specks, strengths, strict=True):
        spread = max(0.004, 0.8 * pixel)
        speck = strength * (0.004 / spread) * np.exp(-((x - sx) ** 2 + ((y - sy) * 0.6) ** 2) / spread**2)
        picture = picture + speck[..., None].astype(np.float32)
    return picture


def contact_shadow(alpha: Floats, view: View) -> Floats:
    """Darkening of the table close to the nut, 0..1 ``[H, W]``."""
    blur = 0.035 * alpha.shape[0] / view.half
    return ndimage.gaussian_filter(alpha, blur, truncate=2.0).astype(np.float32)


def sensor_grain(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Fine photo noise of 1.4 grey levels, the same in every channel up to a third of it."""
    grey = rng.standard_normal((size, size, 1), dtype=np.float32)
    colour = rng.standard_normal((size, size, 3), dtype=np.float32)
    return (1.15 * grey + 0.5 * colour).astype(np.float32)
