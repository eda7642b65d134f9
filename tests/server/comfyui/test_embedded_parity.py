"""The embedded server beside a real ComfyUI: the same nodes, answers, messages and pixels for the same requests."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from defectforge.runner.embedded import follows
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import picture_kinds

pytestmark = pytest.mark.comfyui


@pytest.fixture
def both(connect: Callable[..., Any], comfyui: Any, embedded_like: Any) -> Iterator[tuple[Any, Any]]:
    """A connected client of ComfyUI, and one of the embedded server that follows it."""
    clients = connect(comfyui.url), connect(embedded_like.url)
    for client in clients:
        client.connect()
    yield clients


@pytest.fixture
def newest(comfyui: Any) -> bool:
    """Whether the core at hand is the one whose declarations and protocol are followed."""
    return bool(comfyui.version == follows.COMFYUI_VERSION)


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def image(width: Any = 64, height: Any = 48, color: int = 0x4080C0) -> dict[str, Any]:
    return node("EmptyImage", width=width, height=height, batch_size=1, color=color)


def scale(source: Any = ("1", 0), method: str = "area", crop: str = "disabled") -> dict[str, Any]:
    return node("ImageScale", image=list(source), upscale_method=method, width=40, height=40, crop=crop)


def show(source: str = "1", slot: int = 0) -> dict[str, Any]:
    return node("PreviewImage", images=[source, slot])


BAD_PROMPTS: dict[str, Any] = {
    "nothing": {},
    "no output": {"1": image()},
    "unknown node": {"1": node("NoSuchNode"), "9": show()},
    "no class": {"1": {"inputs": {}}},
    "missing input": {"1": node("EmptyImage", width=8, height=8, batch_size=1), "9": show()},
    "link of three": {"1": image(), "2": scale(("1", 0, 0)), "9": show("2")},
    "wrong type": {"1": node("SolidMask", value=1.0, width=8, height=8), "9": show()},
    "not a number": {"1": image("wide"), "9": show()},
    "too small": {"1": image(0), "9": show()},
    "too big": {"1": image(99999), "9": show()},
    "unknown choice": {"1": image(), "2": scale(method="magic"), "9": show("2")},
    "missing file": {"1": node("LoadImage", image="nope.png"), "9": show()},
    "missing checkpoint": {
        "1": node("CheckpointLoaderSimple", ckpt_name="nope.safetensors"),
        "2": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "3": node("VAEDecode", samples=["2", 0], vae=["1", 2]),
        "9": show("3"),
    },
    "link to a missing node": {"9": show("404")},
    "inner link to a missing node": {"1": scale(("404", 0)), "9": show()},
    "missing slot": {"1": image(), "9": show("1", 5)},
    "one of two outputs is bad": {"1": image(), "2": image(0), "8": show("1"), "9": show("2")},
    "two errors": {"1": image(0, 99999), "9": show()},
}


def shape_of_answer(answer: requests.Response) -> dict[str, Any]:
    """Status, error type, and for each blamed node its error types with the inputs that they name."""
    body = answer.json()
    return {
        "status": answer.status_code,
        "error": body.get("error", {}).get("type"),
        "node_errors": {
            node_id: (
                entry["class_type"],
                sorted(entry["dependent_outputs"]),
                sorted((error["type"], error["message"], sorted(error)) for error in entry["errors"]),
            )
            for node_id, entry in body.get("node_errors", {}).items()
        },
    }


@pytest.mark.parametrize("what", BAD_PROMPTS)
def test_a_bad_prompt_gets_the_same_answer(both, newest, what):
    theirs, ours = (shape_of_answer(client.submit(BAD_PROMPTS[what])) for client in both)
    if what in {"unknown node", "no class"} and not newest:
        assert theirs["error"] == "invalid_prompt"
        theirs["error"] = "missing_node_type"
    if what == "unknown node":
        # More than ComfyUI says: every unknown node by name.
        assert list(ours.pop("node_errors")) == ["1"]
        theirs.pop("node_errors")
    assert ours == theirs


UNKNOWN = {
    "unknown node": {"1": node("NoSuchNode"), "9": show()},
    "unknown node with a title": {"1": {**node("NoSuchNode"), "_meta": {"title": "Mine"}}, "9": show()},
    "no class": {"1": {"inputs": {}}, "9": show()},
    "no class, with a title": {"1": {"inputs": {}, "_meta": {"title": "Mine"}}, "9": show()},
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_an_unknown_node_is_told_in_the_same_places(both, comfyui, newest, what):
    if not newest:
        pytest.skip(f"ComfyUI {comfyui.version} says so in another way")
    theirs, ours = (client.submit(UNKNOWN[what]).json()["error"] for client in both)
    # More than ComfyUI says: every unknown class.
    ours["extra_info"].pop("class_types", None)
    # The message is in words of our own.
    assert {**ours, "message": ""} == {**theirs, "message": ""}


@pytest.mark.parametrize("what", ["link to a missing node", "missing file", "too big", "unknown choice"])
def test_the_details_name_the_same_thing(both, what):
    found = []
    for client in both:
        [entry] = client.submit(BAD_PROMPTS[what]).json()["node_errors"].values()
        [error] = entry["errors"]
        found.append((error["details"], error["extra_info"].get("received_value")))
    if what == "link to a missing node":
        # ComfyUI says only '404' there.
        assert "404" in found[0][0] and "404" in found[1][0]
    else:
        assert found[0] == found[1]


def core_nodes(client: Any) -> dict[str, Any]:
    info: dict[str, Any] = client.get("/object_info").json()
    return info


#: Choices that are the server's own files or its own set of algorithms: ours may be fewer.
OWN_CHOICES = {
    "image",
    "ckpt_name",
    "vae_name",
    "lora_name",
    "clip_name",
    "control_net_name",
    "sampler_name",
    "scheduler",
    "upscale_method",
}


COMPARED = ("default", "min", "max", "step", "lazy", "advanced")


def declared(entry: dict[str, Any]) -> dict[str, Any]:
    """What a graph depends on: inputs with type, default and range, their order, and the outputs."""
    inputs = {}
    for group in ("required", "optional"):
        for name, (kind, *rest) in entry["input"].get(group, {}).items():
            options = rest[0] if rest else {}
            if kind == "COMBO":
                kind = options.get("options", [])
            if isinstance(kind, list) and name in OWN_CHOICES:
                kind = "choice"
            kept = {
                key: options[key]
                for key in ("default", "min", "max", "step", "lazy", "advanced")
                if options.get(key) is not None
            }
            if kind == "choice":
                kept.pop("default", None)
            inputs[name] = (group, kind, kept)
    return {
        "inputs": inputs,
        "order": {group: names for group, names in entry["input_order"].items() if group != "hidden" and names},
        "output": ["COMBO" if isinstance(kind, list) else kind for kind in entry["output"]],
        "output_is_list": entry["output_is_list"],
        "output_name": ["COMBO" if isinstance(name, list) else name for name in entry["output_name"]],
        "output_node": entry["output_node"],
        "category": entry["category"],
        "display_name": entry["display_name"] or entry["name"],
        "flags": [flag for flag in ("deprecated", "experimental") if entry.get(flag)],
    }


#: What the followed core asks for and 0.3.64 does not know: its graphs have to be opened in a newer window first.
ASKED_FOR_SINCE = {"ImageScaleToTotalPixels": ["resolution_steps"]}


def refused(name: str, mine: dict[str, Any], its: dict[str, Any]) -> list[str]:
    """Why a graph made for an older core's node would not run, or not do the same, with ours."""
    # Outputs of a node that had fewer, or none, take nothing from its graphs.
    found = [f"{name}.{key}" for key in ("output", "output_is_list") if mine[key][: len(its[key])] != its[key]]
    found += [f"{name}.output_node"] if mine["output_node"] != its["output_node"] else []
    more = [key for key, given in mine["inputs"].items() if key not in its["inputs"] and given[0] == "required"]
    if more != ASKED_FOR_SINCE.get(name, []):
        found.append(f"{name} asks for {more}")
    for key, (group, kind, options) in its["inputs"].items():
        group_here, kind_here, options_here = mine["inputs"].get(key, ("absent", None, {}))
        same = (group_here, options_here.get("default")) == (group, options.get("default"))
        same &= set(kind) <= set(kind_here or []) if isinstance(kind, list) else kind == kind_here
        narrower = options_here.get("min", 0) > options.get("min", 0)
        narrower |= options_here.get("max", 0) < options.get("max", 0)
        if not same or narrower:
            found.append(f"{name}.{key}: {mine['inputs'].get(key)} does not take {its['inputs'][key]}")
    return found


def test_every_core_node_is_declared_as_in_comfyui(both, newest):
    """As in the core that is followed; an older one's nodes may say less, and what they take is taken."""
    theirs, ours = (core_nodes(client) for client in both)
    shared = [name for name in ours if not name.startswith("DefectForge")]
    unknown = [name for name in shared if name not in theirs]
    assert unknown == []
    differing = []
    for name in shared:
        mine, its = declared(ours[name]), declared(theirs[name])
        if newest:
            differing += [f"{name}.{key}: {mine[key]} is not {its[key]}" for key in mine if mine[key] != its[key]]
        else:
            differing += refused(name, mine, its)
    assert not differing, "\n".join(differing)


def test_our_nodes_are_told_word_for_word_as_in_comfyui(both, as_told_by):
    theirs, ours = (
        {name: entry for name, entry in core_nodes(client).items() if name.startswith("DefectForge")} for client in both
    )
    assert list(ours) == list(theirs)
    for name, entry in ours.items():
        # Where a node comes from is named after the folder that the pack lies in.
        entry.pop("python_module")
        theirs[name].pop("python_module")
        assert as_told_by(entry) == theirs[name], name


def test_messages_come_in_the_same_order(both):
    prompt = {
        "1": image(color=0x123456),
        "2": scale(),
        "3": node("ImageInvert", image=["2", 0]),
        "9": show("3"),
    }
    theirs, ours = (client.run(prompt) for client in both)
    assert ours.events() == theirs.events()
    assert ours.data("progress_state")[-1]["nodes"].keys() == theirs.data("progress_state")[-1]["nodes"].keys()
    for event in set(message["type"] for message in theirs.messages):
        assert set(ours.data(event)[0]) == set(theirs.data(event)[0]), event
    theirs, ours = (client.run(prompt) for client in both)
    assert ours.events() == theirs.events()
    assert sorted(ours.data("execution_cached")[0]["nodes"]) == sorted(theirs.data("execution_cached")[0]["nodes"])


def sampling(steps: int) -> dict[str, Any]:
    prompt = node("CLIPTextEncode", text="a nut", clip=["1", 1])
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="random-sd15.safetensors"),
        "2": prompt,
        "3": node("EmptyLatentImage", width=64, height=64, batch_size=1),
        "4": node(
            "KSampler",
            model=["1", 0],
            seed=1,
            steps=steps,
            cfg=2.0,
            sampler_name="euler",
            scheduler="normal",
            positive=["2", 0],
            negative=["2", 0],
            latent_image=["3", 0],
            denoise=1.0,
        ),
        "5": node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "9": show("5"),
    }


@pytest.mark.slow
def test_sampling_is_told_step_by_step_as_in_comfyui(connect, comfyui, embedded_like):
    theirs, ours = (connect(url).run(sampling(3)) for url in (comfyui.url, embedded_like.url))
    assert ours.history["status"]["completed"] and theirs.history["status"]["completed"]
    assert ours.events() == theirs.events()
    steps = [[(m["value"], m["max"], m["node"]) for m in outcome.data("progress")] for outcome in (ours, theirs)]
    assert steps[0] == steps[1] == [(1, 3, "4"), (2, 3, "4"), (3, 3, "4")]


@pytest.mark.slow
def test_an_interrupt_in_the_middle_of_sampling_is_told_as_in_comfyui(connect, comfyui, embedded_like):
    found = []
    for url in (comfyui.url, embedded_like.url):
        client = connect(url)
        client.connect()
        prompt_id = client.submit(sampling(2000)).json()["prompt_id"]
        client.until_event("progress")
        client.post("/interrupt", {"prompt_id": prompt_id})
        outcome = client.finish(prompt_id)
        told = outcome.data("execution_interrupted")[0]
        # Which nodes ran before depends on what earlier prompts left in the cache.
        found.append({**told, "executed": type(told["executed"]), "prompt_id": "", "timestamp": 0})
        assert outcome.history["status"]["status_str"] == "error"
    assert found[0] == found[1]
    assert found[0]["node_type"] == "KSampler"


def test_a_failure_is_told_with_the_same_keys(both):
    wrong = {"1": image(), "2": node("ImageToMask", image=["1", 0], channel="alpha")}
    prompt = {**wrong, "3": node("MaskToImage", mask=["2", 0]), "9": show("3")}
    theirs, ours = (client.run(prompt) for client in both)
    assert ours.events() == theirs.events()
    assert set(ours.data("execution_error")[0]) == set(theirs.data("execution_error")[0])
    for key in ("node_id", "node_type", "executed"):
        assert ours.data("execution_error")[0][key] == theirs.data("execution_error")[0][key]
    assert ours.history["status"]["status_str"] == theirs.history["status"]["status_str"] == "error"
    assert set(ours.history) == set(theirs.history)


@pytest.fixture(scope="session")
def photos() -> dict[str, tuple[str, bytes]]:
    """Pictures that decoders treat differently."""
    return picture_kinds.encoded()


def uploaded(client: Any, name: str, picture: tuple[str, bytes]) -> str:
    suffix, data = picture
    files = {"image": (f"{name.replace(':', '')}{suffix}", data, "application/octet-stream")}
    answer = client.http.post(f"{client.url}/upload/image", files=files, data={"subfolder": "parity"}, timeout=30)
    return f"parity/{answer.json()['name']}"


def pixels(client: Any, prompt: dict[str, Any], output: str = "9") -> list[np.ndarray]:
    outcome = client.run(prompt)
    assert outcome.history["status"]["completed"], outcome.history["status"]["messages"]
    references = outcome.history["outputs"][output]["images"]
    return [np.array(Image.open(BytesIO(client.get("/view", **reference).content))) for reference in references]


def assert_same_pixels(both: tuple[Any, Any], build: Callable[[Any], dict[str, Any]], most: int = 0) -> None:
    theirs, ours = (pixels(client, build(client)) for client in both)
    assert len(ours) == len(theirs) > 0
    for mine, its in zip(ours, theirs, strict=True):
        assert mine.shape == its.shape
        difference = np.abs(mine.astype(int) - its.astype(int))
        assert int(difference.max()) <= most, (
            f"{(difference > most).mean():.1%} of the values differ by up to {difference.max()}"
        )


#: What loaded colours may differ by in levels of 255, where the followed core decodes by FFmpeg. Its scaler to floats
#: is up to 0.15 of a level off where colours pass it, which shows as 1 where saving cuts off; its inverse cosine
#: transform is not libjpeg's, and its transform of 4:2:0 and 4:2:2 colours has fewer bits; that of WebP's is another.
FFMPEG_IS_ROUGH = {
    **dict.fromkeys(("deep rgb", "deep rgba", "deep keyed rgb", "deep grey with alpha", "grey with alpha"), 1),
    **dict.fromkeys(("gif", "transparent gif", "lossless webp", "lossless webp with alpha"), 1),
    **dict.fromkeys(("bmp", "bmp with alpha", "cmyk tiff", "grey jpeg"), 1),
    **dict.fromkeys(("webp", "rgb jpeg", "cmyk jpeg"), 2),
    **dict.fromkeys(("jpeg", "two views", "jpeg 4:2:0", "odd jpeg 4:2:0"), 4),
    **dict.fromkeys(("jpeg 4:2:2", "odd jpeg 4:2:2"), 6),
}
KINDS = list(picture_kinds.encoded())


@pytest.mark.parametrize("kind", KINDS)
def test_loaded_pictures_are_the_same(both, newest, photos, kind):
    def build(client: Any) -> dict[str, Any]:
        load = node("LoadImage", image=uploaded(client, kind, photos[kind]))
        return {"1": load, "9": show("1")}

    assert_same_pixels(both, build, FFMPEG_IS_ROUGH.get(kind, 0) if newest else 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_of_a_loaded_picture_is_the_same(both, photos, kind):
    def build(client: Any) -> dict[str, Any]:
        load = node("LoadImage", image=uploaded(client, kind, photos[kind]))
        return {"1": load, "2": node("MaskToImage", mask=["1", 1]), "9": show("2")}

    assert_same_pixels(both, build)


@pytest.mark.parametrize(
    "kind", ["rgb", "rgba", "grey", "deep", "palette", "grey with alpha", "gif", "jpeg", "torn png"]
)
@pytest.mark.parametrize("channel", ["alpha", "red", "green", "blue"])
def test_loaded_masks_are_the_same(both, newest, photos, kind, channel):
    def build(client: Any) -> dict[str, Any]:
        load = node("LoadImageMask", image=uploaded(client, kind, photos[kind]), channel=channel)
        return {"1": load, "2": node("MaskToImage", mask=["1", 0]), "9": show("2")}

    assert_same_pixels(both, build, FFMPEG_IS_ROUGH.get(kind, 0) if newest and channel != "alpha" else 0)


@pytest.mark.parametrize("crop", ["disabled", "center"])
@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"])
def test_scaled_pictures_are_the_same(both, photos, method, crop):
    def build(client: Any) -> dict[str, Any]:
        load = node("LoadImage", image=uploaded(client, "rgba", photos["rgba"]))
        return {"1": load, "2": scale(("1", 0), method, crop), "9": show("2")}

    assert_same_pixels(both, build)


MASK_NODES = {
    "grow": node("GrowMask", mask=["2", 0], expand=3, tapered_corners=True),
    "grow square": node("GrowMask", mask=["2", 0], expand=2, tapered_corners=False),
    "shrink": node("GrowMask", mask=["2", 0], expand=-2, tapered_corners=True),
    "feather": node("FeatherMask", mask=["2", 0], left=5, top=7, right=9, bottom=11),
    "invert": node("InvertMask", mask=["2", 0]),
    "crop": node("CropMask", mask=["2", 0], x=3, y=4, width=20, height=10),
    "threshold": node("ThresholdMask", mask=["2", 0], value=0.4),
    **{
        operation: node("MaskComposite", destination=["2", 0], source=["3", 0], x=5, y=6, operation=operation)
        for operation in ("multiply", "add", "subtract", "and", "or", "xor")
    },
}


@pytest.mark.parametrize("what", MASK_NODES)
def test_masks_are_the_same(both, photos, what):
    def build(client: Any) -> dict[str, Any]:
        return {
            "2": node("LoadImageMask", image=uploaded(client, "rgba", photos["rgba"]), channel="alpha"),
            "3": node("SolidMask", value=0.7, width=30, height=20),
            "4": MASK_NODES[what],
            "5": node("MaskToImage", mask=["4", 0]),
            "9": show("5"),
        }

    assert_same_pixels(both, build)


#: Each ends in an image; "1" is a picture with transparency, "2" its mask, "3" a small grey picture.
EDITS = {
    "crop": node("ImageCrop", image=["1", 0], width=20, height=14, x=7, y=5),
    "crop beyond the edge": node("ImageCrop", image=["1", 0], width=500, height=14, x=4000, y=5),
    "repeat": node("RepeatImageBatch", image=["1", 0], amount=2),
    "from a batch": node("ImageFromBatch", image=["1", 0], batch_index=0, length=3),
    "from the end of a batch": node("ImageFromBatch", image=["1", 0], batch_index=-1, length=3),
    "rotate": node("ImageRotate", image=["1", 0], rotation="90 degrees"),
    "rotate by three quarters": node("ImageRotate", image=["1", 0], rotation="270 degrees"),
    "flip": node("ImageFlip", image=["1", 0], flip_method="x-axis: vertically"),
    "flip sideways": node("ImageFlip", image=["1", 0], flip_method="y-axis: horizontally"),
    "total pixels": node(
        "ImageScaleToTotalPixels", image=["1", 0], upscale_method="bilinear", megapixels=0.01, resolution_steps=8
    ),
    "longest side": node("ImageScaleToMaxDimension", image=["1", 0], upscale_method="area", largest_size=37),
    "blur": node("ImageBlur", image=["1", 0], blur_radius=3, sigma=0.8),
    "sharpen": node("ImageSharpen", image=["1", 0], sharpen_radius=2, sigma=0.6, alpha=0.4),
    **{
        f"blend {mode}": node("ImageBlend", image1=["1", 0], image2=["3", 0], blend_factor=0.7, blend_mode=mode)
        for mode in ("normal", "multiply", "screen", "overlay", "soft_light", "difference")
    },
    "join alpha": node("JoinImageWithAlpha", image=["1", 0], alpha=["1", 1]),
    "join alpha to a batch": node("JoinImageWithAlpha", image=["6", 0], alpha=["1", 1]),
    "join a batch of alphas": node("JoinImageWithAlpha", image=["1", 0], alpha=["7", 0]),
    "cut off what has alpha": node(
        "ImageCompositeMasked", destination=["3", 0], source=["5", 0], x=3, y=2, resize_source=False
    ),
    "pad": node("ImagePadForOutpaint", image=["1", 0], left=16, top=0, right=8, bottom=24, feathering=9),
}
#: What the edits are made from, beside "1".
AROUND = {
    "3": image(40, 30),
    "5": EDITS["join alpha"],
    "6": EDITS["repeat"],
    "7": node("MaskComposite", destination=["8", 0], source=["8", 0], x=0, y=0, operation="or"),
    "8": node("ImageToMask", image=["6", 0], channel="red"),
}
#: What two programs' filters may differ by after rounding to 8 bits.
FILTERS = {"blur", "sharpen", *(name for name in EDITS if name.startswith("blend"))}


def not_known(entry: dict[str, Any], given: dict[str, Any]) -> str:
    """The first of the given inputs that a server's node does not have, or whose value is below what it takes."""
    inputs = declared(entry)["inputs"]
    for name, value in given.items():
        if name not in inputs:
            return name
        least = inputs[name][2].get("min")
        if least is not None and value < least:
            return f"{name} below {least}"
    return ""


@pytest.mark.parametrize("what", EDITS)
def test_edited_pictures_are_the_same(both, comfyui, photos, what):
    kind, given = EDITS[what]["class_type"], EDITS[what]["inputs"]
    if lacking := not_known(core_nodes(both[0])[kind], given):
        pytest.skip(f"{kind} of ComfyUI {comfyui.version} has no {lacking}")

    def build(client: Any) -> dict[str, Any]:
        return {
            "1": node("LoadImage", image=uploaded(client, "rgba", photos["rgba"])),
            **AROUND,
            "4": EDITS[what],
            "9": show("4"),
        }

    assert_same_pixels(both, build, 1 if what in FILTERS else 0)


#: An image with transparency ("5") beside one without: the newest core takes the lack for opaque, older ones fail.
MIXED = {
    "composite": node("ImageCompositeMasked", destination=["5", 0], source=["3", 0], x=3, y=2, resize_source=False),
    "blend": node("ImageBlend", image1=["5", 0], image2=["3", 0], blend_factor=0.5, blend_mode="screen"),
    "batch": node("ImageBatch", image1=["5", 0], image2=["3", 0]),
    "batch the other way round": node("ImageBatch", image1=["3", 0], image2=["5", 0]),
}


@pytest.mark.parametrize("what", MIXED)
def test_images_with_and_without_transparency_go_together_as_in_comfyui(both, newest, photos, what):
    def build(client: Any) -> dict[str, Any]:
        load = node("LoadImage", image=uploaded(client, "rgba", photos["rgba"]))
        return {"1": load, **AROUND, "4": MIXED[what], "9": show("4")}

    if newest:
        assert_same_pixels(both, build, 1 if what == "blend" else 0)
        return
    for client in both:
        assert client.run(build(client)).history["status"]["status_str"] == "error"


@pytest.mark.parametrize("kind", ["PreviewImage", "SaveImage", "MaskPreview"])
def test_what_is_shown_is_given_on(both, comfyui, newest, kind):
    if not newest:
        pytest.skip(f"{kind} of ComfyUI {comfyui.version} gives nothing on")
    shown = {
        "PreviewImage": node("PreviewImage", images=["1", 0]),
        "SaveImage": node("SaveImage", images=["1", 0], filename_prefix="parity/given on"),
        "MaskPreview": node("MaskPreview", mask=["2", 0]),
    }
    given = ["5", 0]
    if kind == "MaskPreview":
        given = ["6", 0]
    prompt = {
        "1": image(),
        "2": node("SolidMask", value=0.3, width=9, height=8),
        "5": shown[kind],
        **({"6": node("MaskToImage", mask=["5", 0])} if kind == "MaskPreview" else {}),
        "7": node("ImageInvert", image=given),
        "9": show("7"),
    }
    assert_same_pixels(both, lambda client: prompt)


@pytest.mark.parametrize("what", ["pad", "split", "colour"])
def test_masks_of_edits_are_the_same(both, photos, what):
    def build(client: Any) -> dict[str, Any]:
        masks = {
            "pad": (EDITS["pad"], 1),
            "split": (node("SplitImageWithAlpha", image=["5", 0]), 1),
            "colour": (node("ImageColorToMask", image=["3", 0], color=0x336699), 0),
        }
        made, output = masks[what]
        return {
            "1": node("LoadImage", image=uploaded(client, "rgba", photos["rgba"])),
            "3": {**image(40, 30), "inputs": {**image(40, 30)["inputs"], "color": 0x336699}},
            "5": EDITS["join alpha"],
            "6": made,
            "7": node("MaskToImage", mask=["6", output]),
            "9": show("7"),
        }

    assert_same_pixels(both, build)


@pytest.mark.parametrize("resize_source", [False, True])
@pytest.mark.parametrize("at", [(0, 0), (10, 7), (50, 36), (200, 200)])
def test_composites_are_the_same(both, photos, at, resize_source):
    def build(client: Any) -> dict[str, Any]:
        return {
            "1": node("LoadImage", image=uploaded(client, "rgba", photos["rgba"])),
            "2": image(40, 30),
            "3": node(
                "ImageCompositeMasked",
                destination=["1", 0],
                source=["2", 0],
                x=at[0],
                y=at[1],
                resize_source=resize_source,
                mask=["1", 1],
            ),
            "9": show("3"),
        }

    assert_same_pixels(both, build)


def test_a_saved_picture_carries_the_same_texts(both):
    texts = []
    for client in both:
        prompt = {"1": image(), "9": node("SaveImage", images=["1", 0], filename_prefix="parity/%width%/texts")}
        outcome = client.run(prompt, extra_data={"extra_pnginfo": {"workflow": {"title": "Größe"}}})
        [reference] = outcome.history["outputs"]["9"]["images"]
        picture = Image.open(BytesIO(client.get("/view", **reference).content))
        texts.append((reference, dict(picture.text)))
    assert texts[0] == texts[1]
