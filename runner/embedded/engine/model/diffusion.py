"""A loaded diffusion model: network, noise levels, latent scale and the inputs it takes beside the noisy latent."""

from __future__ import annotations

from typing import Any

import torch

from ...core_nodes.resize import resized
from ..layout import UNetLayout
from ..tensors import resampled_to
from .conditions import CrossAttentionCond, NoiseShapeCond, RegularCond
from .model_sampling import ModelSampling
from .patching import call_wrapped
from .unclip import NoiseAugmentation, unclip_vector
from .unet import LatentUNet

#: What an empty inpainting picture (mid grey) encodes to, in scaled SD 1.x latents: comfy/model_base.py's constants.
BLANK_LATENT = (0.8223, -0.6876, 0.6364, 0.1380)


class LatentFormat:
    """SD 1.x / 2.x latents: the network works on 0.18215 times what the autoencoder gives."""

    scale_factor = 0.18215
    latent_channels = 4
    latent_dimensions = 2
    # Linear view of a scaled latent as colours, published with Stable Diffusion 1.4 in the Hugging Face forum
    # ("Decoding latents to RGB without upscaling"): rows are latent channels, columns red, green, blue.
    rgb_factors = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473))

    def process_in(self, latent: torch.Tensor) -> torch.Tensor:
        """Autoencoder's latent -> network's latent."""
        return latent * self.scale_factor

    def process_out(self, latent: torch.Tensor) -> torch.Tensor:
        """Network's latent -> autoencoder's latent."""
        return latent / self.scale_factor


class ModelConfig:
    """The network's shape in the words of a ComfyUI model configuration, for nodes that ask for it."""

    def __init__(self, layout: UNetLayout) -> None:
        depth_in = [d for d, n in zip(layout.transformer_depth, layout.num_res_blocks, strict=True) for _ in range(n)]
        pairs = zip(layout.transformer_depth, layout.num_res_blocks, strict=True)
        self.unet_config: dict[str, Any] = {
            "in_channels": layout.in_channels,
            "out_channels": layout.out_channels,
            "model_channels": layout.model_channels,
            "channel_mult": list(layout.channel_mult),
            "num_res_blocks": list(layout.num_res_blocks),
            "transformer_depth": depth_in,
            "transformer_depth_output": [d for d, n in pairs for _ in range(n + 1)],
            "transformer_depth_middle": layout.middle_depth,
            "context_dim": layout.context_dim,
            "use_linear_in_transformer": layout.linear_projection,
            "adm_in_channels": layout.adm_channels,
            "num_heads": -1 if layout.linear_projection else 8,
            "num_head_channels": 64 if layout.linear_projection else -1,
        }


class DiffusionModel:
    """Gives the clean latent for a noisy one. Holds weights only: patches and options come with each call."""

    def __init__(self, network: LatentUNet, sampling: ModelSampling, device: torch.device) -> None:
        self.diffusion_model = network
        self.layout = network.layout
        self.model_sampling = sampling
        self.latent_format = LatentFormat()
        self.model_config = ModelConfig(network.layout)
        self.device = device
        # EmbeddedModel sets this for the time of a run, for wrappers that ask which model they serve.
        self.current_patcher: Any = None
        adm = network.layout.adm_channels
        self.noise_augmentor = None if adm is None else NoiseAugmentation(adm // 2)

    def process_latent_in(self, latent: torch.Tensor) -> torch.Tensor:
        """Autoencoder's latent -> network's latent."""
        return self.latent_format.process_in(latent)

    def process_latent_out(self, latent: torch.Tensor) -> torch.Tensor:
        """Network's latent -> autoencoder's latent."""
        return self.latent_format.process_out(latent)

    def get_dtype(self) -> torch.dtype:
        """What the network computes in."""
        return self.diffusion_model.dtype

    def apply_model(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        c_concat: torch.Tensor | None = None,
        c_crossattn: torch.Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Clean latents [rows, 4, h, w] for noisy ones at sigma t [rows], through the `apply_model` wrappers."""
        options = {} if transformer_options is None else transformer_options
        result: torch.Tensor = call_wrapped(
            "apply_model", self._apply_model, self, options, x, t, c_concat, c_crossattn, control, options, **kwargs
        )
        return result

    def _apply_model(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        c_concat: torch.Tensor | None = None,
        c_crossattn: torch.Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        dtype = self.get_dtype()
        xc = self.model_sampling.calculate_input(t, x)
        if c_concat is not None:
            xc = torch.cat([xc, c_concat.to(xc)], dim=1)
        context = None if c_crossattn is None else c_crossattn.to(x.device, dtype)
        extra = {k: v.to(x.device, dtype) if isinstance(v, torch.Tensor) else v for k, v in kwargs.items()}
        output = self.diffusion_model(
            xc.to(dtype),
            self.model_sampling.timestep(t).float(),
            context=context,
            control=control,
            transformer_options=transformer_options,
            **extra,
        )
        return self.model_sampling.calculate_denoised(t, output.float(), x)

    def scale_latent_inpaint(
        self, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor, **_: Any
    ) -> torch.Tensor:
        """What lies outside a noise mask at this noise level."""
        return self.model_sampling.noise_scaling(sigma, noise, latent_image)

    def extra_conds(self, **given: Any) -> dict[str, Any]:
        """Network inputs of one condition, by name, from its options and the run's noise, latent and mask."""
        result: dict[str, Any] = {}
        concat = self._concat_cond(**given)
        if concat is not None:
            result["c_concat"] = NoiseShapeCond(concat)
        if self.noise_augmentor is not None:
            result["y"] = RegularCond(self._vector(**given))
        if given.get("cross_attn") is not None:
            result["c_crossattn"] = CrossAttentionCond(given["cross_attn"])
        return result

    def _vector(self, **given: Any) -> torch.Tensor:
        assert self.noise_augmentor is not None and self.layout.adm_channels is not None
        images = given.get("unclip_conditioning")
        if images is None:
            return torch.zeros(1, self.layout.adm_channels, device=given["device"])
        merge = given.get("unclip_noise_augment_merge", 0.05)
        return unclip_vector(images, self.noise_augmentor, given["device"], merge, (given.get("seed") or 0) - 10)

    def _concat_cond(self, **given: Any) -> torch.Tensor | None:
        noise, device = given["noise"], given["device"]
        if self.layout.in_channels == 8:
            return self._instruction_image(given.get("concat_latent_image"), noise, device)
        if self.layout.in_channels == 9:
            return self._inpaint_channels(given, noise, device)
        return None

    def _instruction_image(self, image: torch.Tensor | None, noise: torch.Tensor, device: torch.device) -> torch.Tensor:
        """instruct-pix2pix sees the picture's latent unscaled; without a picture, zeros (Brooks et al. 2023)."""
        return torch.zeros_like(noise) if image is None else _fitted(image.to(device), noise)

    def _inpaint_channels(self, given: dict[str, Any], noise: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Mask and masked picture of an inpainting model: [rows, 1 + 4, h, w]."""
        image = given.get("concat_latent_image")
        image = given.get("latent_image") if image is None else self.process_latent_in(image)
        mask = given.get("concat_mask", given.get("denoise_mask"))
        if mask is None:
            blank = torch.tensor(BLANK_LATENT, device=noise.device).view(1, 4, 1, 1)
            return torch.cat([torch.ones_like(noise)[:, :1], torch.ones_like(noise) * blank], dim=1)
        if image is None:
            raise ValueError("an inpainting model with a mask also needs the picture: use InpaintModelConditioning")
        if mask.ndim == noise.ndim:
            mask = mask[:, :1]
        mask = mask.reshape(-1, 1, *mask.shape[-2:])
        if mask.shape[-2:] != noise.shape[-2:]:
            mask = resized(mask, noise.shape[-1], noise.shape[-2], "bilinear", "center")
        mask = resampled_to(mask.round(), noise.shape[0])
        return torch.cat([mask.to(device), _fitted(image.to(device), noise)], dim=1)


def _fitted(image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    if image.shape[1:] != noise.shape[1:]:
        image = resized(image, noise.shape[-1], noise.shape[-2], "bilinear", "center")
    return resampled_to(image, noise.shape[0])
