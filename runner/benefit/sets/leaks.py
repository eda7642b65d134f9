"""Leaks: a photo that is tested must not have had a part in anything that trains. Found, named, refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import Problem, RequestError
from .generated import GeneratedSet, Pair, address, strings
from .pictures import read_photo, thumbnails
from .real import RealPhoto, RealSet

# Two different photos of aligned parts may be near; the same photo, written again or resized, is nearer than a quarter
# of what even the most alike good photos differ by, and never differs by more than four grey levels.
NEAR, MOST_LEVELS = 0.25, 4.0
MOST_COMPARED = 80


def check_leaks(real: RealSet, sets: Sequence[GeneratedSet], foreign: bool = False) -> None:
    """Refuse every leak at once, each by the test photo's name.

    Looked for: the same photo twice in the real set; a test photo (its file, its pixels or its mask, by sha256) among
    everything that a pair's manifest line or its LoRA's training record names; a test photo's address in such a record;
    a picture that is a test photo outside its defect, whatever the manifest says. And pairs that come from other photos
    than the real set's good ones (`foreign` allows it).

    Raises:
        RequestError: with one problem for each leak.
    """
    problems = _inside_the_real_set(real)
    for generated in sets:
        problems += _by_hash(real, generated)
        problems += _by_address(real, generated)
        problems += [] if problems else _by_origin(real, generated)
        problems += [] if problems else _by_sight(real, generated)
        problems += [] if foreign or problems else _foreign(real, generated)
    if problems:
        raise RequestError(problems)


def used_references(pair: Pair, references: Sequence[RealPhoto]) -> frozenset[int]:
    """Which of the references a pair was made with, by everything its line names."""
    return frozenset(
        i for i, photo in enumerate(references) if photo.hashes & pair.hashes or address(photo.name) in pair.addresses
    )


def _inside_the_real_set(real: RealSet) -> list[Problem]:
    seen: dict[str, RealPhoto] = {}
    for photo in [*real.good, *real.references]:
        seen[photo.sha256] = seen[photo.pixels] = photo
    problems = []
    for photo in real.test:
        twin = seen.get(photo.sha256) or seen.get(photo.pixels)
        if twin is not None:
            problems.append(
                Problem(
                    "benefit.leak_same_photo",
                    f"the test photo {photo.name} is the same picture as {twin.name}, which training sees",
                    where=f"{photo.path} and {twin.path}",
                    expected="every photo in one place only",
                    mend="take one of the two away",
                )
            )
    return problems


def _by_hash(real: RealSet, generated: GeneratedSet) -> list[Problem]:
    problems = []
    for photo in real.test:
        hit = [pair for pair in generated.pairs if photo.hashes & pair.hashes]
        if hit:
            problems.append(_leak(photo, generated, hit, _part(photo, hit[0])))
    return problems


def _part(photo: RealPhoto, pair: Pair) -> str:
    """The part that the photo had in the making of a pair, in words."""
    if pair.record.get("source", {}).get("sha256") in photo.hashes:
        return "the source photo"
    for reference in pair.record.get("references") or []:
        if photo.hashes & {reference.get("sha256"), reference.get("mask_sha256")}:
            return "a reference"
    if photo.hashes & set(strings(pair.record)):
        return "something that the manifest names"
    return "a photo that its LoRA or model was trained on"


def _by_address(real: RealSet, generated: GeneratedSet) -> list[Problem]:
    """Photos named by path: the same category, folder, type and name count as the same photo."""
    problems = []
    for photo in real.test:
        hit = [p for p in generated.pairs if address(photo.name) in p.addresses and not photo.hashes & p.hashes]
        if hit:
            problems.append(_leak(photo, generated, hit, "a photo named in a training record"))
    return problems


def _by_origin(real: RealSet, generated: GeneratedSet) -> list[Problem]:
    """Sources and references whose bytes are unknown here: where they still lie, their pixels are compared."""
    known = {h for photo in [*real.good, *real.references] for h in photo.hashes} | real.other_good
    opened: dict[Path, Pair] = {}
    for pair in generated.pairs:
        for entry in [pair.record["source"], *(pair.record.get("references") or [])]:
            path = Path(str(pair.record.get("data", ""))) / str(entry.get("file", ""))
            if entry.get("sha256") not in known and path.is_file():
                opened.setdefault(path, pair)
    if not opened:
        return []
    size = real.test[0].picture.shape[0]
    photos = [read_photo(path, size) for path in opened]
    by_pixels = {tested.pixels: tested for tested in real.test}
    limit, problems = _limit(real), []
    test = thumbnails([photo.picture for photo in real.test])
    small = thumbnails([photo.picture for photo in photos])
    for (path, pair), photo, thumbnail in zip(opened.items(), photos, small, strict=True):
        distance = _distances(thumbnail, test)
        twin = by_pixels.get(photo.pixels) or (real.test[int(distance.argmin())] if distance.min() <= limit else None)
        if twin is not None:
            problems.append(_leak(twin, generated, [pair], f"{path} is the same picture"))
    return problems


def _limit(real: RealSet) -> float:
    good = thumbnails([photo.picture for photo in real.good[:MOST_COMPARED]])
    apart = [_distances(good[i], good[i + 1 :]).min() for i in range(len(good) - 1)]
    return min(NEAR * float(np.min(apart)), MOST_LEVELS) if apart else MOST_LEVELS


def _by_sight(real: RealSet, generated: GeneratedSet) -> list[Problem]:
    """Generated pictures are their sources outside the defect: compared with the test photos in all eight turns."""
    limit = _limit(real)
    coarse, fine = (_all_turns(thumbnails([photo.picture for photo in real.test], side)) for side in (12, 48))
    near: dict[int, list[Pair]] = {}
    for pair in generated.pairs:
        # Most pictures are nowhere near any photo, which a few pixels show.
        candidates = np.flatnonzero(_distances(thumbnails([pair.picture], 12)[0], coarse) <= 2 * limit + 2)
        if not len(candidates):
            continue
        distance = _distances(thumbnails([pair.picture])[0], fine[candidates])
        if distance.min() <= limit:
            near.setdefault(int(candidates[distance.argmin()]) % len(real.test), []).append(pair)
    return [_leak(real.test[i], generated, pairs, "the same picture, to the eye") for i, pairs in near.items()]


def _all_turns(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """``[N,...]`` -> ``[8 N,...]``: turned by quarters, mirrored and not; the photo's number is the row modulo N."""
    sides = (pictures, pictures[:, :, ::-1])
    return np.concatenate([np.rot90(side, turn, (1, 2)) for side in sides for turn in range(4)])


def _distances(one: NDArray[np.float32], many: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey levels by which the 80 % most alike pixels differ at most: a defect may cover the rest."""
    return np.quantile(np.abs(many - one).max(-1).reshape(len(many), -1), 0.8, axis=1).astype(np.float32)


def _foreign(real: RealSet, generated: GeneratedSet) -> list[Problem]:
    """Pairs whose source or reference is no photo of the real set. References of another part are nobody's leak."""
    known = {h for photo in real.good for h in photo.hashes} | real.other_good
    strange = [pair for pair in generated.pairs if pair.record["source"]["sha256"] not in known]
    problems = []
    if strange:
        problems.append(
            Problem(
                "benefit.foreign_set",
                f"'{generated.name}' does not belong to the real set: {len(strange)} of {len(generated.pairs)} pairs "
                "were made from photos that are not among its good ones",
                where=f"{generated.out}: {strange[0].name}, made from {strange[0].record['source']['path']}",
                expected=f"sources from {real.root / real.category}/train/good, by sha256",
                mend="choose the run of this dataset; or, where the other photos show the same part, --foreign",
            )
        )
    strange = [pair for pair in generated.pairs if foreign_references(pair, real)]
    if strange:
        name = foreign_references(strange[0], real)[0]
        problems.append(
            Problem(
                "benefit.foreign_reference",
                f"'{generated.name}': {len(strange)} of {len(generated.pairs)} pairs were made with a real defect that "
                "is not in the real set",
                where=f"{generated.out}: {strange[0].name}, with {name}",
                expected=f"references from {real.root / real.category}/test/{real.type}, by sha256",
                mend="put it into the real set and name it with --references; or --foreign, then it counts as no real "
                "defect of k",
            )
        )
    return problems


def foreign_references(pair: Pair, real: RealSet) -> list[str]:
    """Addresses of a pair's references that show this part and are not in the real set."""
    known = {h for photo in real.references for h in photo.hashes}
    entries = pair.record.get("references") or []
    return [
        str(entry.get("path"))
        for entry in entries
        if str(entry.get("path", "")).split("/")[0] == real.category and entry.get("sha256") not in known
    ]


def _leak(photo: RealPhoto, generated: GeneratedSet, pairs: Sequence[Pair], part: str) -> Problem:
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    mend = "make the pairs from train/good and from references only"
    if photo.is_defect:
        mend += f"; or let training see this photo: --references {photo.path.stem},..."
    return Problem(
        "benefit.leak",
        f"leak: the test photo {photo.name} had a part in '{generated.name}': {part}",
        where=f"{generated.out}: {pairs[0].name}{more}",
        expected="photos to test that no step has seen",
        mend=mend,
    )
