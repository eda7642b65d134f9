"""OUT of a run on a cluster: what the shards made, joined as it comes."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path

from ...nodes.datasets.names import safe_name
from ..commands.request import Request
from ..errors import request_error
from ..outputs.files import write_whole
from ..outputs.journal import Journal
from ..outputs.shards.merge import Merged, merge, write_manifest
from .store import Store, unpack


class Home:
    """OUT: shards are merged as they come, so that what is there is a run's output at any time."""

    def __init__(self, out: Path, journal: Journal, store: Store, request: Request) -> None:
        self.out, self._journal, self._store = out, journal, store
        self.folder = out / ".cluster"
        self._merged_path = self.folder / "merged.json"
        self._request, self._types = request.content(), request.types
        self.folder.mkdir(parents=True, exist_ok=True)
        self.found = Merged()
        self.merged: dict[str, str] = {}
        with contextlib.suppress(OSError, ValueError):
            self.merged = json.loads(self._merged_path.read_text())

    def take(self, name: str, made: str) -> None:
        """A shard's output into OUT, once."""
        if self.merged.get(name) == made:
            return
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="shard-") as place:
            archive, folder = Path(place) / "shard.tar", Path(place) / "shard"
            if not self._store.get(f"shards/{name}.tar", archive):
                raise request_error(
                    "cluster.lost_shard",
                    f"shard {name} is said to be made, but is not in the store",
                    where=self._store.url,
                    expected=f"shards/{name}.tar",
                    mend=f"delete shards/{name}.json there and run the same command again: it is made anew",
                )
            unpack(archive, folder)
            archive.unlink()
            self.found = merge(self.out, [folder], self._journal, self._request, manifest=False)
        self.merged[name] = made
        write_whole(self._merged_path, json.dumps(self.merged).encode())

    def finish(self) -> None:
        write_manifest(self.out, self._journal, [safe_name(type_) for type_ in self._types])

    def sweep(self) -> None:
        """What a killed driver was unpacking."""
        for left in self.folder.glob("shard-*"):
            shutil.rmtree(left, ignore_errors=True)
