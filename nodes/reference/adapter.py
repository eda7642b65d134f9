"""Attach references to a MODEL through four public wrappers; the model's modules are never touched.

The wrappers are plain functions without state. The description of the references travels in the model's own options,
the state of a run in the options of that run, so that branches of one graph do not mix and an exception leaves
nothing behind.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from ..algorithms.reference.bank import BankCache
from .config import DEFAULT_CACHE_BYTES, OPTION, Reference, ReferenceConfig
from .hold import doubled, rewind
from .rows import Call, describe
from .run import Run

#: Key of the wrappers on a model.
WRAPPERS = "defectforge_reference"

_RUN = "defectforge_reference_run"
_CALL = "defectforge_reference_call"


def attach(
    model: Any,
    references: tuple[Reference, ...],
    *,
    contexts: str | None = None,
    ahead: int | None = None,
    cache: BankCache | None = None,
    hold: bool | None = None,
) -> Any:
    """A clone of `model` that reads `references` beside those that it already reads.

    Args:
        model: a MODEL (not changed).
        references: see `build_references`.
        contexts, ahead, cache, hold: see `ReferenceConfig`; None keeps what an earlier attachment has set.
    """
    clone = model.clone()
    options = dict(clone.model_options.get("transformer_options", {}))
    before: ReferenceConfig | None = options.get(OPTION)
    if before is None:
        before = ReferenceConfig((), BankCache(DEFAULT_CACHE_BYTES, torch.device("cpu")))
        clone.add_wrapper_with_key("sampler_sample", WRAPPERS, wrap_sampling)
        clone.add_wrapper_with_key("predict_noise", WRAPPERS, wrap_guidance)
        clone.add_wrapper_with_key("calc_cond_batch", WRAPPERS, wrap_conditionings)
        clone.add_wrapper_with_key("apply_model", WRAPPERS, wrap_model)
    options[OPTION] = ReferenceConfig(
        before.references + references,
        before.cache if cache is None else cache,
        before.contexts if contexts is None else contexts,
        before.ahead if ahead is None else ahead,
        before.hold if hold is None else hold,
    )
    clone.model_options["transformer_options"] = options
    return clone


def wrap_sampling(
    executor: Any,
    guider: Any,
    sigmas: Any,
    extra_args: dict[str, Any],
    callback: Any,
    noise: Any,
    latent_image: Any = None,
    denoise_mask: Any = None,
    *args: Any,
    **kw: Any,
) -> Any:
    """SAMPLER_SAMPLE: check everything, open a run, and close it however sampling ends."""
    options = extra_args.get("model_options", {}).get("transformer_options", {})
    config: ReferenceConfig | None = options.get(OPTION)
    if config is None or all(reference.inert for reference in config.references):
        return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, *args, **kw)
    run = Run(config, guider, sigmas, noise.shape, denoise_mask is not None)
    options[_RUN] = run
    steps = len(sigmas) - 1
    try:
        if run.surroundings is not None:
            # Samplers that draw from the global random state must draw the same in both runs.
            devices = [noise.device] if noise.device.type == "cuda" else []
            with torch.random.fork_rng(devices):
                report = doubled(callback, steps, second=False)
                executor(guider, sigmas, dict(extra_args), report, noise.clone(), latent_image, None, *args, **kw)
            rewind(guider)
            run.surroundings.replay()
            callback = doubled(callback, steps, second=True)
        return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, *args, **kw)
    finally:
        options.pop(_RUN, None)
        run.close()


def wrap_guidance(executor: Any, x: Any, timestep: Any, model_options: dict[str, Any], *args: Any, **kw: Any) -> Any:
    """PREDICT_NOISE: where surroundings are held, keep the guided result there, whatever guidance did to it."""
    run: Run | None = model_options.get("transformer_options", {}).get(_RUN)
    denoised = executor(x, timestep, model_options, *args, **kw)
    if run is None or run.surroundings is None:
        return denoised
    return run.surroundings.guide(timestep, denoised)


def wrap_conditionings(
    executor: Any, model: Any, conds: Any, x: Any, timestep: Any, model_options: dict[str, Any]
) -> Any:
    """CALC_COND_BATCH: note which conditioning is the unconditional side, for the model calls that follow.

    Where surroundings are held, the results are recorded in a first run without references and kept in the second.
    """
    options = model_options.get("transformer_options", {})
    run: Run | None = options.get(_RUN)
    if run is None:
        return executor(model, conds, x, timestep, model_options)
    call = describe(conds, run.guider.conds, run.height, run.width)

    def evaluate(call: Call) -> Any:
        own = {**model_options, "transformer_options": {**options, _CALL: call}}
        return executor(model, conds, x, timestep, own)

    plain = replace(call, reads=False)
    surroundings = run.surroundings
    if surroundings is None:
        return evaluate(call)
    if surroundings.recording:
        results = evaluate(plain)
        surroundings.record(timestep, results)
        return results
    return surroundings.keep(timestep, evaluate(call), lambda: evaluate(plain))


def wrap_model(
    executor: Any,
    x: Any,
    t: Any,
    c_concat: Any = None,
    c_crossattn: Any = None,
    control: Any = None,
    transformer_options: dict[str, Any] | None = None,
    **kwargs: Any,
) -> Any:
    """APPLY_MODEL: get the features of the references, then run the model with the patches that read them."""
    options = transformer_options if transformer_options is not None else {}
    run: Run | None = options.get(_RUN)
    if run is not None:
        call = options.get(_CALL)
        if call is None:
            raise RuntimeError(
                "reference-only: the sampler called the model without evaluating conditionings first, so the sides of "
                "guidance are unknown; use KSampler or SamplerCustomAdvanced with a guider"
            )
        if call.reads:
            options = run.evaluate(executor, call, x, t, c_concat, c_crossattn, options, kwargs)
    return executor(x, t, c_concat, c_crossattn, control, options, **kwargs)
