"""The stand-in for `comfy_api.latest`: what it accepts, what it refuses, and what `/object_info` becomes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from defectforge.nodes import host
from defectforge.runner.embedded.api import standin, standin_io, standin_ui
from defectforge.runner.embedded.execution.registry import PackNode, Registry

io = standin_io


def node(execute=None, **schema):
    """A node class. Made by `type`, because ComfyUI-Manager takes every class statement with a literal id for ours."""
    methods = {
        "define_schema": classmethod(lambda cls: io.Schema(**{"node_id": "Probe", **schema})),
        "execute": classmethod(execute or (lambda cls, **inputs: io.NodeOutput())),
    }
    return type("Probe", (io.ComfyNode,), {**methods, "__module__": "probe"})


def test_the_schema_becomes_comfyuis_object_info():
    stitch = io.Custom("STITCH")
    probe = node(
        display_name="Probe it",
        category="DefectForge/probe",
        description="Probes.",
        is_output_node=True,
        is_experimental=True,
        inputs=[
            io.Image.Input("image", tooltip="The photo."),
            io.Int.Input("seed", default=0, min=0, max=2**64 - 1, control_after_generate=True),
            io.Float.Input("share", default=0.5, min=0.0, max=1.0, step=0.01, display_mode=io.NumberDisplay.slider),
            io.String.Input("note", multiline=True, placeholder="..."),
            io.Combo.Input("mode", options=["a", "b"], default="b"),
            io.Boolean.Input("wide", default=False, label_on="yes", lazy=True, optional=True),
            stitch.Input("stitch", display_name="Stitch", optional=True),
        ],
        outputs=[io.Mask.Output(display_name="hole", tooltip="The hole."), stitch.Output()],
    )
    assert PackNode(probe).info() == {
        "input": {
            "required": {
                "image": ("IMAGE", {"tooltip": "The photo."}),
                "seed": ("INT", {"default": 0, "min": 0, "max": 2**64 - 1, "control_after_generate": True}),
                "share": ("FLOAT", {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01, "display": "slider"}),
                "note": ("STRING", {"multiline": True, "placeholder": "..."}),
                "mode": ("COMBO", {"multiselect": False, "options": ["a", "b"], "default": "b"}),
            },
            "optional": {
                "wide": ("BOOLEAN", {"default": False, "label_on": "yes", "lazy": True}),
                "stitch": ("STITCH", {"display_name": "Stitch"}),
            },
            "hidden": {"prompt": ("PROMPT",), "extra_pnginfo": ("EXTRA_PNGINFO",)},
        },
        "input_order": {
            "required": ["image", "seed", "share", "note", "mode"],
            "optional": ["wide", "stitch"],
            "hidden": ["prompt", "extra_pnginfo"],
        },
        "output": ["MASK", "STITCH"],
        "output_is_list": [False, False],
        "output_name": ["hole", "STITCH"],
        "output_tooltips": ["The hole.", None],
        "name": "Probe",
        "display_name": "Probe it",
        "description": "Probes.",
        "python_module": "custom_nodes.defectforge",
        "category": "DefectForge/probe",
        "output_node": True,
        "deprecated": False,
        "experimental": True,
        "api_node": False,
        # What ComfyUI 0.28.1 says beyond 0.3.64.
        "is_input_list": False,
        "output_matchtypes": None,
        "has_intermediate_output": False,
        "dev_only": False,
        "price_badge": None,
        "search_aliases": None,
        "essentials_category": None,
    }


@pytest.mark.parametrize(
    "unknown",
    [
        lambda: io.Schema(node_id="Probe", wished_for=["x"]),
        lambda: io.Int.Input("seed", wished_for=True),
        lambda: io.Image.Input("image", wished_for=True),
        lambda: io.Combo.Input("mode", options=["a"], wished_for=True),
    ],
    ids=["schema", "number", "socket", "choice"],
)
def test_what_comfyui_lacks_is_refused(unknown):
    with pytest.raises(TypeError):
        unknown()


def test_a_type_that_the_oldest_supported_comfyui_lacks_is_not_there():
    assert not hasattr(io, "DynamicCombo")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([io.Image.Input("image"), io.Mask.Input("image")], []),
        ([], [io.Image.Output("twice"), io.Mask.Output("twice")]),
        # The slip that ComfyUI packs shipped twice: the first positional argument of Output is an id.
        ([io.Image.Input("image")], [io.Image.Output("image")]),
    ],
)
def test_ids_are_unique(inputs, outputs):
    with pytest.raises(ValueError, match="unique"):
        node(inputs=inputs, outputs=outputs).GET_SCHEMA()


def test_a_call_sees_its_own_hidden_values_and_cannot_write_to_the_class():
    seen = []

    def execute(cls, value):
        seen.append((cls.hidden.prompt, cls.hidden.unique_id, cls.hidden.extra_pnginfo))
        with pytest.raises(AttributeError, match="locked"):
            cls.remembered = value
        return io.NodeOutput(value)

    probe = PackNode(
        node(
            execute,
            inputs=[io.Int.Input("value")],
            outputs=[io.Int.Output()],
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
        )
    )
    for number in (1, 2):
        hidden = {"PROMPT": {"n": number}, "UNIQUE_ID": str(number), "EXTRA_PNGINFO": "not asked for"}
        assert probe.run({"value": number}, hidden).values == (number,)
    assert seen == [({"n": 1}, "1", None), ({"n": 2}, "2", None)]


@pytest.mark.parametrize(
    ("returned", "values"),
    [(io.NodeOutput(1, 2), (1, 2)), ((1, 2), (1, 2)), (None, ()), (io.NodeOutput(ui={"text": ["hi"]}), ())],
)
def test_execute_may_return_what_comfyui_takes(returned, values):
    result = PackNode(node(lambda cls: returned)).run({}, {})
    assert result.values == values
    assert result.ui == ({"text": ["hi"]} if getattr(returned, "ui", None) else None)


@pytest.mark.parametrize("returned", [io.NodeOutput(expand={}), io.NodeOutput(block_execution="no")])
def test_expansion_and_blocking_are_refused_by_name(returned):
    with pytest.raises(NotImplementedError, match=r"Probe .* needs a ComfyUI server"):
        PackNode(node(lambda cls: returned)).run({}, {})


@pytest.mark.parametrize(
    "schema", [{"is_input_list": True}, {"outputs": [io.Image.Output(is_output_list=True)]}], ids=["in", "out"]
)
def test_lists_are_refused_when_the_node_is_loaded(schema):
    with pytest.raises(NotImplementedError, match="lists"):
        PackNode(node(**schema))


def test_optional_hooks_count_only_when_the_node_has_them():
    bare = PackNode(node())
    assert not bare.has_fingerprint and not bare.has_lazy_inputs and not bare.validation
    probe = node(inputs=[io.Int.Input("value")])
    probe.fingerprint_inputs = classmethod(lambda cls, value: value + 1)
    probe.check_lazy_status = classmethod(lambda cls, value: ["value"])
    probe.validate_inputs = classmethod(lambda cls, value: "no" if value else True)
    full = PackNode(probe)
    assert full.has_fingerprint and full.fingerprint({"value": 1}, {}) == 2
    assert full.has_lazy_inputs and full.lazy_inputs({"value": None}, {}) == ["value"]
    assert full.validation.wants("value") and not full.validation.wants("other")
    assert (full.validate({"value": 0}, {}), full.validate({"value": 1}, {})) == (True, "no")


def test_two_nodes_with_one_id_are_refused():
    with pytest.raises(ValueError, match="two nodes are called 'Probe'"):
        Registry([PackNode(node()), PackNode(node())])


class TempHost:
    def __init__(self, folder):
        self.folder = folder

    def temp_directory(self):
        return self.folder


def test_previews_are_files_in_the_hosts_temp_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "_installed", TempHost(tmp_path))
    shown = standin_ui.PreviewMask(torch.ones(2, 4, 6)).as_dict()
    assert shown["animated"] == (False,)
    assert [reference["type"] for reference in shown["images"]] == ["temp", "temp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [entry["filename"] for entry in shown["images"]]


def test_texts_and_saved_files_are_shown_as_comfyui_does():
    assert standin_ui.PreviewText("hi").as_dict() == {"text": ("hi",)}
    saved = standin_ui.SavedResult("a.png", "x", io.FolderType.output)
    assert standin_ui.SavedImages([saved]).as_dict() == {
        "images": [{"filename": "a.png", "subfolder": "x", "type": "output"}]
    }


def run_alone(code, path=""):
    script = f"import sys; sys.path[:0] = {[path] if path else []!r}\n{code}"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


INSTALL = (
    "from defectforge.runner.embedded.api import standin\n"
    "print(standin.install(), standin.install())\n"
    "from comfy_api.latest import ComfyExtension, io, ui\n"
    "import comfy_api\n"
    "print(io.__name__)"
)


def test_it_is_installed_where_comfyui_is_absent():
    assert run_alone(INSTALL).split() == ["True", "True", "defectforge.runner.embedded.api.standin_io"]


def test_the_real_api_is_never_replaced(tmp_path):
    package = tmp_path / "comfy_api"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "latest.py").write_text(
        "import types\nio = types.SimpleNamespace(__name__='real')\nui = ComfyExtension = 1"
    )
    assert run_alone(INSTALL, str(tmp_path)).split() == ["False", "False", "real"]


def test_the_stand_in_is_what_these_tests_run_on_or_the_real_one():
    assert standin.install() is not standin.real_api_present()
