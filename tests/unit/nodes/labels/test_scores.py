"""Scores say what a viewer would (present, seamless, a copy) and admit what they cannot measure."""

from __future__ import annotations

import numpy as np
import pytest
from defectforge.nodes.algorithms.scores.measures import COPY, MEANING, quality, score_defect
from defectforge.nodes.algorithms.scores.references import closeness, look_of
from scipy.ndimage import gaussian_filter


@pytest.fixture
def scored(shell, with_hole, disc):
    """Score a place of that colour on a shell."""

    def make(colour=(0.12, 0.08, 0.06), radius=20, requested=None, references=()):
        photo, place = shell(), disc(200, radius)
        return score_defect(photo, with_hole(photo, place, colour), place, requested, references)

    return make


def test_every_score_has_a_meaning_and_a_place(scored):
    assert list(scored()) == list(MEANING)


def test_a_dark_hole_is_present_and_a_faint_stain_is_not(scored):
    hole, stain, light = scored(), scored((0.45, 0.29, 0.18)), scored((0.85, 0.8, 0.75))
    assert hole["presence"] > 0.95 and hole["dark_core"] > 0.6
    assert stain["presence"] < 0.1 < hole["quality"]
    assert light["presence"] == 0 and light["contrast"] > 30, "plain to see, but no hole"
    assert light["light_rim"] > 0.3


def test_darker_never_scores_lower(scored):
    steps = [scored(tuple(np.array((0.55, 0.36, 0.22)) * share))["presence"] for share in (0.9, 0.6, 0.4, 0.2, 0.05)]
    assert steps == sorted(steps)


def test_an_empty_label_has_no_presence_and_little_is_measured(shell):
    scores = score_defect(shell(), shell(), np.zeros((200, 200), bool))
    assert (scores["quality"], scores["presence"], scores["change"], scores["label_share"]) == (0, 0, 0, 0)
    assert scores["seam"] is None and scores["grain"] is None


def test_what_cannot_be_measured_is_none(scored):
    scores = scored()
    assert [scores[name] for name in ("closeness", "copy", "clip_similarity", "label_agreement")] == [None] * 4


def test_a_kept_photo_has_no_drift_and_no_seam(scored):
    scores = scored()
    assert scores["colour_drift"] == 0 and abs(scores["seam"]) < 0.05


def test_a_seam_around_the_label_is_seen(shell, with_hole, disc, scored):
    photo, place = shell(), disc(200, 20)
    rim = disc(200, 24)
    out = with_hole(np.where(rim[..., None], photo * 1.25, photo).astype(np.float32), place)
    assert score_defect(photo, out, place)["seam"] > scored()["seam"] + 0.3
    assert score_defect(photo, out, place)["quality"] < 0.8 * scored()["quality"]


def test_a_shift_of_the_surroundings_is_drift(shell, with_hole, disc, scored):
    photo, place = shell(), disc(200, 20)
    out = with_hole(np.clip(photo + 0.12, 0, 1).astype(np.float32), place)
    scores = score_defect(photo, out, place)
    assert scores["colour_drift"] > 8 and scores["quality"] < 0.5 * scored()["quality"]


@pytest.mark.parametrize(("amount", "expected"), [(0.02, 1.0), (0.0, 0.0)])
def test_grain_is_compared_with_the_surroundings(shell, disc, amount, expected):
    photo, place = shell(), disc(200, 25)
    rng = np.random.default_rng(3)
    patch = np.array((0.3, 0.2, 0.12)) + rng.normal(0, amount, photo.shape)
    scores = score_defect(photo, np.where(place[..., None], patch, photo).astype(np.float32), place)
    assert scores["grain"] == pytest.approx(expected, abs=0.35)


def test_agreement_is_the_overlap_with_what_was_asked_for(scored, disc):
    assert scored(requested=disc(200, 20))["label_agreement"] == 1
    assert scored(requested=disc(200, 4, 10, 10))["label_agreement"] == 0
    assert 0.4 < scored(requested=disc(200, 29))["label_agreement"] < 0.6


def test_a_label_at_the_border_and_one_that_fills_the_photo_are_scored(shell, with_hole, disc):
    photo = shell()
    corner = disc(200, 20, 0, 0)
    assert score_defect(photo, with_hole(photo, corner), corner)["presence"] > 0.9
    whole = np.ones((200, 200), bool)
    assert score_defect(photo, with_hole(photo, whole), whole)["presence"] == 0


# ---- references


def test_a_copy_of_a_reference_is_worth_nothing(shell, with_hole, disc):
    photo, place = shell(), disc(200, 20)
    ragged = gaussian_filter(np.random.default_rng(2).random((200, 200)), 3)[..., None]
    real = with_hole(photo, place, (0.1, 0.07, 0.05)) + np.where(place[..., None], 1.5 * (ragged - 0.5), 0)
    real = np.clip(real, 0, 1).astype(np.float32)
    look = look_of(real, place)
    for turned, mask in ((real, place), (real[::-1], place[::-1]), (np.rot90(real), np.rot90(place))):
        scores = score_defect(photo, turned, mask, references=[look])
        assert scores["copy"] > COPY and scores["quality"] == 0, "copies are known in any of eight turns"
        assert scores["closeness"] > 0.9
    elsewhere = gaussian_filter(np.random.default_rng(9).random((200, 200)), 3)[..., None]
    other = np.clip(with_hole(photo, place) + np.where(place[..., None], 1.5 * (elsewhere - 0.5), 0), 0, 1)
    assert score_defect(photo, other.astype(np.float32), place, references=[look])["copy"] < COPY


def test_likeness_is_by_colour_and_size(shell, with_hole, disc):
    photo = shell()
    reference = look_of(with_hole(photo, disc(200, 20)), disc(200, 20))

    def like(radius, colour=(0.12, 0.08, 0.06)):
        place = disc(200, radius)
        return closeness(look_of(with_hole(photo, place, colour), place), [reference])["closeness"]

    assert like(20) > like(10) > like(5)
    assert like(20) > 0.95 and like(20, (0.9, 0.9, 0.9)) < 0.05


def test_without_references_likeness_is_not_measured(shell, disc):
    assert closeness(look_of(shell(), disc(200, 9)), []) == {"closeness": None, "copy": None}


def test_a_reference_without_its_defect_is_refused(shell):
    with pytest.raises(ValueError, match="mask of the defect is empty"):
        look_of(shell(), np.zeros((200, 200), bool))


def test_presence_saturates_so_that_the_strongest_change_is_not_the_best():
    rest = dict.fromkeys(MEANING)
    plain = rest | {"presence": 1.0, "seam": 0.0, "colour_drift": 0.0}
    assert quality(plain) == 1
    assert quality(plain | {"seam": 1.0}) < quality(plain | {"presence": 0.5})
    assert quality(plain | {"closeness": 0.0}) == 0.5


def test_where_the_label_is_in_the_photo_does_not_matter(shell, with_hole, disc):
    photo, place = shell(400), disc(400, 20)
    far = with_hole(photo, place)
    first = score_defect(photo, far, place)
    cut = (slice(120, 280), slice(130, 290))
    near = score_defect(photo[cut], far[cut], place[cut])
    shared = [name for name in MEANING if name != "label_share" and first[name] is not None]
    assert {n: first[n] for n in shared} == pytest.approx({n: near[n] for n in shared})
    assert near["label_share"] > first["label_share"]


def test_two_far_holes_score_as_the_one_that_both_are(shell, with_hole, disc):
    """Far pieces are looked at apart: what lies between them is not their surroundings."""
    photo = shell(500)
    one, both = disc(500, 20, 60, 60), disc(500, 20, 60, 60) | disc(500, 20, 430, 440)
    between = np.zeros((500, 500), bool)
    between[200:300, 200:300] = True
    dark_between = with_hole(photo, between)
    first = score_defect(photo, with_hole(photo, one), one)
    second = score_defect(dark_between, with_hole(dark_between, both), both)
    for name in ("presence", "contrast", "dark_core", "grain"):
        assert second[name] == pytest.approx(first[name], rel=0.1)


def test_pieces_near_each_other_share_their_surroundings(shell, with_hole, disc):
    photo = shell()
    near = disc(200, 20, 100, 80) | disc(200, 8, 100, 112)
    scores = score_defect(photo, with_hole(photo, near), near)
    assert scores["presence"] > 0.95 and scores["colour_drift"] == 0
