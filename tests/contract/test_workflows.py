"""The shipped workflows: portable, readable on the canvas, and the same graph in both forms."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from pathlib import Path
from typing import Any

import defectforge
import pytest
from defectforge.runner.checkpoints import models
from defectforge.runner.graphs.export import api_path, exported
from defectforge.runner.graphs.graph import SHIPPED, by_title, shipped_workflows
from defectforge.runner.graphs.roles import find_roles
from PIL import Image

NAMES = shipped_workflows()
CORE_VERSION = "0.3.64"
#: What needs a newer core says so: it is the version that `check` tells an older one's owner.
NEWER_CORE = {"klein_defect_local": "0.28.1"}
TITLE_BAR = 30
# The methods of the study, and what was added to them.
PROMISED = {
    *("img2img", "inpaint_fill", "inpaint_original", "inpaint_latent_noise", "inpaint_latent_nothing"),
    *("instruct_pix2pix", "instruct_pix2pix_inpaint", "instruct_pix2pix_locked"),
    *("reimagine_normal", "reimagine_defect", "img2prompt"),
    *("reference_only", "reference_only_balanced", "reference_only_prompt", "reference_local"),
    *("transplant", "transplant_harmonise", "inpaint_any_defect", "inpaint_moved_mask", "inpaint_mask_prior"),
    *("sdxl_inpaint", "sdxl_inpaint_unet", "sdxl_reference_local", "klein_defect_local"),
    *("lora_inpaint", "lora_reference_local"),
}
# A real defect's own pixels need no model.
WITHOUT_MODEL = {"transplant"}

#: Nodes of the core that load a file of their own.
LOADERS = {*models.CHECKPOINT_LOADERS, "CLIPLoader", "VAELoader"}

Window = dict[str, Any]
Box = tuple[float, float, float, float]


@pytest.fixture(scope="session")
def object_info(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the embedded server answers at /object_info, without starting it."""
    from defectforge.runner.embedded import folders
    from defectforge.runner.embedded.protocol.app import load_registry

    base = tmp_path_factory.mktemp("server")
    places = folders.Folders(**{kind: base / kind for kind in ("input", "output", "temp")}, models=[base / "models"])
    places.create()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_current", places)
        info = {node.node_id: node.info() for node in load_registry()}
    # As it comes over the wire: tuples have become lists.
    over_the_wire: dict[str, Any] = json.loads(json.dumps(info))
    return over_the_wire


@pytest.fixture(scope="session")
def queue_texts(object_info: dict[str, Any]) -> dict[str, str]:
    return exported(object_info)


def window(name: str) -> Window:
    data: Window = json.loads((SHIPPED / f"{name}.json").read_text(encoding="utf-8"))
    return data


def box(node: Window) -> Box:
    """A node's outline with its title bar."""
    x, y = node["pos"]
    width, height = node["size"]
    return x, y - TITLE_BAR, x + width, y + height


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in inner for text in strings(part)]


def test_every_method_of_the_study_is_there():
    assert set(NAMES) >= PROMISED


@pytest.mark.parametrize("name", NAMES)
def test_the_queue_form_is_what_the_window_form_gives(name, queue_texts):
    """`defectforge workflows export` writes it."""
    assert api_path(name).read_text(encoding="utf-8") == queue_texts[name]


def test_no_queue_form_is_left_over():
    assert {path.stem for path in (SHIPPED / "api").glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_titles_are_there_and_unique(name):
    titles = [node.get("title", "") for node in window(name)["nodes"]]
    assert all(titles)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", NAMES)
def test_every_node_says_which_pack_and_version_it_comes_from(name):
    for node in window(name)["nodes"]:
        ours = node["type"].startswith("DefectForge")
        properties = node["properties"]
        assert properties["cnr_id"] == ("defectforge" if ours else "comfy-core"), node["title"]
        core = NEWER_CORE.get(name, CORE_VERSION)
        assert properties["ver"] == (defectforge.__version__ if ours else core), node["title"]


@pytest.mark.parametrize("name", NAMES)
def test_loaders_say_where_their_file_comes_from(name):
    loaders = [node for node in window(name)["nodes"] if node["type"] in LOADERS]
    assert any(node["type"] in models.CHECKPOINT_LOADERS for node in loaders) == (name not in WITHOUT_MODEL)
    for node in loaders:
        (entry,) = node["properties"]["models"]
        assert entry["name"] in node["widgets_values"], "ComfyUI ignores the entry otherwise"
        known = models.by_file(entry["name"])
        assert known is not None and known.url
        assert (entry["url"], entry["directory"]) == (known.url, known.folder)
        assert (entry.get("hash"), entry.get("hash_type")) == (known.sha256, "SHA256" if known.sha256 else None)


@pytest.mark.parametrize("name", NAMES)
def test_no_path_of_a_machine_is_left_in_it(name):
    absolute = re.compile(r"^(/|~|[A-Za-z]:[\\/]|\\\\)|/home/|/Users/|/root/")
    assert [text for text in strings(window(name)) if absolute.search(text)] == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_flat(name):
    """Older frontends know no subgraphs, and other people's converters stumble over them."""
    data = window(name)
    assert data["version"] == 0.4
    assert "definitions" not in data
    assert all(node["mode"] == 0 for node in data["nodes"])


@pytest.mark.parametrize("name", NAMES)
def test_nodes_do_not_lie_on_each_other(name):
    for one, other in itertools.combinations(window(name)["nodes"], 2):
        a, b = box(one), box(other)
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart, f"'{one['title']}' and '{other['title']}'"


@pytest.mark.parametrize("name", NAMES)
def test_every_node_stands_in_one_named_group(name):
    data = window(name)
    for node in data["nodes"]:
        left, top, right, bottom = box(node)
        holding = [
            group["title"]
            for group in data["groups"]
            for x, y, width, height in [group["bounding"]]
            if x <= left and y <= top and right <= x + width and bottom <= y + height
        ]
        assert len(holding) == 1, f"'{node['title']}' stands in {holding}"


@pytest.mark.parametrize("name", NAMES)
def test_a_note_says_what_to_set_first(name):
    (note,) = [node for node in window(name)["nodes"] if node["title"] == "Set first"]
    assert note["type"] == "MarkdownNote"
    named = set(re.findall(r"\*\*([^*]+)\*\*", note["widgets_values"][0]))
    titles = {node["title"] for node in window(name)["nodes"]}
    assert {"Good photo", "Checkpoint", "Diffusion model"} & named
    assert named <= titles, "what is set in bold is the title of a node"


@pytest.mark.parametrize("name", NAMES)
def test_the_runner_finds_photo_pair_and_seeds(name, queue_texts):
    graph = json.loads(queue_texts[name])
    roles = find_roles(graph, name)
    assert roles.saver == by_title(graph, "Save pair")
    assert roles.seeds


def test_every_node_is_used_in_a_workflow():
    from defectforge.nodes.extension import DefectForgeExtension

    ours = {node.define_schema().node_id for node in asyncio.run(DefectForgeExtension().get_node_list())}
    used = {node["type"] for name in NAMES for node in window(name)["nodes"]}
    assert ours - used == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_thumbnail_stands_beside_it(name):
    path: Path = SHIPPED / f"{name}.jpg"
    with Image.open(path) as picture:
        assert picture.format == "JPEG"
        assert min(picture.size) >= 256 and max(picture.size) <= 800
    assert path.stat().st_size < 100_000
