"""What the help pages' pictures are drawn with: a generated nut, the nodes, and a model where one was given."""

from __future__ import annotations

import asyncio
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from picture_sheet import to_image, to_picture
from PIL import Image
from torch import Tensor

SIZE = 512
#: Nuts that lie with their whole side and a part of the base in sight; and how close the camera is.
NUT, REFERENCE, HALF = 4, 23, 0.85
#: Seed of the hole that is drawn on the nut.
HOLE = 8
#: Seeds of Place Hole Mask: one with cracks, one without.
CRACKED, PLAIN = 16, 18


class Studio:
    """One generated nut, the nodes that look at it, and a model where one was given."""

    def __init__(self, folder: Path, checkpoint: Path | None, seed: int) -> None:
        from defectforge.nodes import host
        from defectforge.nodes.extension import DefectForgeExtension
        from defectforge.runner.embedded import folders
        from defectforge.runner.embedded.host import EmbeddedHost

        self.places = folders.Folders(folder / "input", folder / "output", folder / "temp")
        self.places.create()
        folders.use(self.places)
        host.install(EmbeddedHost("help pages", "cpu"))
        self.nodes = {node.__name__: node for node in asyncio.run(DefectForgeExtension().get_node_list())}
        self.checkpoint_file, self.seed, self.cfg = checkpoint, seed, 7.0

    def run(self, name: str, **inputs: Any) -> tuple[Any, ...]:
        """Outputs of node ``DefectForge<name>``; what is not given has the schema's default."""
        node = self.nodes["DefectForge" + name]
        defaults = {entry.id: getattr(entry, "default", None) for entry in node.GET_SCHEMA().inputs}
        given = {key: value for key, value in {**defaults, **inputs}.items() if value is not None}
        result: tuple[Any, ...] = node.PREPARE_CLASS_CLONE({}).execute(**given).args
        return result

    @cached_property
    def pair(self) -> tuple[Tensor, Tensor, Tensor]:
        """A sound nut, the same with a drawn hole, the hole's mask."""
        from defectforge.runner.nuts import View, draw_pair

        sound, broken, mask = draw_pair(NUT, size=SIZE, defect_seed=HOLE, view=View(half=HALF))
        return to_image(sound), to_image(broken), to_image(mask)

    @cached_property
    def part(self) -> tuple[Tensor, float, Tensor]:
        """Object Mask of the sound nut."""
        mask, confidence, shown = self.run("ObjectMask", image=self.pair[0])
        return mask, confidence, shown

    def hole(self, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """Place Hole Mask on the sound nut: label mask, denoise mask, overlay."""
        label, denoise, shown = self.run("PlaceHoleMask", image=self.pair[0], object_mask=self.part[0], seed=seed)
        return label, denoise, shown

    def drawn_hole(self) -> tuple[Tensor, Tensor]:
        """Label and denoise mask of the hole that is drawn on the broken nut."""
        from defectforge.nodes.algorithms.masks import grow_and_feather, to_array

        mask = self.pair[2]
        return mask, torch.from_numpy(grow_and_feather(to_array(mask[0]), 6.0, 8.0))[None]

    @cached_property
    def broken(self) -> tuple[Tensor, Tensor]:
        """Another nut with a hole, and the hole's mask: what stands for a photo of a real defect."""
        from defectforge.runner.nuts import View, draw_defect

        broken, mark = (to_image(array) for array in draw_defect(REFERENCE, size=SIZE, view=View(half=HALF)))
        return broken, mark

    @cached_property
    def reference(self) -> tuple[Tensor, Tensor]:
        """The working crop of another nut's hole, and its mask."""
        broken, mark = self.broken
        crop, _, mask, _ = self.run("CropForDefect", image=broken, mask=mark, label_mask=mark, size=128)
        return crop, mask

    @cached_property
    def model(self) -> Any:
        """The checkpoint's model, text encoder and VAE."""
        from defectforge.runner.embedded.engine.loading.checkpoint import load_checkpoint

        assert self.checkpoint_file is not None
        return load_checkpoint(self.checkpoint_file)

    def sample(self, model: Any, latent: dict[str, Any], denoise: float = 1.0) -> Tensor:
        """What Sampler and Decode of the shipped workflows do."""
        from defectforge.runner.embedded.engine.sampling.sampling import ksampler

        positive, negative = (self.model.clip.encode(text) for text in ("defective hazelnut with hole", ""))
        settings = (self.seed, 20, self.cfg, "euler_ancestral", "normal")
        silent: Any = lambda *_: None  # noqa: E731
        done = ksampler(model, *settings, positive, negative, latent, denoise=denoise, callback=silent)
        picture: Tensor = self.model.vae.decode(done["samples"])
        return picture


def shown(image: Tensor, mask: Tensor) -> Image.Image:
    """The mask on its photo."""
    from defectforge.nodes.algorithms.overlay import overlay

    return to_picture(overlay(image, mask))
