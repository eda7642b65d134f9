"""Core nodes that sample, and what they are assembled from: samplers, sigmas, noise, guiders."""

from __future__ import annotations

from typing import Any

import torch

from ..engine.model.model import EmbeddedModel
from ..engine.sampling.differential import differential_mask
from ..engine.sampling.guiders import BasicGuider, CFGGuider, DualCFGGuider, Sampler
from ..engine.sampling.samplers import SAMPLERS
from ..engine.sampling.sampling import ComfyNoise, EmptyNoise, Latent, ksampler, sample_with
from ..engine.sampling.schedules import SCHEDULES, partial_schedule
from ..execution.registry import core_node

SAMPLER_NAMES, SCHEDULER_NAMES = list(SAMPLERS), list(SCHEDULES)
SEED = {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF, "control_after_generate": True}
STEPS = {"default": 20, "min": 1, "max": 10000}
CFG = {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
DENOISE = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
CUSTOM = "comfy_extras.nodes_custom_sampler"
LATENTS = [("LATENT", "output"), ("LATENT", "denoised_output")]
Conditioning = list[list[Any]]


@core_node(
    "KSampler",
    category="model/sampling",
    inputs={
        "required": {
            "model": ("MODEL",),
            "seed": ("INT", SEED),
            "steps": ("INT", STEPS),
            "cfg": ("FLOAT", CFG),
            "sampler_name": (SAMPLER_NAMES,),
            "scheduler": (SCHEDULER_NAMES,),
            "positive": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "latent_image": ("LATENT",),
            "denoise": ("FLOAT", DENOISE),
        }
    },
    outputs=[("LATENT", "LATENT")],
)
def k_sampler(
    model: EmbeddedModel,
    seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    denoise: float = 1.0,
) -> tuple[Latent]:
    """Denoises a latent."""
    settings = (seed, steps, cfg, sampler_name, scheduler)
    return (ksampler(model, *settings, positive, negative, latent_image, denoise=denoise),)


@core_node(
    "KSamplerAdvanced",
    display_name="KSampler (Advanced)",
    category="model/sampling",
    inputs={
        "required": {
            "model": ("MODEL",),
            "add_noise": (["enable", "disable"], {"advanced": True}),
            "noise_seed": ("INT", SEED),
            "steps": ("INT", STEPS),
            "cfg": ("FLOAT", CFG),
            "sampler_name": (SAMPLER_NAMES,),
            "scheduler": (SCHEDULER_NAMES,),
            "positive": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "latent_image": ("LATENT",),
            "start_at_step": ("INT", {"default": 0, "min": 0, "max": 10000, "advanced": True}),
            "end_at_step": ("INT", {"default": 10000, "min": 0, "max": 10000, "advanced": True}),
            "return_with_leftover_noise": (["disable", "enable"], {"advanced": True}),
        }
    },
    outputs=[("LATENT", "LATENT")],
)
def k_sampler_advanced(
    model: EmbeddedModel,
    add_noise: str,
    noise_seed: int,
    steps: int,
    cfg: float,
    sampler_name: str,
    scheduler: str,
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: int,
    end_at_step: int,
    return_with_leftover_noise: str,
) -> tuple[Latent]:
    """Denoises a latent from one step of a schedule to another."""
    settings = (noise_seed, steps, cfg, sampler_name, scheduler)
    result = ksampler(
        model,
        *settings,
        positive,
        negative,
        latent_image,
        disable_noise=add_noise == "disable",
        start_step=start_at_step,
        last_step=end_at_step,
        force_full_denoise=return_with_leftover_noise != "enable",
    )
    return (result,)


@core_node(
    "SamplerCustom",
    category="model/sampling/custom",
    inputs={
        "required": {
            "model": ("MODEL",),
            "add_noise": ("BOOLEAN", {"default": True, "advanced": True}),
            "noise_seed": ("INT", SEED),
            "cfg": ("FLOAT", CFG),
            "positive": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "sampler": ("SAMPLER",),
            "sigmas": ("SIGMAS",),
            "latent_image": ("LATENT",),
        }
    },
    outputs=LATENTS,
    python_module=CUSTOM,
)
def sampler_custom(
    model: EmbeddedModel,
    add_noise: bool,
    noise_seed: int,
    cfg: float,
    positive: Conditioning,
    negative: Conditioning,
    sampler: Sampler,
    sigmas: torch.Tensor,
    latent_image: Latent,
) -> tuple[Latent, Latent]:
    """Denoises a latent along given sigmas."""
    guider = CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    noise = ComfyNoise(noise_seed) if add_noise else EmptyNoise()
    return sample_with(guider, noise, sampler, sigmas, latent_image, seed=noise_seed)


@core_node(
    "SamplerCustomAdvanced",
    category="model/sampling/custom",
    inputs={
        "required": {
            "noise": ("NOISE",),
            "guider": ("GUIDER",),
            "sampler": ("SAMPLER",),
            "sigmas": ("SIGMAS",),
            "latent_image": ("LATENT",),
        }
    },
    outputs=LATENTS,
    python_module=CUSTOM,
)
def sampler_custom_advanced(
    noise: ComfyNoise | EmptyNoise, guider: CFGGuider, sampler: Sampler, sigmas: torch.Tensor, latent_image: Latent
) -> tuple[Latent, Latent]:
    """Denoises a latent with given noise and guidance."""
    return sample_with(guider, noise, sampler, sigmas, latent_image, seed=noise.seed)


@core_node(
    "KSamplerSelect",
    category="model/sampling/samplers",
    inputs={"required": {"sampler_name": (SAMPLER_NAMES,)}},
    outputs=[("SAMPLER", "SAMPLER")],
    python_module=CUSTOM,
)
def k_sampler_select(sampler_name: str) -> tuple[Sampler]:
    """A sampler by name."""
    return (Sampler.named(sampler_name),)


@core_node(
    "BasicScheduler",
    category="model/sampling/schedulers",
    inputs={
        "required": {
            "model": ("MODEL",),
            "scheduler": (SCHEDULER_NAMES,),
            "steps": ("INT", STEPS),
            "denoise": ("FLOAT", DENOISE),
        }
    },
    outputs=[("SIGMAS", "SIGMAS")],
    python_module=CUSTOM,
)
def basic_scheduler(model: EmbeddedModel, scheduler: str, steps: int, denoise: float) -> tuple[torch.Tensor]:
    """Sigmas by name."""
    sigmas = partial_schedule(scheduler, model.get_model_object("model_sampling"), steps, denoise)
    return (sigmas[-(steps + 1) :],)


@core_node(
    "SplitSigmas",
    category="model/sampling/sigmas",
    inputs={"required": {"sigmas": ("SIGMAS",), "step": ("INT", {"default": 0, "min": 0, "max": 10000})}},
    outputs=[("SIGMAS", "high_sigmas"), ("SIGMAS", "low_sigmas")],
    python_module=CUSTOM,
)
def split_sigmas(sigmas: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first `step` steps and the others."""
    return sigmas[: step + 1], sigmas[step:]


@core_node(
    "RandomNoise",
    category="model/sampling/noise",
    inputs={"required": {"noise_seed": ("INT", SEED)}},
    outputs=[("NOISE", "NOISE")],
    python_module=CUSTOM,
)
def random_noise(noise_seed: int) -> tuple[ComfyNoise]:
    """Noise of a seed."""
    return (ComfyNoise(noise_seed),)


@core_node(
    "DisableNoise",
    category="model/sampling/noise",
    inputs={"required": {}},
    outputs=[("NOISE", "NOISE")],
    python_module=CUSTOM,
)
def disable_noise() -> tuple[EmptyNoise]:
    """No noise."""
    return (EmptyNoise(),)


@core_node(
    "BasicGuider",
    display_name="Basic Guider",
    category="model/sampling/guiders",
    inputs={"required": {"model": ("MODEL",), "conditioning": ("CONDITIONING",)}},
    outputs=[("GUIDER", "GUIDER")],
    python_module=CUSTOM,
)
def basic_guider(model: EmbeddedModel, conditioning: Conditioning) -> tuple[BasicGuider]:
    """One condition, no guidance."""
    guider = BasicGuider(model)
    guider.set_conds(conditioning)
    return (guider,)


@core_node(
    "CFGGuider",
    display_name="CFG Guider",
    category="model/sampling/guiders",
    inputs={
        "required": {
            "model": ("MODEL",),
            "positive": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "cfg": ("FLOAT", CFG),
        }
    },
    outputs=[("GUIDER", "GUIDER")],
    python_module=CUSTOM,
)
def cfg_guider(model: EmbeddedModel, positive: Conditioning, negative: Conditioning, cfg: float) -> tuple[CFGGuider]:
    """Classifier-free guidance."""
    guider = CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    return (guider,)


@core_node(
    "DualCFGGuider",
    display_name="Dual CFG Guider",
    category="model/sampling/guiders",
    inputs={
        "required": {
            "model": ("MODEL",),
            "cond1": ("CONDITIONING",),
            "cond2": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "cfg_conds": ("FLOAT", CFG),
            "cfg_cond2_negative": ("FLOAT", CFG),
            "style": (["regular", "nested"],),
        }
    },
    outputs=[("GUIDER", "GUIDER")],
    python_module=CUSTOM,
)
def dual_cfg_guider(
    model: EmbeddedModel,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: float,
    cfg_cond2_negative: float,
    style: str,
) -> tuple[DualCFGGuider]:
    """Two guidance scales: between both conditions, and between the second and the negative one."""
    guider = DualCFGGuider(model)
    guider.set_dual_conds(cond1, cond2, negative)
    guider.set_dual_cfg(cfg_conds, cfg_cond2_negative, nested=style == "nested")
    return (guider,)


@core_node(
    "DifferentialDiffusion",
    display_name="Differential Diffusion",
    experimental=True,
    category="experimental",
    inputs={
        "required": {"model": ("MODEL",)},
        "optional": {"strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01})},
    },
    outputs=[("MODEL", "MODEL")],
    python_module="comfy_extras.nodes_differential_diffusion",
)
def differential_diffusion(model: EmbeddedModel, strength: float = 1.0) -> tuple[EmbeddedModel]:
    """Lets a grey mask say from which step on a place may change."""
    model = model.clone()
    model.set_model_denoise_mask_function(differential_mask(strength))
    return (model,)
