"""The model that adapters are trained for: found, checked, loaded, and asked for its noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoints.fetch import check_hash, fetch
from ..checkpoints.models import Model, by_file, find, local_path, models_directory, table
from ..embedded.engine.loading.checkpoint import load_checkpoint
from ..embedded.engine.model.model_sampling import ModelSampling
from ..embedded.engine.state_dicts import UnsupportedModelError
from ..errors import request_error
from ..outputs.hashes import remembered_sha256

Say = Callable[[str], None]
KINDS = ("sd15", "sd15-inpaint")
DEFAULT_SIZE = 512


@dataclass(frozen=True)
class Base:
    """A checkpoint file."""

    path: Path
    sha256: str
    native_size: int

    def record(self) -> dict[str, Any]:
        return {"file": self.path.name, "sha256": self.sha256}


def find_base(name: str, models: Path | None, say: Say) -> Base:
    """The checkpoint that `--model` names: one of the table, or a file.

    Raises:
        RequestError: there is no such model or file, or it is of a kind that cannot be trained here.
    """
    path = Path(name).expanduser()
    if path.suffix or path.exists():
        if not path.is_file():
            raise request_error(
                "lora.no_model",
                f"there is no model file '{name}'",
                where=f"--model {name}",
                expected="a checkpoint file, or a name that `defectforge models` lists",
                mend="check the path",
            )
        known = by_file(path.name)
        return Base(path, remembered_sha256(path), known.native_size if known else DEFAULT_SIZE)
    model = find(name)
    if model.kind not in KINDS:
        raise request_error(
            "lora.wrong_kind",
            f"--model {name} is of kind {model.kind}: adapters are trained for Stable Diffusion 1.5 only",
            where=f"--model {name}",
            expected=f"a model of kind {' or '.join(KINDS)}: {', '.join(m.name for m in table() if m.kind in KINDS)}",
            mend="choose one of them; for SDXL and FLUX use their own trainers",
        )
    file = _file_of(model, models, say)
    return Base(file, remembered_sha256(file), model.native_size)


def _file_of(model: Model, models: Path | None, say: Say) -> Path:
    path = local_path(model.folder, model.file, models)
    if path is None and model.is_generated:
        directory = models_directory(models)
        say(f"writing {model.file} ({model.note}) to {directory / model.folder}")
        path = fetch(model, directory)
    if path is None:
        raise request_error(
            "lora.no_model",
            f"the file of model '{model.name}' is not here",
            where=str(models_directory(models) / model.folder / model.file),
            expected=f"{model.file}, {model.bytes or '?'} bytes",
            mend=model.how_to_get() + "; or --model miniature to try it out",
        )
    check_hash(model, path)
    return path


def device_for(given: str | None) -> str:
    """What `--device` names, or the best there is.

    Raises:
        RequestError: PyTorch cannot use it.
    """
    if given is None:
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=given)
    except (RuntimeError, AssertionError) as error:
        raise request_error(
            "lora.device",
            f"--device {given} cannot be used: {str(error).splitlines()[0]}",
            where=f"--device {given}",
            expected="cpu, or a GPU that this PyTorch knows, such as cuda",
            mend="leave --device away",
        ) from error
    return given


class Trainee:
    """A loaded model whose network learns.

    Attributes:
        checkpoint: with model, CLIP and VAE as the embedded server uses them.
        inpaints: whether the network also sees a mask and the masked picture (9 input channels).
    """

    def __init__(self, base: Base, device: torch.device) -> None:
        try:
            self.checkpoint = load_checkpoint(base.path, device)
        except UnsupportedModelError as error:
            raise request_error(
                "lora.wrong_model",
                str(error),
                where=str(base.path),
                expected="a Stable Diffusion 1.5 checkpoint: text to image, or inpainting (9 channels)",
                mend="choose another --model",
            ) from error
        self.device = device
        network = self.checkpoint.model.model
        layout = network.layout
        lacks = [
            n for n, part in (("text encoder", self.checkpoint.clip), ("VAE", self.checkpoint.vae)) if part is None
        ]
        other = layout.in_channels not in (4, 9) or layout.adm_channels is not None or layout.linear_projection
        if other or lacks:
            raise request_error(
                "lora.wrong_model",
                f"adapters cannot be trained for {base.path.name}: "
                + (
                    f"it lacks its {' and its '.join(lacks)}"
                    if lacks
                    else "it is no Stable Diffusion 1.5 of 4 or 9 channels"
                ),
                where=str(base.path),
                expected="a whole Stable Diffusion 1.5 checkpoint: text to image, or inpainting",
                mend="choose another --model",
            )
        self.inpaints = layout.in_channels == 9
        self.network = network.diffusion_model
        self.sampling: ModelSampling = network.model_sampling

    @property
    def unet(self) -> Any:
        """diffusers' U-Net, where adapters go."""
        return self.network.unet

    def noised(self, latents: Tensor, times: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(what the network gets, what it should answer, its weight by noise level).

        The weights are min-SNR's (Hang et al. 2023) with gamma 5.
        """
        sigma = self.sampling.sigmas[times].view(-1, 1, 1, 1)
        noisy = (latents + sigma * noise) / (sigma**2 + 1) ** 0.5
        snr = sigma**-2
        if self.sampling.prediction == "eps":
            return noisy, noise, snr.clamp(max=5.0) / snr
        velocity = (noise - sigma * latents) / (sigma**2 + 1) ** 0.5
        return noisy, velocity, snr.clamp(max=5.0) / (snr + 1)

    def answer(self, noisy: Tensor, beside: Tensor | None, times: Tensor, context: Tensor) -> Tensor:
        """The network's answer, float32 on the CPU's or the GPU's side where it computes."""
        given = noisy if beside is None else torch.cat([noisy, beside], 1)
        moved = given.to(self.device), times.float().to(self.device), context.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            result: Tensor = self.network(moved[0], moved[1], context=moved[2])
        return result.float()
