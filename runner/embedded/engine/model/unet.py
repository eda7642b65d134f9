"""The U-Net: diffusers' modules, run block by block under LDM's numbering so that patches find their place."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn

from ..layout import BlockName, Part, UNetLayout
from ..state_dicts import renamed
from .attention import PatchableAttention
from .patching import call_wrapped

Options = dict[str, Any]
Control = Mapping[str, list["torch.Tensor | None"]]


def diffusers_unet(layout: UNetLayout) -> Any:
    """diffusers' U-Net of this layout, without weights (on the meta device)."""
    widths = [layout.channels(level) for level in range(layout.levels)]
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in layout.transformer_depth]
    up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(layout.transformer_depth)]
    extra: dict[str, Any] = {}
    if layout.adm_channels is not None:
        extra = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": layout.adm_channels}
    with torch.device("meta"):
        return UNet2DConditionModel(
            in_channels=layout.in_channels,
            out_channels=layout.out_channels,
            block_out_channels=tuple(widths),
            layers_per_block=layout.num_res_blocks,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            transformer_layers_per_block=tuple(max(1, depth) for depth in layout.transformer_depth),
            cross_attention_dim=layout.context_dim,
            # diffusers' historical name: this is the number of heads.
            attention_head_dim=tuple(layout.heads(width) for width in widths),
            use_linear_projection=layout.linear_projection,
            **extra,
        )


def converted_state_dict(ldm: Mapping[str, torch.Tensor], layout: UNetLayout) -> dict[str, torch.Tensor]:
    """The same tensors under diffusers' names; `ldm` has no prefix.

    Raises:
        KeyError: a tensor belongs to no part of the layout.
    """
    names = layout.module_names()
    result = {}
    for key, tensor in ldm.items():
        name = renamed(key, names)
        if name is None:
            raise KeyError(f"tensor {key!r} does not belong to a U-Net with this layout: {layout}")
        result[name] = tensor
    return result


class LatentUNet(nn.Module):
    """A noise predictor [rows, in_channels, h, w] -> [rows, out_channels, h, w] with ComfyUI's patch points."""

    def __init__(self, unet: Any, layout: UNetLayout) -> None:
        super().__init__()
        self.unet, self.layout = unet, layout
        self.blocks: list[tuple[BlockName, list[tuple[Part, nn.Module]]]] = [
            (block, [(part, unet.get_submodule(part.diffusers)) for part in parts])
            for block, parts in groupby(layout.parts(), key=lambda part: part.block)
        ]
        for _, parts in self.blocks:
            for part, module in parts:
                if part.kind == "attention":
                    _install_processors(part, module, layout)

    @classmethod
    def from_ldm(cls, ldm: Mapping[str, torch.Tensor], layout: UNetLayout, dtype: torch.dtype) -> LatentUNet:
        """Builds the network with the weights of an LDM state dict (no prefix)."""
        unet = diffusers_unet(layout)
        state = {k: v.to(dtype) for k, v in converted_state_dict(ldm, layout).items()}
        unet.load_state_dict(state, strict=True, assign=True)
        return cls(unet.eval().requires_grad_(False), layout)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are and inputs have to be."""
        dtype: torch.dtype = self.unet.conv_in.weight.dtype
        return dtype

    def forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor | None = None,
        y: torch.Tensor | None = None,
        control: Control | None = None,
        transformer_options: Options | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """One pass.

        Args:
            x: [rows, in_channels, h, w]; timesteps: [rows], 0..999.
            context: text tokens [rows, tokens, context_dim]; y: unCLIP's vector [rows, adm_channels].
            control: residuals, lists under "input", "middle", "output"; the last of a list belongs to the next block.
            transformer_options: patches; `block` and others are written into it, as ComfyUI does.
        """
        options = transformer_options if transformer_options is not None else {}
        return call_wrapped(
            "diffusion_model", self._forward, self, options, x, timesteps, context, y, control, options, **kwargs
        )

    def _forward(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        context: torch.Tensor | None,
        y: torch.Tensor | None,
        control: Control | None,
        options: Options,
        **_: Any,
    ) -> torch.Tensor:
        patches = options.get("patches", {})
        options.update(original_shape=list(x.shape), transformer_index=0)
        embedding = self._embedding(timesteps, y, patches, options, x.dtype)
        # Each queue is used up from its end; the lists of the caller stay as they are.
        residuals = {k: list(v) for k, v in (control or {}).items()}
        skips: list[torch.Tensor] = []
        h = x
        for block, parts in self.blocks:
            options["block"] = block
            if block[0] == "output":
                skip = _add(skips.pop(), residuals.get("output"))
                for patch in patches.get("output_block_patch", ()):
                    h, skip = patch(h, skip, options)
                h = torch.cat([h, skip], dim=1)
            h = self._run(parts, h, embedding, context, options, skips)
            if block[0] == "output":
                continue
            h = _add(h, residuals.get(block[0]))
            if block[0] == "input":
                for patch in patches.get("input_block_patch", ()):
                    h = patch(h, options)
                skips.append(h)
                for patch in patches.get("input_block_patch_after_skip", ()):
                    h = patch(h, options)
        h = self.unet.conv_act(self.unet.conv_norm_out(h.to(x.dtype)))
        return self.unet.conv_out(h)

    def _embedding(
        self, timesteps: torch.Tensor, y: torch.Tensor | None, patches: Mapping[str, Any], options: Options, dtype: Any
    ) -> torch.Tensor:
        embedding = self.unet.time_embedding(self.unet.time_proj(timesteps).to(dtype))
        for patch in patches.get("emb_patch", ()):
            embedding = patch(embedding, self.layout.model_channels, options)
        if (y is not None) != (self.layout.adm_channels is not None):
            raise ValueError("a vector y must be given if and only if the checkpoint is an unCLIP one")
        if y is not None:
            embedding = embedding + self.unet.class_embedding(y)
        result: torch.Tensor = embedding
        return result

    def _run(
        self,
        parts: list[tuple[Part, nn.Module]],
        h: torch.Tensor,
        embedding: torch.Tensor,
        context: torch.Tensor | None,
        options: Options,
        skips: list[torch.Tensor],
    ) -> torch.Tensor:
        for part, module in parts:
            if part.kind == "res":
                h = module(h, embedding)
            elif part.kind == "attention":
                options["activations_shape"] = list(h.shape)
                arguments = {"transformer_options": options}
                h = module(h, encoder_hidden_states=context, cross_attention_kwargs=arguments, return_dict=False)[0]
            elif part.kind == "up":
                # Sizes that do not halve evenly come back to the size of the next skip connection.
                size = skips[-1].shape[-2:]
                h = module(h) if size == tuple(2 * s for s in h.shape[-2:]) else module(h, output_size=tuple(size))
            else:
                h = module(h)
        return h


def _install_processors(part: Part, module: nn.Module, layout: UNetLayout) -> None:
    heads = layout.heads(part.channels_out)
    for index, block in enumerate(module.transformer_blocks):  # type: ignore[arg-type]
        for name in ("attn1", "attn2"):
            processor = PatchableAttention(name, index, heads, part.channels_out // heads)
            getattr(block, name).set_processor(processor)


def _add(h: torch.Tensor, residuals: list[torch.Tensor | None] | None) -> torch.Tensor:
    """Adds the next control residual, if there is one."""
    if residuals:
        residual = residuals.pop()
        if residual is not None:
            return h + residual
    return h
