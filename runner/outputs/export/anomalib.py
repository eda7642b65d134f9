"""anomalib's `Folder` and `MVTecAD`: MVTec AD's own layout, one category a folder.

The sound photos of training sources are what a detector trains on; pairs and sound photos of validation sources are
what it is tested on. The pairs of training sources lie in train/<type>, where a supervised detector finds them and an
unsupervised one does not look.
"""

from __future__ import annotations

from pathlib import Path

from ..hashes import sha256_of
from .pairs import TRAIN, VAL, Pair, Split, write_mask


def write(split: Split, dest: Path) -> list[str]:
    """DEST/<category>/{train,test}/{good,<type>}, DEST/<category>/ground_truth/<type>."""
    missing = 0
    placed: set[str] = set()
    for side, pairs in split.sides():
        folder = {TRAIN: "train", VAL: "test"}[side]
        for pair in pairs:
            category = dest / pair.record["category"]
            type_ = pair.record["type"]
            split.place(pair.image, category / folder / type_ / f"{pair.name}{pair.image.suffix}")
            # Apart from the test masks: loaders pair test photos and masks by their order.
            masks = "ground_truth" if side == VAL else "ground_truth_train"
            write_mask(pair.mask, category / masks / type_ / f"{pair.name}_mask.png")
            if pair.source_sha256 in placed:
                continue
            placed.add(pair.source_sha256)
            if _is_there(pair):
                name = f"{pair.source.stem}-{pair.source_sha256[:8]}{pair.source.suffix}"
                split.place(pair.source, category / folder / "good" / name)
            else:
                missing += 1
    if not missing:
        return []
    return [f"{missing} of {len(placed)} source photos are not where the run read them: they are not in good/"]


def _is_there(pair: Pair) -> bool:
    return pair.source.is_file() and sha256_of(pair.source) == pair.source_sha256
