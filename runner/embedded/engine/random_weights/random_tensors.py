"""Names, shapes and spreads of the tensors that Stable Diffusion checkpoints hold (see random_checkpoint)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from ..encoders.vocabulary import CONTEXT_LENGTH, VOCABULARY_SIZE
from ..layout import Part, UNetLayout


@dataclass(frozen=True)
class TensorShape:
    """A tensor to draw: normal with mean `mean` and standard deviation `std`."""

    name: str
    shape: tuple[int, ...]
    std: float
    mean: float = 0.0

    def under(self, prefix: str) -> TensorShape:
        """The same tensor with a longer name."""
        return replace(self, name=prefix + self.name)

    def draw(self, generator: torch.Generator) -> torch.Tensor:
        """float32 values."""
        return torch.randn(self.shape, generator=generator).mul_(self.std).add_(self.mean)


def _layer(name: str, *shape: int, gain: float = 1.0, bias: bool = True) -> Iterator[TensorShape]:
    """A linear or convolution layer that keeps the variance of its input times gain squared."""
    yield TensorShape(f"{name}.weight", shape, gain / math.sqrt(math.prod(shape[1:])))
    if bias:
        yield TensorShape(f"{name}.bias", shape[:1], 0.02)


def _norm(name: str, channels: int) -> Iterator[TensorShape]:
    yield TensorShape(f"{name}.weight", (channels,), 0.02, mean=1.0)
    yield TensorShape(f"{name}.bias", (channels,), 0.02)


def _res(part: Part, time_width: int) -> Iterator[TensorShape]:
    name, a, b = part.ldm, part.channels_in, part.channels_out
    yield from _norm(f"{name}.in_layers.0", a)
    yield from _layer(f"{name}.in_layers.2", b, a, 3, 3)
    yield from _layer(f"{name}.emb_layers.1", b, time_width)
    yield from _norm(f"{name}.out_layers.0", b)
    yield from _layer(f"{name}.out_layers.3", b, b, 3, 3, gain=0.5)
    if a != b:
        yield from _layer(f"{name}.skip_connection", b, a, 1, 1)


def _attention(part: Part, context: int, linear: bool) -> Iterator[TensorShape]:
    name, c = part.ldm, part.channels_out
    kernel = () if linear else (1, 1)
    yield from _norm(f"{name}.norm", c)
    yield from _layer(f"{name}.proj_in", c, c, *kernel)
    for i in range(part.depth):
        block = f"{name}.transformer_blocks.{i}"
        for attn, width in (("attn1", c), ("attn2", context)):
            yield from _layer(f"{block}.{attn}.to_q", c, c, gain=1.5, bias=False)
            yield from _layer(f"{block}.{attn}.to_k", c, width, gain=1.5, bias=False)
            yield from _layer(f"{block}.{attn}.to_v", c, width, bias=False)
            yield from _layer(f"{block}.{attn}.to_out.0", c, c)
        yield from _layer(f"{block}.ff.net.0.proj", 8 * c, c)
        yield from _layer(f"{block}.ff.net.2", c, 4 * c)
        for norm in ("norm1", "norm2", "norm3"):
            yield from _norm(f"{block}.{norm}", c)
    yield from _layer(f"{name}.proj_out", c, c, *kernel, gain=0.5)


def unet_shapes(unet: UNetLayout) -> Iterator[TensorShape]:
    """The U-Net, in LDM names."""
    width, time_width = unet.model_channels, 4 * unet.model_channels
    yield from _layer("time_embed.0", time_width, width)
    yield from _layer("time_embed.2", time_width, time_width)
    if unet.adm_channels is not None:
        yield from _layer("label_emb.0.0", time_width, unet.adm_channels)
        yield from _layer("label_emb.0.2", time_width, time_width)
    for part in unet.parts():
        if part.kind == "conv":
            yield from _layer(part.ldm, part.channels_out, part.channels_in, 3, 3)
        elif part.kind == "res":
            yield from _res(part, time_width)
        elif part.kind == "attention":
            yield from _attention(part, unet.context_dim, unet.linear_projection)
        else:
            layer = "op" if part.kind == "down" else "conv"
            yield from _layer(f"{part.ldm}.{layer}", part.channels_out, part.channels_in, 3, 3)
    yield from _norm("out.0", width)
    yield from _layer("out.2", unet.out_channels, width, 3, 3)


def text_shapes(prefix: str, width: int, layers: int, *, open_clip: bool = False) -> Iterator[TensorShape]:
    """A CLIP text encoder in transformers' names (SD 1.x), or in OpenCLIP's (SD 2.x)."""
    if open_clip:
        yield TensorShape(f"{prefix}token_embedding.weight", (VOCABULARY_SIZE, width), 0.02)
        yield TensorShape(f"{prefix}positional_embedding", (CONTEXT_LENGTH, width), 0.01)
        yield from _open_clip_layers(f"{prefix}transformer.resblocks.", width, layers)
        yield from _norm(f"{prefix}ln_final", width)
        yield TensorShape(f"{prefix}text_projection", (width, width), width**-0.5)
        return
    yield TensorShape(f"{prefix}embeddings.token_embedding.weight", (VOCABULARY_SIZE, width), 0.02)
    yield TensorShape(f"{prefix}embeddings.position_embedding.weight", (CONTEXT_LENGTH, width), 0.01)
    for i in range(layers):
        layer = f"{prefix}encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _layer(f"{layer}.self_attn.{name}", width, width, gain=0.7)
        yield from _norm(f"{layer}.layer_norm1", width)
        yield from _norm(f"{layer}.layer_norm2", width)
        yield from _layer(f"{layer}.mlp.fc1", 4 * width, width)
        yield from _layer(f"{layer}.mlp.fc2", width, 4 * width)
    yield from _norm(f"{prefix}final_layer_norm", width)


def _open_clip_layers(prefix: str, width: int, layers: int) -> Iterator[TensorShape]:
    for i in range(layers):
        layer = f"{prefix}{i}"
        yield from _norm(f"{layer}.ln_1", width)
        yield TensorShape(f"{layer}.attn.in_proj_weight", (3 * width, width), 0.7 * width**-0.5)
        yield TensorShape(f"{layer}.attn.in_proj_bias", (3 * width,), 0.02)
        yield from _layer(f"{layer}.attn.out_proj", width, width)
        yield from _norm(f"{layer}.ln_2", width)
        yield from _layer(f"{layer}.mlp.c_fc", 4 * width, width)
        yield from _layer(f"{layer}.mlp.c_proj", width, 4 * width)


def vision_shapes(
    prefix: str, layers: int, width: int, projection: int, *, image_size: int = 224, patch: int = 14
) -> Iterator[TensorShape]:
    """A CLIP vision tower in OpenCLIP's names."""
    tokens = (image_size // patch) ** 2 + 1
    yield TensorShape(f"{prefix}class_embedding", (width,), 0.02)
    yield TensorShape(f"{prefix}conv1.weight", (width, 3, patch, patch), 1 / math.sqrt(3 * patch * patch))
    yield TensorShape(f"{prefix}positional_embedding", (tokens, width), 0.02)
    yield from _norm(f"{prefix}ln_pre", width)
    yield from _open_clip_layers(f"{prefix}transformer.resblocks.", width, layers)
    yield from _norm(f"{prefix}ln_post", width)
    yield TensorShape(f"{prefix}proj", (width, projection), width**-0.5)


def tiny_vae_shapes(width: int = 64, latent: int = 4) -> Iterator[TensorShape]:
    """TAESD's encoder and decoder (madebyollin/taesd): three halvings, `width` channels throughout."""

    def block(name: str) -> Iterator[TensorShape]:
        for i in (0, 2, 4):
            yield from _layer(f"{name}.conv.{i}", width, width, 3, 3, gain=1.0 if i < 4 else 0.5)

    yield from _layer("taesd_encoder.0", width, 3, 3, 3, gain=1.4)
    for index in range(1, 14):
        name = f"taesd_encoder.{index}"
        if index in (2, 6, 10):
            yield from _layer(name, width, width, 3, 3, gain=1.2, bias=False)
        else:
            yield from block(name)
    yield from _layer("taesd_encoder.14", latent, width, 3, 3, gain=1.2)
    yield from _layer("taesd_decoder.1", width, latent, 3, 3, gain=1.4)
    for index in (*range(3, 6), *range(8, 11), *range(13, 16), 18):
        yield from block(f"taesd_decoder.{index}")
    for index in (7, 12, 17):
        yield from _layer(f"taesd_decoder.{index}", width, width, 3, 3, gain=1.2, bias=False)
    # Around mid grey: a picture that is neither black nor white.
    yield TensorShape("taesd_decoder.19.weight", (3, width, 3, 3), 0.6 / math.sqrt(9 * width))
    yield TensorShape("taesd_decoder.19.bias", (3,), 0.02, mean=0.5)


def kl_shapes(width: int = 128, mult: tuple[int, ...] = (1, 2, 4, 4), blocks: int = 2) -> Iterator[TensorShape]:
    """The KL autoencoder of SD 1.x / 2.x in LDM names."""

    def res(name: str, a: int, b: int) -> Iterator[TensorShape]:
        yield from _norm(f"{name}.norm1", a)
        yield from _layer(f"{name}.conv1", b, a, 3, 3)
        yield from _norm(f"{name}.norm2", b)
        yield from _layer(f"{name}.conv2", b, b, 3, 3, gain=0.5)
        if a != b:
            yield from _layer(f"{name}.nin_shortcut", b, a, 1, 1)

    def middle(name: str, c: int) -> Iterator[TensorShape]:
        yield from res(f"{name}.mid.block_1", c, c)
        yield from _norm(f"{name}.mid.attn_1.norm", c)
        for layer in ("q", "k", "v", "proj_out"):
            yield from _layer(f"{name}.mid.attn_1.{layer}", c, c, 1, 1)
        yield from res(f"{name}.mid.block_2", c, c)

    widths = [width * m for m in mult]
    yield from _layer("encoder.conv_in", width, 3, 3, 3)
    current = width
    for level, out in enumerate(widths):
        for i in range(blocks):
            yield from res(f"encoder.down.{level}.block.{i}", current, out)
            current = out
        if level < len(mult) - 1:
            yield from _layer(f"encoder.down.{level}.downsample.conv", out, out, 3, 3)
    yield from middle("encoder", current)
    yield from _norm("encoder.norm_out", current)
    yield from _layer("encoder.conv_out", 8, current, 3, 3)
    yield from _layer("quant_conv", 8, 8, 1, 1)
    yield from _layer("post_quant_conv", 4, 4, 1, 1)
    yield from _layer("decoder.conv_in", current, 4, 3, 3)
    yield from middle("decoder", current)
    for level, out in reversed(list(enumerate(widths))):
        for i in range(blocks + 1):
            yield from res(f"decoder.up.{level}.block.{i}", current, out)
            current = out
        if level > 0:
            yield from _layer(f"decoder.up.{level}.upsample.conv", out, out, 3, 3)
    yield from _norm("decoder.norm_out", current)
    yield from _layer("decoder.conv_out", 3, current, 3, 3, gain=0.5)
