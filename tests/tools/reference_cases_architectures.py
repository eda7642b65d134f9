"""Architectures beside SD 1.x: inpainting, instruct-pix2pix, SD 2.x and SDXL; parity and what else must hold."""

from __future__ import annotations

import torch
from reference_harness import INPAINTING, PIX2PIX, SD2, SDXL, SDXL_INPAINTING
from reference_setup import (
    CLOSE,
    MODES,
    PARITY,
    SIDE,
    Setup,
    case,
    comfyui_case,
    differs,
    disc,
    new_cache,
    randn,
    same,
)

STEP = (3.0, 0.0)


# Channels beside the latent ----------------------------------------------------------------------------------------


@case
def parity_on_an_inpainting_model(s: Setup) -> None:
    inpainting_parity(s.on(INPAINTING))


@comfyui_case
def parity_on_an_sdxl_inpainting_model(s: Setup) -> None:
    inpainting_parity(s.on(SDXL_INPAINTING))


def inpainting_parity(s: Setup) -> None:
    kept, mask = randn(1, 4, SIDE, SIDE, seed=16), torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 4:12, 4:12] = 1.0
    options = {"concat_latent_image": kept / s.shape.scale, "concat_mask": mask}
    sides = {"positive": (s.positive, 21), "negative": (s.negative, 22)}
    conds = {name: [[tokens, {**s.options(seed), **options}]] for name, (tokens, seed) in sides.items()}
    fidelity = 0.5 if s.shape.vector is None else 0.5**3
    result = s.sample(s.attached(), conds=conds, sigmas=STEP)
    unit = s.unit(sigmas=STEP, fidelity=fidelity)
    # A reference row masks nothing and shows the reference itself.
    beside = (torch.cat([mask, kept], dim=1), torch.cat([torch.zeros_like(mask), unit.latent], dim=1))
    prompts = [(s.positive, False), (s.negative, True)]
    positive, negative = s.denoised(s.noise * STEP[0], prompts, [unit], STEP[0], [beside, beside])
    same(result, negative + 5.0 * (positive - negative), PARITY)


@case(fidelity=(0.3, 1.0))
def parity_on_an_instruct_pix2pix_model(s: Setup, fidelity: float) -> None:
    s = s.on(PIX2PIX)
    image = randn(1, 4, SIDE, SIDE, seed=16)
    edited = {"concat_latent_image": image}
    conds = {"positive": [[s.positive, edited]], "middle": [[s.middle, edited]], "negative": [[s.negative, {}]]}
    result = s.sample(s.attached(style_fidelity=fidelity), conds=conds, cfg=4.0, cfg2=2.0, sigmas=STEP)
    # Rows that edit a picture edit the reference, as the autoencoder gives it; the others see none.
    edits, blank = (image, s.references[:1]), (torch.zeros_like(image), torch.zeros_like(image))
    prompts = [(s.positive, False), (s.middle, True), (s.negative, True)]
    unit = s.unit(sigmas=STEP, fidelity=fidelity)
    pos, mid, neg = s.denoised(s.noise * STEP[0], prompts, [unit], STEP[0], [edits, edits, blank])
    same(result, neg + 2.0 * (mid - neg) + 4.0 * (pos - mid), PARITY)
    differs(result, s.sample(s.base, conds=conds, cfg=4.0, cfg2=2.0, sigmas=STEP))


# SD 2.x: linear projections, heads of 64 channels, v-prediction ----------------------------------------------------


@case
def plain_sd2_run_equals_the_oracle(s: Setup) -> None:
    s = s.on(SD2)
    same(s.plain, s.expected([]), PARITY)


@case(mode=MODES, weight=(0.5, 1.0))
def parity_on_sd2(s: Setup, mode: str, weight: float) -> None:
    s = s.on(SD2)
    result = s.sample(s.attached(mode=mode, weights=(weight,)))
    same(result, s.expected([s.unit(mode=mode, weight=weight)]), PARITY)
    differs(result, s.plain)


# SDXL: two and more transformer layers a block, none on the first level, vector conditioning -----------------------


@comfyui_case
def plain_sdxl_run_equals_the_oracle(s: Setup) -> None:
    s = s.on(SDXL)
    same(s.plain, s.expected([]), PARITY)


@comfyui_case(mode=MODES, weight=(0.5, 1.0, 2.0), count=(1, 2))
def parity_on_sdxl(s: Setup, mode: str, weight: float, count: int) -> None:
    s = s.on(SDXL)
    result = s.sample(s.attached(s.references[:count], mode=mode, weights=(weight,), style_fidelity=0.0))
    same(result, s.expected([s.unit(n, mode=mode, weight=weight, fidelity=0.0) for n in range(count)]), PARITY)
    differs(result, s.plain)


@comfyui_case
def balanced_sdxl_cubes_the_style_fidelity(s: Setup) -> None:
    s = s.on(SDXL)
    result = s.sample(s.attached(style_fidelity=0.5))
    same(result, s.expected([s.unit(fidelity=0.5**3)]), PARITY)
    differs(result, s.expected([s.unit(fidelity=0.5)]))


@comfyui_case
def sdxl_with_strength_zero_changes_nothing(s: Setup) -> None:
    s = s.on(SDXL)
    assert torch.equal(s.sample(s.attached(strength=0.0)), s.plain)


@comfyui_case
def an_sdxl_batch_of_two_equals_two_batches_of_one(s: Setup) -> None:
    s = s.on(SDXL)
    together = s.sample(s.attached())
    for row in range(2):
        same(s.sample(s.attached(), noise=s.noise[row : row + 1]), together[row : row + 1])


@comfyui_case
def sdxl_changes_stay_inside_the_target_mask(s: Setup) -> None:
    s = s.on(SDXL)
    mask = disc()
    result = s.sample(s.attached(target=mask, masks=mask))
    beyond = (torch.nn.functional.adaptive_avg_pool2d(mask[:, None], (SIDE, SIDE)) == 0).expand_as(result)
    assert torch.equal(result[beyond], s.plain[beyond])
    differs(result[~beyond], s.plain[~beyond])


@comfyui_case
def another_pooled_prompt_is_not_served_from_the_cache(s: Setup) -> None:
    s = s.on(SDXL)
    cache = new_cache()
    s.sample(s.attached(cache=cache))
    misses = cache.misses
    conds = {**s.conds, "positive": [[s.positive, s.options(23)]]}
    cached = s.sample(s.attached(cache=cache), conds=conds)
    assert cache.misses > misses, "served features of another pooled prompt"
    same(cached, s.sample(s.attached(), conds=conds), CLOSE)


@comfyui_case
def an_sdxl_batch_of_different_pooled_prompts_reads_with_each_its_own(s: Setup) -> None:
    s = s.on(SDXL)
    pooled = torch.cat([s.options(seed)["pooled_output"] for seed in (21, 23)])
    tokens = s.positive.expand(2, -1, -1)
    together = s.sample(s.attached(), conds={**s.conds, "positive": [[tokens, {"pooled_output": pooled}]]})
    for row, seed in enumerate((21, 23)):
        conds = {**s.conds, "positive": [[s.positive, s.options(seed)]]}
        same(together[row : row + 1], s.sample(s.attached(), conds=conds, noise=s.noise[row : row + 1]))
