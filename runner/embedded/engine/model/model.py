"""The MODEL that nodes hand on: a diffusion model with patches, under ComfyUI's names.

Clones share the weights. Patches live in `model_options` and `wrappers`, never on modules; LoRA weights are added for
the time of a run (`applied_weights`) and taken back exactly.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from .diffusion import DiffusionModel
from .patching import copied

Patch = Callable[..., Any]
#: Adds a weight's change, scaled by a strength, for one parameter: (parameter, strength) -> change of the same shape.
WeightChange = Callable[[torch.Tensor, float], torch.Tensor]


class EmbeddedModel:
    """A diffusion model with patches. Methods and attributes are those of ComfyUI's ModelPatcher that nodes use."""

    def __init__(self, model: DiffusionModel) -> None:
        self.model = model
        self.model_options: dict[str, Any] = {"transformer_options": {}}
        self.wrappers: dict[str, dict[str | None, list[Patch]]] = {}
        self.callbacks: dict[str, dict[str | None, list[Patch]]] = {}
        self.attachments: dict[str, Any] = {}
        self.weight_patches: dict[str, list[tuple[WeightChange, float]]] = {}
        self.object_patches: dict[str, Any] = {}
        self.patches_uuid = uuid.uuid4()
        self.parent: EmbeddedModel | None = None
        # What a loader read together with this model; it stays loaded as long as one part is used.
        self.checkpoint: Any = None

    @property
    def load_device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    offload_device = torch.device("cpu")

    def clone(self) -> EmbeddedModel:
        """The same weights with patches of its own."""
        other = EmbeddedModel(self.model)
        other.model_options = copied(self.model_options)
        other.wrappers, other.callbacks = copied(self.wrappers), copied(self.callbacks)
        other.attachments = dict(self.attachments)
        other.weight_patches = {k: list(v) for k, v in self.weight_patches.items()}
        other.object_patches = dict(self.object_patches)
        other.patches_uuid = self.patches_uuid
        other.parent, other.checkpoint = self, self.checkpoint
        return other

    def is_clone(self, other: Any) -> bool:
        """Whether both share their weights."""
        return getattr(other, "model", None) is self.model

    def model_dtype(self) -> torch.dtype:
        """What the network computes in."""
        return self.model.get_dtype()

    def get_model_object(self, name: str) -> Any:
        """A dotted attribute of the model, e.g. "model_sampling" or "latent_format"."""
        if name in self.object_patches:
            return self.object_patches[name]
        found: Any = self.model
        for part in name.split("."):
            found = getattr(found, part)
        return found

    # --- patches of the network ---------------------------------------------------------------------------------------

    def set_model_patch(self, patch: Patch, name: str) -> None:
        """Appends a patch of one kind, e.g. "attn1_patch" or "input_block_patch"."""
        patches = self.model_options["transformer_options"].setdefault("patches", {})
        patches[name] = [*patches.get(name, []), patch]

    def set_model_patch_replace(
        self, patch: Patch, name: str, block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """Sets the one replacement of a block's attention ("attn1" or "attn2")."""
        replacements = self.model_options["transformer_options"].setdefault("patches_replace", {})
        block = (block_name, number) if transformer_index is None else (block_name, number, transformer_index)
        replacements[name] = {**replacements.get(name, {}), block: patch}

    def set_model_attn1_patch(self, patch: Patch) -> None:
        """(tokens, context, value, extra_options) -> the three, before projection in self-attention."""
        self.set_model_patch(patch, "attn1_patch")

    def set_model_attn2_patch(self, patch: Patch) -> None:
        """The same in cross-attention."""
        self.set_model_patch(patch, "attn2_patch")

    def set_model_attn1_replace(
        self, patch: Patch, block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """(q, k, v, extra_options) -> attention's result before the output projection."""
        self.set_model_patch_replace(patch, "attn1", block_name, number, transformer_index)

    def set_model_attn2_replace(
        self, patch: Patch, block_name: str, number: int, transformer_index: int | None = None
    ) -> None:
        """The same in cross-attention."""
        self.set_model_patch_replace(patch, "attn2", block_name, number, transformer_index)

    def set_model_attn1_output_patch(self, patch: Patch) -> None:
        """(output, extra_options) -> output of self-attention after its projection."""
        self.set_model_patch(patch, "attn1_output_patch")

    def set_model_attn2_output_patch(self, patch: Patch) -> None:
        """The same in cross-attention."""
        self.set_model_patch(patch, "attn2_output_patch")

    def set_model_input_block_patch(self, patch: Patch) -> None:
        """(h, transformer_options) -> h after an input block, before it becomes a skip connection."""
        self.set_model_patch(patch, "input_block_patch")

    def set_model_input_block_patch_after_skip(self, patch: Patch) -> None:
        """(h, transformer_options) -> h after it became a skip connection."""
        self.set_model_patch(patch, "input_block_patch_after_skip")

    def set_model_output_block_patch(self, patch: Patch) -> None:
        """(h, skip, transformer_options) -> both, before an output block joins them."""
        self.set_model_patch(patch, "output_block_patch")

    def set_model_emb_patch(self, patch: Patch) -> None:
        """(embedding, width, transformer_options) -> time embedding."""
        self.set_model_patch(patch, "emb_patch")

    # --- hooks of the sampling ----------------------------------------------------------------------------------------

    def set_model_unet_function_wrapper(self, wrapper: Patch) -> None:
        """(apply_model, {input, timestep, c, cond_or_uncond}) -> clean latents. One only: the last one set."""
        self.model_options["model_function_wrapper"] = wrapper

    def set_model_denoise_mask_function(self, function: Patch) -> None:
        """(sigma, mask, extra_options) -> the noise mask of this step."""
        self.model_options["denoise_mask_function"] = function

    def set_model_sampler_cfg_function(self, function: Patch, disable_cfg1_optimization: bool = False) -> None:
        """Replaces classifier-free guidance; works on noise (x minus clean latent)."""
        self.model_options["sampler_cfg_function"] = function
        self._keep_uncond(disable_cfg1_optimization)

    def set_model_sampler_pre_cfg_function(self, function: Patch, disable_cfg1_optimization: bool = False) -> None:
        """Changes the conditions' results before guidance."""
        self._append("sampler_pre_cfg_function", function, disable_cfg1_optimization)

    def set_model_sampler_post_cfg_function(self, function: Patch, disable_cfg1_optimization: bool = False) -> None:
        """Changes the clean latent after guidance."""
        self._append("sampler_post_cfg_function", function, disable_cfg1_optimization)

    def _append(self, name: str, function: Patch, disable_cfg1_optimization: bool) -> None:
        self.model_options[name] = [*self.model_options.get(name, []), function]
        self._keep_uncond(disable_cfg1_optimization)

    def _keep_uncond(self, disable_cfg1_optimization: bool) -> None:
        if disable_cfg1_optimization:
            self.model_options["disable_cfg1_optimization"] = True

    def disable_model_cfg1_optimization(self) -> None:
        """Evaluates the negative side although cfg 1 does not use it."""
        self._keep_uncond(True)

    def add_wrapper_with_key(self, wrapper_type: str, key: str | None, wrapper: Patch) -> None:
        """Adds a wrapper; see `patching.WRAPPER_TYPES`."""
        self.wrappers.setdefault(wrapper_type, {}).setdefault(key, []).append(wrapper)

    def add_wrapper(self, wrapper_type: str, wrapper: Patch) -> None:
        """Adds a wrapper without a key."""
        self.add_wrapper_with_key(wrapper_type, None, wrapper)

    def remove_wrappers_with_key(self, wrapper_type: str, key: str | None) -> None:
        """Takes back all wrappers of this type and key."""
        self.wrappers.get(wrapper_type, {}).pop(key, None)

    def get_wrappers(self, wrapper_type: str, key: str | None) -> list[Patch]:
        """Wrappers of this type and key."""
        return self.wrappers.get(wrapper_type, {}).get(key, [])

    def add_callback_with_key(self, call_type: str, key: str | None, callback: Patch) -> None:
        """Adds a function that is called with this model at "on_pre_run" or "on_cleanup" of each run."""
        self.callbacks.setdefault(call_type, {}).setdefault(key, []).append(callback)

    def add_callback(self, call_type: str, callback: Patch) -> None:
        """Adds a callback without a key."""
        self.add_callback_with_key(call_type, None, callback)

    def run_callbacks(self, call_type: str) -> None:
        """Calls the callbacks of this type in the order in which they were added."""
        for callbacks in self.callbacks.get(call_type, {}).values():
            for callback in callbacks:
                callback(self)

    def set_attachments(self, key: str, attachment: Any) -> None:
        """Keeps something with the model; clones share it."""
        self.attachments[key] = attachment

    def get_attachment(self, key: str) -> Any:
        """What was kept, or None."""
        return self.attachments.get(key)

    def add_object_patch(self, name: str, obj: Any) -> None:
        """Replaces `model_sampling` for this model's runs.

        Raises:
            NotImplementedError: for any other name; those need a ComfyUI server.
        """
        if name != "model_sampling":
            raise NotImplementedError(
                f"the embedded server cannot replace {name!r} of a model, only 'model_sampling'; use a ComfyUI server"
            )
        self.object_patches[name] = obj
        self.patches_uuid = uuid.uuid4()

    # --- weights ------------------------------------------------------------------------------------------------------

    def add_weight_patches(self, changes: Mapping[str, WeightChange], strength: float = 1.0) -> None:
        """Changes parameters of the network (by their name in `model.diffusion_model`) for this model's runs."""
        for name, change in changes.items():
            self.weight_patches.setdefault(name, []).append((change, strength))
        self.patches_uuid = uuid.uuid4()

    @contextlib.contextmanager
    def applied(self) -> Iterator[DiffusionModel]:
        """The model with this patcher's weights and objects in place; all is put back at the end."""
        model = self.model
        sampling, patcher = model.model_sampling, model.current_patcher
        with applied_weights(model.diffusion_model, self.weight_patches):
            model.current_patcher = self
            model.model_sampling = self.object_patches.get("model_sampling", sampling)
            try:
                yield model
            finally:
                model.model_sampling, model.current_patcher = sampling, patcher


@contextlib.contextmanager
def applied_weights(
    module: torch.nn.Module,
    patches: Mapping[str, list[tuple[WeightChange, float]]],
    stored_as: torch.dtype | None = None,
) -> Iterator[None]:
    """Parameters of `module` with their changes added; the very same tensors are back in place afterwards.

    `stored_as` rounds the changed weights as if they were kept in that type.
    """
    originals: dict[str, torch.Tensor] = {}
    try:
        for name, changes in patches.items():
            parameter = module.get_parameter(name)
            originals[name] = parameter.data
            weight = parameter.data.float()
            for change, strength in changes:
                weight = weight + change(parameter.data, strength).to(weight)
            parameter.data = weight.to(stored_as or parameter.dtype).to(parameter.dtype)
        yield
    finally:
        for name, data in originals.items():
            module.get_parameter(name).data = data
