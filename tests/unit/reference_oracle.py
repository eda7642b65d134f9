"""The original's reference algorithm, two passes and module banks, on a plain LDM U-Net read from a state dict.

Written from the description of sd-webui-controlnet's hook alone and independent of the package: no key/value sharing,
no log-sum-exp, one full reference forward a reference and call. It is slow and exists to be compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Layout:
    """Blocks with attention in the original's order (widest first, then in module order), and those with AdaIN."""

    attention: str
    adain_inputs: tuple[int, ...]
    adain_outputs: int

    def attention_thresholds(self, depth: dict[str, int]) -> dict[str, float]:
        """For each layer (``in7.0``) the weight above which it takes part; `depth` holds the layers of each block."""
        names = [f"{block}.{index}" for block in self.attention.split() for index in range(depth[block])]
        return {name: place / len(names) for place, name in enumerate(names)}

    def adain_thresholds(self) -> dict[str, float]:
        """For each block the weight above which its output is normalised."""
        count = len(self.adain_inputs)
        return {
            "mid": 0.0,
            **{f"in{number}": 2.0 * (1.0 - place / count) for place, number in enumerate(self.adain_inputs)},
            **{f"out{number}": 2.0 * number / self.adain_outputs for number in range(self.adain_outputs)},
        }


#: By the number of input blocks: SD 1.x and 2.x have 12, SDXL has 9 and no attention on its first level.
LAYOUTS = {
    12: Layout("in7 in8 mid out3 out4 out5 in4 in5 out6 out7 out8 in1 in2 out9 out10 out11", (4, 5, 7, 8, 10, 11), 8),
    9: Layout("in7 in8 mid out0 out1 out2 in4 in5 out3 out4 out5", (4, 5, 7, 8), 6),
}


@dataclass
class Unit:
    """One reference unit of the original: latent, its noise for each step, mode and numbers."""

    latent: torch.Tensor
    noise: list[torch.Tensor]
    mode: str = "reference_adain+attn"
    fidelity: float = 0.5
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0


@dataclass
class Machine:
    """Banks of one model call."""

    mode: str = "plain"
    unit: Unit | None = None
    uncond: torch.Tensor | None = None
    tokens: dict[str, list[tuple[torch.Tensor, float]]] = field(default_factory=dict)
    moments: dict[str, list[tuple[torch.Tensor, torch.Tensor, float]]] = field(default_factory=dict)


class OracleUNet:
    """LDM U-Net of SD 1.x, 2.x or SDXL as functions over its state dict (`input_blocks.0.0.weight`, ...).

    Args:
        weights: the state dict.
        head_channels: channels of an attention head; None: eight heads everywhere.
        v_prediction: whether the network predicts v; results are turned into the noise in any case.
    """

    def __init__(
        self, weights: dict[str, torch.Tensor], head_channels: int | None = None, v_prediction: bool = False
    ) -> None:
        self.w = weights
        self.head_channels = head_channels
        self.v_prediction = v_prediction
        self.channels = weights["input_blocks.0.0.weight"].shape[0]
        self.blocks = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("input_blocks."))
        layout = LAYOUTS[self.blocks]
        depth = {"mid": self.depth("middle_block.1")}
        depth |= {f"in{i}": self.depth(f"input_blocks.{i}.1") for i in range(self.blocks)}
        depth |= {f"out{i}": self.depth(f"output_blocks.{i}.1") for i in range(self.blocks)}
        self.attention_thresholds = layout.attention_thresholds(depth)
        self.adain_thresholds = layout.adain_thresholds()

    def depth(self, name: str) -> int:
        """Transformer layers in a module."""
        return sum(f"{name}.transformer_blocks.{i}.norm1.weight" in self.w for i in range(20))

    def attends(self, unit: Unit, layer: str) -> bool:
        """Whether a unit selects an attention layer."""
        return unit.mode != "reference_adain" and unit.weight > self.attention_thresholds[layer]

    def adapts(self, unit: Unit, block: str) -> bool:
        """Whether a unit selects a block's output for AdaIN."""
        return unit.mode != "reference_only" and unit.weight > self.adain_thresholds.get(block, math.inf)

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def conv(self, x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, self.w[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)

    def group_norm(self, x: torch.Tensor, name: str, eps: float) -> torch.Tensor:
        return F.group_norm(x, 32, self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps)

    def layer_norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def attention(self, name: str, n: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        projected = (self.linear(x, f"{name}.to_{part}") for part, x in (("q", n), ("k", context), ("v", context)))
        heads = 8 if self.head_channels is None else n.shape[-1] // self.head_channels
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in projected)
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return self.linear((logits.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{name}.to_out.0")

    def self_attention(self, layer: str, name: str, n: torch.Tensor, m: Machine) -> torch.Tensor:
        if m.mode == "write" and m.unit is not None and self.attends(m.unit, layer):
            m.tokens.setdefault(layer, []).append((n, m.unit.fidelity))
        bank = m.tokens.get(layer)
        if m.mode != "read" or not bank:
            return self.attention(name, n, n)
        both = self.attention(name, n, torch.cat([n, *(tokens for tokens, _ in bank)], dim=1))
        s = sum(fidelity for _, fidelity in bank) / len(bank)
        mixed = both.clone()
        mixed[m.uncond] = self.attention(name, n, n)[m.uncond]
        return s * mixed + (1 - s) * both

    def adapt(self, block: str, h: torch.Tensor, m: Machine) -> torch.Tensor:
        variance, mean = torch.var_mean(h, dim=(2, 3), keepdim=True, correction=0)
        if m.mode == "write" and m.unit is not None and self.adapts(m.unit, block):
            m.moments.setdefault(block, []).append((mean, variance, m.unit.fidelity))
        bank = m.moments.get(block)
        if m.mode != "read" or not bank:
            return h
        wanted_mean = sum(entry[0] for entry in bank) / len(bank)
        wanted_variance = sum(entry[1] for entry in bank) / len(bank)
        s = sum(entry[2] for entry in bank) / len(bank)
        y = (h - mean) / variance.clamp(min=1e-6).sqrt() * wanted_variance.clamp(min=1e-6).sqrt() + wanted_mean
        mixed = y.clone()
        mixed[m.uncond] = h[m.uncond]
        return s * mixed + (1 - s) * y

    def res(self, x: torch.Tensor, emb: torch.Tensor, name: str) -> torch.Tensor:
        h = self.conv(F.silu(self.group_norm(x, f"{name}.in_layers.0", 1e-5)), f"{name}.in_layers.2")
        h = h + self.linear(F.silu(emb), f"{name}.emb_layers.1")[:, :, None, None]
        h = self.conv(F.silu(self.group_norm(h, f"{name}.out_layers.0", 1e-5)), f"{name}.out_layers.3")
        skip = self.conv(x, f"{name}.skip_connection") if f"{name}.skip_connection.weight" in self.w else x
        return skip + h

    def transformer(self, block: str, x: torch.Tensor, context: torch.Tensor, name: str, m: Machine) -> torch.Tensor:
        tall, wide = x.shape[2:]
        h = self.group_norm(x, f"{name}.norm", 1e-6)
        linear = self.w[f"{name}.proj_in.weight"].dim() == 2
        h = h if linear else self.conv(h, f"{name}.proj_in")
        h = h.flatten(2).transpose(1, 2)
        h = self.linear(h, f"{name}.proj_in") if linear else h
        for i in range(self.depth(name)):
            b = f"{name}.transformer_blocks.{i}"
            h = h + self.self_attention(f"{block}.{i}", f"{b}.attn1", self.layer_norm(h, f"{b}.norm1"), m)
            h = h + self.attention(f"{b}.attn2", self.layer_norm(h, f"{b}.norm2"), context)
            value, gate = self.linear(self.layer_norm(h, f"{b}.norm3"), f"{b}.ff.net.0.proj").chunk(2, dim=-1)
            h = h + self.linear(value * F.gelu(gate), f"{b}.ff.net.2")
        h = self.linear(h, f"{name}.proj_out") if linear else h
        h = h.transpose(1, 2).unflatten(2, (tall, wide))
        return x + (h if linear else self.conv(h, f"{name}.proj_out"))

    def block(
        self, short: str, prefix: str, h: torch.Tensor, emb: torch.Tensor, context: torch.Tensor, m: Machine
    ) -> torch.Tensor:
        for i in range(4):
            name = f"{prefix}.{i}"
            if f"{name}.in_layers.0.weight" in self.w:
                h = self.res(h, emb, name)
            elif f"{name}.proj_in.weight" in self.w:
                h = self.transformer(short, h, context, name, m)
            elif f"{name}.op.weight" in self.w:
                h = self.conv(h, f"{name}.op", stride=2)
            elif f"{name}.conv.weight" in self.w:
                h = self.conv(F.interpolate(h, scale_factor=2, mode="nearest"), f"{name}.conv")
            elif f"{name}.weight" in self.w:
                h = self.conv(h, name)
        return self.adapt(short, h, m)

    def forward(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        context: torch.Tensor,
        m: Machine,
        vector: torch.Tensor | None = None,
        control: dict[str, list[torch.Tensor]] | None = None,
    ) -> torch.Tensor:
        """Output of the network; `control`: what a ControlNet adds to the middle and to the skips, first skip first."""
        half = self.channels // 2
        angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half) / half)[None]
        emb = self.linear(torch.cat([angles.cos(), angles.sin()], dim=-1), "time_embed.0")
        emb = self.linear(F.silu(emb), "time_embed.2")
        if vector is not None:
            label = self.linear(F.silu(self.linear(vector, "label_emb.0.0")), "label_emb.0.2")
            emb = emb + label
        h, skips = x, []
        for i in range(self.blocks):
            h = self.block(f"in{i}", f"input_blocks.{i}", h, emb, context, m)
            skips.append(h)
        h = self.block("mid", "middle_block", h, emb, context, m)
        if control is not None:
            h = h + control["middle"][-1]
            skips = [skip + added for skip, added in zip(skips, control["output"], strict=True)]
        for i in range(self.blocks):
            h = self.block(f"out{i}", f"output_blocks.{i}", torch.cat([h, skips.pop()], 1), emb, context, m)
        return self.conv(F.silu(self.group_norm(h, "out.0", 1e-5)), "out.2")

    def two_pass(
        self,
        x: torch.Tensor,
        t: torch.Tensor,
        context: torch.Tensor,
        uncond: torch.Tensor,
        units: list[Unit],
        step: int,
        steps: int,
        abar: float,
        concat: torch.Tensor | None = None,
        vector: torch.Tensor | None = None,
        control: dict[str, list[torch.Tensor]] | None = None,
    ) -> torch.Tensor:
        """One call of the original: every active unit's write pass on all rows, then the read pass; the noise in x.

        Args:
            concat: what the reference rows concatenate on models with more than 4 channels.
            vector: vector conditioning of the rows.
            control: residuals of a ControlNet, which the write passes do not get.
        """
        m = Machine(uncond=uncond)
        for unit in units:
            if unit.start <= max(step - 1, 0) / steps <= unit.end:
                noised = math.sqrt(abar) * unit.latent + math.sqrt(1 - abar) * unit.noise[step]
                if concat is not None:
                    noised = torch.cat([noised, concat], dim=1)
                m.mode, m.unit = "write", unit
                self.forward(noised.expand(x.shape[0], -1, -1, -1), t, context, m, vector)
        m.mode, m.unit = "read", None
        out = self.forward(x, t, context, m, vector, control)
        return math.sqrt(abar) * out + math.sqrt(1 - abar) * x[:, :4] if self.v_prediction else out


@torch.no_grad()
def euler(
    unet: OracleUNet,
    x: torch.Tensor,
    sigmas: list[float],
    timesteps: list[int],
    positive: torch.Tensor,
    negative: torch.Tensor,
    cfg: float,
    units: list[Unit],
    vectors: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> torch.Tensor:
    """Euler's method with classifier-free guidance on the oracle; `x` is the noised start, `timesteps` one a step.

    `vectors` are the vector conditionings ``[1, width]`` of the positive and the negative side.
    """
    batch, steps = x.shape[0], len(sigmas) - 1
    for i in range(steps):
        sigma = sigmas[i]
        rows = torch.cat([x, x]) / math.sqrt(sigma**2 + 1)
        context = torch.cat([positive.expand(batch, -1, -1), negative.expand(batch, -1, -1)])
        uncond = torch.arange(2 * batch) >= batch
        t = torch.full((2 * batch,), timesteps[i])
        vector = None if vectors is None else torch.cat([side.expand(batch, -1) for side in vectors])
        eps = unet.two_pass(rows, t, context, uncond, units, i, steps, 1 / (1 + sigma**2), vector=vector)
        eps = eps[batch:] + cfg * (eps[:batch] - eps[batch:])
        x = x + eps * (sigmas[i + 1] - sigma)
    return x
