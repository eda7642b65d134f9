"""The training itself: steps that can be stopped at any of them and go on as if nothing had been."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..amounts import duration
from ..errors import request_error
from .adapters import Adapters, peak
from .model import Trainee
from .pool import Views
from .settings import Settings
from .state import State

WARM_UP, LOWEST = 20, 0.1
#: How often the prompt is left out, for guidance (Ho & Salimans 2022).
UNNAMED = 0.1
#: How often an inpainting model sees noise under the mask, as the workflows' "latent noise" gives it; else mid grey.
NOISE_UNDER = 0.6
KEEP_EVERY = 20
SAY_SECONDS = 5.0


@dataclass(frozen=True)
class Contexts:
    """Gives text tokens ``[rows, 77, width]`` for prompts; trained text encoders are asked anew at each step."""

    of: Callable[[list[str]], Tensor]


@dataclass(frozen=True)
class Lesson:
    """What is learnt from."""

    defects: Views
    good: Views | None
    contexts: Contexts


def learning_rate(settings: Settings, step: int) -> float:
    """Warm-up, then a cosine down to `LOWEST` of the rate."""
    warm_up = min(WARM_UP, max(1, settings.steps // 10))
    falling = LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.learning_rate * min(1.0, (step + 1) / warm_up) * falling


def train(
    trainee: Trainee,
    adapters: Adapters,
    lesson: Lesson,
    settings: Settings,
    state: State,
    say: Callable[[str], None],
    look: Callable[[int], None],
) -> None:
    """Go on from `state` to the last step.

    Each step's draws hang on the seed and the step alone, so that a training that was killed and goes on gives what an
    undisturbed one would have given. `look` is called at the step numbers where samples are due.

    Raises:
        RequestError: the loss is no number any more.
    """
    parameters = adapters.parameters()
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=1e-4, betas=(0.9, 0.99))
    step = state.restore(adapters, optimizer)
    if step:
        say(f"going on at step {step} of {settings.steps}")
    look_every = max(1, math.ceil(settings.steps / 4))
    if step == 0:
        look(0)
    started, said, first = time.monotonic(), time.monotonic(), step
    recent: list[tuple[float, float]] = []
    try:
        while step < settings.steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, step)
            loss, parts = _loss(trainee, lesson, settings, step)
            if not math.isfinite(float(loss.detach())):
                raise _ran_away(settings, step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step += 1
            recent = [*recent[-49:], parts]
            last = step == settings.steps
            if step % KEEP_EVERY == 0 or last:
                state.keep(step, adapters, optimizer)
            if last or time.monotonic() - said >= SAY_SECONDS:
                each = (time.monotonic() - started) / (step - first)
                say(_progress(step, settings.steps, recent, each))
                said = time.monotonic()
            if step % look_every == 0 or last:
                look(step)
    except KeyboardInterrupt:
        state.keep(step, adapters, optimizer)
        raise
    if not math.isfinite(peak(adapters.state())):
        raise _ran_away(settings, step)


def _progress(step: int, steps: int, recent: list[tuple[float, float]], each: float) -> str:
    defect, good = (float(np.mean(values)) for values in zip(*recent, strict=True))
    losses = f"loss on the defect {defect:.4f}, on good parts {good:.4f}"
    return f"step {step}/{steps}  {losses}  {each:.2f} s a step, {duration(each * (steps - step))} left"


def _loss(trainee: Trainee, lesson: Lesson, settings: Settings, step: int) -> tuple[Tensor, tuple[float, float]]:
    """The weighted loss of one step, and its two parts for people."""
    rng = np.random.default_rng([settings.seed, 3, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    rows = rng.integers(len(lesson.defects), size=settings.batch)
    prompts = [settings.prompt] * settings.batch
    count = settings.batch
    chosen = [_picked(lesson.defects, rows, trainee.inpaints, rng, generator)]
    areas = [lesson.defects.areas[rows]]
    if lesson.good is not None:
        good_rows = rng.integers(len(lesson.good), size=max(1, settings.batch // 3))
        chosen.append(_picked(lesson.good, good_rows, trainee.inpaints, rng, generator))
        prompts += [settings.good_prompt] * len(good_rows)
        count += len(good_rows)
    prompts = ["" if rng.random() < UNNAMED else prompt for prompt in prompts]
    latents = torch.cat([latent for latent, _ in chosen])
    beside = torch.cat([extra for _, extra in chosen if extra is not None]) if trainee.inpaints else None
    # Stratified: each step sees all levels of noise.
    times = ((rng.permutation(count) + rng.random(count)) / count * 1000).astype(np.int64).clip(0, 999)
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = torch.from_numpy(times)
    noisy, target, by_noise = trainee.noised(latents, timesteps, noise)
    guess = trainee.answer(noisy, beside, timesteps, lesson.contexts.of(prompts))
    error = (guess - target.to(guess.device)) ** 2 * by_noise.to(guess.device)
    on_defect = _weighted(error[: settings.batch], areas[0].to(guess.device), settings.around)
    on_good = error[settings.batch :].mean() if lesson.good is not None else error.new_zeros(())
    return on_defect + settings.prior * on_good, (float(on_defect.detach()), float(on_good.detach()))


def _weighted(error: Tensor, areas: Tensor, around: float) -> Tensor:
    """Mean over the defect, whatever its size, plus `around` times the mean over the rest."""
    inside, outside = areas.expand_as(error), (1.0 - areas).expand_as(error)
    within = (error * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3)).clamp(min=1e-6)
    without = (error * outside).sum((1, 2, 3)) / outside.sum((1, 2, 3)).clamp(min=1e-6)
    return (within + around * without).mean()


def _picked(
    views: Views, rows: np.ndarray, inpaints: bool, rng: np.random.Generator, generator: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Latents of some views, and what an inpainting model sees beside them: ``[rows, 1 + 4, h, w]``."""
    latents = views.latents[rows]
    if not inpaints:
        return latents, None
    assert views.greyed is not None
    masks, under = views.masks[rows], views.greyed[rows].clone()
    for row in range(len(rows)):
        if rng.random() < NOISE_UNDER:
            noise = torch.randn(under[row].shape, generator=generator)
            under[row] = latents[row] * (1 - masks[row]) + noise * masks[row]
    return latents, torch.cat([masks, under], 1)


def _ran_away(settings: Settings, step: int) -> Exception:
    return request_error(
        "lora.ran_away",
        f"the training ran away: the loss is no number any more at step {step}",
        where=f"--learning-rate {settings.learning_rate:g}",
        expected="a loss that stays small",
        mend="use a smaller --learning-rate, and another --out",
    )
