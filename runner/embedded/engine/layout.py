"""The shape of an LDM U-Net, and one table that names each of its parts in LDM's and in diffusers' words.

The same table converts state dicts, numbers the blocks for patches (ComfyUI's and LDM's numbering) and lists the
tensors that a checkpoint has to hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

PartKind = Literal["conv", "res", "attention", "down", "up"]
BlockName = tuple[str, int]

RES_NAMES = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
SHARED_NAMES = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "class_embedding.linear_1",
    "label_emb.0.2": "class_embedding.linear_2",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


@dataclass(frozen=True)
class Part:
    """One module: its LDM block, its path in both layouts, its channels."""

    block: BlockName
    ldm: str
    diffusers: str
    kind: PartKind
    channels_in: int
    channels_out: int
    depth: int = 0

    def names(self) -> dict[str, str]:
        """LDM module prefix -> diffusers module prefix, for the modules inside this part that hold tensors."""
        if self.kind == "res":
            return {f"{self.ldm}.{a}": f"{self.diffusers}.{b}" for a, b in RES_NAMES.items()}
        if self.kind == "down":
            return {f"{self.ldm}.op": f"{self.diffusers}.conv"}
        if self.kind == "up":
            return {f"{self.ldm}.conv": f"{self.diffusers}.conv"}
        return {self.ldm: self.diffusers}


@dataclass(frozen=True)
class UNetLayout:
    """What a U-Net of the Stable Diffusion 1.x / 2.x family is made of.

    `transformer_depth` holds one number a level: 0 where the level has no attention.
    """

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: tuple[int, ...] = (2, 2, 2, 2)
    transformer_depth: tuple[int, ...] = (1, 1, 1, 0)
    middle_depth: int = 1
    context_dim: int = 768
    linear_projection: bool = False
    adm_channels: int | None = None

    @property
    def levels(self) -> int:
        return len(self.channel_mult)

    def channels(self, level: int) -> int:
        """Width of a level."""
        return self.model_channels * self.channel_mult[level]

    def heads(self, channels: int) -> int:
        """Attention heads at a width: 8 in SD 1.x, 64 channels each in SD 2.x (told by its linear projections)."""
        return max(1, channels // 64) if self.linear_projection else 8

    def parts(self) -> list[Part]:
        """All parts in the order in which the network runs them."""
        return [*self._input_parts(), *self._middle_parts(), *self._output_parts()]

    def _input_parts(self) -> Iterator[Part]:
        width = self.model_channels
        yield Part(("input", 0), "input_blocks.0.0", "conv_in", "conv", self.in_channels, width)
        number = 1
        for level in range(self.levels):
            down = f"down_blocks.{level}"
            for i in range(self.num_res_blocks[level]):
                block, out = ("input", number), self.channels(level)
                yield Part(block, f"input_blocks.{number}.0", f"{down}.resnets.{i}", "res", width, out)
                width = out
                if depth := self.transformer_depth[level]:
                    ldm, ours = f"input_blocks.{number}.1", f"{down}.attentions.{i}"
                    yield Part(block, ldm, ours, "attention", width, width, depth)
                number += 1
            if level < self.levels - 1:
                block = ("input", number)
                yield Part(block, f"input_blocks.{number}.0", f"{down}.downsamplers.0", "down", width, width)
                number += 1

    def _middle_parts(self) -> Iterator[Part]:
        width, block = self.channels(self.levels - 1), ("middle", 0)
        yield Part(block, "middle_block.0", "mid_block.resnets.0", "res", width, width)
        yield Part(block, "middle_block.1", "mid_block.attentions.0", "attention", width, width, self.middle_depth)
        yield Part(block, "middle_block.2", "mid_block.resnets.1", "res", width, width)

    def skip_channels(self) -> list[int]:
        """Width of each input block's output, first block first."""
        last = {part.block: part.channels_out for part in self._input_parts()}
        return list(last.values())

    def _output_parts(self) -> Iterator[Part]:
        skips = self.skip_channels()
        width, number = self.channels(self.levels - 1), 0
        for level in reversed(range(self.levels)):
            up, out = f"up_blocks.{self.levels - 1 - level}", self.channels(level)
            for i in range(self.num_res_blocks[level] + 1):
                block, ldm = ("output", number), f"output_blocks.{number}"
                yield Part(block, f"{ldm}.0", f"{up}.resnets.{i}", "res", width + skips.pop(), out)
                width, index = out, 1
                if depth := self.transformer_depth[level]:
                    yield Part(block, f"{ldm}.1", f"{up}.attentions.{i}", "attention", width, width, depth)
                    index = 2
                if level > 0 and i == self.num_res_blocks[level]:
                    yield Part(block, f"{ldm}.{index}", f"{up}.upsamplers.0", "up", width, width)
                number += 1

    def module_names(self) -> dict[str, str]:
        """LDM module prefix -> diffusers module prefix, for the whole network."""
        names = dict(SHARED_NAMES)
        for part in self.parts():
            names.update(part.names())
        return names
