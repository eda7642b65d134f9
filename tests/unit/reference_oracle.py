"""The original's reference algorithm, two passes and module banks, on a plain LDM U-Net read from a state dict.

Written from the description of sd-webui-controlnet's hook alone and independent of the package: no key/value sharing,
no log-sum-exp, one full reference forward a reference and call. It is slow and exists to be compared with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

#: Layers in the original's order for SD 1.5: widest first, then in module order; layer i writes iff weight > i / 16.
ATTENTION_ORDER = [
    "in7",
    "in8",
    "mid",
    "out3",
    "out4",
    "out5",
    "in4",
    "in5",
    "out6",
    "out7",
    "out8",
    "in1",
    "in2",
    "out9",
    "out10",
    "out11",
]
#: Block outputs with AdaIN, and the weight above which they take part.
ADAIN_THRESHOLDS = {
    "mid": 0.0,
    **{f"in{n}": 2.0 * (1.0 - j / 6) for j, n in enumerate((4, 5, 7, 8, 10, 11))},
    **{f"out{j}": 2.0 * j / 8 for j in range(8)},
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

    def attends(self, name: str) -> bool:
        return self.mode != "reference_adain" and self.weight > ATTENTION_ORDER.index(name) / 16

    def adapts(self, name: str) -> bool:
        return self.mode != "reference_only" and self.weight > ADAIN_THRESHOLDS.get(name, math.inf)


@dataclass
class Machine:
    """Banks of one model call."""

    mode: str = "plain"
    unit: Unit | None = None
    uncond: torch.Tensor | None = None
    tokens: dict[str, list[tuple[torch.Tensor, float]]] = field(default_factory=dict)
    moments: dict[str, list[tuple[torch.Tensor, torch.Tensor, float]]] = field(default_factory=dict)


class OracleUNet:
    """LDM U-Net of SD 1.x as functions over its state dict (`input_blocks.0.0.weight`, ...)."""

    def __init__(self, weights: dict[str, torch.Tensor], heads: int = 8) -> None:
        self.w = weights
        self.heads = heads
        self.channels = weights["input_blocks.0.0.weight"].shape[0]

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
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in projected)
        logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return self.linear((logits.softmax(-1) @ v).transpose(1, 2).flatten(2), f"{name}.to_out.0")

    def self_attention(self, layer: str, name: str, n: torch.Tensor, m: Machine) -> torch.Tensor:
        if m.mode == "write" and m.unit is not None and m.unit.attends(layer):
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
        if m.mode == "write" and m.unit is not None and m.unit.adapts(block):
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

    def transformer(self, layer: str, x: torch.Tensor, context: torch.Tensor, name: str, m: Machine) -> torch.Tensor:
        tall, wide = x.shape[2:]
        h = self.conv(self.group_norm(x, f"{name}.norm", 1e-6), f"{name}.proj_in").flatten(2).transpose(1, 2)
        b = f"{name}.transformer_blocks.0"
        h = h + self.self_attention(layer, f"{b}.attn1", self.layer_norm(h, f"{b}.norm1"), m)
        h = h + self.attention(f"{b}.attn2", self.layer_norm(h, f"{b}.norm2"), context)
        value, gate = self.linear(self.layer_norm(h, f"{b}.norm3"), f"{b}.ff.net.0.proj").chunk(2, dim=-1)
        h = h + self.linear(value * F.gelu(gate), f"{b}.ff.net.2")
        return x + self.conv(h.transpose(1, 2).unflatten(2, (tall, wide)), f"{name}.proj_out")

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

    def forward(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor, m: Machine) -> torch.Tensor:
        half = self.channels // 2
        angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(half) / half)[None]
        emb = self.linear(torch.cat([angles.cos(), angles.sin()], dim=-1), "time_embed.0")
        emb = self.linear(F.silu(emb), "time_embed.2")
        h, skips = x, []
        for i in range(12):
            h = self.block(f"in{i}", f"input_blocks.{i}", h, emb, context, m)
            skips.append(h)
        h = self.block("mid", "middle_block", h, emb, context, m)
        for i in range(12):
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
    ) -> torch.Tensor:
        """One call of the original: every active unit's write pass on all rows, then the read pass."""
        m = Machine(uncond=uncond)
        for unit in units:
            if unit.start <= max(step - 1, 0) / steps <= unit.end:
                noised = math.sqrt(abar) * unit.latent + math.sqrt(1 - abar) * unit.noise[step]
                if concat is not None:  # 9-channel models: what the reference rows concatenate
                    noised = torch.cat([noised, concat], dim=1)
                m.mode, m.unit = "write", unit
                self.forward(noised.expand(x.shape[0], -1, -1, -1), t, context, m)
        m.mode, m.unit = "read", None
        return self.forward(x, t, context, m)


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
) -> torch.Tensor:
    """Euler's method with classifier-free guidance on the oracle; `x` is the noised start, `timesteps` one a step."""
    batch, steps = x.shape[0], len(sigmas) - 1
    for i in range(steps):
        sigma = sigmas[i]
        rows = torch.cat([x, x]) / math.sqrt(sigma**2 + 1)
        context = torch.cat([positive.expand(batch, -1, -1), negative.expand(batch, -1, -1)])
        uncond = torch.arange(2 * batch) >= batch
        t = torch.full((2 * batch,), timesteps[i])
        eps = unet.two_pass(rows, t, context, uncond, units, i, steps, 1 / (1 + sigma**2))
        eps = eps[batch:] + cfg * (eps[:batch] - eps[batch:])
        x = x + eps * (sigmas[i + 1] - sigma)
    return x
