"""Tiny random stand-ins of SDXL and FLUX.2 klein, in the files and folders of the real ones.

    COMFYUI_PYTHON tests/tools/tiny_models.py COMFYUI_FOLDER MODELS_FOLDER

Run in ComfyUI's own interpreter, whose modules say which tensors there are. A ComfyUI loads them with
`tiny_models_pack` among its custom nodes. They say nothing of how pictures look.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, load

SDXL, SDXL_INPAINT = "checkpoints/tiny-sdxl.safetensors", "diffusion_models/tiny-sdxl-inpaint.safetensors"
KLEIN, QWEN, VAE = (
    "diffusion_models/tiny-klein.safetensors",
    "text_encoders/tiny-qwen.safetensors",
    "vae/tiny-flux2-vae.safetensors",
)
FILES = (SDXL, SDXL_INPAINT, KLEIN, QWEN, VAE)
State = dict[str, torch.Tensor]
UNET = "model.diffusion_model."
#: A random autoencoder gives no picture back. With latents of photos near zero it gives a flat one, before which what
#: was painted stands out.
FAINT = 0.05


def drawn(shapes: Iterator[Any], generator: torch.Generator, prefix: str = "") -> State:
    return {prefix + shape.name: shape.draw(generator) for shape in shapes}


def fade(state: State, layer: str) -> None:
    for kind in ("weight", "bias"):
        state[f"{layer}.{kind}"] *= FAINT


def sdxl_unet(in_channels: int, generator: torch.Generator) -> State:
    """SDXL's arrangement of blocks, one attention head wide; its noise estimate is mostly its input."""
    from defectforge.runner.embedded.engine.layout import UNetLayout
    from defectforge.runner.embedded.engine.random_weights import random_checkpoint, random_tensors

    layout = UNetLayout(
        in_channels=in_channels,
        model_channels=64,
        channel_mult=(1, 1, 1),
        num_res_blocks=(2, 2, 2),
        transformer_depth=(0, 2, 10),
        middle_depth=10,
        context_dim=2048,
        linear_projection=True,
        adm_channels=2816,
    )
    state = drawn(random_tensors.unet_shapes(layout), generator, UNET)
    random_checkpoint._pass_input_through(state, layout)
    return state


def sdxl(generator: torch.Generator) -> State:
    from defectforge.runner.embedded.engine.random_weights import random_tensors as tensors

    vae = drawn(tensors.tiny_vae_shapes(), generator, "first_stage_model.")
    fade(vae, "first_stage_model.taesd_encoder.14")
    first, second = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
    return {
        **sdxl_unet(4, generator),
        **drawn(tensors.text_shapes(first, 768, 3), generator),
        **drawn(tensors.text_shapes(second, 1280, 3, open_clip=True), generator),
        **vae,
        "first_stage_model.vae_scale": torch.tensor(0.13025),
        "first_stage_model.vae_shift": torch.tensor(0.0),
    }


def sdxl_inpaint(generator: torch.Generator) -> State:
    return {name.removeprefix(UNET): value for name, value in sdxl_unet(9, generator).items()}


def klein(generator: torch.Generator) -> State:
    """FLUX.2 with two double and two single blocks, one attention head wide, for a text width of 3 x 64."""
    import comfy.ldm.flux.model as flux
    import comfy.ops

    arrangement = dict(image_model="flux2", in_channels=128, out_channels=128, vec_in_dim=None, context_in_dim=192)
    size = dict(hidden_size=128, mlp_ratio=3.0, num_heads=1, depth=2, depth_single_blocks=2, axes_dim=[32] * 4)
    kind = dict(theta=2000, patch_size=1, qkv_bias=False, guidance_embed=False, global_modulation=True)
    rest = dict(mlp_silu_act=True, ops_bias=False, txt_ids_dims=[3], default_ref_method="index", ref_index_scale=10.0)
    network = flux.Flux(
        **arrangement, **size, **kind, **rest, dtype=torch.float32, operations=comfy.ops.manual_cast, device="cpu"
    )
    return random_like(network, generator)


def qwen(generator: torch.Generator) -> State:
    import comfy.ops
    from comfy.text_encoders.llama import Qwen3_4B

    return random_like(Qwen3_4B({}, torch.float32, "cpu", comfy.ops.manual_cast), generator)


def random_like(module: torch.nn.Module, generator: torch.Generator) -> State:
    """Random weights that keep values in range: norms near one, layers by their number of inputs."""
    state = {}
    for name, value in module.state_dict().items():
        std = (0.5 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.02
        mean = 1.0 if value.ndim == 1 and ("norm" in name or "scale" in name) else 0.0
        state[name] = torch.randn(value.shape, generator=generator) * std + mean
    return state


def flux2_vae(generator: torch.Generator) -> State:
    """FLUX.2's autoencoder: 32 channels at an eighth, folded to 128 at a sixteenth and normalised; a narrow decoder."""
    from defectforge.runner.embedded.engine.random_weights.random_tensors import kl_shapes

    channels = {"encoder.conv_out": (64, 0), "quant_conv": (64, 64), "post_quant_conv": (32, 32)}
    shapes = [s for s in kl_shapes(128) if s.name.startswith(("encoder.", "quant_conv."))]
    shapes += [s for s in kl_shapes(32) if s.name.startswith(("decoder.", "post_quant_conv."))]
    state: State = {}
    for shape in shapes:
        module = shape.name.rpartition(".")[0]
        size = list(shape.shape)
        if module in channels:
            out, inner = channels[module]
            size[0] = out
            size[1:2] = [inner or size[1]] if len(size) > 1 else []
        elif module == "decoder.conv_in" and len(size) > 1:
            size[1] = 32
        state[shape.name] = replace(shape, shape=tuple(size)).draw(generator)
    fade(state, "encoder.conv_out")
    state["decoder.conv_out.weight"] *= 2.0
    mean, spread = torch.zeros(128), torch.ones(128)
    return {**state, "bn.running_mean": mean, "bn.running_var": spread, "bn.num_batches_tracked": torch.tensor(1)}


MAKERS = {SDXL: sdxl, SDXL_INPAINT: sdxl_inpaint, KLEIN: klein, QWEN: qwen, VAE: flux2_vae}


def main() -> None:
    """Writes the files that are not there yet."""
    comfyui, models = sys.argv[1:3]
    sys.path.insert(0, comfyui)
    sys.argv = [sys.argv[0], "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import comfy.sd
    from safetensors.torch import save_file

    load("defectforge", ROOT / "__init__.py", package=True)
    load("tiny_models_pack", Path(__file__).parent / "tiny_models_pack" / "__init__.py", package=True)
    for number, (file, make) in enumerate(MAKERS.items()):
        path = Path(models) / file
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        state = make(torch.Generator().manual_seed(number))
        part = path.with_name("part-" + path.name)
        save_file({name: value.to(_stored(value)).contiguous() for name, value in state.items()}, str(part))
        part.rename(path)


def _stored(value: torch.Tensor) -> torch.dtype:
    return torch.float16 if value.is_floating_point() and value.ndim > 1 else value.dtype


if __name__ == "__main__":
    main()
