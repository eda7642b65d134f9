"""The `io` part of the stand-in for `comfy_api.latest`: the types, the schema and the node base class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .standin_types import (
    AnyType,
    Boolean,
    Clip,
    ClipVision,
    ClipVisionOutput,
    Combo,
    ComfyTypeIO,
    Conditioning,
    ControlNet,
    Custom,
    Float,
    FolderType,
    Guider,
    Hidden,
    Image,
    Input,
    Int,
    Latent,
    Mask,
    Model,
    Noise,
    NumberDisplay,
    Output,
    Sampler,
    Sigmas,
    String,
    StyleModel,
    UploadType,
    Vae,
    WidgetInput,
)

__all__ = [
    "AnyType",
    "Boolean",
    "Clip",
    "ClipVision",
    "ClipVisionOutput",
    "Combo",
    "ComfyNode",
    "ComfyTypeIO",
    "Conditioning",
    "ControlNet",
    "Custom",
    "Float",
    "FolderType",
    "Guider",
    "Hidden",
    "HiddenHolder",
    "Image",
    "Input",
    "Int",
    "Latent",
    "Mask",
    "Model",
    "NodeOutput",
    "Noise",
    "NumberDisplay",
    "Output",
    "Sampler",
    "Schema",
    "Sigmas",
    "String",
    "StyleModel",
    "UploadType",
    "Vae",
    "WidgetInput",
]


@dataclass
class Schema:
    """A node's declaration; the fields are those of ComfyUI 0.28.1 that describe a node."""

    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] | None = None
    outputs: list[Any] | None = None
    hidden: list[Hidden] | None = None
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False
    enable_expand: bool = False
    search_aliases: list[str] | None = None
    essentials_category: str | None = None
    is_dev_only: bool = False
    has_intermediate_output: bool = False
    accept_all_inputs: bool = False

    def validate(self) -> None:
        """Raise ValueError where an id is used twice, among inputs, among outputs, or across them."""
        inputs = [entry.id for entry in self.inputs or []]
        outputs = [entry.id for entry in self.outputs or []]
        problems = [
            f"{kind} ids must be unique, but {repeated} are not"
            for kind, ids in (("Input", inputs), ("Output", outputs))
            if (repeated := [name for name, count in Counter(ids).items() if count > 1])
        ]
        if shared := set(inputs) & set(outputs):
            problems.append(f"ids must be unique between inputs and outputs, but {sorted(shared)} are not")
        if problems:
            raise ValueError(f"{self.node_id}: " + "; ".join(problems))

    def finalize(self) -> None:
        """Output nodes see the prompt and the picture's extra texts; outputs without an id get one."""
        if self.is_output_node:
            self.hidden = list(self.hidden or [])
            self.hidden += [entry for entry in (Hidden.prompt, Hidden.extra_pnginfo) if entry not in self.hidden]
        for index, output in enumerate(self.outputs or []):
            if output.id is None:
                output.id = f"_{index}_{output.io_type}_"

    def input_types(self) -> dict[str, dict[str, tuple[Any, ...]]]:
        types: dict[str, dict[str, tuple[Any, ...]]] = {"required": {}}
        for entry in self.inputs or []:
            options = entry.as_dict()
            options.pop("optional", None)
            types.setdefault("optional" if entry.optional else "required", {})[entry.id] = (
                entry.get_io_type(),
                options,
            )
        if self.hidden:
            types["hidden"] = {entry.name: (entry.value,) for entry in self.hidden}
        return types


@dataclass
class HiddenHolder:
    unique_id: Any = None
    prompt: Any = None
    extra_pnginfo: Any = None
    dynprompt: Any = None
    auth_token_comfy_org: Any = None
    api_key_comfy_org: Any = None


class NodeOutput:
    """What `execute` returns: one positional value for each output."""

    def __init__(
        self, *args: Any, ui: Any = None, expand: dict[str, Any] | None = None, block_execution: str | None = None
    ) -> None:
        self.args = args
        self.ui = ui
        self.expand = expand
        self.block_execution = block_execution

    @property
    def result(self) -> tuple[Any, ...] | None:
        return self.args or None

    def __getitem__(self, index: int) -> Any:
        return self.args[index]


class _Locked(type):
    """Class of the copy that a call gets. ComfyUI forbids writing to it, so a node that did would break there."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"cannot modify class attribute {name!r} on locked class {cls.__name__!r}")


class _FromSchema:
    def __init__(self, read: Any) -> None:
        self.read = read

    def __get__(self, instance: object, owner: type[ComfyNode]) -> Any:
        return self.read(owner.GET_SCHEMA())


class ComfyNode:
    """Base class of a V3 node: class methods only, `define_schema` and `execute` at least."""

    RELATIVE_PYTHON_MODULE: ClassVar[str | None] = None
    SCHEMA: ClassVar[Schema | None] = None
    hidden: ClassVar[HiddenHolder | None] = None
    FUNCTION: ClassVar[str] = "EXECUTE_NORMALIZED"

    RETURN_TYPES = _FromSchema(lambda s: [o.io_type for o in s.outputs or []])
    RETURN_NAMES = _FromSchema(lambda s: [o.display_name or o.io_type for o in s.outputs or []])
    OUTPUT_IS_LIST = _FromSchema(lambda s: [o.is_output_list for o in s.outputs or []])
    OUTPUT_TOOLTIPS = _FromSchema(lambda s: [o.tooltip or None for o in s.outputs or []])
    OUTPUT_NODE = _FromSchema(lambda s: s.is_output_node)
    NOT_IDEMPOTENT = _FromSchema(lambda s: s.not_idempotent)
    CATEGORY = _FromSchema(lambda s: s.category)
    DESCRIPTION = _FromSchema(lambda s: s.description)

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError

    @classmethod
    def execute(cls, **kwargs: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def validate_inputs(cls, **kwargs: Any) -> bool | str:
        raise NotImplementedError

    @classmethod
    def fingerprint_inputs(cls, **kwargs: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def check_lazy_status(cls, **kwargs: Any) -> list[str]:
        return [name for name, value in kwargs.items() if value is None]

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        schema = cls.define_schema()
        schema.finalize()
        schema.validate()
        if not isinstance(cls, _Locked):
            cls.SCHEMA = schema
        return schema

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple[Any, ...]]]:
        return cls.GET_SCHEMA().input_types()

    @classmethod
    def GET_NODE_INFO_V1(cls) -> dict[str, Any]:
        """The node's entry in `/object_info`."""
        schema = cls.GET_SCHEMA()
        types = schema.input_types()
        return {
            "input": types,
            "input_order": {group: list(entries) for group, entries in types.items()},
            "is_input_list": schema.is_input_list,
            "output": cls.RETURN_TYPES,
            "output_is_list": cls.OUTPUT_IS_LIST,
            "output_name": cls.RETURN_NAMES,
            "output_tooltips": cls.OUTPUT_TOOLTIPS,
            "output_matchtypes": None,
            "name": schema.node_id,
            "display_name": schema.display_name,
            "description": schema.description,
            "python_module": cls.RELATIVE_PYTHON_MODULE or "nodes",
            "category": schema.category,
            "output_node": schema.is_output_node,
            "has_intermediate_output": schema.has_intermediate_output,
            "deprecated": schema.is_deprecated,
            "experimental": schema.is_experimental,
            "dev_only": schema.is_dev_only,
            "api_node": schema.is_api_node,
            "price_badge": None,
            "search_aliases": schema.search_aliases or None,
            "essentials_category": schema.essentials_category,
        }

    @classmethod
    def PREPARE_CLASS_CLONE(cls, hidden_inputs: Mapping[Hidden, Any] | None) -> Any:
        """A locked subclass that holds the hidden values of one call."""
        held = HiddenHolder(**{Hidden(key).name: value for key, value in (hidden_inputs or {}).items()})
        return _Locked(f"{cls.__name__}Clone", (cls,), {"hidden": held, "__module__": cls.__module__})

    @classmethod
    def EXECUTE_NORMALIZED(cls, *args: Any, **kwargs: Any) -> NodeOutput:
        output = cls.execute(*args, **kwargs)
        if isinstance(output, NodeOutput):
            return output
        if output is None:
            return NodeOutput()
        if isinstance(output, tuple):
            return NodeOutput(*output)
        raise TypeError(f"{cls.__name__}.execute must return io.NodeOutput, a tuple or None, not {type(output)}")
