"""`defectforge lora`: adapters from a few real defects, as a file for ComfyUI's LoRA loaders."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...checkpoints.models import models_directory
from ...errors import OK, request_error
from ...extras import require
from ...outputs.output import lies_in
from ...reporter import Reporter

if TYPE_CHECKING:
    from ...lora.make import Plan

NEEDED = ("torch", "diffusers", "transformers", "peft")


@dataclass(frozen=True)
class LoraRequest:
    """What the user asks for; None where the default is meant."""

    data: Path
    category: str | None
    type: str
    layout: str | None
    photos: str | None
    model: str
    models: Path | None
    out: Path
    rank: int | None
    text_encoder: bool
    steps: int | None
    batch: int | None
    learning_rate: float | None
    prior: float | None
    around: float | None
    turns: bool
    size: int | None
    seed: int | None
    prompt: str | None
    device: str | None
    threads: int | None


def lora(request: LoraRequest, reporter: Reporter) -> int:
    """Train, or go on training, and write the file.

    Raises:
        RequestError: something is missing or wrong; the text says what.
    """
    require("lora", NEEDED, "lora.not_installed", "the training")
    _check_out(request)
    # Before torch is imported: threads that spin while they wait for each other take a busy machine's time for nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # The room that needs the extra: not before it is known to be there.
    from ...lora.make import Plan, is_made, make
    from ...lora.model import device_for, find_base
    from ...lora.photos import choose
    from ...lora.settings import defaults, with_options

    say = reporter.line
    photos = choose(
        request.data,
        request.category,
        request.type,
        say,
        layout=request.layout,
        only=request.photos,
        with_good=request.prior != 0,
    )
    base = find_base(request.model, request.models, say)
    settings = with_options(
        defaults(request.size or base.native_size, photos.category, photos.type),
        rank=request.rank,
        text_encoder=request.text_encoder or None,
        steps=request.steps,
        batch=request.batch,
        learning_rate=request.learning_rate,
        prior=request.prior,
        around=request.around,
        turns=None if request.turns else False,
        seed=request.seed,
        prompt=request.prompt,
    )
    plan = Plan(photos, settings, base, request.out, device_for(request.device), request.threads or _cores())
    how = _how_to_use(plan, request.model)
    if is_made(plan):
        reporter.line(f"{plan.out} is there already, from the same photos, settings and model")
        reporter.line(how)
        return OK
    named = ", ".join(checked.photo.relative for checked in photos.defects)
    reporter.line(f"learning '{settings.prompt}' from {len(photos.defects)} photos: {named}")
    reporter.line("these photos, and the good ones beside them, must not test a detector: the file records them")
    make(plan, say)
    reporter.line(how)
    return OK


def _how_to_use(plan: Plan, model: str) -> str:
    photos, prompt = plan.photos, plan.settings.prompt
    file = plan.base.path.name
    named = f"--set 'Checkpoint.ckpt_name={file}'" if Path(model).name == file else f"--model {model}"
    return (
        f"use it: defectforge run lora_inpaint --lora {plan.out} {named} --data ROOT --category {photos.category} "
        f"--type {photos.type} --set 'Prompt.text={prompt}' --out OUT; in ComfyUI put the file into models/loras"
    )


def _check_out(request: LoraRequest) -> None:
    out = request.out
    if out.suffix != ".safetensors" or out.is_dir():
        raise request_error(
            "lora.out",
            f"--out {out} is no name of a LoRA file",
            where=f"--out {out}",
            expected="a file that ends in .safetensors, such as "
            + str(models_directory(request.models) / "loras" / f"{request.type}.safetensors"),
            mend="choose another --out",
        )
    if lies_in(out, request.data):
        raise request_error(
            "lora.out_in_data",
            f"--out {out} lies in the dataset",
            where=f"--data {request.data}",
            expected="a place outside: nothing is ever written into a dataset",
            mend="choose another --out",
        )
    out.parent.mkdir(parents=True, exist_ok=True)


def _cores() -> int:
    return max(1, int(os.environ.get("OMP_NUM_THREADS", "0") or 0) or os.cpu_count() or 1)
