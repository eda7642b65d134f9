"""A run's output as training pairs: pictures, the requested and the visible label, and every hash that a pair names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import request_error
from ...outputs.hashes import sha256_of
from ...outputs.manifest import read
from ...outputs.masks import from_run_lengths, read_mask_file
from ...outputs.output import MANIFEST
from .pictures import Mask, Picture, Read, read_photo, small_mask
from .training_records import ADDRESS, SHA256, TrainingRecords

REQUESTED, VISIBLE = "requested label", "visible label"


@dataclass(frozen=True)
class Pair:
    """One generated picture. A label is None where the run recorded none of that kind."""

    name: str
    picture: Picture
    labels: dict[str, Mask | None]
    hashes: frozenset[str]
    """sha256 of everything that the line, or a training record that it leads to, names."""
    addresses: frozenset[str] = frozenset()
    """Photos that a training record, or a place in the line without a sha256, names by path: see `address`."""
    record: dict[str, Any] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class GeneratedSet:
    """What one ``--generated NAME=OUT`` gives."""

    name: str
    out: Path
    pairs: list[Pair]
    notes: list[str]

    def labels(self) -> list[str]:
        """The kinds of label that at least one pair has."""
        return [kind for kind in (REQUESTED, VISIBLE) if any(pair.labels[kind] is not None for pair in self.pairs)]


def parse(text: str) -> tuple[str, Path]:
    """``NAME=OUT`` or ``OUT``, which is then named like its folder."""
    name, equals, out = text.partition("=")
    if equals and not Path(text).exists():
        return name.strip() or Path(out).name, Path(out)
    return Path(text).resolve().name, Path(text)


def read_generated(
    name: str, out: Path, category: str, type_: str, size: int, records: TrainingRecords, most: int = 1000
) -> GeneratedSet:
    """Read the pairs of a run.

    Args:
        records: reads what the run's LoRAs were trained on.
        most: of more pairs than that, an even choice is taken, and it is said.

    Raises:
        RequestError: no run, of another category or type, or a picture that is not the recorded one any more.
    """
    manifest = out / MANIFEST
    if not manifest.is_file():
        raise request_error(
            "benefit.no_run",
            f"'{name}' is no output of a run: it has no {MANIFEST}",
            where=str(out),
            expected="the folder given to `defectforge run --out`",
            mend="--generated NAME=OUT",
        )
    lines = read(manifest)
    wanted = [line for line in lines if (line["category"], line["type"]) == (category, type_)]
    if not wanted:
        there = ", ".join(sorted({f"{line['category']} {line['type']}" for line in lines})) or "nothing"
        raise request_error(
            "benefit.other_set",
            f"'{name}' holds no pair of {category} '{type_}'",
            where=str(manifest),
            expected="pairs of the category and type that are tested",
            mend=f"it holds {there}; choose another run, or --category and --type",
        )
    notes = []
    if len(wanted) < len(lines):
        notes.append(f"{len(lines) - len(wanted)} of {len(lines)} pairs are of another category or type: left out")
    if len(wanted) > most:
        notes.append(f"{most} of {len(wanted)} pairs are taken, evenly (--pairs)")
        wanted = [wanted[i * len(wanted) // most] for i in range(most)]
    pairs = [_pair(line, out, size, records) for line in wanted]
    notes += [f"{text}" for text in dict.fromkeys(records.notes)]
    for kind in (REQUESTED, VISIBLE):
        without = sum(pair.labels[kind] is None for pair in pairs)
        if without == len(pairs):
            notes.append(f"{kind}: not recorded by this run; no row")
        elif without:
            notes.append(f"{kind}: not recorded for {without} of {len(pairs)} pairs; its rows go without them")
    return GeneratedSet(name, out, pairs, notes)


def _pair(record: dict[str, Any], out: Path, size: int, records: TrainingRecords) -> Pair:
    path = out / record["image"]["path"]
    if not path.is_file():
        raise _changed(path, "is gone")
    if sha256_of(path) != record["image"]["sha256"]:
        raise _changed(path, "is not the recorded one any more")
    photo = read_photo(path, size)
    texts = list(strings(record))
    hashes = {found for text in texts for found in SHA256.findall(text)} | {photo.pixels} | records.hashes_for(record)
    addresses = {address(found) for found in (*records.addresses_for(record), *_unhashed(record))}
    return Pair(
        record["image"]["path"],
        photo.picture,
        _labels(record, out, size, photo),
        frozenset(hashes),
        frozenset(addresses),
        record,
    )


def address(path: str) -> str:
    """category/split/type/stem of a photo's path: a photo saved in another format keeps its name."""
    return "/".join(PurePosixPath(path).with_suffix("").parts[-4:])


def _unhashed(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        if "sha256" in value:
            return
        for key, item in value.items():
            # The pair's own files have the layout's form too.
            if key not in ("image", "mask"):
                yield from _unhashed(item)
    elif isinstance(value, list):
        for item in value:
            yield from _unhashed(item)
    elif isinstance(value, str):
        yield from ADDRESS.findall(value)


def _labels(record: dict[str, Any], out: Path, size: int, photo: Read) -> dict[str, Mask | None]:
    """By the line's `label`; a line of 0.1.0 has none, and its mask is the requested one."""
    kind = record.get("label", "requested")
    written = None
    if kind in ("visible", "requested"):
        path = out / record["mask"]["path"]
        if not path.is_file():
            raise _changed(path, "is gone")
        written = small_mask(read_mask_file(path), size, photo, path)
    elif kind != "none":
        raise request_error(
            "benefit.unknown_label",
            f"the manifest says label '{kind}'",
            where=f"{out / MANIFEST}, number {record.get('number')}",
            expected="visible, requested or none",
            mend="this program is older than the run; update it",
        )
    requested = None
    if record.get("requested"):
        requested = small_mask(from_run_lengths(record["requested"]), size, photo, out / MANIFEST)
    if requested is None and kind == "requested":
        requested = written
    return {REQUESTED: requested, VISIBLE: written if kind == "visible" else None}


def strings(value: Any) -> Iterator[str]:
    """Every text inside a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)


def _changed(path: Path, what: str) -> Exception:
    return request_error(
        "benefit.picture_changed",
        f"a picture of the run {what}",
        where=str(path),
        expected="the files as the run left them",
        mend="restore it, or run the same command again: it makes what is missing",
    )
