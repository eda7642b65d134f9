"""Choosing in the window: what is listed is what the node loads, and nothing else is."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from defectforge.nodes import routes as dataset_routes
from defectforge.nodes.dataset_files import find_photo
from defectforge.nodes.dataset_listing import THUMBNAIL_SIZE, list_dataset, thumbnail
from PIL import Image


def photo(path: Path, colour: str = "red", size: tuple[int, int] = (30, 20)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def parts(embedded_host: Path) -> Path:
    """`parts` in the input folder: two categories, one of them in MVTec AD 2's layout, and what is no category."""
    root = embedded_host / "input" / "parts"
    for name in ("hazelnut/train/good/0.png", "hazelnut/train/good/1.png", "hazelnut/test/hole/0.png"):
        photo(root / name)
    photo(root / "hazelnut/ground_truth/hole/0_mask.png")
    photo(root / "can/test_public/bad/0.png")
    photo(root / "can/test_public/ground_truth/bad/0_mask.png")
    (root / "hazelnut/train/good/notes.txt").write_text("not a photo")
    (root / "hazelnut/test/empty").mkdir()
    (root / "notes").mkdir()
    return root


LISTED = {"can": {"test": {"bad": 1}}, "hazelnut": {"train": {"good": 2}, "test": {"hole": 1}}}


@pytest.mark.parametrize("root", ["parts", "", "absolute"])
def test_categories_splits_and_types_are_listed_with_their_numbers(parts, root, monkeypatch):
    monkeypatch.setenv("DEFECTFORGE_DATA", str(parts))
    assert list_dataset(str(parts) if root == "absolute" else root) == LISTED


def test_everything_that_is_listed_loads_and_the_number_after_it_does_not(parts):
    for category, splits in list_dataset("parts").items():
        for split, types in splits.items():
            for defect_type, count in types.items():
                found = find_photo("parts", category, split, defect_type, count - 1)
                assert found.count == count
                with pytest.raises(ValueError, match="out of range"):
                    find_photo("parts", category, split, defect_type, count)


def test_a_category_in_two_roots_is_listed_from_the_one_it_is_loaded_from(parts, tmp_path, monkeypatch):
    photo(tmp_path / "first/hazelnut/train/good/0.png")
    photo(tmp_path / "second/hazelnut/train/good/0.png")
    photo(tmp_path / "second/bottle/train/good/0.png")
    monkeypatch.setenv("DEFECTFORGE_DATA", os.pathsep.join(map(str, (tmp_path / "first", tmp_path / "second", parts))))
    listing = list_dataset("")
    assert listing == {"bottle": {"train": {"good": 1}}, "can": LISTED["can"], "hazelnut": {"train": {"good": 1}}}
    assert find_photo("", "hazelnut", "train", "good", 0).path == tmp_path / "first/hazelnut/train/good/0.png"


WRONG_ROOTS = [
    ("nothing", "there is no folder 'nothing'"),
    ("..", "outside the folders that may be read"),
    ("parts/../../output", "outside the folders that may be read"),
    ("/", "outside the folders that may be read"),
    ("/etc", "outside the folders that may be read"),
    ("~nobody-of-this-name/parts", "a user's folder that is not known"),
    ("parts\0", "null"),
    ("parts/hazelnut", "is the folder of one category"),
    ("parts/notes", "is not a dataset in a layout that is known"),
]


@pytest.mark.parametrize(("root", "says"), WRONG_ROOTS)
def test_a_wrong_root_is_refused_in_the_words_of_the_node(parts, root, says):
    with pytest.raises(ValueError, match=says) as listed:
        list_dataset(root)
    with pytest.raises(ValueError) as loaded:
        find_photo(root, "no-such", "train", "good", 0)
    assert str(listed.value) == str(loaded.value)


@pytest.mark.parametrize("place", ["leak", "hazelnut/leak", "hazelnut/test/leak"])
def test_what_lies_behind_a_link_that_leads_out_is_neither_listed_nor_named(parts, tmp_path, place):
    """At the place of a category, of a split's folder, of a type."""
    outside = tmp_path / "outside"
    for name in ("0.png", "secret/0.png", "test/secret/0.png"):
        photo(outside / name)
    place = place.replace("hazelnut/leak", "hazelnut/test_public")
    (parts / place).symlink_to(outside)
    assert list_dataset("parts") == LISTED
    for category in ("hazelnut", "leak"):
        for defect_type in ("leak", "nothing"):
            with pytest.raises(ValueError) as caught:
                find_photo("parts", category, "test", defect_type, 0)
            assert "secret" not in str(caught.value)


def test_a_root_that_is_a_link_out_is_refused(parts, tmp_path):
    photo(tmp_path / "outside/hazelnut/train/good/0.png")
    (parts.parent / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="outside the folders that may be read"):
        list_dataset("link")


def test_a_thumbnail_is_small_and_keeps_shape_and_colour(parts):
    photo(parts / "hazelnut/test/hole/0.png", "blue", (1000, 500))
    picture = Image.open(io.BytesIO(thumbnail(find_photo("parts", "hazelnut", "test", "hole", 0))))
    assert (picture.format, picture.size) == ("JPEG", (THUMBNAIL_SIZE, THUMBNAIL_SIZE // 2))
    assert picture.getpixel((5, 5)) == pytest.approx((0, 0, 255), abs=6)


def test_a_16_bit_photo_is_not_white(parts):
    Image.new("I;16", (8, 8), 0x4000).save(parts / "hazelnut/test/hole/0.png")
    picture = Image.open(io.BytesIO(thumbnail(find_photo("parts", "hazelnut", "test", "hole", 0))))
    assert picture.getpixel((4, 4)) == pytest.approx((64, 64, 64), abs=4)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> web.RouteTableDef:
    """The routes of a ComfyUI that has been given ours."""
    routes = web.RouteTableDef()
    server = SimpleNamespace(PromptServer=SimpleNamespace(instance=SimpleNamespace(routes=routes)))
    monkeypatch.setitem(dataset_routes.host.sys.modules, "server", server)
    dataset_routes.add_to_window()
    return routes


Ask = Callable[..., web.Response]


@pytest.fixture
def ask(table: web.RouteTableDef) -> Ask:
    """Ask an address as the window does."""
    handlers: dict[str, Any] = {route.path: route.handler for route in table}

    def get(address: str, **headers: str) -> web.Response:
        request = make_mocked_request("GET", address, headers={k.replace("_", "-"): v for k, v in headers.items()})
        return asyncio.run(handlers[request.path](request))

    return get


HOLE = "/defectforge/thumbnail?root=parts&category=hazelnut&split=test&type=hole&index=0"


def test_the_addresses_are_offered_once_however_many_copies_of_the_pack_are_loaded(table):
    dataset_routes.add_to_window()
    assert [(route.method, route.path) for route in table] == [
        ("GET", "/defectforge/dataset"),
        ("GET", "/defectforge/thumbnail"),
    ]
    web.Application().add_routes(table)


def test_without_a_window_nothing_is_offered(monkeypatch):
    monkeypatch.delitem(dataset_routes.host.sys.modules, "server", raising=False)
    assert dataset_routes.host.window_routes() is None
    dataset_routes.add_to_window()


def test_the_window_is_told_what_a_root_holds(parts, ask):
    answer = ask("/defectforge/dataset?root=parts")
    assert answer.status == 200
    assert answer.text == web.json_response({"categories": LISTED}).text


def test_the_window_is_given_a_picture_and_again_only_when_the_photo_changes(parts, ask):
    first = ask(HOLE)
    assert (first.status, first.content_type, first.headers["DefectForge-Count"]) == (200, "image/jpeg", "1")
    assert first.headers["Cache-Control"] == "no-cache"
    again = ask(HOLE, If_None_Match=first.headers["ETag"])
    assert (again.status, again.body) == (304, None)
    photo(parts / "hazelnut/test/hole/0.png", "blue", (31, 20))
    changed = ask(HOLE, If_None_Match=first.headers["ETag"])
    assert changed.status == 200
    assert changed.body != first.body


def test_a_larger_picture_is_given_up_to_a_limit(parts, ask):
    Image.new("RGB", (3000, 1500), (90, 60, 40)).save(parts / "hazelnut/test/hole/0.png")
    sizes = [Image.open(io.BytesIO(ask(HOLE + more).body)).size for more in ("", "&side=600", "&side=9999")]
    assert sizes == [(192, 96), (600, 300), (1024, 512)]
    assert ask(HOLE + "&of=hazelnut%2Ftest%2Fhole%2F0.png").status == 200


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/defectforge/dataset?root=..%2F..", "outside the folders that may be read"),
        ("/defectforge/dataset?root=nothing", "there is no folder 'nothing'"),
        (HOLE.replace("hazelnut", ""), "category: '' is not a folder's bare name"),
        ("/defectforge/thumbnail", "index: '' is not a whole number"),
        (HOLE.replace("index=0", "index=x"), "index: 'x' is not a whole number"),
        (HOLE.replace("index=0", "index=1"), "index: 1 is out of range"),
        (HOLE + "&side=large", "side: 'large' is not a whole number"),
        (HOLE + "&of=hazelnut%2Ftest%2Fhole%2Fother.png", "index: 0 is hazelnut/test/hole/0.png by now, and was"),
        (HOLE.replace("category=hazelnut", "category=..%2F.."), "bare name"),
        (HOLE.replace("type=hole", "type=%2Fetc"), "bare name"),
        (HOLE.replace("split=test", "split=..%2Ftest"), "is unknown; expected one of train, test"),
    ],
)
def test_what_cannot_be_answered_comes_with_the_reason(parts, ask, address, says):
    answer = ask(address)
    assert (answer.status, answer.content_type) == (400, "application/json")
    assert says in str(answer.text)


def test_a_photo_that_does_not_decode_is_named(parts, ask):
    (parts / "hazelnut/test/hole/0.png").write_bytes(b"not a picture")
    answer = ask(HOLE)
    assert answer.status == 400
    assert "0.png does not decode as a picture" in str(answer.text)
