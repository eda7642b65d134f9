"""What a client learns about the server: its kind, nodes, models, limits; and who may ask."""

from __future__ import annotations

import pytest
import requests

NODE_KEYS = {
    "input",
    "input_order",
    "output",
    "output_is_list",
    "output_name",
    "name",
    "display_name",
    "description",
    "python_module",
    "category",
    "output_node",
}


#: What ComfyUI 0.28.1 says of a V3 node beside that.
V3_KEYS = {
    "is_input_list",
    "output_tooltips",
    "output_matchtypes",
    "has_intermediate_output",
    "deprecated",
    "experimental",
    "dev_only",
    "api_node",
    "price_badge",
    "search_aliases",
    "essentials_category",
}


def get(server, path, **arguments):
    return requests.get(server.url + path, timeout=30, **arguments)


def test_object_info_has_comfyuis_shape(embedded_server):
    nodes = get(embedded_server, "/object_info").json()
    assert {"LoadImage", "SaveImage"} <= set(nodes)
    for node_id, node in nodes.items():
        assert set(node) >= NODE_KEYS, node_id
        assert node["name"] == node_id
        assert node["input_order"] == {group: list(entries) for group, entries in node["input"].items()}
        assert len(node["output"]) == len(node["output_is_list"]) == len(node["output_name"])
        for entries in (node["input"].get(group, {}) for group in ("required", "optional")):
            for name, (kind, *options) in entries.items():
                assert isinstance(kind, (str, list)), (node_id, name)
                assert all(isinstance(option, dict) for option in options), (node_id, name)


def test_our_nodes_are_described_like_v3_nodes(embedded_server):
    ours = {
        node_id: node
        for node_id, node in get(embedded_server, "/object_info").json().items()
        if node_id.startswith("DefectForge")
    }
    assert ours
    for node_id, node in ours.items():
        assert set(node) == NODE_KEYS | V3_KEYS, node_id
        assert node["python_module"] == "custom_nodes.defectforge"
        for name, entry in node["input"].get("hidden", {}).items():
            assert entry == [name.upper()]


def test_one_node_can_be_asked_for(embedded_server):
    assert list(get(embedded_server, "/object_info/SaveImage").json()) == ["SaveImage"]
    saver = get(embedded_server, "/object_info/SaveImage").json()["SaveImage"]
    assert saver["output_node"] is True
    assert saver["input"]["hidden"] == {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
    assert get(embedded_server, "/object_info/Nothing").json() == {}


def test_choices_of_files_are_read_when_asked_for(embedded_server, server_folders):
    (server_folders["input"] / "just_now.png").write_bytes(b"")
    (server_folders["input"] / "notes.txt").write_bytes(b"")
    info = get(embedded_server, "/object_info/LoadImage").json()
    choices = info["LoadImage"]["input"]["required"]["image"][0]
    assert "just_now.png" in choices
    assert "notes.txt" not in choices


def test_system_stats_tell_the_kind_of_server_and_keep_comfyuis_keys(embedded_server):
    stats = get(embedded_server, "/system_stats").json()
    assert stats["system"]["server_kind"] == "defectforge-embedded"
    assert stats["system"]["defectforge_version"]
    assert set(stats["system"]) >= {
        "os",
        "ram_total",
        "ram_free",
        "comfyui_version",
        "python_version",
        "pytorch_version",
        "embedded_python",
        "argv",
    }
    [device] = stats["devices"]
    assert set(device) == {
        "name",
        "type",
        "index",
        "vram_total",
        "vram_free",
        "torch_vram_total",
        "torch_vram_free",
    }
    assert device["type"] == "cpu"
    assert 0 < device["vram_free"] <= device["vram_total"]


def test_models_are_listed_by_kind_with_their_subfolders(embedded_server, server_folders):
    folder = server_folders["models"] / "checkpoints" / "sd15"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "listed.safetensors").touch()
    (folder / "listed.txt").touch()
    assert "checkpoints" in get(embedded_server, "/models").json()
    assert "sd15/listed.safetensors" in get(embedded_server, "/models/checkpoints").json()
    assert "sd15/listed.txt" not in get(embedded_server, "/models/checkpoints").json()
    assert get(embedded_server, "/models/nonsense").status_code == 404
    assert isinstance(get(embedded_server, "/embeddings").json(), list)


@pytest.mark.parametrize(
    "path", ["/prompt", "/queue", "/history", "/object_info/SaveImage", "/features", "/models", "/embeddings"]
)
def test_every_route_is_also_under_api(embedded_server, path):
    assert get(embedded_server, f"/api{path}").json() == get(embedded_server, path).json()


def test_an_unknown_route_is_404(embedded_server):
    assert get(embedded_server, "/internal/logs").status_code == 404


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("{url}", 200),
        ("http://127.0.0.1", 200),
        ("http://evil.example", 403),
        ("http://127.0.0.1:1", 403),
        ("http://localhost.evil.example:80", 403),
    ],
)
def test_a_web_page_of_another_origin_is_refused(embedded_server, origin, status):
    headers = {} if origin is None else {"Origin": origin.format(url=embedded_server.url)}
    assert get(embedded_server, "/prompt", headers=headers).status_code == status
