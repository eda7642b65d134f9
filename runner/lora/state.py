"""What a training remembers on disk: enough to go on at the step it reached, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from ..errors import request_error
from .adapters import Adapters

FILE = "state.pt"


class State:
    """The folder ``OUT.training`` beside the file that is made.

    Raises:
        RequestError: the folder holds another training, or a state that cannot be read.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint
        self._file = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        self._kept = self._read()

    @property
    def step(self) -> int:
        """The step that was reached."""
        return 0 if self._kept is None else int(self._kept["step"])

    def _read(self) -> dict[str, Any] | None:
        if not self._file.is_file():
            return None
        try:
            kept: dict[str, Any] = torch.load(self._file, map_location="cpu", weights_only=True)
            found = kept["fingerprint"]
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            raise request_error(
                "lora.state_broken",
                f"the state of the training cannot be read: {type(error).__name__}",
                where=str(self._file),
                expected="a state that this command has written",
                mend=f"delete {self.folder} to begin anew",
            ) from error
        if found != self.fingerprint:
            raise request_error(
                "lora.other_training",
                "another training has begun there: its photos, settings or model are not those of this command",
                where=str(self.folder),
                expected="the command that began it, to go on",
                mend=f"use another --out, or delete {self.folder}",
            )
        return kept

    def restore(self, adapters: Adapters, optimizer: torch.optim.Optimizer) -> int:
        """Put the kept values in; gives the step to go on with."""
        if self._kept is None:
            return 0
        with torch.no_grad():
            for parameter, value in zip(adapters.parameters(), self._kept["parameters"], strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(self._kept["optimizer"])
        return self.step

    def keep(self, step: int, adapters: Adapters, optimizer: torch.optim.Optimizer) -> None:
        """Write what is needed to go on after `step`."""
        state = {
            "fingerprint": self.fingerprint,
            "step": step,
            "parameters": [parameter.detach().cpu() for parameter in adapters.parameters()],
            "optimizer": optimizer.state_dict(),
        }
        part = self._file.with_suffix(".part")
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self._file)

    def finish(self, record: dict[str, Any]) -> None:
        """The state is not needed any more; samples and a readable record stay."""
        (self.folder / "training.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        for file in (self._file, self._file.with_suffix(".part")):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
