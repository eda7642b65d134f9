"""The model's patch surface: where patches are called, with what, and that none changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from defectforge.runner.embedded.engine.loading.checkpoint import Checkpoint
from defectforge.runner.embedded.engine.model.attention import attention
from defectforge.runner.embedded.engine.model.model import EmbeddedModel
from defectforge.runner.embedded.engine.model.patching import WrapperExecutor, copied, merged
from defectforge.runner.embedded.engine.sampling.sampling import ksampler

Prompts = tuple[list[Any], list[Any]]
#: From the outside to the network.
SAMPLING_WRAPPERS = ("outer_sample", "sampler_sample", "predict_noise", "calc_cond_batch", "apply_model")
#: LDM's numbering of the tiny model: conv, block with attention, downsampling, block with attention.
ATTENTION_BLOCKS = [("input", 1), ("input", 3), ("middle", 0), *(("output", n) for n in range(4))]


def run(model: EmbeddedModel, prompts: Prompts, **options: Any) -> torch.Tensor:
    settings: dict[str, Any] = {"seed": 3, "steps": 2, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal"}
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    settings.update(positive=prompts[0], negative=prompts[1], latent=latent, callback=lambda *_: None)
    result: torch.Tensor = ksampler(model, **{**settings, **options})["samples"]
    return result


@pytest.fixture
def model(checkpoint: Checkpoint) -> EmbeddedModel:
    return checkpoint.model.clone()


@pytest.fixture
def plain(checkpoint: Checkpoint, prompts: Prompts) -> torch.Tensor:
    """The result without any patch."""
    return run(checkpoint.model, prompts)


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    """Equal up to the rounding of another order of operations."""
    assert float((a - b).abs().max()) < 1e-4 * float(b.abs().max())


def same(*values: Any) -> Any:
    """A patch that hands back what it got, without the options."""
    return values[0] if len(values) == 2 else values[:-1]


def identity_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra: dict[str, Any]) -> torch.Tensor:
    return attention(q, k, v, extra["n_heads"])


def patch_everything(model: EmbeddedModel) -> None:
    model.set_model_attn1_patch(same)
    model.set_model_attn2_patch(same)
    model.set_model_attn1_output_patch(same)
    model.set_model_attn2_output_patch(same)
    model.set_model_input_block_patch(same)
    model.set_model_input_block_patch_after_skip(same)
    model.set_model_output_block_patch(same)
    model.set_model_emb_patch(lambda embedding, width, options: embedding)
    for block in ATTENTION_BLOCKS:
        model.set_model_attn1_replace(identity_attention, *block)
        model.set_model_attn2_replace(identity_attention, *block)
    for kind in (
        "outer_sample",
        "sampler_sample",
        "predict_noise",
        "calc_cond_batch",
        "apply_model",
        "diffusion_model",
    ):
        model.add_wrapper_with_key(kind, "test", lambda executor, *args, **kwargs: executor(*args, **kwargs))
    model.set_model_unet_function_wrapper(lambda apply, given: apply(given["input"], given["timestep"], **given["c"]))
    model.set_model_sampler_post_cfg_function(lambda given: given["denoised"])
    model.set_model_sampler_pre_cfg_function(lambda given: given["conds_out"])


def test_patches_that_change_nothing_change_nothing(
    model: EmbeddedModel, prompts: Prompts, plain: torch.Tensor
) -> None:
    patch_everything(model)
    assert_close(run(model, prompts), plain)


def test_patches_of_a_clone_leave_the_original_alone(
    checkpoint: Checkpoint, prompts: Prompts, plain: torch.Tensor
) -> None:
    clone = checkpoint.model.clone()
    clone.set_model_input_block_patch(lambda h, options: h * 0)
    assert not torch.allclose(run(clone, prompts), plain, atol=1e-2)
    assert torch.equal(run(checkpoint.model, prompts), plain)


def test_every_attention_layer_is_found_under_its_ldm_number(model: EmbeddedModel, prompts: Prompts) -> None:
    seen: list[Any] = []
    for block in ATTENTION_BLOCKS:
        model.set_model_attn1_replace(
            lambda q, k, v, extra: (
                seen.append((extra["block"], extra["block_index"])),
                identity_attention(q, k, v, extra),
            )[1],
            *block,
        )
    run(model, prompts, steps=1)
    assert seen == [(block, 0) for block in ATTENTION_BLOCKS]


def test_a_replacement_gets_projected_tokens_and_the_options_of_the_call(
    model: EmbeddedModel, prompts: Prompts
) -> None:
    seen: list[Any] = []

    def replace(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra: dict[str, Any]) -> torch.Tensor:
        seen.append((q.shape, k.shape, v.shape, extra))
        return identity_attention(q, k, v, extra)

    model.set_model_attn1_replace(replace, "input", 3)
    model.set_model_attn2_replace(replace, "middle", 0, 0)
    run(model, prompts, steps=1)
    (q, k, v, extra), (cross_q, cross_k, _, _) = seen
    assert q == k == v == (2, 16, 64)
    assert (cross_q, cross_k) == ((2, 16, 64), (2, 77, 64))
    assert (extra["n_heads"], extra["dim_head"]) == (8, 8)
    assert extra["cond_or_uncond"] == [1, 0]
    assert extra["original_shape"] == [2, 4, 8, 8]
    assert extra["activations_shape"] == [2, 64, 4, 4]
    assert float(extra["sigmas"][0]) == pytest.approx(float(extra["sample_sigmas"][0]))
    assert len(extra["uuids"]) == 2
    assert "patches" not in extra
    assert "patches_replace" not in extra


def test_a_replacement_of_one_layer_wins_over_one_of_its_block(model: EmbeddedModel, prompts: Prompts) -> None:
    called: list[str] = []

    def named(name: str) -> Any:
        return lambda q, k, v, extra: (called.append(name), identity_attention(q, k, v, extra))[1]

    model.set_model_attn1_replace(named("block"), "middle", 0)
    model.set_model_attn1_replace(named("layer"), "middle", 0, 0)
    run(model, prompts, steps=1)
    assert called == ["layer"]


def test_more_keys_and_values_may_be_added_before_projection(
    model: EmbeddedModel, prompts: Prompts, plain: torch.Tensor
) -> None:
    # Doubled keys do not change a softmax mean: what reference-only attention starts from.
    model.set_model_attn1_patch(lambda n, k, v, extra: (n, torch.cat([k, k], 1), torch.cat([v, v], 1)))
    assert_close(run(model, prompts), plain)


def test_block_patches_come_in_order_with_their_block(model: EmbeddedModel, prompts: Prompts) -> None:
    seen: list[Any] = []

    def after_input(h: torch.Tensor, options: dict[str, Any]) -> torch.Tensor:
        seen.append((options["block"], tuple(h.shape[1:])))
        return h

    def before_output(h: torch.Tensor, skip: torch.Tensor, options: dict[str, Any]) -> Any:
        seen.append((options["block"], tuple(h.shape[1:]), tuple(skip.shape[1:])))
        return h, skip

    model.set_model_input_block_patch(after_input)
    model.set_model_output_block_patch(before_output)
    run(model, prompts, steps=1)
    assert seen == [
        (("input", 0), (32, 8, 8)),
        (("input", 1), (32, 8, 8)),
        (("input", 2), (32, 4, 4)),
        (("input", 3), (64, 4, 4)),
        (("output", 0), (64, 4, 4), (64, 4, 4)),
        (("output", 1), (64, 4, 4), (32, 4, 4)),
        (("output", 2), (64, 8, 8), (32, 8, 8)),
        (("output", 3), (32, 8, 8), (32, 8, 8)),
    ]


def test_what_an_input_patch_returns_is_also_the_skip_connection(model: EmbeddedModel, prompts: Prompts) -> None:
    skips: list[float] = []
    model.set_model_input_block_patch(lambda h, options: h * 0 + 7 if options["block"] == ("input", 1) else h)
    model.set_model_output_block_patch(
        lambda h, skip, options: (
            skips.append(float(skip.mean())) if options["block"] == ("output", 2) else None,
            (h, skip),
        )[1]
    )
    run(model, prompts, steps=1)
    assert skips == [7.0]


def test_wrappers_nest_in_the_order_in_which_they_were_added(model: EmbeddedModel, prompts: Prompts) -> None:
    order: list[str] = []

    def wrapper(name: str) -> Any:
        def wrap(executor: Any, *args: Any, **kwargs: Any) -> Any:
            order.append(f"{name} in")
            result = executor(*args, **kwargs)
            order.append(f"{name} out")
            return result

        return wrap

    kinds = (*SAMPLING_WRAPPERS, "diffusion_model")
    for kind in reversed(kinds):
        model.add_wrapper_with_key(kind, "a", wrapper(kind))
    model.add_wrapper_with_key("apply_model", "b", wrapper("second"))
    run(model, prompts, steps=1)
    inward = [*kinds[:5], "second", kinds[5]]
    assert order == [f"{k} in" for k in inward] + [f"{k} out" for k in reversed(inward)]


def test_wrappers_know_whom_they_wrap(model: EmbeddedModel, prompts: Prompts) -> None:
    found: dict[str, Any] = {}

    def spy(kind: str) -> Any:
        def wrap(executor: Any, *args: Any, **kwargs: Any) -> Any:
            found[kind] = (executor.class_obj, args)
            if kind == "calc_cond_batch":
                guider = found["predict_noise"][0]
                assert args[1][0] is guider.conds["positive"]
                assert args[1][1] is guider.conds["negative"]
                assert args[0].current_patcher is guider.model_patcher
            return executor(*args, **kwargs)

        return wrap

    for kind in ("sampler_sample", "predict_noise", "calc_cond_batch", "apply_model"):
        model.add_wrapper_with_key(kind, "spy", spy(kind))
    run(model, prompts, steps=1)
    guider, sampler = found["predict_noise"][0], found["sampler_sample"][0]
    assert found["sampler_sample"][1][0] is guider
    assert sampler.name == "euler"
    assert found["apply_model"][0] is model.model
    x, sigma, c_concat, context, control, options = found["apply_model"][1]
    assert x.shape == (2, 4, 8, 8)
    assert sigma.shape == (2,)
    assert c_concat is None
    assert control is None
    assert context.shape == (2, 77, 64)
    assert options["cond_or_uncond"] == [1, 0]


def test_an_extra_pass_through_the_executor_gives_the_same(model: EmbeddedModel, prompts: Prompts) -> None:
    def twice(executor: Any, x: torch.Tensor, t: torch.Tensor, *rest: Any, **kwargs: Any) -> torch.Tensor:
        *middle, options = rest
        first = executor(x, t, *middle, copied(options), **kwargs)
        second: torch.Tensor = executor(x, t, *middle, options, **kwargs)
        assert torch.equal(first, second)
        return second

    model.add_wrapper_with_key("apply_model", "twice", twice)
    run(model, prompts, steps=1)


def test_callbacks_surround_a_run(model: EmbeddedModel, prompts: Prompts) -> None:
    called: list[str] = []
    model.add_callback_with_key("on_pre_run", "test", lambda patcher: called.append("start"))
    model.add_callback_with_key("on_cleanup", "test", lambda patcher: called.append("end"))
    run(model, prompts, steps=1)
    assert called == ["start", "end"]


def test_options_are_copied_and_merged_deeply() -> None:
    original = {"a": {"b": [1]}, "c": 2}
    copy = copied(original)
    copy["a"]["b"].append(3)
    assert original == {"a": {"b": [1]}, "c": 2}
    assert merged(original, {"a": {"b": [5], "d": 1}, "c": 4}) == {"a": {"b": [1, 5], "d": 1}, "c": 4}


def test_an_executor_without_wrappers_calls_the_function() -> None:
    assert WrapperExecutor(lambda a, b: a + b, None, []).execute(1, b=2) == 3


def test_the_shape_of_the_network_can_be_asked_for(model: EmbeddedModel) -> None:
    config = model.model.model_config.unet_config
    assert config["transformer_depth"] == [1, 1]
    assert config["transformer_depth_output"] == [1, 1, 1, 1]
    assert config["model_channels"] == 32
    assert model.get_model_object("latent_format").process_in(torch.ones(1)).item() == pytest.approx(0.18215)
    assert model.get_model_object("model_sampling") is model.model.model_sampling


def test_only_the_noise_levels_may_be_replaced_as_an_object(model: EmbeddedModel) -> None:
    before = model.patches_uuid
    model.add_object_patch("model_sampling", "anything")
    assert model.get_model_object("model_sampling") == "anything"
    assert model.patches_uuid != before
    with pytest.raises(NotImplementedError, match="ComfyUI server"):
        model.add_object_patch("diffusion_model.out", None)
