"""The dataset in the store, for machines that do not see the folder; and back again, once for each machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..errors import request_error
from ..outputs.hashes import sha256_of
from ..plans.photos import Category
from .store import Store

INDEX = "inputs/index.json"
#: Requests to the store at the same time.
TOGETHER = 16
#: Files at the dataset's root that are no pictures (lists of a split) travel along up to this size in bytes.
SMALL = 8 << 20


def bring_in(store: Store, category: Category) -> int:
    """Put what the store does not have yet of a category; returns how many files it has then.

    Raises:
        RequestError: a file lies elsewhere.
        StorageError.
    """
    root = category.root
    files = dict.fromkeys(path for path in sorted(category.path.rglob("*")) if path.is_file())
    files |= dict.fromkeys(_small_files(root))
    files |= dict.fromkeys(_photos(category))
    outside = next((path for path in files if root not in path.parents), None)
    if outside is not None:
        # Left away, the other machines would number the photos otherwise.
        raise request_error(
            "cluster.data_outside",
            "a file of the dataset does not lie below --data",
            where=str(outside),
            expected=f"everything below {root}",
            mend="name the folder that holds all of it, or a --store that is a folder which all machines see",
        )
    there = store.names("inputs")
    index: dict[str, str] = {}

    def one(path: Path) -> None:
        digest = sha256_of(path)
        index[path.relative_to(root).as_posix()] = digest
        if digest not in there:
            store.put(path, f"inputs/{digest}")

    with ThreadPoolExecutor(TOGETHER) as pool:
        list(pool.map(one, files))
    store.write_json(INDEX, index)
    return len(index)


def _photos(category: Category) -> Iterator[Path]:
    """Of layouts whose photos do not lie below one folder."""
    for photo in category.good_photos():
        yield photo.path
    for type_ in category.defect_types():
        for photo in category.read.photos("test", type_):
            yield photo.path
            yield from photo.masks


def _small_files(root: Path) -> Iterator[Path]:
    """Lists and descriptions at the root and one level below."""
    for pattern in ("*", "*/*"):
        for path in sorted(root.glob(pattern)):
            if path.is_file() and path.suffix.lower() in (".csv", ".json", ".txt") and path.stat().st_size <= SMALL:
                yield path


def take_out(store: Store, cache: Path) -> Path:
    """The dataset as a folder of this machine; fetched once, whoever asks first.

    Raises:
        RequestError: there is none, or a file arrived changed.
        StorageError.
    """
    index = store.read_json(INDEX)
    if not isinstance(index, dict):
        raise request_error(
            "cluster.no_inputs",
            "the store holds no dataset",
            store.url,
            "STORE/inputs/index.json",
            "start the run anew",
        )
    name = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()[:16]
    root = cache / f"inputs-{name}"
    with alone(cache / f"inputs-{name}.lock"):
        missing = [(path, digest) for path, digest in index.items() if not (root / path).is_file()]

        def one(item: tuple[str, str]) -> None:
            path, digest = item
            if not store.get(f"inputs/{digest}", root / path) or sha256_of(root / path) != digest:
                (root / path).unlink(missing_ok=True)
                raise request_error(
                    "cluster.inputs_changed",
                    f"'{path}' is not in the store, or arrived changed",
                    where=f"{store.url}/inputs/{digest}",
                    expected="the bytes that were put there",
                    mend="delete the object and start the same command again",
                )

        with ThreadPoolExecutor(TOGETHER) as pool:
            list(pool.map(one, missing))
    return root


def take_from(url: str, cache: Path) -> Path:
    """A dataset that lies at an address itself, as a folder of this machine.

    Raises:
        RequestError: nothing lies there.
        StorageError.
    """
    source = Store(url)
    found = source.listing()
    if not found:
        raise request_error(
            "data.not_found", f"nothing lies at {url}", f"--data {url}", "a dataset", "check the address and the log-in"
        )
    name = hashlib.sha256(json.dumps([url, found], sort_keys=True).encode()).hexdigest()[:16]
    root = cache / f"data-{name}"
    with alone(cache / f"data-{name}.lock"), ThreadPoolExecutor(TOGETHER) as pool:
        missing = [path for path in found if not (root / path).is_file()]
        list(pool.map(lambda path: source.get(path, root / path), missing))
    return root


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """One process at a time; the system takes the lock back from one that is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
