"""Fields that only newer cores know: said where they are understood, left out where they would cost the whole node."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from comfy_api.latest import io
from defectforge.nodes import schema
from defectforge.nodes.extension import DefectForgeExtension


@dataclasses.dataclass
class OldSchema:
    """As ComfyUI 0.3.64 has it."""

    node_id: str
    display_name: str | None = None
    description: str = ""


class OldInput:
    def __init__(self, id: str, display_name: str | None = None, tooltip: str | None = None) -> None:
        self.id = id


@pytest.fixture
def old_core(monkeypatch):
    monkeypatch.setattr(schema.io, "Schema", OldSchema)
    monkeypatch.setattr(schema.io.Int, "Input", OldInput)


def test_today_s_core_is_told_all():
    assert schema.newer(search_aliases=["x"], essentials_category="y") == {
        "search_aliases": ["x"],
        "essentials_category": "y",
    }
    assert schema.ADVANCED == {"advanced": True}
    assert io.Int.Input("seed", **schema.ADVANCED).as_dict()["advanced"] is True


def test_an_old_core_is_told_what_it_understands(old_core):
    assert schema.newer(search_aliases=["x"], description="d") == {"description": "d"}
    assert schema.input_fields(advanced=True, tooltip="t") == {"tooltip": "t"}
    OldSchema(node_id="Probe", **schema.newer(search_aliases=["x"]))
    OldInput("seed", **schema.input_fields(advanced=True))


def test_a_field_that_no_core_has_is_left_out():
    assert schema.newer(wished_for=1) == {}


def _classes():
    return {node.__name__: node for node in asyncio.run(DefectForgeExtension().get_node_list())}


@pytest.mark.parametrize(("node_id", "most"), [("DefectForgeReferenceOnly", 6), ("DefectForgeReferenceCache", 2)])
def test_a_beginner_sees_few_widgets(node_id, most):
    sockets = (io.Model.Input, io.Vae.Input, io.Image.Input, io.Mask.Input)
    entries = [entry for entry in _classes()[node_id].GET_SCHEMA().inputs if not isinstance(entry, sockets)]
    shown = [entry.id for entry in entries if not entry.as_dict().get("advanced") and entry.id != "cache"]
    assert 0 < len(shown) <= most, shown
