"""A detector of the user's own, as a command: it reads folders and writes one map a test photo."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import did_you_mean, request_error
from .base import Detector, Maps, Pictures, Pool

FIELDS = ("train", "test", "maps", "seed")
SUFFIXES = (".npy", ".png", ".tif", ".tiff")


class CommandDetector(Detector):
    """Writes TRAIN/{good,defect,ground_truth/defect} and TEST, runs the template, reads MAPS/<test photo's name>.

    A defect of the pools is written once, with its mask as ``ground_truth/defect/<name>_mask.png``; names say nothing
    about what is tested.
    """

    def __init__(self, template: str, timeout: float | None = None) -> None:
        """Raises RequestError if the template is no command, or lacks {train}, {test} or {maps}."""
        self.template, self.timeout = template, timeout
        self.name = f"command: {template}"
        try:
            self._words = shlex.split(template)
            filled = [word.format(**dict.fromkeys(FIELDS, "")) for word in self._words]
        except (ValueError, KeyError, IndexError) as error:
            raise request_error(
                "benefit.template",
                f"the detector's command cannot be filled in: {error!r}",
                where=f"--detector-command {template}",
                expected="a command with {train}, {test}, {maps} and, if it wants one, {seed}",
                mend=did_you_mean(str(error).strip("'"), FIELDS),
            ) from error
        missing = [name for name in FIELDS[:3] if f"{{{name}}}" not in template]
        if not filled or missing:
            raise request_error(
                "benefit.template",
                f"the detector's command lacks {', '.join(f'{{{name}}}' for name in missing) or 'a program'}",
                where=f"--detector-command {template}",
                expected="python train.py --train {train} --test {test} --out {maps} --seed {seed}",
                mend="add it",
            )

    def prepare(self, pictures: Pictures) -> NDArray[np.uint8]:
        return np.ascontiguousarray(pictures)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "command": self.template}

    def maps(self, good: NDArray[Any], pools: Sequence[Pool], test: NDArray[Any], seed: int) -> Maps:
        """Raises RequestError: the command fails, or a map is missing or not one number a pixel."""
        with tempfile.TemporaryDirectory(prefix="defectforge-benefit-") as folder:
            train, tested, maps = (Path(folder) / name for name in FIELDS[:3])
            maps.mkdir()
            _write(train / "good", list(good))
            _write(train / "defect", [p for pool in pools for p in pool.prepared])
            masks = [mask.astype(np.uint8) * 255 for pool in pools for mask in pool.masks]
            _write(train / "ground_truth" / "defect", masks, "_mask")
            _write(tested, list(test))
            self._run(
                [w.format(train=train, test=tested, maps=maps, seed=seed) for w in self._words],
            )
            return np.stack([self._map(maps, index, test.shape[1]) for index in range(len(test))])

    def _run(self, words: Sequence[str]) -> None:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=self.timeout, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failed(str(error)) from error
        if done.returncode:
            raise self._failed(f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-600:]}")

    def _map(self, folder: Path, index: int, side: int) -> NDArray[np.float32]:
        path = next((p for s in SUFFIXES if (p := folder / f"{index:06d}{s}").is_file()), None)
        if path is None:
            there = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
            raise self._failed(f"it wrote no map for the test photo {index:06d}.png; in {{maps}} there is {there}")
        try:
            if path.suffix == ".npy":
                values = np.load(path, allow_pickle=False)
            else:
                with Image.open(path) as image:
                    values = np.asarray(image)
            values = np.asarray(values, np.float32).squeeze()
        except (OSError, ValueError) as error:
            raise self._failed(f"its map {path.name} cannot be read: {error}") from error
        if values.ndim != 2 or not np.isfinite(values).all():
            raise self._failed(f"its map {path.name} is not one finite number a pixel (shape {values.shape})")
        if values.shape != (side, side):
            enlarged = Image.fromarray(values).resize((side, side), Image.Resampling.BILINEAR)
            values = np.asarray(enlarged, np.float32)
        return values

    def _failed(self, what: str) -> Exception:
        return request_error(
            "benefit.detector_failed",
            f"the detector's command failed: {what}",
            where=f"--detector-command {self.template}",
            expected="one map a test photo: {maps}/000000.npy (or .png, .tif), higher is more anomalous",
            mend="run it by hand on a small folder of the same form (see docs/benefit.md)",
        )


def _write(folder: Path, pictures: Sequence[NDArray[Any]], suffix: str = "") -> None:
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{index:06d}{suffix}.png", compress_level=1)
