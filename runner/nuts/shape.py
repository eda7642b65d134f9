"""The nut as a solid: a tip, a flat base, a pose, and what an orthographic camera sees of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Floats = NDArray[np.float32]

_COARSE = 160  # the camera's first, coarse search runs on a grid of at most this side
_STEPS = 22


@dataclass(frozen=True)
class View:
    """The square part of the scene that the picture shows: centre (x, y) and half side, in photo half-widths.

    The whole photo is ``View()``; half 0.5 is a zoom of 2x. x runs right and y down, both -1..1 in the photo.
    """

    x: float = 0.0
    y: float = 0.0
    half: float = 1.0


@dataclass(frozen=True)
class NutShape:
    """Radius of the shell around the nut's centre, and where the nut lies in the photo.

    The shell is star-shaped: ``radius(c) = soft minimum of (1 + tip * exp(-sharp * (1 - c)), base / -c)`` with ``c``
    the cosine between a direction and the axis to the tip; the cross-section is an ellipse of ratio ``flat``.
    """

    tip: float
    sharp: float
    base: float
    length: float
    flat: float
    scale: float
    centre: tuple[float, float]
    rotation: NDArray[np.float64]

    @staticmethod
    def random(rng: np.random.Generator) -> NutShape:
        # The camera looks along -z from above. A nut on a table lies on its side: its axis is near the picture's plane,
        # and the tip or the base turns up to some 50 degrees towards the camera.
        yaw = rng.uniform(0.0, 2.0 * np.pi)
        pitch = np.deg2rad(rng.uniform(-52.0, 40.0))
        roll = rng.uniform(0.0, 2.0 * np.pi)
        rotation = Rotation.from_euler("xyz", [roll, -pitch, yaw]).as_matrix()
        share = rng.uniform(0.30, 0.41)
        shape = NutShape(
            tip=rng.uniform(0.10, 0.20),
            sharp=rng.uniform(9.0, 20.0),
            base=rng.uniform(0.80, 0.94),
            length=rng.uniform(0.95, 1.10),
            flat=rng.uniform(0.90, 1.0),
            scale=1.0,
            centre=(rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06)),
            rotation=rotation,
        )
        # Size is set by the share of the photo that the nut covers, as measured on real photos (30 to 41 %).
        area = silhouette_area(shape)
        return NutShape(**{**shape.__dict__, "scale": float(np.sqrt(4.0 * share / area))})

    def depth(self, points: Floats) -> Floats:
        """Signed distance-like value of scene points ``[N, 3]`` (nut units, camera axes): negative inside."""
        local = points @ self.rotation.astype(np.float32)
        local /= np.array([self.length, 1.0, self.flat], np.float32)
        norm = np.sqrt(np.einsum("ij,ij->i", local, local)) + 1e-6
        cosine = local[:, 0] / norm
        bump = 1.0 + self.tip * np.exp(-self.sharp * (1.0 - cosine))
        plane = self.base / np.maximum(-cosine, 0.05)
        soft = 0.14
        blend = np.clip(0.5 + 0.5 * (plane - bump) / soft, 0.0, 1.0)
        radius = plane * (1.0 - blend) + bump * blend - soft * blend * (1.0 - blend)
        return (norm - radius).astype(np.float32)


@dataclass(frozen=True)
class Surface:
    """What the camera sees: arrays over the ``N`` pixels of the nut (``inside``) of a ``size`` x ``size`` picture.

    ``alpha`` is the nut's coverage 0..1 (H, W); ``points`` and ``normals`` are ``[N, 3]`` in the nut's own axes (x to
    the tip) and in camera axes; ``camera`` are the points in camera axes, nut units; ``cosine`` -1 (base) to 1 (tip);
    ``angle`` is the meridian, -pi..pi; ``pixel`` is a pixel's side in nut units.
    """

    size: int
    inside: NDArray[np.bool_]
    alpha: Floats
    points: Floats
    camera: Floats
    normals: Floats
    cosine: Floats
    angle: Floats
    pixel: float

    def picture(self, values: Floats) -> Floats:
        """Spread per-pixel ``values`` ``[N]`` or ``[N, C]`` over the picture, zero outside the nut."""
        out = np.zeros((self.size, self.size, *values.shape[1:]), np.float32)
        out[self.inside] = values
        return out


def _grid(shape: NutShape, view: View, size: int) -> tuple[Floats, Floats]:
    step = (np.arange(size, dtype=np.float32) + 0.5) / size * 2.0 - 1.0
    x = (view.x + view.half * step - shape.centre[0]) / shape.scale
    y = (view.y + view.half * step - shape.centre[1]) / shape.scale
    return np.meshgrid(x.astype(np.float32), y.astype(np.float32))


def _search(shape: NutShape, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """First hit's z and the lowest depth along each ray, for rays at camera positions ``x``, ``y`` (any shape)."""
    flat_x, flat_y = x.ravel(), y.ravel()
    z = np.full(flat_x.shape, np.nan, np.float32)
    lowest = np.full(flat_x.shape, 9.0, np.float32)
    levels = np.linspace(1.25, -0.75, _STEPS).astype(np.float32)
    before = np.full(flat_x.shape, 9.0, np.float32)
    for i, level in enumerate(levels):
        value = shape.depth(np.stack([flat_x, flat_y, np.full_like(flat_x, level)], 1))
        hit = np.isnan(z) & (value < 0.0)
        if i:
            part = before[hit] / np.maximum(before[hit] - value[hit], 1e-6)
            z[hit] = levels[i - 1] + part * (level - levels[i - 1])
        np.minimum(lowest, value, out=lowest)
        before = value
    return z.reshape(x.shape), lowest.reshape(x.shape)


def silhouette_area(shape: NutShape) -> float:
    """Area of the nut's outline in nut units."""
    step = np.linspace(-1.4, 1.4, 57, dtype=np.float32)
    x, y = np.meshgrid(step, step)
    _, lowest = _search(shape, x, y)
    return float((lowest < 0.0).sum() * (step[1] - step[0]) ** 2)


def look(shape: NutShape, view: View, size: int) -> Surface:
    """Intersect the camera's rays with the nut."""
    coarse = min(size, _COARSE)
    z, lowest = _search(shape, *_grid(shape, view, coarse))
    if coarse < size:
        # The hit's height is extended beyond the outline (nearest neighbour) so that interpolation has no holes.
        missing = np.isnan(z)
        if missing.all():
            z = np.zeros_like(z)
        elif missing.any():
            near = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
            z = z[tuple(near)]
        z = ndimage.zoom(z, size / coarse, order=1, grid_mode=True, mode="nearest")
        lowest = ndimage.zoom(lowest, size / coarse, order=1, grid_mode=True, mode="nearest")
    x, y = _grid(shape, view, size)
    pixel = 2.0 * view.half / size / shape.scale
    alpha = np.clip(0.5 - lowest / pixel, 0.0, 1.0).astype(np.float32)
    inside = alpha > 0.0
    camera = np.stack([x[inside], y[inside], np.nan_to_num(z[inside], nan=0.0)], 1).astype(np.float32)
    for _ in range(3):  # Newton along the ray, guarded where the ray grazes the shell
        value = shape.depth(camera)
        slope = (shape.depth(camera + np.array([0, 0, 4e-3], np.float32)) - value) / 4e-3
        camera[:, 2] -= np.clip(value / np.maximum(slope, 0.15), -0.08, 0.08)
    normals = _normals(shape, camera)
    points = (camera @ shape.rotation.astype(np.float32)).astype(np.float32)
    norm = np.linalg.norm(points, axis=1) + 1e-6
    return Surface(
        size=size,
        inside=inside,
        alpha=alpha,
        points=points,
        camera=camera,
        normals=normals,
        cosine=points[:, 0] / norm,
        angle=np.arctan2(points[:, 2], points[:, 1]).astype(np.float32),
        pixel=pixel,
    )


def _normals(shape: NutShape, camera: Floats) -> Floats:
    step = 6e-3
    gradient = np.empty_like(camera)
    for axis in range(3):
        offset = np.zeros(3, np.float32)
        offset[axis] = step
        gradient[:, axis] = shape.depth(camera + offset) - shape.depth(camera - offset)
    return gradient / (np.linalg.norm(gradient, axis=1, keepdims=True) + 1e-9)
