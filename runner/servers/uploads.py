"""Photos travel to the server as content-addressed files: `<input>/defectforge/<hash>/<category>/...`.

In a subfolder, because core nodes list the input folder's root on every request; by hash, because a name that is taken
by other bytes would be renamed by the server. The bytes are the files' own: the nodes there read them with the same
reader (`nodes.datasets`) that checked them here.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

from ..errors import request_error
from ..plans.plan import Input, Job
from .client import Client, Unclear


class Uploads:
    """Remembers what one server has. Forget with `clear()` when the server was away."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._there: set[str] = set()
        self._known: dict[int, Input] = {}
        """Inputs that are there with their masks, by identity: thousands of jobs share one."""

    def clear(self) -> None:
        self._there.clear()
        self._known.clear()

    def ensure(self, job: Job) -> None:
        """Bring every photo and mask of a job to the server.

        Raises:
            RequestError: a photo changed since it was checked.
            Unreachable, Unclear: as the client's calls.
        """
        for item in job.files:
            if id(item) in self._known:
                continue
            photo, checked = item.checked.photo, item.checked
            self._bring(photo.path, item.address, checked.sha256)
            for mask, address, sha256 in zip(photo.masks, item.mask_addresses, checked.mask_sha256s, strict=True):
                self._bring(mask, address, sha256)
            self._known[id(item)] = item

    def _bring(self, path: Path, address: str, sha256: str) -> None:
        if address in self._there:
            return
        target = PurePosixPath(address)
        subfolder, name = str(target.parent), target.name
        if not self._client.has_input(subfolder, name):
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise request_error(
                    "data.changed",
                    "the photo changed while the run was going on",
                    where=str(path),
                    expected=f"sha256 {sha256}",
                    mend="run the same command again",
                )
            kept = self._client.upload(data, subfolder, name)
            if kept != name:
                # Other bytes lie under this hash: a broken earlier upload.
                kept = self._client.upload(data, subfolder, name, overwrite=True)
            if kept != name:
                raise Unclear(f"the server keeps {address} as {kept}")
        self._there.add(address)
