"""Types, inputs and outputs of the stand-in for `comfy_api.latest.io`.

It covers what ComfyUI 0.28.1 offers and this pack uses, and refuses everything else with a TypeError. What the oldest
ComfyUI that the pack supports does not know goes through `nodes.schema`. The names and the resulting `/object_info` are
ComfyUI's; the code is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, ClassVar


class FolderType(str, Enum):
    input = "input"
    output = "output"
    temp = "temp"


class NumberDisplay(str, Enum):
    number = "number"
    slider = "slider"


class UploadType(str, Enum):
    image = "image_upload"


class Hidden(str, Enum):
    """Values that a node may ask for without a socket."""

    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"
    dynprompt = "DYNPROMPT"
    auth_token_comfy_org = "AUTH_TOKEN_COMFY_ORG"
    api_key_comfy_org = "API_KEY_COMFY_ORG"


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


class Input:
    """A socket. `io_type` is set on the subclass that each type gets."""

    io_type: ClassVar[Any] = "*"

    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        extra_dict: dict[str, Any] | None = None,
        advanced: bool | None = None,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.optional = optional
        self.tooltip = tooltip
        self.lazy = lazy
        self.extra_dict = extra_dict or {}
        self.advanced = advanced

    def get_io_type(self) -> Any:
        return self.io_type

    def as_dict(self) -> dict[str, Any]:
        described = {
            "display_name": self.display_name,
            "tooltip": self.tooltip,
            "lazy": self.lazy,
            "advanced": self.advanced,
        }
        return _present(described) | _present({"optional": self.optional}) | _present(self.extra_dict)


class WidgetInput(Input):
    """An input with a widget. `widget_options` maps each extra argument to its name in `/object_info`."""

    widget_options: ClassVar[dict[str, str]] = {}
    #: Options that are told even where the node leaves them out.
    always: ClassVar[dict[str, Any]] = {}

    def __init__(
        self,
        id: str,
        display_name: str | None = None,
        optional: bool = False,
        tooltip: str | None = None,
        lazy: bool | None = None,
        default: Any = None,
        socketless: bool | None = None,
        force_input: bool | None = None,
        advanced: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(id, display_name, optional, tooltip, lazy, advanced=advanced)
        unknown = sorted(options.keys() - self.widget_options.keys())
        if unknown:
            raise TypeError(f"input {id!r}: ComfyUI has no argument {', '.join(unknown)} for {self.io_type}")
        self.default = default
        self.socketless = socketless
        self.force_input = force_input
        for name in self.widget_options:
            setattr(self, name, options.get(name))

    def as_dict(self) -> dict[str, Any]:
        told = {"default": self.default, "socketless": self.socketless, "forceInput": self.force_input}
        for name, spelling in self.widget_options.items():
            value = getattr(self, name)
            told[spelling] = value.value if isinstance(value, Enum) else value
        return super().as_dict() | self.always | _present(told)


class Output:
    """An output socket. Give it a `display_name`; the first positional argument is an id, as in ComfyUI."""

    io_type: Any = "*"

    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.tooltip = tooltip
        self.is_output_list = is_output_list


class ComfyTypeIO:
    """A type that nodes exchange; its `Input` and `Output` are what a schema lists."""

    Type: Any = Any
    io_type: ClassVar[str] = "*"
    Input: ClassVar[type[Any]] = Input
    Output: ClassVar[type[Any]] = Output

    def __init_subclass__(cls, io_type: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if io_type is not None:
            cls.io_type = io_type
        # Each type owns its two classes, else all would share one io_type.
        cls.Input = type("Input", (cls.Input,), {"io_type": cls.io_type})
        if "Output" not in vars(cls):
            cls.Output = type("Output", (cls.Output,), {"io_type": cls.io_type})


def Custom(io_type: str) -> type[ComfyTypeIO]:
    """A type of one's own, e.g. `Custom("DEFECTFORGE_STITCH")`."""
    return type(io_type, (ComfyTypeIO,), {}, io_type=io_type)


class _BooleanInput(WidgetInput):
    widget_options: ClassVar[dict[str, str]] = {"label_on": "label_on", "label_off": "label_off"}


class _IntInput(WidgetInput):
    widget_options: ClassVar[dict[str, str]] = {
        "min": "min",
        "max": "max",
        "step": "step",
        "control_after_generate": "control_after_generate",
        "display_mode": "display",
    }


class _FloatInput(WidgetInput):
    widget_options: ClassVar[dict[str, str]] = {
        "min": "min",
        "max": "max",
        "step": "step",
        "round": "round",
        "display_mode": "display",
    }


class _StringInput(WidgetInput):
    widget_options: ClassVar[dict[str, str]] = {
        "multiline": "multiline",
        "placeholder": "placeholder",
        "dynamic_prompts": "dynamicPrompts",
    }
    always: ClassVar[dict[str, Any]] = {"multiline": False}


class _ComboInput(WidgetInput):
    widget_options: ClassVar[dict[str, str]] = {
        "options": "options",
        "control_after_generate": "control_after_generate",
        "upload": "upload",
        "image_folder": "image_folder",
    }
    always: ClassVar[dict[str, Any]] = {"multiselect": False}

    def __init__(self, id: str, options: list[str] | None = None, *arguments: Any, **named: Any) -> None:
        super().__init__(id, *arguments, options=options, **named)

    def as_dict(self) -> dict[str, Any]:
        told = super().as_dict()
        upload = told.pop("upload", None)
        return told | ({upload: True} if upload else {})


class _ComboOutput(Output):
    def __init__(
        self,
        id: str | None = None,
        display_name: str | None = None,
        options: list[str] | None = None,
        tooltip: str | None = None,
        is_output_list: bool = False,
    ) -> None:
        super().__init__(id, display_name, tooltip, is_output_list)
        self.io_type = options or []


class Boolean(ComfyTypeIO, io_type="BOOLEAN"):
    Input: ClassVar[type[Any]] = _BooleanInput


class Int(ComfyTypeIO, io_type="INT"):
    Input: ClassVar[type[Any]] = _IntInput


class Float(ComfyTypeIO, io_type="FLOAT"):
    Input: ClassVar[type[Any]] = _FloatInput


class String(ComfyTypeIO, io_type="STRING"):
    Input: ClassVar[type[Any]] = _StringInput


class Combo(ComfyTypeIO, io_type="COMBO"):
    Input: ClassVar[type[Any]] = _ComboInput
    Output: ClassVar[type[Any]] = _ComboOutput


Image = Custom("IMAGE")
Mask = Custom("MASK")
Latent = Custom("LATENT")
Conditioning = Custom("CONDITIONING")
Sampler = Custom("SAMPLER")
Sigmas = Custom("SIGMAS")
Noise = Custom("NOISE")
Guider = Custom("GUIDER")
Clip = Custom("CLIP")
ControlNet = Custom("CONTROL_NET")
Vae = Custom("VAE")
Model = Custom("MODEL")
ClipVision = Custom("CLIP_VISION")
ClipVisionOutput = Custom("CLIP_VISION_OUTPUT")
StyleModel = Custom("STYLE_MODEL")
AnyType = Custom("*")
