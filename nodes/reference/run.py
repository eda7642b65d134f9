"""One sampling run with references: roles of rows, features written and read, everything dropped at the end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..algorithms.reference.adain import resize_mask
from ..algorithms.reference.bank import Bank, Same
from ..algorithms.reference.layers import is_active, step_of
from .config import LATENT_CHANNELS, Reference, ReferenceConfig
from .hold import Surroundings
from .patches import Plan, Reader, reading_options
from .rows import Area, Call, Context, Job, edits, equal_runs, shared_context
from .write import Writer

logger = logging.getLogger(__name__)

#: Patches that belong to places in the generated picture (GLIGEN's boxes) and say nothing of the reference.
_POSITIONED = frozenset({"middle_patch"})


@dataclass
class _State:
    """What one thread holds on one device: the banks of the present noise level, and the target masks."""

    banks: dict[Hashable, Bank] = field(default_factory=dict)
    sigma: float | None = None
    targets: dict[Hashable, torch.Tensor] = field(default_factory=dict)


class Run:
    """State of one sampling run; made when it starts, closed when it ends, however it ends."""

    def __init__(
        self, config: ReferenceConfig, guider: Any, sigmas: torch.Tensor, shape: Sequence[int], inpaints: bool = False
    ) -> None:
        """Check the run and prepare it.

        Args:
            config: the references.
            guider: holds the conditionings (`conds`) and the MODEL (`model_patcher`).
            sigmas: the schedule with its final 0.
            shape: shape of the latent batch.
            inpaints: whether a noise mask holds the surroundings already.

        Raises:
            ValueError: latent or target mask do not fit; raised before anything is sampled.
        """
        self.config = config
        self.guider = guider
        self.references = tuple(reference for reference in config.references if not reference.inert)
        self.schedule = [float(value) for value in sigmas.tolist()]
        if len(shape) != 4 or shape[1] != LATENT_CHANNELS:
            raise ValueError(
                f"reference-only samples latents [batch, {LATENT_CHANNELS}, height, width], but this latent is "
                f"{list(shape)}: use an SD 1.x, SD 2.x or SDXL latent"
            )
        self.batch, self.height, self.width = int(shape[0]), int(shape[2]), int(shape[3])
        for reference in self.references:
            if reference.target is not None and reference.target.shape[0] not in (1, self.batch):
                raise ValueError(
                    f"the target mask holds {reference.target.shape[0]} masks, but {self.batch} pictures are sampled: "
                    f"give one mask for all, or {self.batch}"
                )
        targets = [reference.target for reference in self.references if reference.target is not None]
        self.surroundings: Surroundings | None = None
        if config.hold and not inpaints and targets and len(targets) == len(self.references):
            masks = [resize_mask(target, self.height, self.width) for target in targets]
            count = max(mask.shape[0] for mask in masks)
            joined = torch.stack([mask.expand(count, -1, -1) for mask in masks]).amax(dim=0)
            self.surroundings = Surroundings(joined.unsqueeze(1))
        self.sampling = guider.model_patcher.get_model_object("model_sampling")
        self._writer = Writer(config, self.sampling, self.schedule, self.active, self.warn_once)
        self._states: dict[Hashable, _State] = {}
        self._warned: set[str] = set()

    def close(self) -> None:
        """Let go of everything that was held for this run."""
        self._states.clear()

    def _state(self, device: torch.device) -> _State:
        """What the calling thread holds on a device: with several graphics cards, each has a thread that samples."""
        return self._states.setdefault((threading.get_ident(), device), _State())

    def warn_once(self, message: str) -> None:
        """Log a warning the first time in this run."""
        if message not in self._warned:
            self._warned.add(message)
            logger.warning(message)

    # Planning ------------------------------------------------------------------------------------------------------

    def active(self, sigma: float) -> list[Reference]:
        """References that act at a noise level."""
        step, steps = step_of(sigma, self.schedule), len(self.schedule) - 1
        return [reference for reference in self.references if is_active(step, steps, reference.start, reference.end)]

    def evaluate(
        self,
        executor: Any,
        call: Call,
        x: torch.Tensor,
        t: torch.Tensor,
        c_concat: torch.Tensor | None,
        c_crossattn: torch.Tensor | None,
        options: dict[str, Any],
        kwargs: dict[str, Any],
    ) -> dict[str, Any]:
        """Have the features that a model call needs, and return the options with which it reads them."""
        levels = t.tolist()
        sigma = float(levels[0])
        if any(level != sigma for level in levels):
            raise ValueError("reference-only needs one noise level for all rows of a model call, but they differ")
        references = self.active(sigma)
        indices = list(options.get("cond_or_uncond", ()))
        if not references or not indices:
            return options
        if x.shape[0] % len(indices):
            raise ValueError(
                f"a model call with {x.shape[0]} rows for {len(indices)} conditionings cannot be split evenly"
            )
        state = self._state(x.device)
        if sigma != state.sigma:
            state.banks.clear()
            state.sigma = sigma
        patcher = self._patcher(executor)
        per_chunk = x.shape[0] // len(indices)
        uuids = list(options.get("uuids", [None] * len(indices)))
        weights_key = self._weights_key(options, patcher)
        readers: list[tuple[slice, bool, Context, Area]] = []
        for chunk, index in enumerate(indices):
            unconditional = call.unconditional[index] if index < len(call.unconditional) else False
            if unconditional and all(reference.fidelity >= 1.0 for reference in references):
                continue  # the unconditional half reads nothing: no features for it either
            area = call.areas.get((index, uuids[chunk]), (self.height, self.width, 0, 0))
            for rows in equal_runs(chunk * per_chunk, per_chunk, (c_crossattn, kwargs.get("y"))):
                context = self._context(rows.start, index, x.device, c_concat, c_crossattn, kwargs)
                readers.append((rows, unconditional, context, area))
        keys: dict[tuple[int, Hashable], Hashable] = {}
        jobs: dict[Hashable, Job] = {}
        for _, _, context, _ in readers:
            for reference in references:
                key = (weights_key, reference.identity, sigma, context.key, str(x.dtype), str(x.device))
                keys[(id(reference), context.key)] = key
                if key in state.banks or key in jobs:
                    continue
                bank = self.config.cache.get(key)
                if bank is None:
                    jobs[key] = Job(reference, sigma, context, key)
                else:
                    state.banks[key] = bank.to(x.device)
        if jobs:
            # Hooked weights may change from step to step: then later steps are not computed ahead.
            hooked = bool(getattr(patcher, "current_hooks", None))
            state.banks |= self._writer.write(executor, list(jobs.values()), x, c_concat, options, kwargs, hooked)
        plan = Plan(rows=x.shape[0], height=int(x.shape[2]), width=int(x.shape[3]), warn=self.warn_once)
        for rows, unconditional, context, area in readers:
            first = rows.start % per_chunk
            for reference in references:
                bank = state.banks[keys[(id(reference), context.key)]]
                target = self._target(reference, area, first, rows.stop - rows.start, per_chunk, x)
                if target is None or bool((target > 0).any()):
                    plan.readers.append(Reader(rows, unconditional, reference, bank, target))
        return reading_options(options, plan)

    def _context(
        self,
        row: int,
        index: int,
        device: torch.device,
        c_concat: torch.Tensor | None,
        c_crossattn: torch.Tensor | None,
        kwargs: dict[str, Any],
    ) -> Context:
        concat = None if c_concat is None else c_concat[row : row + 1]
        if self.config.contexts == "shared":
            return shared_context(self.guider.conds, device, concat, index)
        vector = kwargs.get("y")
        return Context(
            index,
            None if c_crossattn is None else c_crossattn[row : row + 1],
            None if vector is None else vector[row : row + 1],
            edits(concat),
        )

    def _patcher(self, executor: Any) -> Any:
        """The MODEL whose network is called: with several graphics cards, each has a clone with hooks of its own."""
        own = getattr(getattr(executor, "class_obj", None), "current_patcher", None)
        return self.guider.model_patcher if own is None else own

    def _weights_key(self, options: dict[str, Any], patcher: Any) -> Hashable:
        """All that decides what the network computes: weights, LoRA hooks at their strengths, foreign patches."""
        hooks = getattr(getattr(patcher, "current_hooks", None), "hooks", ())
        patches = options.get("patches", {})
        replaced = options.get("patches_replace", {})
        return (
            str(patcher.patches_uuid),
            Same(self.sampling),
            tuple((Same(hook.hook_ref), float(hook.strength)) for hook in hooks),
            tuple(
                (name, Same(patch)) for name in sorted(patches) if name not in _POSITIONED for patch in patches[name]
            ),
            tuple((name, key, Same(patch)) for name in sorted(replaced) for key, patch in replaced[name].items()),
            Same(options.get("optimized_attention_override")),
        )

    def _target(
        self, reference: Reference, area: Area, first: int, rows: int, images: int, x: torch.Tensor
    ) -> torch.Tensor | None:
        """The target mask of a group of rows ``[1 or rows, h, w]`` at the resolution of the (cropped) latent."""
        if reference.target is None:
            return None
        tall, wide, top, left = area
        if (tall, wide) != tuple(x.shape[2:]):
            raise ValueError(
                f"a target mask needs to know where a part of {x.shape[3]} x {x.shape[2]} latent cells lies in the "
                "picture, but another extension samples in tiles: remove the target mask or the tiling"
            )
        key = (id(reference), area, first, rows)
        targets = self._state(x.device).targets
        if key not in targets:
            mask = resize_mask(reference.target, self.height, self.width)[:, top : top + tall, left : left + wide]
            if mask.shape[0] > 1 and images == mask.shape[0]:
                mask = mask[first : first + rows]
            targets[key] = mask.to(x.device)
        return targets[key]
