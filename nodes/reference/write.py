"""Reference passes: the network runs on noised references, and the features are taken on the way."""

from __future__ import annotations

import bisect
import contextlib
import math
import threading
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import host
from ..algorithms.reference.bank import Bank
from ..algorithms.reference.noise import NOISE_MODES, reference_noise
from .config import Reference, ReferenceConfig
from .patches import Written, writing_options
from .rows import Job, concat_row, first_rows

_SKIPPED = (
    "reference-only: another extension skips layers or whole model calls, also in the reference pass; the reference is "
    "not read in the layers that did not run"
)


@dataclass
class Writer:
    """Computes features and puts them into the cache.

    Attributes:
        config: holds the cache and how many rows a pass may compute.
        sampling: the model's noise levels.
        schedule: noise levels of the run with the final 0.
        active: the references that act at a noise level.
        warn: logs a warning once.
    """

    config: ReferenceConfig
    sampling: Any
    schedule: Sequence[float]
    active: Callable[[float], list[Reference]]
    warn: Callable[[str], None]
    _log_sigmas: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self._log_sigmas = [math.log(max(float(value), 1e-20)) for value in self.sampling.sigmas.tolist()]

    def _level(self, sigma: float) -> int:
        """Index of a noise level in the model's table."""
        value = math.log(max(sigma, 1e-20))
        place = bisect.bisect_left(self._log_sigmas, value)
        around = [i for i in (place - 1, place) if 0 <= i < len(self._log_sigmas)]
        return min(around, key=lambda i: abs(self._log_sigmas[i] - value))

    def _with_later_steps(self, jobs: list[Job], hooked: bool) -> list[Job]:
        """Add the same references and contexts at the next steps, as far as one pass and the cache have room."""
        limit = max(self.config.ahead, len(jobs))
        sigma = jobs[0].sigma
        # Hooked weights may change from step to step; between two steps of the schedule nothing is known of the next.
        if hooked or sigma not in self.schedule or self.config.cache.limit <= 0:
            return jobs
        more = list(jobs)
        for later in self.schedule[self.schedule.index(sigma) + 1 : -1]:
            acting = {id(reference) for reference in self.active(later)}
            step = [Job(j.reference, later, j.context, _at(j.key, later)) for j in jobs if id(j.reference) in acting]
            step = [job for job in step if job.key not in self.config.cache]
            if len(more) + len(step) > limit:
                break
            more += step
        return more

    def write(
        self,
        executor: Any,
        jobs: list[Job],
        x: torch.Tensor,
        c_concat: torch.Tensor | None,
        options: dict[str, Any],
        kwargs: dict[str, Any],
        hooked: bool = False,
    ) -> dict[Hashable, Bank]:
        """Compute the features of `jobs`, and of later steps where there is room; returns those of `jobs` by key.

        `hooked`: the weights may change from step to step.
        """
        host.current().check_interrupt()
        groups: dict[Hashable, list[Job]] = {}
        for job in self._with_later_steps(jobs, hooked):
            shape = None if job.context.context is None else tuple(job.context.context.shape)
            groups.setdefault((tuple(job.reference.latent.shape), shape), []).append(job)
        wanted = {job.key for job in jobs}
        written: dict[Hashable, Bank] = {}
        for group in groups.values():
            banks, complete = self._write_rows(executor, group, x, c_concat, options, kwargs)
            for job, bank in zip(group, banks, strict=True):
                if complete:
                    self.config.cache.put(job.key, bank)
                if job.key in wanted:
                    written[job.key] = bank
        return written

    def _write_rows(
        self,
        executor: Any,
        jobs: list[Job],
        x: torch.Tensor,
        c_concat: torch.Tensor | None,
        options: dict[str, Any],
        kwargs: dict[str, Any],
    ) -> tuple[list[Bank], bool]:
        """Run the network once on the noised references, one row a job, and take the features on the way.

        Returns the bank of each row, and whether all wanted features are there.
        """
        sigmas = torch.tensor([job.sigma for job in jobs], device=x.device, dtype=x.dtype)
        rows = []
        for job in jobs:
            reference = job.reference
            level = self._level(job.sigma) if reference.noise_mode == NOISE_MODES[0] else -1
            noise = reference_noise(reference.latent.shape, reference.seed, level, reference.ordinal)
            at = torch.tensor([job.sigma], dtype=torch.float32)
            rows.append(self.sampling.noise_scaling(at, noise, reference.latent))
        noised = torch.cat(rows).to(x)
        concat = None
        if c_concat is not None:
            concat = torch.cat([concat_row(job, c_concat) for job in jobs]).to(c_concat)
        contexts = [job.context.context for job in jobs]
        context = None if contexts[0] is None else torch.cat([part for part in contexts if part is not None])
        extra = {name: first_rows(value, x.shape[0], len(jobs)) for name, value in kwargs.items()}
        vectors = [job.context.vector for job in jobs if job.context.vector is not None]
        if vectors:
            extra["y"] = torch.cat(vectors)
        written = Written(jobs=[job.reference for job in jobs], height=noised.shape[2], width=noised.shape[3])
        written.warn = self.warn
        own = writing_options(options, written, [job.context.index for job in jobs], sigmas)
        try:
            # Patches that draw at random (token merging) must leave the picture's own draws as they are.
            with own_randomness(x.device), host.current().unrecorded():
                executor(noised, sigmas, concat, context, None, own, **extra)
        except Written.Complete as stop:
            # The features are all there: the rest of the network need not run.
            if stop.written is not written:
                raise
        if not written.complete:
            self.warn(_SKIPPED)
        return written.banks(), written.complete


class _Randomness:
    """The CPU's random state, which all threads share: as it was when the last of several overlapping passes ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._state: torch.Tensor | None = None

    def enter(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._state = torch.get_rng_state()
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._state is not None:
                torch.set_rng_state(self._state)
                self._state = None


_RANDOMNESS = _Randomness()


@contextlib.contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the random state of the CPU and of a device as they are, also where threads do so at the same time.

    ``torch.random.fork_rng`` alone is no help there: of two passes that overlap, the one that began later would put
    back a state that the other had changed.
    """
    on_card = device.type == "cuda"
    before = torch.cuda.get_rng_state(device) if on_card else None
    _RANDOMNESS.enter()
    try:
        yield
    finally:
        _RANDOMNESS.leave()
        if before is not None:
            torch.cuda.set_rng_state(before, device)


def _at(key: Hashable, sigma: float) -> Hashable:
    """A bank's key at another noise level."""
    assert isinstance(key, tuple)
    return (*key[:2], sigma, *key[3:])
