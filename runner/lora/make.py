"""From a request to the finished file."""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints import safetensors_file
from ..checkpoints.lora_files import RECORD, metadata_of, training_record
from ..errors import request_error
from ..version import version
from .adapters import Adapters
from .model import Base, Say, Trainee
from .photos import TrainingPhotos
from .pool import defect_views, good_views
from .samples import Samples
from .settings import Settings
from .state import State
from .training import Contexts, Lesson, train


@dataclass(frozen=True)
class Plan:
    """What is to be trained, and where it goes."""

    photos: TrainingPhotos
    settings: Settings
    base: Base
    out: Path
    device: str
    threads: int

    def record(self) -> dict[str, Any]:
        """The training record, but for the version of the pack."""
        return {
            **self.photos.record(),
            "settings": self.settings.as_dict(),
            "model": self.base.record(),
        }

    @property
    def fingerprint(self) -> str:
        """sha256 of what decides the result: another one is another training."""
        return hashlib.sha256(json.dumps(self.record(), sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """State and samples."""
        return self.out.with_name(self.out.name + ".training")


def is_made(plan: Plan) -> bool:
    """Whether the file is there and is this training's.

    Raises:
        RequestError: another file is there.
    """
    if not plan.out.exists():
        return False
    try:
        found = training_record(metadata_of(plan.out)) or {}
    except (OSError, ValueError):
        found = {}
    if found.get("fingerprint") == plan.fingerprint:
        return True
    raise request_error(
        "lora.out_taken",
        "another file is there: nothing is overwritten",
        where=f"--out {plan.out}",
        expected="a new file, or the one that the same command has made",
        mend="choose another --out, or delete the file",
    )


def make(plan: Plan, say: Say) -> None:
    """Train and write the file; goes on where an earlier call was stopped."""
    state = State(plan.folder, plan.fingerprint)
    torch.set_num_threads(plan.threads)
    began = time.monotonic()
    trainee = Trainee(plan.base, torch.device(plan.device))
    settings = plan.settings
    clip = trainee.checkpoint.clip
    text = clip.encoder if settings.text_encoder and clip is not None else None
    adapters = Adapters(trainee.unet, text, settings.rank, settings.seed)
    count = sum(parameter.numel() for parameter in adapters.parameters())
    say(f"{count / 1e6:.2f} million numbers to learn, rank {settings.rank}, on {plan.device}")
    vae = trainee.checkpoint.vae
    defects = defect_views(plan.photos, settings, vae, trainee.inpaints)
    good = good_views(plan.photos, settings, vae, trainee.inpaints)
    say(f"{len(defects)} views of {len(plan.photos.defects)} defects, {0 if good is None else len(good)} of good parts")
    samples = Samples(trainee, adapters, plan.photos, settings, plan.folder)
    lesson = Lesson(defects, good, _contexts(clip, settings))
    train(trainee, adapters, lesson, settings, state, say, lambda step: samples.write(step, say))
    record = {"version": version(), "fingerprint": plan.fingerprint, **plan.record()}
    write(plan.out, adapters.state(), record)
    state.finish(record)
    say(f"{plan.out}  ({time.monotonic() - began:.0f} s)")


def _contexts(clip: Any, settings: Settings) -> Contexts:
    """Prompts as the network gets them: encoded once, or at each step where the text encoder learns."""
    if settings.text_encoder:
        return Contexts(lambda prompts: torch.cat([clip.tokens_with_gradient(prompt) for prompt in prompts]))
    known = {prompt: clip.encode(prompt)[0][0] for prompt in ("", settings.prompt, settings.good_prompt)}
    return Contexts(lambda prompts: torch.cat([known[prompt] for prompt in prompts]))


def write(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """The adapters and their record as one file, whole or not at all."""
    settings = record["settings"]
    metadata = {
        RECORD: json.dumps(record, sort_keys=True, ensure_ascii=False),
        "format": "pt",
        # What other programs look for.
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": f"{record['category']} {record['type']}",
        "modelspec.trigger_phrase": settings["prompt"],
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(settings["rank"]),
        "ss_network_alpha": str(settings["rank"]),
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": record["model"]["file"],
    }
    part = path.with_name(path.name + ".part")
    # Not safetensors' own writer: it shuffles the metadata, and the same training shall give the same bytes.
    safetensors_file.write(part, {name: tensor.numpy() for name, tensor in tensors.items()}, metadata)
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(part, path)
