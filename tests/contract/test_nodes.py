"""What saved graphs, ComfyUI's window and ComfyUI-Manager rely on: ids, names, tooltips, help pages, imports."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from pathlib import Path

import pytest
from comfy_api.latest import io
from defectforge.nodes.extension import DefectForgeExtension

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "nodes" / "web" / "docs"
NODES = {node.GET_SCHEMA().node_id: node for node in asyncio.run(DefectForgeExtension().get_node_list())}
FAMILIES = {"dataset", "mask", "inpaint", "reference", "selection", "output"}

every_node = pytest.mark.parametrize("node", NODES.values(), ids=NODES.keys())


def test_no_id_is_used_twice():
    classes = asyncio.run(DefectForgeExtension().get_node_list())
    assert len(classes) == len(NODES)


@every_node
def test_names_are_as_promised(node):
    schema = node.GET_SCHEMA()
    assert schema.node_id == node.__name__
    assert schema.node_id.startswith("DefectForge")
    assert node.__bases__ == (io.ComfyNode,)
    head, _, family = schema.category.partition("/")
    assert head == "DefectForge"
    assert family in FAMILIES
    assert schema.display_name
    assert re.fullmatch(r"[\w ,()/'-]+", schema.display_name, re.ASCII), "plain words"
    assert len(schema.description) > 40


@every_node
def test_ids_are_unique_and_outputs_have_no_positional_id(node):
    schema = node.GET_SCHEMA()
    inputs = [entry.id for entry in schema.inputs]
    outputs = [entry.id for entry in schema.outputs]
    assert len(set(inputs + outputs)) == len(inputs + outputs)
    assert all(re.fullmatch(r"_\d+_\w+_", identifier) for identifier in outputs)


@every_node
def test_every_input_and_output_has_a_tooltip_and_every_output_a_name(node):
    schema = node.GET_SCHEMA()
    for entry in [*schema.inputs, *schema.outputs]:
        tooltip = entry.tooltip or ""
        assert len(tooltip) > 15, f"{entry.id} {tooltip!r}"
        assert tooltip.endswith("."), f"{entry.id}: a sentence"
    assert all(entry.display_name for entry in schema.outputs)


@every_node
def test_required_inputs_come_before_optional_ones(node):
    """Widgets are saved by position: a required one appended after optional ones would shift them."""
    optional = [bool(entry.optional) for entry in node.GET_SCHEMA().inputs]
    assert optional == sorted(optional)


@every_node
def test_numbers_have_a_range_that_holds_their_default(node):
    for entry in node.GET_SCHEMA().inputs:
        if isinstance(entry, (io.Int.Input, io.Float.Input)):
            assert entry.min <= entry.default <= entry.max, entry.id
        if isinstance(entry, io.Combo.Input) and entry.default is not None:
            assert entry.default in entry.options, entry.id


@every_node
def test_every_node_has_a_help_page_that_names_all_its_inputs_and_outputs(node):
    schema = node.GET_SCHEMA()
    page = (DOCS / f"{schema.node_id}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {schema.display_name}\n")
    for entry in [*(item.id for item in schema.inputs), *(item.display_name for item in schema.outputs)]:
        assert re.search(rf"^\| `?{entry}`? \|", page, re.MULTILINE), entry


def test_no_help_page_is_left_over():
    assert {page.stem for page in DOCS.glob("*.md")} == set(NODES)


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def manager_finds(source: str) -> set[str]:
    """Node ids as ComfyUI-Manager's static scan sees them: direct base ComfyNode, literal node_id in a Schema call."""
    found = set()
    for cls in ast.walk(ast.parse(source)):
        if not isinstance(cls, ast.ClassDef):
            continue
        bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in cls.bases}
        if "ComfyNode" not in bases:
            continue
        for call in ast.walk(cls):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", getattr(call.func, "id", "")) == "Schema":
                found |= {
                    keyword.value.value
                    for keyword in call.keywords
                    if keyword.arg == "node_id" and isinstance(keyword.value, ast.Constant)
                }
    return found


def test_the_manager_s_static_scan_finds_every_node_and_no_other():
    found: set[str] = set()
    for path in python_files("nodes", "runner", "tests"):
        found |= manager_finds(path.read_text(encoding="utf-8"))
    assert found == set(NODES)


def imported(path: Path) -> set[str]:
    """Modules that a file imports, absolute names; ours as `defectforge...`."""
    package = ("defectforge", *path.relative_to(ROOT).parent.parts)
    found = set()
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            base = list(package[: len(package) - statement.level + 1]) if statement.level else []
            head = ".".join([*base, *([statement.module] if statement.module else [])])
            found |= {f"{head}.{alias.name}" for alias in statement.names}
    return found


def starts(name: str, *heads: str) -> bool:
    return any(name == head or name.startswith(head + ".") for head in heads)


COMFY = ("comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "server", "execution", "comfyui_version")


#: What nodes and runner share: the reader of datasets, and algorithms on plain arrays.
SHARED = (
    "defectforge.nodes.datasets",
    "defectforge.nodes.algorithms.run_length",
    "defectforge.nodes.algorithms.scores",
    "defectforge.nodes.algorithms.placement",
    "defectforge.nodes.algorithms.prompts",
)


@pytest.mark.parametrize("path", python_files("nodes/algorithms"), ids=lambda path: path.stem)
def test_algorithms_import_nothing_of_ours_and_nothing_of_comfyui(path):
    for name in imported(path):
        assert not starts(name, *COMFY, "logging"), name
        assert not starts(name, "defectforge") or starts(name, "defectforge.nodes.algorithms"), name


@pytest.mark.parametrize(
    "path", [p for p in python_files("nodes") if "algorithms" not in p.parts], ids=lambda p: p.stem
)
def test_nodes_reach_comfyui_only_through_its_node_api_and_the_host(path):
    for name in imported(path):
        assert not starts(name, "defectforge.runner"), name
        if path.stem != "host":
            assert not starts(name, *COMFY) or starts(name, "comfy_api.latest"), name


@pytest.mark.parametrize(
    "path",
    [p for p in python_files("runner") if not {"embedded", "benefit", "lora"} & set(p.parts)],
    ids=lambda path: path.stem,
)
def test_the_runner_imports_of_the_nodes_only_what_needs_no_torch_and_no_torch_itself(path):
    for name in imported(path):
        assert not starts(name, "torch", "diffusers", "transformers", *COMFY), name
        assert not starts(name, "defectforge.nodes") or starts(name, *SHARED), name


@pytest.mark.parametrize(
    "path",
    [
        *(ROOT / f"nodes/algorithms/{name}.py" for name in ("run_length", "prompts")),
        *(path for room in ("scores", "placement") for path in python_files(f"nodes/algorithms/{room}")),
    ],
    ids=lambda path: path.stem,
)
def test_what_nodes_and_runner_share_needs_no_torch(path):
    for name in imported(path):
        assert not starts(name, "torch", *COMFY), name
        assert not starts(name, "defectforge") or starts(name, *SHARED), name


@pytest.mark.parametrize("path", python_files("nodes/datasets"), ids=lambda path: path.stem)
def test_the_reader_of_datasets_needs_numpy_and_pillow_alone(path):
    for name in imported(path):
        assert not starts(name, "torch", "scipy", "skimage", "logging", *COMFY), name
        assert not starts(name, "defectforge") or starts(name, "defectforge.nodes.datasets"), name


def test_importing_the_package_imports_nothing_of_comfyui():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    top = [statement for statement in tree.body if isinstance(statement, (ast.Import, ast.ImportFrom))]
    assert {getattr(statement, "module", None) for statement in top} <= {"__future__", "typing"}


def test_requirements_for_the_manager_equal_the_package_s(pyproject):
    declared = pyproject["project"]["dependencies"]
    listed = [
        line.strip()
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert listed == declared


@every_node
def test_a_node_that_shows_its_result_shows_it_again_to_a_window_that_was_opened_anew(node):
    """A server gives what output nodes show again by itself; Load MVTec Photo shows its photo without a run."""
    shows = "ui=" in inspect.getsource(node.execute)
    expected = shows and not node.GET_SCHEMA().is_output_node and node.__name__ != "DefectForgeLoadMVTec"
    assert node.GET_NODE_INFO_V1()["has_intermediate_output"] == expected


@pytest.mark.parametrize("name", [name for name, node in NODES.items() if "fingerprint_inputs" in vars(node)])
def test_a_fingerprint_is_taken_whatever_is_linked(name):
    """Servers give every input that a graph names, linked ones as None; one that fails makes a node run each time."""
    linked = dict.fromkeys(given.id for given in NODES[name].GET_SCHEMA().inputs)
    assert NODES[name].fingerprint_inputs(**linked) is not None
