"""The embedded server beside a real ComfyUI: the same pictures from the same checkpoint, graph and seed.

Both compute in single precision on the CPU with other modules and another order of operations, so that pictures differ
by rounding only; 45 dB is what is promised, and after rounding to 8 bits most are equal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.embedded import launch
from defectforge.runner.embedded.engine.sampling.samplers import SAMPLERS
from defectforge.runner.embedded.engine.sampling.schedules import SCHEDULES
from PIL import Image
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import random_controlnet

pytestmark = [pytest.mark.comfyui, pytest.mark.slow]

UNET, TEXT, VAE = "model.diffusion_model.", "cond_stage_model.transformer.", "first_stage_model."
LORA = "defect-lora.safetensors"
PROMISED_DB = 45.0
SIZE = 128
PROMPT = "a close up of a (defective:1.3) hazelnut with a ((hole))"
Graph = dict[str, Any]


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def graph(checkpoint: str = "random-sd15", prompt: str = PROMPT) -> Graph:
    """What every case begins with: checkpoint, prompts, a photo and a mask, and their latents."""
    return {
        "ckpt": node("CheckpointLoaderSimple", ckpt_name=f"{checkpoint}.safetensors"),
        "pos": node("CLIPTextEncode", clip=["ckpt", 1], text=prompt),
        "neg": node("CLIPTextEncode", clip=["ckpt", 1], text="blurry"),
        "photo": node("LoadImage", image="parity_photo.png"),
        "mask": node("LoadImageMask", image="parity_mask.png", channel="red"),
        "latent": node("VAEEncode", pixels=["photo", 0], vae=["ckpt", 2]),
        "masked": node("SetLatentNoiseMask", samples=["latent", 0], mask=["mask", 0]),
        "empty": node("EmptyLatentImage", width=SIZE, height=SIZE, batch_size=1),
    }


def finished(given: Graph, samples: str = "sample") -> Graph:
    """The graph with a decoder and a preview behind `samples`."""
    decode = node("VAEDecode", samples=[samples, 0], vae=["ckpt", 2])
    return {**given, "decode": decode, "show": node("PreviewImage", images=["decode", 0])}


def sampled(given: Graph, latent: str = "empty", **settings: Any) -> Graph:
    inputs: dict[str, Any] = {
        "seed": 7,
        "steps": 5,
        "cfg": 6.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1.0,
        "model": ["ckpt", 0],
        "positive": ["pos", 0],
        "negative": ["neg", 0],
        "latent_image": [latent, 0],
    }
    return finished({**given, "sample": node("KSampler", **{**inputs, **settings})})


def advanced() -> Graph:
    """The middle of a run, its noise left over, then its end."""
    common: dict[str, Any] = {
        "model": ["ckpt", 0],
        "noise_seed": 7,
        "steps": 8,
        "cfg": 6.0,
        "sampler_name": "dpmpp_2m",
        "scheduler": "karras",
        "positive": ["pos", 0],
        "negative": ["neg", 0],
    }
    first = {"add_noise": "enable", "start_at_step": 2, "end_at_step": 5, "return_with_leftover_noise": "enable"}
    second = {"add_noise": "disable", "start_at_step": 5, "end_at_step": 10000, "return_with_leftover_noise": "disable"}
    given = graph()
    given["half"] = node("KSamplerAdvanced", **common, **first, latent_image=["latent", 0])
    given["sample"] = node("KSamplerAdvanced", **common, **second, latent_image=["half", 0])
    return finished(given)


def inpaint_model(sampler: str, denoise: float, prompt_only: bool = False) -> Graph:
    given = graph("random-sd15-inpaint")
    if prompt_only:
        return sampled(given, sampler_name=sampler)
    given["inpaint"] = node(
        "InpaintModelConditioning",
        positive=["pos", 0],
        negative=["neg", 0],
        vae=["ckpt", 2],
        pixels=["photo", 0],
        mask=["mask", 0],
        noise_mask=True,
    )
    links = {"positive": ["inpaint", 0], "negative": ["inpaint", 1], "latent_image": ["inpaint", 2]}
    return sampled(given, sampler_name=sampler, denoise=denoise, **links)


def custom(given: Graph, guider: dict[str, Any], latent: list[Any], sampler: str = "euler_ancestral") -> Graph:
    """SamplerCustomAdvanced and what it is fed with."""
    given["guider"] = guider
    given["sampler"] = node("KSamplerSelect", sampler_name=sampler)
    given["sigmas"] = node("BasicScheduler", model=["ckpt", 0], scheduler="normal", steps=5, denoise=1.0)
    given["noise"] = node("RandomNoise", noise_seed=5)
    given["sample"] = node(
        "SamplerCustomAdvanced",
        noise=["noise", 0],
        guider=["guider", 0],
        sampler=["sampler", 0],
        sigmas=["sigmas", 0],
        latent_image=latent,
    )
    return finished(given)


def instruct(style: str) -> Graph:
    given = graph("random-sd15-ip2p", "make a tiny hole in it")
    given["edit"] = node(
        "InstructPixToPixConditioning",
        positive=["pos", 0],
        negative=["neg", 0],
        vae=["ckpt", 2],
        pixels=["photo", 0],
    )
    guider = node(
        "DualCFGGuider",
        model=["ckpt", 0],
        cond1=["edit", 0],
        cond2=["edit", 1],
        negative=["neg", 0],
        cfg_conds=7.5,
        cfg_cond2_negative=1.5,
        style=style,
    )
    return custom(given, guider, ["edit", 2])


def unclip(noise_augmentation: float, images: int = 1) -> Graph:
    given = graph("random-sd21-unclip")
    given["ckpt"] = node("unCLIPCheckpointLoader", ckpt_name="random-sd21-unclip.safetensors")
    given["seen"] = node("CLIPVisionEncode", clip_vision=["ckpt", 3], image=["photo", 0], crop="center")
    link = ["pos", 0]
    for n in range(images):
        given[f"like{n}"] = node(
            "unCLIPConditioning",
            conditioning=link,
            clip_vision_output=["seen", 0],
            strength=1.0 - 0.25 * n,
            noise_augmentation=noise_augmentation,
        )
        link = [f"like{n}", 0]
    return sampled(given, positive=link)


def with_conditioning(class_type: str, **inputs: Any) -> Graph:
    """The positive prompt changed by one node and combined with the negative one."""
    given = graph()
    given["changed"] = node(class_type, conditioning=["pos", 0], **inputs)
    given["both"] = node("ConditioningCombine", conditioning_1=["changed", 0], conditioning_2=["neg", 0])
    return sampled(given, positive=["both", 0])


def differential(strength: float) -> Graph:
    given = graph()
    given["soft"] = node("DifferentialDiffusion", model=["ckpt", 0], strength=strength)
    return sampled(given, "masked", model=["soft", 0])


def guided_alone() -> Graph:
    return custom(graph(), node("BasicGuider", model=["ckpt", 0], conditioning=["pos", 0]), ["latent", 0], "euler")


def two_pictures() -> Graph:
    """A batch, and a picture taken out of one."""
    given = graph()
    given["batch"] = node("EmptyLatentImage", width=SIZE, height=SIZE, batch_size=3)
    given["part"] = node("LatentFromBatch", samples=["batch", 0], batch_index=1, length=2)
    return sampled(given, "part", steps=3)


def grown_mask() -> Graph:
    given = graph()
    given["grey"] = node("VAEEncodeForInpaint", pixels=["photo", 0], vae=["ckpt", 2], mask=["mask", 0], grow_mask_by=6)
    return sampled(given, "grey")


def low_rank() -> Graph:
    given = graph()
    given["lora"] = node(
        "LoraLoader",
        model=["ckpt", 0],
        clip=["ckpt", 1],
        lora_name=LORA,
        strength_model=0.8,
        strength_clip=0.6,
    )
    given["pos"]["inputs"]["clip"] = ["lora", 1]
    return sampled(given, model=["lora", 0])


def adapter_of_the_model_alone() -> Graph:
    given = graph()
    given["lora"] = node("LoraLoaderModelOnly", model=["ckpt", 0], lora_name=LORA, strength_model=0.8)
    return sampled(given, model=["lora", 0])


def in_parts() -> Graph:
    """U-Net, text encoder and autoencoder from files of their own."""
    given = graph()
    given["unet"] = node("UNETLoader", unet_name="random-unet.safetensors", weight_dtype="default")
    given["clip"] = node("CLIPLoader", clip_name="random-clip.safetensors", type="stable_diffusion")
    given["vae"] = node("VAELoader", vae_name="random-vae.safetensors")
    for prompt in ("pos", "neg"):
        given[prompt]["inputs"]["clip"] = ["clip", 0]
    given["latent"]["inputs"]["vae"] = ["vae", 0]
    whole = sampled(given, "latent", model=["unet", 0], denoise=0.7)
    whole["decode"]["inputs"]["vae"] = ["vae", 0]
    del whole["ckpt"]
    return whole


def controlled(latent: str = "empty", advanced: bool = True, **settings: Any) -> Graph:
    """A ControlNet on both sides, or as the older node does it on the positive one."""
    given = graph()
    given["control"] = node("ControlNetLoader", control_net_name="random-ldm.safetensors")
    hint: dict[str, Any] = {"control_net": ["control", 0], "image": ["photo", 0]}
    if not advanced:
        given["steered"] = node("ControlNetApply", conditioning=["pos", 0], strength=0.7, **hint)
        return sampled(given, latent, positive=["steered", 0])
    inputs = {"strength": 0.9, "start_percent": 0.0, "end_percent": 1.0, **settings}
    given["steered"] = node("ControlNetApplyAdvanced", positive=["pos", 0], negative=["neg", 0], **hint, **inputs)
    return sampled(given, latent, positive=["steered", 0], negative=["steered", 1])


def controlled_twice() -> Graph:
    """A chain of two, on a batch of two."""
    given = controlled()
    again = {"positive": ["steered", 0], "negative": ["steered", 1], "control_net": ["control", 0]}
    given["again"] = node(
        "ControlNetApplyAdvanced", **again, image=["photo", 0], strength=0.5, start_percent=0.2, end_percent=0.9
    )
    given["empty"]["inputs"]["batch_size"] = 2
    given["sample"]["inputs"] |= {"positive": ["again", 0], "negative": ["again", 1]}
    return given


def averaged() -> Graph:
    given = graph()
    given["mixed"] = node(
        "ConditioningAverage", conditioning_to=["pos", 0], conditioning_from=["neg", 0], conditioning_to_strength=0.6
    )
    return sampled(given, positive=["mixed", 0])


def clip_skip() -> Graph:
    given = graph()
    given["skip"] = node("CLIPSetLastLayer", clip=["ckpt", 1], stop_at_clip_layer=-2)
    given["pos"]["inputs"]["clip"] = ["skip", 0]
    return sampled(given, steps=3)


def odd_size() -> Graph:
    given = graph()
    given["odd"] = node("EmptyLatentImage", width=136, height=152, batch_size=1)
    return sampled(given, "odd", steps=3)


CASES: dict[str, Graph] = {
    **{f"text, {name}": sampled(graph(), sampler_name=name) for name in SAMPLERS},
    **{f"noise mask, {name}": sampled(graph(), "masked", sampler_name=name, denoise=0.75) for name in SAMPLERS},
    **{f"schedule {name}": sampled(graph(), sampler_name="dpmpp_2m", scheduler=name) for name in SCHEDULES},
    **{f"masked {s}": sampled(graph(), "masked", scheduler=s, denoise=0.6, steps=4) for s in ("karras", "simple")},
    "img2img 0.3": sampled(graph(), "latent", denoise=0.3),
    "img2img 0.75": sampled(graph(), "latent", denoise=0.75),
    "no denoising": sampled(graph(), "latent", denoise=0.0),
    "scale 1": sampled(graph(), cfg=1.0),
    "start and end steps": advanced(),
    "long prompt": sampled(graph(prompt="a defective hazelnut on a black background, " * 12), steps=3),
    "clip skip": clip_skip(),
    "LoRA": low_rank(),
    "LoRA of the model alone": adapter_of_the_model_alone(),
    "parts from files of their own": in_parts(),
    "ControlNet": controlled(),
    "ControlNet for a part of the way": controlled(start_percent=0.1, end_percent=0.6),
    "ControlNet and noise mask": controlled(latent="masked"),
    "ControlNet, the older node": controlled(advanced=False),
    "two ControlNets on a batch": controlled_twice(),
    "averaged prompts": averaged(),
    "area in shares": with_conditioning(
        "ConditioningSetAreaPercentage", width=0.5, height=0.6, x=0.25, y=0.1, strength=1.0
    ),
    "strength of an area": with_conditioning("ConditioningSetAreaStrength", strength=0.4),
    "picture out of a batch": two_pictures(),
    "odd size": odd_size(),
    "grey for inpainting": grown_mask(),
    "area": with_conditioning("ConditioningSetArea", width=64, height=64, x=32, y=0, strength=1.0),
    "masked prompt": with_conditioning(
        "ConditioningSetMask", mask=["mask", 0], strength=1.0, set_cond_area="mask bounds"
    ),
    "timestep range": with_conditioning("ConditioningSetTimestepRange", start=0.0, end=0.5),
    "zeroed prompt": with_conditioning("ConditioningZeroOut"),
    "differential diffusion": differential(1.0),
    "soft differential diffusion": differential(0.4),
    "one condition": guided_alone(),
    "inpainting model": inpaint_model("euler", 1.0),
    "inpainting model, ddim": inpaint_model("ddim", 0.8),
    "inpainting model without a picture": inpaint_model("euler", 1.0, prompt_only=True),
    "instruct-pix2pix": instruct("regular"),
    "instruct-pix2pix, nested": instruct("nested"),
    "unCLIP": unclip(0.0),
    "unCLIP with noise": unclip(0.3),
    "unCLIP of two": unclip(0.1, images=2),
}


def png(values: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


def inputs() -> dict[str, bytes]:
    """A smooth photo with some noise, and a mask with a grey rim."""
    rng = np.random.default_rng(4)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(
        (SIZE, SIZE), Image.Resampling.BICUBIC
    )
    photo = np.clip(np.asarray(coarse, dtype=np.int16) + rng.integers(-12, 13, (SIZE, SIZE, 3)), 0, 255)
    mask = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    mask[30:100, 30:100] = 128
    mask[40:90, 40:90] = 255
    return {"parity_photo.png": png(photo.astype(np.uint8)), "parity_mask.png": png(mask)}


@pytest.fixture(scope="module", autouse=True)
def parts(checkpoints: Path) -> None:
    """The random checkpoint's parts as files of their own, and a random ControlNet.

    In LDM's words: in diffusers' ComfyUI knows networks of the usual sizes only."""
    whole = load_file(str(checkpoints / "checkpoints" / "random-sd15.safetensors"))
    unet = {k[len(UNET) :]: v for k, v in whole.items() if k.startswith(UNET)}
    text = {k[len(TEXT) :]: v for k, v in whole.items() if k.startswith(TEXT)}
    vae = {k[len(VAE) :]: v for k, v in whole.items() if k.startswith(VAE)}
    written = {
        "diffusion_models/random-unet.safetensors": unet,
        "text_encoders/random-clip.safetensors": text,
        "vae/random-vae.safetensors": vae,
        "controlnet/random-ldm.safetensors": random_controlnet.ldm(unet),
    }
    for name, tensors in written.items():
        path = checkpoints / name
        path.parent.mkdir(exist_ok=True)
        save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, str(path))


@pytest.fixture
def both(connect: Callable[..., Any], comfyui: Any, embedded_like: launch.RunningServer) -> tuple[Any, Any]:
    """A connected client of ComfyUI, and one of the embedded server; both have the photo and the mask."""
    clients = connect(comfyui.url), connect(embedded_like.url)
    for client in clients:
        client.connect()
        client.socket.settimeout(600)
        for name, data in inputs().items():
            files = {"image": (name, data, "image/png")}
            client.http.post(f"{client.url}/upload/image", files=files, data={"overwrite": "true"}, timeout=60)
    return clients


def pictures(client: Any, prompt: Graph) -> np.ndarray:
    outcome = client.run(prompt)
    assert outcome.history["status"]["completed"], outcome.history["status"]["messages"]
    references = outcome.history["outputs"]["show"]["images"]
    found = [np.array(Image.open(BytesIO(client.get("/view", **r).content)).convert("RGB")) for r in references]
    return np.stack(found).astype(np.float64) / 255


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio of pictures in 0..1; 200 for equal ones."""
    error = float(((a - b) ** 2).mean())
    return 200.0 if error == 0 else -10 * float(np.log10(error))


@pytest.mark.parametrize("case", CASES)
def test_the_picture_is_that_of_comfyui(both: tuple[Any, Any], case: str, record_property: Any) -> None:
    theirs, ours = (pictures(client, CASES[case]) for client in both)
    assert theirs.shape == ours.shape
    assert theirs.std() > 0.02, "a constant picture compares nothing"
    found = decibels(theirs, ours)
    record_property("psnr_db", round(found, 1))
    assert found >= PROMISED_DB, f"{case}: {found:.1f} dB"
