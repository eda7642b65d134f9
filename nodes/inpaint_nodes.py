"""From a photo and a mask to what the sampler starts from, and back into the photo."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from .algorithms.compositing import crops
from .algorithms.compositing.fills import (
    MaskedContent,
    latent_mask,
    mismatch,
    prepare,
    scaled_for_sd,
    set_latent_content,
)
from .algorithms.compositing.oblong import is_too_long, window_along
from .algorithms.masks import as_mask_batch, binarise, bounding_box, to_array
from .algorithms.overlay import overlay
from .algorithms.pixels import resize_mask
from .host import watched
from .schema import SHOWS, newer

LOG = logging.getLogger(__name__)

AROUND_MASK, WHOLE_PHOTO = "around the mask", "whole photo"

#: What `DefectForgeStitch` needs: `crops.Stitch`.
StitchType = io.Custom("DEFECTFORGE_STITCH")


class DefectForgeCropForDefect(io.ComfyNode):
    """Cut the working crop out of a photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeCropForDefect",
            display_name="Crop for Defect",
            category="DefectForge/inpaint",
            description="Cuts a square around the mask and resizes it to the model's size, so that even a small defect "
            "spans enough latent cells to be drawn. Blend Defect or Stitch puts the result back.",
            **newer(search_aliases=["inpaint crop", "crop and stitch", "working crop", "only masked"]),
            **SHOWS,
            inputs=[
                io.Image.Input("image", tooltip="The photos, any size."),
                io.Mask.Input("mask", tooltip="The denoise mask: what will be repainted. One, or one for each photo."),
                io.Int.Input(
                    "size",
                    default=512,
                    min=64,
                    max=2048,
                    step=8,
                    tooltip="Side of the crop after resizing, in px: the model's native size (Stable Diffusion 1.5: "
                    "512, SDXL and FLUX.2 klein: 1024, the miniature: 128).",
                ),
                io.Combo.Input(
                    "mode",
                    options=[AROUND_MASK, WHOLE_PHOTO],
                    default=AROUND_MASK,
                    tooltip="'whole photo' resizes the photo as it is: the plain behaviour, in which small masks "
                    "change nothing.",
                ),
                io.Float.Input(
                    "context",
                    default=0.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip="Side of the crop as a multiple of the mask's longer side. 0 chooses by itself: as much "
                    "surroundings as leave the hole 16 latent cells. Raise it when the defect does not fit its "
                    "surroundings, lower it when it lacks detail.",
                ),
                io.Mask.Input(
                    "label_mask",
                    optional=True,
                    tooltip="The hole itself, by which the automatic context is measured. Unplugged: the denoise mask.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The crop, size x size."),
                io.Mask.Output(display_name="mask", tooltip="The denoise mask of the crop, soft."),
                io.Mask.Output(display_name="label_mask", tooltip="The label mask of the crop, hard."),
                StitchType.Output(
                    display_name="stitch", tooltip="Photo, mask and place of the crop, for Blend Defect or Stitch."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, mask: Tensor, size: int, mode: str, context: float, label_mask: Tensor | None = None
    ) -> io.NodeOutput:
        photos = image[..., :3].to("cpu", torch.float32)
        batch, height, width = photos.shape[:3]
        denoise = as_mask_batch(mask, batch, height, width, "mask").cpu()
        label = denoise if label_mask is None else as_mask_batch(label_mask, batch, height, width, "label_mask").cpu()
        windows, cuts, masks, labels = [], [], [], []
        for i in watched(range(batch), batch):
            if mode == WHOLE_PHOTO:
                window = crops.whole_photo(height, width)
            elif batch == 1 and is_too_long(denoise[i].numpy()):
                window = window_along(denoise[i].numpy())
            else:
                window = crops.window_around(denoise[i].numpy(), to_array(label[i]), size, context)
            rows, columns = crops.working_size(window, size)
            windows.append(window)
            cuts.append(crops.crop(photos[i], window, rows, columns))
            masks.append(crops.crop_mask(denoise[i], window, rows, columns))
            # Only the crop is computed: of a large photo the rest is not even copied.
            hard = binarise(label[i, window.rows, window.columns])
            labels.append(binarise(resize_mask(hard, rows, columns)))
        cut, soft = torch.stack(cuts), torch.stack(masks)
        put_back = crops.Stitch(photos, denoise, tuple(windows))
        return io.NodeOutput(cut, soft, torch.stack(labels), put_back, ui=ui.PreviewImage(overlay(cut, soft), cls=cls))


class DefectForgeStitch(io.ComfyNode):
    """Put sampled crops back into their photos."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeStitch",
            display_name="Stitch",
            category="DefectForge/inpaint",
            description="Puts the sampled crop back into the photo. Outside the denoise mask's feather every pixel is "
            "the photo's, bit for bit.",
            **newer(search_aliases=["inpaint stitch", "uncrop", "paste back"]),
            inputs=[
                StitchType.Input("stitch", tooltip="From Crop for Defect."),
                io.Image.Input(
                    "image",
                    tooltip="The sampled crops, any size: one for each photo, or many for one photo.",
                ),
            ],
            outputs=[io.Image.Output(display_name="image", tooltip="The photos at their own size, with the defect.")],
        )

    @classmethod
    def execute(cls, stitch: crops.Stitch, image: Tensor) -> io.NodeOutput:
        return io.NodeOutput(crops.stitch(stitch, image[..., :3].to("cpu", torch.float32)))


class DefectForgeMaskedContent(io.ComfyNode):
    """Prepare the latent that inpainting starts from."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeMaskedContent",
            display_name="Masked Content",
            category="DefectForge/inpaint",
            description="What the hole holds before sampling: the four choices of the AUTOMATIC1111 web UI (fill, "
            "original, latent noise, latent nothing), computed as there. Gives a latent with its noise mask.",
            **newer(
                search_aliases=["inpaint latent", "latent noise", "latent nothing", "fill", "VAE encode for inpainting"]
            ),
            **SHOWS,
            inputs=[
                io.Image.Input("pixels", tooltip="The working crop; sides in multiples of 8 px."),
                io.Mask.Input("mask", tooltip="The denoise mask of the crop: one, or one for each picture."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Combo.Input(
                    "mode",
                    options=[content.value for content in MaskedContent],
                    default=MaskedContent.LATENT_NOISE.value,
                    tooltip="fill: the smeared surroundings, for denoise 0.5 to 1. original: the photo itself, for "
                    "denoise 0.3 to 0.9. latent noise: the most new structure, for denoise 0.8 to 1. latent nothing: "
                    "a flat start, for denoise 0.8 to 1.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Only for latent noise; picture i of a batch takes seed + i. With the sampler's seed it is "
                    "the sampler's own noise, as in the web UI; any other seed gives independent noise.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="The sampler's denoising strength. Changes nothing here: you are warned when it does not "
                    "suit the mode.",
                ),
                io.Float.Input(
                    "mask_blur",
                    default=4.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip="Blur of the mask in px of the crop (web UI: 4). The latent mask is set where the blurred "
                    "mask reaches one half.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="The model that will sample: latent noise is drawn at its scale. Unplugged: Stable "
                    "Diffusion 1.x and 2.x. SDXL and others need it for latent noise.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Start of the sampler, with its binary noise mask."),
                io.Image.Output(display_name="pixels", tooltip="The pixels that were encoded, filled or original."),
            ],
        )

    @classmethod
    def execute(
        cls,
        pixels: Tensor,
        mask: Tensor,
        vae: Any,
        mode: str,
        seed: int,
        denoise: float,
        mask_blur: float,
        model: Any = None,
    ) -> io.NodeOutput:
        batch, height, width = pixels.shape[:3]
        if height % crops.LATENT_CELL or width % crops.LATENT_CELL:
            raise ValueError(
                f"pixels: {width}x{height} px do not divide into latent cells of 8 px, and the VAE would shift the "
                "picture against its mask. Resize to multiples of 8, e.g. with Crop for Defect."
            )
        content = MaskedContent(mode)
        warning = mismatch(content, denoise)
        if warning is not None:
            LOG.warning("Masked Content: %s", warning)
        masks = as_mask_batch(mask, batch, height, width)
        pairs = [prepare(pixels[i, ..., :3], masks[i], content, mask_blur) for i in watched(range(batch), batch)]
        filled = torch.stack([picture for picture, _ in pairs])
        latent = vae.encode(filled)
        _check_latent(latent, height, width, model)
        rows, columns = latent.shape[-2:]
        cells = torch.stack([torch.from_numpy(latent_mask(blurred, rows, columns)) for _, blurred in pairs])[:, None]
        for number, (area, set_cells) in enumerate(zip(masks, cells, strict=True)):
            if area.any() and not set_cells.any():
                raise ValueError(_too_small(number, area, mask_blur, height // rows))
        unscaled = scaled_for_sd if model is None else model.model.process_latent_out
        samples = set_latent_content(latent, cells.to(latent), content, seed, unscaled)
        shown = ui.PreviewImage(filled, cls=cls).as_dict()
        if warning is not None:
            shown["text"] = (warning,)
        return io.NodeOutput({"samples": samples, "noise_mask": cells}, filled, ui=shown)


def _check_latent(latent: Tensor, height: int, width: int, model: Any) -> None:
    """That the VAE took the picture whole, and that the model samples such latents.

    Raises:
        ValueError: cells that do not divide the picture (the VAE cut it, so picture and mask no longer lie on each
            other), latents that are no pictures, or the VAE of another family than the model.
    """
    if latent.ndim != 4:
        raise ValueError(
            f"vae: it gives latents of shape {list(latent.shape)}, expected [batch, channels, height, width]. Use the "
            "VAE of a model of still pictures."
        )
    rows, columns = latent.shape[-2:]
    # A VAE halves the picture several times; 136 px in 8 rows are not cells of 17 px, but of 16 and a cut.
    cell = 1 << max(0, (height // rows).bit_length() - 1)
    if (rows * cell, columns * cell) != (height, width):
        raise ValueError(
            f"pixels: {width}x{height} px do not divide into this VAE's latent cells of {cell} px: it made "
            f"{columns}x{rows} cells, and the picture would shift against its mask. Set the size in Crop for Defect "
            f"(and in Denoise Mask) to a multiple of {cell}."
        )
    wanted = None if model is None else getattr(model.model.latent_format, "latent_channels", None)
    if wanted is not None and wanted != latent.shape[1]:
        raise ValueError(
            f"vae: its latents have {latent.shape[1]} channels, but the model samples {wanted}: it belongs to a model "
            "of another family. Load the VAE that comes with this model."
        )


def _too_small(number: int, area: Tensor, mask_blur: float, cell: int) -> str:
    """What to do about a mask of which no latent cell is set: the model would draw nothing, and the label would lie."""
    box = bounding_box(to_array(area))
    size = "under one half everywhere" if box is None else f"{box[3] - box[1]}x{box[2] - box[0]} px"
    return (
        f"mask: that of picture {number} ({size}, in a crop of {area.shape[1]}x{area.shape[0]} px) is smaller than the "
        f"model can draw: after the blur of {mask_blur:g} px it sets no latent cell of {cell} px. Enlarge "
        f"it in Crop for Defect: mode '{AROUND_MASK}', and a larger size (the native one of a larger model: 512 px for "
        "Stable Diffusion 1.5, 1024 px for SDXL); lower mask_blur; or place a larger hole."
    )


NODES: list[type[io.ComfyNode]] = [DefectForgeCropForDefect, DefectForgeMaskedContent, DefectForgeStitch]
