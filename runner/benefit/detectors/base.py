"""What every detector is to the protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.uint8]
Masks = NDArray[np.bool_]
Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Pool:
    """Labelled defects of one origin, as the detector prepared them, and their masks bool ``[N,S,S]``."""

    prepared: Any
    masks: Masks

    def __len__(self) -> int:
        return len(self.masks)

    def some(self, rows: Sequence[int]) -> Pool:
        return Pool(self.prepared[list(rows)], self.masks[list(rows)])


class Detector(ABC):
    """Pictures are uint8 RGB ``[N,S,S,3]``. The same seed gives the same maps, whatever ran before."""

    name: str
    """In words, for the table."""

    @abstractmethod
    def prepare(self, pictures: Pictures) -> NDArray[Any]:
        """What is computed once for a picture, ``[N,...]``."""

    @abstractmethod
    def maps(self, good: NDArray[Any], pools: Sequence[Pool], test: NDArray[Any], seed: int) -> Maps:
        """Train on prepared good photos and pools of defects (each pool counts alike); maps of the prepared test
        photos, float32 ``[N,S,S]``, higher is more anomalous."""

    def describe(self) -> dict[str, Any]:
        """For the record: everything that decides the figures."""
        return {"name": self.name}


def shares(total: int, pools: int, step: int) -> list[int]:
    """How many of a batch's `total` defects each pool gives at a step; what is left over goes round."""
    base, rest = divmod(total, pools)
    return [base + ((index - step) % pools < rest) for index in range(pools)]
