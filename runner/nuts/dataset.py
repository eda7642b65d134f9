"""Write generated nuts as a dataset of MVTec AD's shape."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from .photo import Nut, Picture, draw_defect, draw_nut

CATEGORY = "hazelnut"


def write_dataset(
    root: str | Path,
    n_good: int = 8,
    n_defect: int = 4,
    size: int = 512,
    seed: int = 0,
    kinds: Sequence[str] = ("hole",),
    n_test_good: int = 0,
) -> Path:
    """Write ``root/hazelnut/{train/good, test/<kind>, ground_truth/<kind>}`` and return that category folder.

    Args:
        n_good: photos in ``train/good``.
        n_defect: photos (and masks) of each kind in ``test``.
        size: side of the square photos in pixels.
        seed: the first nut's seed; nuts of different folders never share one.
        kinds: defect types, each of ``defectforge.runner.nuts.ALL_KINDS``.
        n_test_good: sound photos in ``test/good``.
    """
    category = Path(root) / CATEGORY
    number = seed
    for folder, count in (("train/good", n_good), ("test/good", n_test_good)):
        for index in range(count):
            _save(category / folder / f"{index:03d}.png", draw_nut(number, size))
            number += 1
    for kind in kinds:
        for index in range(n_defect):
            while not Nut(number).has_room(kind):
                number += 1  # a nut that lies on its shell: another one is photographed
            picture, mask = draw_defect(number, kind, size)
            _save(category / "test" / kind / f"{index:03d}.png", picture)
            _save(category / "ground_truth" / kind / f"{index:03d}_mask.png", mask)
            number += 1
    return category


def drawn_once(
    root: Path, n_good: int, n_defect: int, size: int, seed: int, say: Callable[[str], None], n_test_good: int = 0
) -> Path:
    """`write_dataset` where it is not there yet, whole or not at all: half of one is drawn anew."""
    if not (root / CATEGORY).is_dir():
        say(f"drawing {n_good + n_test_good} good and {n_defect} defective nuts of {size} px into {root}")
        part = root.with_name(root.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        write_dataset(part, n_good, n_defect, size, seed, n_test_good=n_test_good)
        part.replace(root)
    return root


def _save(path: Path, picture: Picture) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
