"""Set-up of the reader's tests: drawn photos and masks, and the shared cases with their right answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]

#: Where the drawn defect is: rows and columns of a 60 x 80 photo (an upright one is 80 wide).
HEIGHT, WIDTH = 60, 80
DEFECT = (slice(20, 40), slice(30, 55))
DEFECT_AREA = 20 * 25


@pytest.fixture(scope="session")
def cases() -> Path:
    """The shared inputs with right answers; tests that need them are skipped where they are absent."""
    places = [os.environ.get("DEFECTFORGE_TEST_CASES"), str(ROOT.parent / "shared" / "cases" / "files")]
    for place in places:
        if place and (Path(place) / "masks").is_dir():
            return Path(place)
    pytest.skip("no shared cases here: set DEFECTFORGE_TEST_CASES to a folder that holds `masks/` and `layouts/`")


@pytest.fixture
def area() -> np.ndarray:
    """The defect as it is drawn, ``[60, 80]`` bool."""
    drawn = np.zeros((HEIGHT, WIDTH), bool)
    drawn[DEFECT] = True
    return drawn


@pytest.fixture
def colours(area: np.ndarray) -> np.ndarray:
    """A photo with the defect, ``[60, 80, 3]``: its corners differ, so that a turned one is told."""
    drawn = np.full((HEIGHT, WIDTH, 3), (120, 90, 60), np.uint8)
    drawn[area] = (20, 15, 10)
    drawn[:10, :10] = (200, 30, 30)
    drawn[-10:, :10] = (30, 30, 200)
    return drawn


Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write an array or a picture into a file below the test's folder."""

    def write(name: str, picture: np.ndarray | Image.Image, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(path, **options)
        return path

    return write
