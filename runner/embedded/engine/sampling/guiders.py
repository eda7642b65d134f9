"""Guiders: turn conditions into one clean latent a step, and run a sampler with them. Semantics of ComfyUI v0.3.64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..model.conditions import Condition, calc_cond_batch, converted, processed
from ..model.model import EmbeddedModel
from ..model.patching import call_wrapped, copied, merged
from ..tensors import as_noise_mask
from .samplers import SAMPLERS, SamplerFunction

#: Called at each step: (step, clean latent, noisy latent, total steps). May raise to interrupt.
Callback = Callable[[int, torch.Tensor, torch.Tensor, int], None]


def cfg_function(
    model: Any,
    cond_pred: torch.Tensor,
    uncond_pred: torch.Tensor,
    cond_scale: float,
    x: torch.Tensor,
    sigma: torch.Tensor,
    model_options: dict[str, Any],
    cond: list[Condition] | None = None,
    uncond: list[Condition] | None = None,
) -> torch.Tensor:
    """Classifier-free guidance (Ho & Salimans 2022) on clean latents, or the model's replacement of it."""
    given = {
        "cond_scale": cond_scale,
        "input": x,
        "sigma": sigma,
        "cond_denoised": cond_pred,
        "uncond_denoised": uncond_pred,
        "model": model,
        "model_options": model_options,
    }
    replacement = model_options.get("sampler_cfg_function")
    if replacement is None:
        result = uncond_pred + (cond_pred - uncond_pred) * cond_scale
    else:
        noises = {"cond": x - cond_pred, "uncond": x - uncond_pred, "input_cond": cond, "input_uncond": uncond}
        result = x - replacement({**given, **noises, "timestep": sigma})
    for function in model_options.get("sampler_post_cfg_function", ()):
        result = function({**given, "denoised": result, "cond": cond, "uncond": uncond})
    return result


def guided(
    model: Any,
    x: torch.Tensor,
    sigma: torch.Tensor,
    uncond: list[Condition] | None,
    cond: list[Condition] | None,
    cond_scale: float,
    model_options: dict[str, Any],
) -> torch.Tensor:
    """One guided step: the clean latent. A scale of 1 leaves the negative side out, as it would not count."""
    if math.isclose(cond_scale, 1.0) and not model_options.get("disable_cfg1_optimization", False):
        uncond = None
    conds = [cond, uncond]
    given = {"conds": conds, "input": x, "sigma": sigma, "model": model, "model_options": model_options}
    whole = model_options.get("sampler_calc_cond_batch_function")
    out = calc_cond_batch(model, conds, x, sigma, model_options) if whole is None else whole(given)
    for function in model_options.get("sampler_pre_cfg_function", ()):
        out = function({**given, "conds_out": out, "cond_scale": cond_scale, "timestep": sigma})
    return cfg_function(model, out[0], out[1], cond_scale, x, sigma, model_options, cond, uncond)


class MaskedDenoiser:
    """A guider's step with a noise mask: outside the mask the latent follows the given picture (noised along)."""

    def __init__(
        self,
        guider: CFGGuider,
        sigmas: torch.Tensor,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        denoise_mask: torch.Tensor | None,
        model_options: dict[str, Any],
        seed: int | None,
    ) -> None:
        self.inner_model = guider
        self.sigmas, self.noise, self.latent_image = sigmas, noise, latent_image
        self.denoise_mask, self.model_options, self.seed = denoise_mask, model_options, seed

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        mask = self.denoise_mask
        if mask is None:
            return self.inner_model(x, sigma, self.model_options, self.seed)
        function = self.model_options.get("denoise_mask_function")
        if function is not None:
            mask = function(sigma, mask, extra_options={"model": self.inner_model, "sigmas": self.sigmas})
        model = self.inner_model.inner_model
        outside = model.scale_latent_inpaint(x=x, sigma=sigma, noise=self.noise, latent_image=self.latent_image)
        out = self.inner_model(x * mask + outside * (1.0 - mask), sigma, self.model_options, self.seed)
        return out * mask + self.latent_image * (1.0 - mask)


@dataclass(frozen=True)
class Sampler:
    """The SAMPLER that nodes hand on."""

    name: str
    function: SamplerFunction

    @classmethod
    def named(cls, name: str) -> Sampler:
        """One of `SAMPLERS`.

        Raises:
            ValueError: the name is another one.
        """
        if name not in SAMPLERS:
            raise ValueError(f"sampler {name!r} is not one of {', '.join(SAMPLERS)}; others need a ComfyUI server")
        return cls(name, SAMPLERS[name])

    def sample(
        self,
        guider: CFGGuider,
        sigmas: torch.Tensor,
        extra_args: dict[str, Any],
        callback: Callback | None,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        denoise_mask: torch.Tensor | None = None,
        disable_pbar: bool = False,
    ) -> torch.Tensor:
        """Runs along `sigmas` from noise [rows, 4, h, w] on top of a scaled latent; gives a scaled latent."""
        seed = extra_args.get("seed")
        outside_noise = noise
        if self.name == "ddim":
            # ComfyUI's ddim noises the kept part with another draw than the one it starts from.
            generator = torch.Generator().manual_seed((41 if seed is None else seed) + 1)
            outside_noise = torch.randn(noise.shape, generator=generator).to(noise)
        denoiser = MaskedDenoiser(
            guider, sigmas, outside_noise, latent_image, denoise_mask, extra_args["model_options"], seed
        )
        sampling, first, total = guider.inner_model.model_sampling, float(sigmas[0]), len(sigmas) - 1
        top = float(sampling.sigma_max)
        x = sampling.noise_scaling(
            sigmas[0], noise, latent_image, first > top or math.isclose(first, top, rel_tol=1e-5)
        )

        def on_step(step: int, denoised: torch.Tensor, noisy: torch.Tensor) -> None:
            if callback is not None:
                callback(step, denoised, noisy, total)

        out = self.function(denoiser, x, sigmas, on_step, 0 if seed is None else seed)
        result: torch.Tensor = sampling.inverse_noise_scaling(sigmas[-1], out)
        return result


class CFGGuider:
    """Classifier-free guidance of a positive against a negative condition."""

    def __init__(self, model_patcher: EmbeddedModel) -> None:
        self.model_patcher = model_patcher
        self.model_options = model_patcher.model_options
        self.original_conds: dict[str, list[Condition]] = {}
        self.conds: dict[str, list[Condition]] = {}
        self.inner_model: Any = None
        self.cfg = 1.0

    def set_conds(self, positive: list[Any], negative: list[Any]) -> None:
        """Sets what is wanted and what is not."""
        self.inner_set_conds({"positive": positive, "negative": negative})

    def set_cfg(self, cfg: float) -> None:
        """Sets the guidance scale."""
        self.cfg = cfg

    def inner_set_conds(self, conds: Mapping[str, list[Any]]) -> None:
        """Sets conditionings by role."""
        for role, conditioning in conds.items():
            self.original_conds[role] = converted(conditioning)

    def __call__(
        self, x: torch.Tensor, sigma: torch.Tensor, model_options: dict[str, Any], seed: int | None = None
    ) -> torch.Tensor:
        options = self.model_options.get("transformer_options", {})
        result: torch.Tensor = call_wrapped(
            "predict_noise", self.predict_noise, self, options, x, sigma, model_options, seed
        )
        return result

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict[str, Any], seed: int | None = None
    ) -> torch.Tensor:
        """The clean latent (ComfyUI's name for it is historical) at sigma `timestep` [rows]."""
        negative, positive = self.conds.get("negative"), self.conds.get("positive")
        return guided(self.inner_model, x, timestep, negative, positive, self.cfg, model_options)

    def inner_sample(
        self,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        device: torch.device,
        sampler: Any,
        sigmas: torch.Tensor,
        denoise_mask: torch.Tensor | None,
        callback: Callback | None,
        disable_pbar: bool,
        seed: int | None,
    ) -> torch.Tensor:
        """Prepares conditions, runs the sampler and gives an unscaled latent."""
        if torch.count_nonzero(latent_image) > 0:  # an empty latent stays empty
            latent_image = self.inner_model.process_latent_in(latent_image)
        self.conds = processed(self.inner_model, noise, self.conds, device, latent_image, denoise_mask, seed)
        options = copied(self.model_options)
        options.setdefault("transformer_options", {})["sample_sigmas"] = sigmas
        extra_args = {"model_options": options, "seed": seed}
        transformer_options = options["transformer_options"]
        arguments = (self, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
        samples = call_wrapped("sampler_sample", sampler.sample, sampler, transformer_options, *arguments)
        result: torch.Tensor = self.inner_model.process_latent_out(samples.to(torch.float32))
        return result

    def outer_sample(
        self,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        sampler: Any,
        sigmas: torch.Tensor,
        denoise_mask: torch.Tensor | None = None,
        callback: Callback | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> torch.Tensor:
        """Puts the model's weights in place and everything on its device, then samples."""
        device = self.model_patcher.load_device
        with self.model_patcher.applied() as self.inner_model:
            mask = None if denoise_mask is None else as_noise_mask(denoise_mask, noise.shape).to(device)
            self.model_patcher.run_callbacks("on_pre_run")
            try:
                return self.inner_sample(
                    noise.to(device),
                    latent_image.to(device),
                    device,
                    sampler,
                    sigmas.to(device),
                    mask,
                    callback,
                    disable_pbar,
                    seed,
                )
            finally:
                self.model_patcher.run_callbacks("on_cleanup")
                self.inner_model = None

    def sample(
        self,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        sampler: Any,
        sigmas: torch.Tensor,
        denoise_mask: torch.Tensor | None = None,
        callback: Callback | None = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> torch.Tensor:
        """Unscaled latents [rows, 4, h, w] from noise on top of unscaled latents."""
        if sigmas.shape[-1] == 0:
            return latent_image
        self.conds = {role: [dict(c) for c in conditions] for role, conditions in self.original_conds.items()}
        original = self.model_options
        self.model_options = copied(original)
        options = self.model_options.setdefault("transformer_options", {})
        for name in ("wrappers", "callbacks"):
            options[name] = merged(options.get(name, {}), getattr(self.model_patcher, name))
        try:
            with torch.inference_mode():
                arguments = (noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)
                samples: torch.Tensor = call_wrapped("outer_sample", self.outer_sample, self, options, *arguments)
        finally:
            self.model_options = original
            self.conds = {}
        # Out of inference mode, so that later nodes may change it in place.
        return samples.clone().cpu()


class BasicGuider(CFGGuider):
    """No guidance: one condition."""

    def set_conds(self, positive: list[Any], negative: list[Any] | None = None) -> None:
        """Sets what is wanted."""
        self.inner_set_conds({"positive": positive})


class DualCFGGuider(CFGGuider):
    """Two scales, for instruct-pix2pix: of the text over the picture alone, and of the picture over nothing."""

    cfg2 = 1.0
    nested = False

    def set_dual_cfg(self, cfg_conds: float, cfg_cond2_negative: float, nested: bool = False) -> None:
        """Sets the scale between both conditions and that between the second and the negative one."""
        self.cfg, self.cfg2, self.nested = cfg_conds, cfg_cond2_negative, nested

    def set_dual_conds(self, positive: list[Any], middle: list[Any], negative: list[Any]) -> None:
        """Sets first and second condition and the negative one."""
        middle = [[text, {**options, "prompt_type": "negative"}] for text, options in middle]
        self.inner_set_conds({"positive": positive, "middle": middle, "negative": negative})

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict[str, Any], seed: int | None = None
    ) -> torch.Tensor:
        """regular: neg + cfg2 (mid - neg) + cfg (pos - mid); nested: neg + cfg2 (mid + cfg (pos - mid) - neg)."""
        model, conds = self.inner_model, self.conds
        negative, middle, positive = (conds.get(role) for role in ("negative", "middle", "positive"))
        if not self.nested and not model_options.get("disable_cfg1_optimization", False) and self.cfg2 == 1.0:
            negative = None
            if self.cfg == 1.0:
                middle = None
        out = calc_cond_batch(model, [negative, middle, positive], x, timestep, model_options)
        if self.nested:
            text = cfg_function(model, out[2], out[1], self.cfg, x, timestep, model_options, positive, middle)
            return out[0] + self.cfg2 * (text - out[0])
        image = cfg_function(model, out[1], out[0], self.cfg2, x, timestep, model_options, middle, negative)
        return image + (out[2] - out[1]) * self.cfg
