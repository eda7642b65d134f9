"""Where a cluster keeps what its machines share: a folder or a bucket, through fsspec. Objects are whole or not there.

STORE/plan.json                      what is made here: the plan, how it is cut, the workflow files
STORE/inputs/index.json              relative path -> sha256 of every file of the dataset
STORE/inputs/<sha256>                its bytes
STORE/shards/00012-of-00050.tar      a shard's whole output folder, as its run left it
STORE/shards/00012-of-00050.json     how it ended; written after the tar: this object says that the shard is made
"""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import Problem, RequestError, StorageError, request_error

#: 's3:/bucket/x' too: a `Path` has lost a slash.
URL = re.compile(r"^([a-z][a-z0-9+.-]+):/{1,2}(.+)$")


def as_url(place: Path | str) -> str | None:
    """'s3://bucket/x', also from a `Path` that has lost a slash; None for a path of this machine."""
    found = URL.match(str(place))
    if found is None:
        return None
    # The one protocol whose addresses name no host: its path begins with a slash of its own.
    rest = "/" + found[2].lstrip("/") if found[1] == "file" else found[2]
    return f"{found[1]}://{rest}"


class Store:
    """One prefix in an object store, or one folder."""

    def __init__(self, place: Path | str) -> None:
        """
        Raises:
            RequestError: fsspec does not know the protocol, or its package is not installed.
        """
        import fsspec

        self.url = as_url(place) or Path(place).expanduser().resolve().as_uri()
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise request_error(
                "cluster.store",
                f"the store cannot be used: {error}",
                where=f"--store {place}",
                expected="a folder that all machines see, or an address such as s3://bucket/prefix",
                mend="pip install 'defectforge[cluster]' brings s3; other protocols need fsspec's package for them",
            ) from error
        self.is_local = "file" in _protocols(self._files)

    def path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def read_json(self, name: str) -> Any:
        """None where it is not there."""
        with self._told():
            try:
                return json.loads(self._files.cat_file(self.path(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, data: bytes) -> None:
        """In one step: a reader sees the old bytes or the new ones."""
        with self._told():
            if not self.is_local:
                self._files.pipe_file(self.path(name), data)  # one PUT
                return
            part = Path(self.path(f"{name}.{uuid.uuid4().hex}.part"))
            part.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            part.replace(self.path(name))

    def write_json(self, name: str, content: Any) -> None:
        self.write(name, json.dumps(content, sort_keys=True, indent=1).encode())

    def put(self, local: Path, name: str) -> None:
        """A file of any size, in one step."""
        with self._told():
            if not self.is_local:
                self._files.put_file(str(local), self.path(name))  # a multipart upload appears when it is completed
                return
            part = Path(self.path(f"{name}.{uuid.uuid4().hex}.part"))
            part.parent.mkdir(parents=True, exist_ok=True)
            self._files.put_file(str(local), str(part))
            part.replace(self.path(name))

    def get(self, name: str, local: Path) -> bool:
        """Whole or not at all; False where it is not there."""
        part = local.with_name(f"{local.name}.{uuid.uuid4().hex}.part")
        local.parent.mkdir(parents=True, exist_ok=True)
        with self._told():
            try:
                self._files.get_file(self.path(name), str(part))
                part.replace(local)
            except FileNotFoundError:
                return False
            finally:
                part.unlink(missing_ok=True)
        return True

    def names(self, folder: str) -> set[str]:
        """Of the objects in a folder; one request for every thousand."""
        with self._told():
            self._files.invalidate_cache()
            try:
                return {path.rpartition("/")[2] for path in self._files.ls(self.path(folder), detail=False)}
            except FileNotFoundError:
                return set()

    def listing(self) -> dict[str, str]:
        """Relative name -> what changes when its bytes do, of everything below."""
        with self._told():
            self._files.invalidate_cache()
            found = self._files.find(self._root, detail=True)
        cut = len(self._root.rstrip("/")) + 1
        return {
            path[cut:]: f"{entry['size']} {entry.get('ETag') or entry.get('mtime', '')}"
            for path, entry in found.items()
        }

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What an object store raises, as one message."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (RequestError, StorageError):
            raise
        except Exception as error:  # every protocol has its own
            raise StorageError(
                Problem(
                    "cluster.store",
                    f"the store does not answer as it should: {type(error).__name__}: {error}",
                    where=self.url,
                    expected="an object store (or a folder) that can be read and written",
                    mend="see to the address and the log-in (for s3: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...); the "
                    "same command goes on where it stopped",
                )
            ) from error


def _protocols(files: Any) -> tuple[str, ...]:
    protocol = files.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def name_of(part: int, parts: int) -> str:
    """Of a shard, in the store and in its machine's folder."""
    return f"{part:05d}-of-{parts:05d}"


def made(store: Store) -> dict[str, dict[str, Any]]:
    """Name -> how it ended, of every shard that is made."""
    names = [name[:-5] for name in sorted(store.names("shards")) if name.endswith(".json")]
    with ThreadPoolExecutor(16) as pool:
        return dict(zip(names, pool.map(lambda name: store.read_json(f"shards/{name}.json"), names), strict=True))


def pack(folder: Path, archive: Path) -> None:
    """A shard's output as one object. Uncompressed: PNG packs no further."""
    with tarfile.open(archive, "w") as tar:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.endswith((".part", ".lock")):
                tar.add(path, path.relative_to(folder).as_posix(), recursive=False)


def unpack(archive: Path, folder: Path) -> None:
    """Raises RequestError: it holds what no shard holds."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise request_error(
            "cluster.archive",
            f"a shard's archive cannot be unpacked: {error}",
            where=str(archive),
            expected="a tar file as a shard's run writes it",
            mend="delete that object and its .json in the store, and run the same command again",
        ) from error
