"""Hold what lies outside the target masks exactly as it is without references.

Limiting who reads is not enough: convolutions, normalisation and attention carry a change on, and at the next step the
network answers to a picture that has changed inside. So the run is sampled once without references, and its results are
what the run with references keeps outside the masks, call by call: there both follow the same path.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

logger = logging.getLogger(__name__)

#: One latent for each conditioning that was evaluated, None where a sampler skipped one.
Results = list[Any]


class _Tape:
    """What the calls of a run gave, to be met again in the same order."""

    def __init__(self) -> None:
        self._calls: list[tuple[torch.Tensor, Any]] = []
        self._next = 0

    def record(self, timestep: torch.Tensor, given: Any) -> None:
        self._calls.append((timestep.clone(), given))

    def meet(self, timestep: torch.Tensor) -> Any | None:
        """What the call at this place gave; None from the first call on that is at another noise level."""
        if 0 <= self._next < len(self._calls) and torch.equal(self._calls[self._next][0], timestep):
            self._next += 1
            return self._calls[self._next - 1][1]
        self._next = -1
        return None


class Surroundings:
    """The results of a run without references, and the mask of where they are not kept.

    Args:
        mask: ``[1 or batch, 1, h, w]`` in 0..1: 1 where references act, 0 where the plain result is kept.
    """

    def __init__(self, mask: torch.Tensor) -> None:
        self.mask = mask
        self.recording = True
        self._evaluated = _Tape()
        self._guided = _Tape()
        self._warned = False

    def record(self, timestep: torch.Tensor, results: Results) -> None:
        """Keep what one evaluation without references gave."""
        self._evaluated.record(timestep, list(results))

    def replay(self) -> None:
        """From now on the run with references is sampled."""
        self.recording = False

    def keep(self, timestep: torch.Tensor, read: Results, evaluate: Callable[[], Results]) -> Results:
        """The results `read` inside the mask, those without references outside.

        Args:
            timestep: noise level of this evaluation; it must be the recorded run's at the same place.
            evaluate: evaluates the same conditionings without references, at the picture as it is now.
        """
        plain = self._evaluated.meet(timestep)
        if plain is None or len(plain) != len(read):
            # A sampler that chooses its steps by the picture takes other ones from here on.
            if not self._warned:
                logger.warning(
                    "reference-only: this sampler chooses its own steps, so the surroundings of the target mask are "
                    "held nearly, not exactly; use a sampler with fixed steps, or an inpainting noise mask"
                )
            self._warned = True
            plain = evaluate()
        return [
            result if without is None else torch.lerp(without, result, self.mask.to(result))
            for result, without in zip(read, plain, strict=True)
        ]

    def guide(self, timestep: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
        """The guided result outside the mask as it was without references; in that run itself, keep it.

        Guidance may mix places (rescaled guidance divides by the deviation of the whole picture), so equal
        conditionings outside do not suffice.
        """
        if self.recording:
            self._guided.record(timestep, denoised.clone())
            return denoised
        plain = self._guided.meet(timestep)
        return denoised if plain is None else torch.where(self.mask.to(denoised) > 0, denoised, plain)


def rewind(guider: Any) -> None:
    """Put scheduled LoRA hooks back to the start of their schedule, for a second run over the same noise levels.

    ComfyUI's hook keyframes only move on, and weights that are patched for a keyframe stay until another one comes.
    """
    groups = [entry["hooks"] for entries in guider.conds.values() for entry in entries if entry.get("hooks")]
    for group in groups:
        group.reset()
    if groups:
        guider.model_patcher.clean_hooks()


def doubled(callback: Callable[..., Any] | None, steps: int, second: bool) -> Callable[..., Any] | None:
    """A sampler's progress callback for one of two runs of `steps` steps that the window shows as one."""
    if callback is None:
        return None

    def report(step: int, denoised: Any, x: Any, total: int) -> Any:
        return callback(step + (steps if second else 0), denoised, x, 2 * steps)

    return report
