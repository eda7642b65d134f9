"""What the cases of reference-only share: their registry, a model with prompts and references, and comparisons."""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from reference_harness import SD15, Architecture, Harness, oracle

SIGMAS = (10.0, 4.0, 1.5, 0.0)
SIDE = 16
SEED = 7
#: Width of SDXL's pooled prompt.
POOLED = 1280
MODES = ("reference_only", "reference_adain", "reference_adain+attn")
#: Of the output's scale, as asked of both hosts.
PARITY = 1e-4
#: Where only the order of floating-point sums differs.
CLOSE = 2e-5

CASES: dict[str, Callable[[Setup], None]] = {}
#: Cases of what the embedded server does not have: SDXL, ControlNets, hooks.
COMFYUI_ONLY: set[str] = set()


def case(function: Callable[..., None] | None = None, **values: Any) -> Any:
    """Register a case; keyword lists make one case for each combination, named ``case[a-b]``."""

    def register(body: Callable[..., None]) -> Callable[..., None]:
        for combination in itertools.product(*values.values()):
            arguments = dict(zip(values, combination, strict=True))
            suffix = "[" + "-".join(str(value) for value in combination) + "]" if arguments else ""
            CASES[body.__name__ + suffix] = functools.partial(body, **arguments)
        return body

    return register if function is None else register(function)


def comfyui_case(function: Callable[..., None] | None = None, **values: Any) -> Any:
    """Register a case that only ComfyUI can run."""

    def register(body: Callable[..., None]) -> Callable[..., None]:
        before = set(CASES)
        case(**values)(body)
        COMFYUI_ONLY.update(set(CASES) - before)
        return body

    return register if function is None else register(function)


def randn(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Setup:
    """A model, its weights in the oracle, prompts, noise and references; made once for all cases of a host."""

    def __init__(self, harness: Harness, architecture: Architecture = SD15) -> None:
        self.harness = harness
        self.shape = architecture
        self.base, weights = harness.model(architecture)
        self.oracle = oracle.OracleUNet(weights, architecture.head_channels, architecture.v_prediction)
        self.positive, self.negative, self.middle = (randn(1, 12, architecture.context, seed=s) for s in (11, 12, 13))
        self.noise = randn(2, 4, SIDE, SIDE, seed=14)
        self.references = randn(2, 4, SIDE, SIDE, seed=15) / architecture.scale
        self.sampling = self.base.get_model_object("model_sampling")
        self._others: dict[Architecture, Setup] = {}

    def on(self, architecture: Architecture) -> Setup:
        """The same with a model of another architecture in the same host."""
        if architecture not in self._others:
            self._others[architecture] = Setup(self.harness, architecture)
        return self._others[architecture]

    def options(self, seed: int) -> dict[str, Any]:
        """What a prompt carries beside its tokens: the pooled prompt where the model has vector conditioning."""
        return {} if self.shape.vector is None else {"pooled_output": randn(1, POOLED, seed=seed)}

    @property
    def conds(self) -> dict[str, list[Any]]:
        """Positive and negative prompt."""
        return {"positive": [[self.positive, self.options(21)]], "negative": [[self.negative, self.options(22)]]}

    def vectors(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Vector conditioning of the positive and the negative prompt, made by the host."""
        if self.shape.vector is None:
            return None
        size = {"width": SIDE * 8, "height": SIDE * 8}
        first, second = (self.base.model.encode_adm(**self.options(seed), **size) for seed in (21, 22))
        return first, second

    def attached(self, latents: torch.Tensor | None = None, base: Any = None, **settings: Any) -> Any:
        """The model with references attached; settings of `attach` and `build_references` alike."""
        from defectforge.nodes.reference.adapter import attach
        from defectforge.nodes.reference.config import build_references

        where = {name: settings.pop(name) for name in ("contexts", "ahead", "cache", "hold") if name in settings}
        base = self.base if base is None else base
        latents = self.references[:1] if latents is None else latents
        return attach(base, build_references(base, latents, **{"seed": SEED, **settings}), **where)

    def sample(
        self,
        model: Any,
        *,
        conds: dict[str, list[Any]] | None = None,
        cfg: float = 5.0,
        cfg2: float = 1.0,
        sigmas: tuple[float, ...] = SIGMAS,
        noise: torch.Tensor | None = None,
        callback: Any = None,
        mask: torch.Tensor | None = None,
        latent: torch.Tensor | None = None,
        sampler: str = "euler",
    ) -> torch.Tensor:
        """Latents in the model's units."""
        conds = self.conds if conds is None else conds
        noise = self.noise if noise is None else noise
        latent = torch.zeros_like(noise) if latent is None else latent
        guider = self.harness.guider(model, conds, cfg, cfg2)
        result: torch.Tensor = guider.sample(
            noise.clone(), latent, self.harness.sampler(sampler), torch.tensor(sigmas), mask, callback, True, 1
        )
        return result * self.shape.scale

    @functools.cached_property
    def plain(self) -> torch.Tensor:
        return self.sample(self.base)

    def timesteps(self, sigmas: tuple[float, ...] = SIGMAS) -> list[int]:
        return [int(self.sampling.timestep(torch.tensor(sigma))) for sigma in sigmas[:-1]]

    def unit(self, number: int = 0, sigmas: tuple[float, ...] = SIGMAS, seed: int = SEED, **settings: Any) -> Any:
        """The oracle's unit for one of the references, with the package's noise."""
        from defectforge.nodes.algorithms.reference.noise import reference_noise

        latent = self.references[number : number + 1] * self.shape.scale
        ordinal = settings.pop("ordinal", number)
        noise = [reference_noise(latent.shape, seed, level, ordinal) for level in self.timesteps(sigmas)]
        return oracle.Unit(latent, noise, **settings)

    def expected(self, units: list[Any], sigmas: tuple[float, ...] = SIGMAS, noise: Any = None) -> torch.Tensor:
        noise = self.noise if noise is None else noise
        start = (
            noise * (1 + sigmas[0] ** 2) ** 0.5 if sigmas[0] >= float(self.sampling.sigma_max) else noise * sigmas[0]
        )
        steps = self.timesteps(sigmas)
        prompts = (self.positive, self.negative)
        return oracle.euler(self.oracle, start, list(sigmas), steps, *prompts, 5.0, units, self.vectors())

    @torch.no_grad()
    def denoised(
        self,
        x: torch.Tensor,
        prompts: list[tuple[torch.Tensor, bool]],
        units: list[Any],
        sigma: float,
        beside: list[tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> list[torch.Tensor]:
        """What the oracle's model makes of `x` for each (prompt, is unconditional), at the first step.

        `beside` holds for each prompt what the pictures' rows and what the references' rows concatenate.
        """
        results = []
        vectors = self.vectors()
        for number, (prompt, unconditional) in enumerate(prompts):
            rows, concat = x / (1 + sigma**2) ** 0.5, None
            if beside is not None:
                own, concat = beside[number]
                rows = torch.cat([rows, own.expand(x.shape[0], -1, -1, -1)], dim=1)
            uncond = torch.full((x.shape[0],), unconditional)
            t = torch.full((x.shape[0],), self.timesteps((sigma, 0.0))[0])
            context = prompt.expand(x.shape[0], -1, -1)
            vector = None if vectors is None else vectors[int(unconditional)].expand(x.shape[0], -1)
            eps = self.oracle.two_pass(rows, t, context, uncond, units, 0, 1, 1 / (1 + sigma**2), concat, vector)
            results.append(x - sigma * eps)
        return results


def same(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = CLOSE) -> None:
    """Assert that two latents agree to a part of the expected one's scale."""
    difference = float((actual - expected).abs().max() / expected.abs().max())
    assert difference <= tolerance, f"differs by {difference:.2e} of the scale, allowed {tolerance:.0e}"


def differs(actual: torch.Tensor, other: torch.Tensor) -> None:
    """Assert that a setting has an effect at all."""
    assert float((actual - other).abs().max() / other.abs().max()) > 1e-2, "no effect"


def disc(radius: float = 0.18) -> torch.Tensor:
    """A soft-edged disc ``[1, 128, 128]`` in the middle, about a tenth of the picture."""
    axis = torch.linspace(-0.5, 0.5, 128)
    distance = (axis[:, None].square() + axis[None].square()).sqrt()
    return ((radius - distance) * 40 + 0.5).clamp(0, 1).unsqueeze(0)


def new_cache(limit: int = 2**30) -> Any:
    from defectforge.nodes.algorithms.reference.bank import BankCache

    return BankCache(limit)
