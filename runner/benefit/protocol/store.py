"""What every row draws from, prepared once and kept as files, so that each worker reads it without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..detectors.base import Detector, Pool
from ..sets import classical
from ..sets.generated import REQUESTED, VISIBLE, GeneratedSet
from ..sets.real import RealSet
from .rows import AUGMENTED, CUTPASTE, PERLIN, REAL, Row, Source

DRAWN = 200
VARIANTS = 24


@dataclass
class Store:
    """Arrays by name, below one folder."""

    folder: Path
    _opened: dict[str, NDArray[Any]] = field(default_factory=dict)

    def put(self, name: str, array: NDArray[Any]) -> None:
        np.save(self._file(name), array)

    def get(self, name: str) -> NDArray[Any]:
        if name not in self._opened:
            self._opened[name] = np.load(self._file(name), mmap_mode="c")
        return self._opened[name]

    def _file(self, name: str) -> Path:
        # A generated set's name is the user's: it may hold anything.
        return self.folder / f"{quote(name, safe=' ,')}.npy"

    def pools(self, row: Row, seed: int) -> list[Pool]:
        return [self._pool(source, seed) for source in row.sources]

    def _pool(self, source: Source, seed: int) -> Pool:
        members = source.members[seed] if source.members is not None else None
        if source.kind in (REAL, AUGMENTED):
            names = [f"{source.kind}-{index}" for index in members or ()]
            return Pool(
                np.concatenate([self.get(f"{name}-x") for name in names]),
                np.concatenate([self.get(f"{name}-y") for name in names]),
            )
        if source.kind in (CUTPASTE, PERLIN):
            return Pool(self.get(f"{source.kind}-x"), self.get(f"{source.kind}-y"))
        pool = Pool(self.get(f"set-{source.kind}-x"), self.get(f"set-{source.kind}-{source.label}"))
        return pool if members is None or len(members) == len(pool) else pool.some(members)


def fill(store: Store, detector: Detector, real: RealSet, sets: Sequence[GeneratedSet], rows: Sequence[Row]) -> None:
    """Draw, prepare and keep what these rows need; the same whatever other rows there are."""
    kinds = {source.kind for row in rows for source in row.sources}
    good = np.stack([photo.picture for photo in real.good])
    store.put("good", detector.prepare(good))
    store.put("test", detector.prepare(np.stack([photo.picture for photo in real.test])))
    for kind, draw in ((CUTPASTE, classical.cutpaste), (PERLIN, classical.perlin)):
        if kind in kinds:
            _put(store, kind, detector, *classical.drawn(draw, good, DRAWN))
    for index, photo in enumerate(real.references):
        assert photo.truth is not None
        if REAL in kinds:
            _put(store, f"{REAL}-{index}", detector, *map(classical.turned, (photo.picture, photo.truth)))
        if AUGMENTED in kinds:
            drawn = classical.augmented(photo.picture, photo.truth, VARIANTS, index)
            _put(store, f"{AUGMENTED}-{index}", detector, *drawn)
    for generated in sets:
        if generated.name not in kinds:
            continue
        pictures = np.stack([pair.picture for pair in generated.pairs])
        store.put(f"set-{generated.name}-x", detector.prepare(pictures))
        empty = np.zeros(pictures.shape[1:3], bool)
        for label in (REQUESTED, VISIBLE):
            labels = [pair.labels[label] for pair in generated.pairs]
            masks = np.stack([empty if mask is None else mask for mask in labels])
            store.put(f"set-{generated.name}-{label}", masks)


def _put(store: Store, name: str, detector: Detector, pictures: NDArray[Any], masks: NDArray[Any]) -> None:
    store.put(f"{name}-x", detector.prepare(pictures))
    store.put(f"{name}-y", masks)
