"""Masks of every type on every kind of part: on the part entirely, reproducible, or refused with a reason."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from defectforge.nodes.algorithms.placement.defects import (
    ACROSS_PART,
    ALONG_PART,
    INSIDE,
    TYPES,
    type_named,
)
from defectforge.nodes.algorithms.placement.defects.place import REAL_SHAPES, PlaceSettings, place_defects
from defectforge.nodes.algorithms.placement.foreground import find_part
from defectforge.nodes.algorithms.placement.frame import NoPlaceError, part_frame, separate_parts, turns
from scipy import ndimage

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def _drawn_parts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drawn_parts", TOOLS / "drawn_parts.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules.setdefault("drawn_parts", importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


drawn = _drawn_parts()
SIDE = 256
PICTURES = {kind: drawn.draw_part(kind, SIDE) for kind in drawn.KINDS}
OBJECTS = [kind for kind in PICTURES if kind not in drawn.TEXTURES]


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("name", TYPES)
def test_a_mask_lies_on_the_part_entirely_and_has_the_size_that_was_asked_for(name, kind):
    photo, part = PICTURES[kind]
    if kind in drawn.TEXTURES and TYPES[name].where != INSIDE:
        with pytest.raises(NoPlaceError, match="fills its picture"):
            place_defects(part, 1, settings=PlaceSettings(name), photo=photo)
        return
    low, high = (0.02, 0.04) if TYPES[name].where != INSIDE or name in ("hole", "stain", "dent") else (0.01, 0.02)
    for seed in range(3):
        label = place_defects(part, seed, settings=PlaceSettings(name, min_size=low, max_size=high), photo=photo).label
        assert not (label & ~part).any()
        assert 0.85 * low <= label.sum() / part.sum() <= 1.15 * high


@pytest.mark.parametrize("name", TYPES)
def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(name):
    photo, part = PICTURES["capsule"]
    one, again, other = (
        place_defects(part, seed, settings=PlaceSettings(name), photo=photo).label.tobytes() for seed in (5, 5, 6)
    )
    assert one == again != other


@pytest.mark.parametrize("name", [name for name, kind in TYPES.items() if kind.where != INSIDE])
def test_what_breaks_off_touches_the_part_s_edge(name):
    photo, part = PICTURES["pill"]
    label = place_defects(part, 2, settings=PlaceSettings(name), photo=photo).label
    assert (ndimage.binary_dilation(label, iterations=2) & ~part).any()


def test_a_long_part_breaks_at_its_ends():
    photo, part = PICTURES["capsule"]
    frame = part_frame(part)
    across = 0
    for seed in range(10):
        label = place_defects(part, seed, settings=PlaceSettings("missing part"), photo=photo).label
        away = np.argwhere(label).mean(axis=0) - frame.centre
        across += abs(np.cos(np.arctan2(*away) - frame.axis)) > 0.8
    assert across >= 9


@pytest.mark.parametrize(("orientation", "along"), [(ALONG_PART, True), (ACROSS_PART, False)])
def test_a_scratch_lies_as_it_is_told(orientation, along):
    photo, part = PICTURES["pill"]
    axis = part_frame(part).axis
    for seed in range(4):
        settings = PlaceSettings("scratch", orientation=orientation, max_size=0.004)
        frame = part_frame(place_defects(part, seed, settings=settings, photo=photo).label)
        apart = abs((frame.axis - axis + np.pi / 2) % np.pi - np.pi / 2)
        assert (apart < 0.5) == along


def test_several_defects_stay_apart():
    photo, part = PICTURES["hazelnut"]
    label = place_defects(part, 4, settings=PlaceSettings("spot", count=4, max_size=0.01), photo=photo).label
    # Their satellites keep to their spot: closed over a few pixels there are four.
    assert len(place_defects(part, 4, settings=PlaceSettings("dent", count=3, max_size=0.02)).defects) == 3
    assert label.any()


def test_defects_go_to_any_of_several_parts_and_never_between_them():
    photo, part = drawn.several_parts(SIDE)
    pieces = separate_parts(part)
    assert len(pieces) == 3
    hit = set()
    for seed in range(12):
        label = place_defects(part, seed, settings=PlaceSettings("crack"), photo=photo).label
        on = [number for number, piece in enumerate(pieces) if (label & piece).any()]
        assert len(on) == 1
        hit.update(on)
    assert hit == {0, 1, 2}


def test_a_part_cut_by_the_frame_is_chipped_at_its_own_edge_only():
    photo, part = drawn.cut_by_the_frame(SIDE)
    for seed in range(6):
        (chip,) = place_defects(part, seed, settings=PlaceSettings("chip"), photo=photo).defects
        assert chip.centre[1] > 3


def test_a_keep_out_mask_is_kept():
    photo, part = PICTURES["bottle"]
    barred = np.zeros_like(part)
    barred[:, : SIDE // 2] = True
    for name in TYPES:
        label = place_defects(part, 1, settings=PlaceSettings(name, max_size=0.02), keep_out=barred, photo=photo).label
        assert label.any() and not (label & barred).any()


@pytest.mark.parametrize("kind", PICTURES)
def test_the_part_is_found_by_itself(kind):
    photo, part = PICTURES[kind]
    found = find_part(photo, 0.05)
    assert (found & part).sum() / (found | part).sum() > 0.95


def test_a_part_before_a_patterned_ground_is_found():
    photo, part = drawn.patterned_ground(SIDE)
    found = find_part(photo)
    assert (found & part).sum() / (found | part).sum() > 0.95


def test_a_part_that_is_larger_than_its_photo_is_refused():
    """Its free corners are neither a background that can be learnt nor a texture."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    part = np.hypot(rows, columns) < 0.54
    noise = np.random.default_rng(1).normal(0, 3, (SIDE, SIDE, 1))
    photo = np.clip(np.where(part[..., None], (150.0, 90.0, 60.0), (20.0, 20.0, 22.0)) + noise, 0, 255)
    with pytest.raises(ValueError, match="part_mask"):
        find_part(photo.astype(np.uint8))


@pytest.mark.parametrize(("kind", "least"), [("capsule", 2), ("metal_nut", 4), ("bottle", 90)])
def test_a_part_lies_on_itself_in_as_many_ways_as_it_is_symmetric(kind, least):
    frame = part_frame(PICTURES[kind][1])
    assert len(turns(frame, frame, mirror=False)) >= least
    assert any(abs(np.sin(turn.angle)) < 0.05 and np.cos(turn.angle) > 0 for turn in turns(frame, frame))


def test_a_frame_turns_with_its_part():
    part = PICTURES["capsule"][1]
    upright = np.rot90(part)
    angles = [turn.angle % np.pi for turn in turns(part_frame(part), part_frame(upright), mirror=False)]
    assert all(abs(angle - np.pi / 2) < 0.25 for angle in angles)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("broken_small", "chip"),
        ("broken_large", "missing part"),
        ("metal_contamination", "spot"),
        ("poke", "hole"),
        ("thread", "thread pull"),
        ("faulty_imprint", "stain"),
        ("Scratch", "scratch"),
        ("small cracks", "crack"),
        ("missing part", "missing part"),
    ],
)
def test_a_dataset_s_name_of_a_type_is_understood(name, means):
    assert type_named(name) == means


@pytest.mark.parametrize(("name", "says"), [("flip", "whole part"), ("holle", "did you mean 'hole'"), ("", "unknown")])
def test_other_names_are_refused_with_what_there_is(name, says):
    with pytest.raises(ValueError, match=says) as caught:
        type_named(name)
    assert "scratch" in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"type": "sratch"}, "unknown"),
        ({"type": "hole", "min_size": 0.3, "max_size": 0.1}, "above the largest"),
        ({"type": "hole", "max_size": 2.0}, "0 to 0.9"),
        ({"type": "hole", "orientation": "north"}, "orientation"),
        ({"type": "hole", "tries": 0}, "one try"),
    ],
)
def test_wrong_settings_are_refused(settings, says):
    with pytest.raises(ValueError, match=says):
        PlaceSettings(**settings)


@pytest.mark.parametrize("settings", [PlaceSettings(REAL_SHAPES), PlaceSettings("hole", count=0)])
def test_what_needs_a_prior_says_so(settings):
    with pytest.raises(ValueError, match="Mask Prior"):
        place_defects(PICTURES["pill"][1], 1, settings=settings)


def test_an_empty_part_sizes_that_differ_and_a_defect_too_large_are_refused():
    photo, part = PICTURES["pill"]
    with pytest.raises(NoPlaceError, match="object mask is empty"):
        place_defects(np.zeros_like(part), 1)
    with pytest.raises(ValueError, match=r"photo is 256x256 px, the object mask 128x128"):
        place_defects(part[::2, ::2].copy(), 1, photo=photo)
    with pytest.raises(NoPlaceError, match="no place for hole 1 of 1"):
        place_defects(part, 1, settings=PlaceSettings("hole", min_size=0.8, max_size=0.85), photo=photo)
