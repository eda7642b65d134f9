"""OUT of a run on a cluster: what the shards made, joined as it comes."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...nodes.datasets.names import safe_name
from ..errors import request_error
from ..outputs.files import write_whole
from ..outputs.journal import DONE, FAILED, Journal
from ..outputs.shards.merge import Merged, merge, write_manifest
from .store import Store, made, name_of, unpack


class Home:
    """OUT: shards are merged as they come, so that what is there is a run's output at any time."""

    def __init__(self, out: Path, journal: Journal, store: Store, asked: dict[str, Any]) -> None:
        """
        Args:
            asked: what the whole run was asked for, as the journal keeps it.
        """
        self.out, self._journal, self._store = out, journal, store
        self.folder = out / ".cluster"
        self._merged_path = self.folder / "merged.json"
        self._asked = asked
        self.folder.mkdir(parents=True, exist_ok=True)
        self.found = Merged()
        self.merged: dict[str, dict[str, Any]] = {}
        """Name -> how the shard had ended that was merged."""
        with contextlib.suppress(OSError, ValueError):
            self.merged = json.loads(self._merged_path.read_text())

    def take(self, name: str, summary: dict[str, Any]) -> None:
        """A shard's output into OUT, once; again only where jobs had failed in it and it was made anew."""
        before = self.merged.get(name)
        # A station that was believed lost may finish after all: the shard is whole, whoever made it.
        if before is not None and (not before["failed"] or before["made"] == summary["made"]):
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
            self.found = merge(self.out, [folder], self._journal, self._asked, manifest=False)
        self.merged[name] = {"made": summary["made"], "failed": summary["failed"]}
        write_whole(self._merged_path, json.dumps(self.merged).encode())

    def finish(self, parts: int) -> Merged:
        """The manifest, and what is there of a plan with so many parts."""
        write_manifest(self.out, self._journal, [safe_name(str(type_)) for type_ in self._asked.get("types", ())])
        absent = [f"{n}/{parts}" for n in range(1, parts + 1) if name_of(n, parts) not in self.merged]
        states = self._journal.number_of_states()
        return replace(
            self.found,
            jobs=sum(states.values()),
            done=states.get(DONE, 0),
            failed=states.get(FAILED, 0),
            pairs=self._journal.number_of_pairs(),
            missing={},
            absent=absent,
        )

    def sweep(self) -> None:
        """What a killed driver was unpacking."""
        for left in self.folder.glob("shard-*"):
            shutil.rmtree(left, ignore_errors=True)


def merge_store(out: Path, journal: Journal, store: Store) -> Merged:
    """Everything that a cluster has left in its store.

    Raises:
        RequestError: there is nothing, or it does not fit together.
        StorageError.
    """
    known = store.read_json("plan.json")
    if not isinstance(known, dict):
        raise request_error(
            "merge.no_run", "the store holds no run", store.url, "an address that was a --store", "check the address"
        )
    home = Home(out, journal, store, known["request"])
    home.sweep()
    for name, summary in sorted(made(store).items()):
        home.take(name, summary)
    found = home.finish(int(known["parts"]))
    if found.complete:
        shutil.rmtree(home.folder, ignore_errors=True)
    return found
