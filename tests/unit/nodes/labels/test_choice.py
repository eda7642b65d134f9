"""What is kept, what is refused and why: the rules, and the nodes that apply them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from defectforge.nodes.algorithms.scores.choice import Threshold, choose, parse_thresholds
from defectforge.nodes.algorithms.scores.measures import MEANING
from defectforge.nodes.algorithms.scores.sheet import ScoreSheet
from defectforge.nodes.selection_nodes import DefectForgeKeepBest as KeepBest
from defectforge.nodes.selection_nodes import DefectForgeScoreDefect as Score
from defectforge.nodes.selection_nodes import DefectForgeVisibleMask as Visible

pytestmark = pytest.mark.usefixtures("embedded_host")


def row(presence: float, quality: float | None = None, share: float = 0.01, **more: float):
    return dict.fromkeys(MEANING) | {
        "presence": presence, "quality": presence if quality is None else quality, "label_share": share, **more
    }  # fmt: skip


# ---- the rules


def test_conditions_are_read_from_lines_commas_and_comments():
    found = parse_thresholds("# holes\npresence >= 0.3, seam<=1e-1 # steep\n\n  contrast >= 12\n")
    assert [str(one) for one in found] == ["presence >= 0.3", "seam <= 0.1", "contrast >= 12"]
    assert parse_thresholds("") == parse_thresholds(" \n# nothing\n") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("presence > 0.3", "'presence > 0.3' is no condition"),
        ("presence", "is no condition"),
        ("presence >= much", "is no condition"),
        ("presence >= 1e", "is no condition"),
        ("presence >= 0.3; seam <= 1", "is no condition"),
        ("beauty >= 0.5", "no score 'beauty'; there are quality, presence"),
    ],
)
def test_what_is_no_condition_is_named(text, said):
    with pytest.raises(ValueError, match=said):
        parse_thresholds(text)
    assert said.split("'")[-1].strip() in str(KeepBest.validate_inputs(text))


def test_the_best_that_passes_is_kept_and_every_other_has_a_reason():
    rows = [row(0.2), row(0.9, 0.4), row(0.8, 0.7), row(0.0, share=0.0), row(0.5, 0.5)]
    chosen = choose(rows, 2, parse_thresholds("presence >= 0.3"))
    assert chosen.kept == (2, 4)
    assert chosen.refused == {
        0: "presence is 0.2, wanted presence >= 0.3",
        1: "number 3 by quality of 3 that pass; 2 are kept",
        3: "nothing is visible",
    }


def test_equal_draws_keep_their_order():
    assert choose([row(0.5)] * 4, 2).kept == (0, 1)


def test_the_score_that_ranks_is_chosen():
    rows = [row(0.9, contrast=10.0), row(0.5, contrast=40.0)]
    assert choose(rows, 1).kept == (0,) and choose(rows, 1, by="contrast").kept == (1,)


def test_a_score_that_was_not_measured_decides_nothing():
    assert Threshold("closeness", True, 0.9).refuses(row(0.5)) is None
    assert choose([row(0.5)], 1, parse_thresholds("clip_similarity >= 0.9")).kept == (0,)


@pytest.mark.parametrize(("keep", "by", "said"), [(0, "quality", "at least one"), (1, "beauty", "no score 'beauty'")])
def test_a_choice_that_cannot_be_made_is_refused(keep, by, said):
    with pytest.raises(ValueError, match=said):
        choose([row(0.5)], keep, by=by)


def test_a_sheet_remembers_what_earlier_choices_refused():
    sheet = ScoreSheet((row(0.1), row(0.6), row(0.9)), ({"draw": 7, "reason": "before", "scores": {}},))
    after = sheet.chosen(choose(sheet.rows, 1, parse_thresholds("presence >= 0.3")))
    assert after.rows == (row(0.9),)
    assert [(entry["draw"], entry["scores"].get("presence")) for entry in after.refused] == [
        (7, None),
        (0, 0.1),
        (1, 0.6),
    ]


# ---- the nodes


@pytest.fixture
def draws(shell, with_hole, disc):
    """A photo, and four draws of it: a faint stain, a hole, nothing, a shallow hole; with their labels."""
    photo, place = shell(), disc(200, 20)
    colours = [(0.45, 0.29, 0.18), (0.12, 0.08, 0.06), None, (0.27, 0.17, 0.1)]
    pictures = [photo if colour is None else with_hole(photo, place, colour) for colour in colours]
    labels = [np.zeros_like(place) if colour is None else place for colour in colours]
    images = torch.from_numpy(np.stack(pictures)).float()
    return torch.from_numpy(photo)[None], images, torch.from_numpy(np.stack(labels)).float()


def test_the_nodes_keep_the_hole(draws):
    photo, images, labels = draws
    sheet, text, best = Score.execute(photo, images, labels).args
    assert best == pytest.approx(max(entry["quality"] for entry in sheet.rows)) and len(text.splitlines()) == 4
    assert "clip_similarity not measured" in text
    image, label, after = KeepBest.execute(images, labels, sheet, 1, "quality", "presence >= 0.3").args
    assert torch.equal(image, images[1:2]) and torch.equal(label, labels[1:2])
    assert [entry["draw"] for entry in after.refused] == [0, 2, 3]


def test_where_none_passes_the_batch_is_empty_and_the_reasons_go_along(draws):
    photo, images, labels = draws
    sheet = Score.execute(photo, images, labels).args[0]
    image, label, after = KeepBest.execute(images, labels, sheet, 2, "quality", "presence >= 0.3, contrast >= 99").args
    assert image.shape == (0, 200, 200, 3) and label.shape == (0, 200, 200)
    assert after.rows == () and len(after.refused) == 4


def test_scores_of_other_pictures_are_refused(draws):
    photo, images, labels = draws
    sheet = Score.execute(photo, images[:2], labels[:2]).args[0]
    with pytest.raises(ValueError, match="2 rows for 4 pictures"):
        KeepBest.execute(images, labels, sheet, 1, "quality", "")


def test_a_reference_needs_the_mask_of_its_defect(draws):
    photo, images, labels = draws
    with pytest.raises(ValueError, match="reference_mask"):
        Score.execute(photo, images, labels, reference=images[:1])


def test_a_copy_of_the_reference_is_refused(draws):
    photo, images, labels = draws
    rough = torch.rand(1, 25, 25, generator=torch.Generator().manual_seed(1)).repeat_interleave(8, 1)
    rough = rough.repeat_interleave(8, 2)[..., None] * 0.2
    hole, mask = torch.where(labels[1:2, ..., None] > 0, rough, images[1:2]), labels[1:2]
    sheet = Score.execute(photo, hole, mask, None, hole, mask).args[0]
    assert sheet.rows[0]["copy"] > 0.95 and sheet.rows[0]["quality"] == 0
    assert not len(KeepBest.execute(hole, mask, sheet, 1, "quality", "copy <= 0.95").args[0])


def test_a_photo_of_another_size_is_refused(draws):
    photo, images, labels = draws
    for call in (lambda p: Score.execute(p, images, labels), lambda p: Visible.execute(p, images, 8.0, True, 0.12)):
        with pytest.raises(ValueError, match="source: 190x200 px"):
            call(photo[:, :, :190])


def test_the_visible_mask_is_honest_after_a_shift_of_all_colours(draws, iou):
    photo, images, labels = draws
    shifted = (images[1:2] * 0.9 + 0.06).clamp(0, 1)
    label, share = Visible.execute(photo, shifted, 8.0, True, 0.12).args
    assert iou(label[0].numpy() > 0, labels[1].numpy() > 0) > 0.9
    assert share == pytest.approx(float(labels[1].mean()), rel=0.1)


def test_a_drift_over_the_whole_photo_gets_no_label(shell):
    photo, other = (torch.from_numpy(shell(seed=seed))[None] for seed in (1, 2))
    label, share = Visible.execute(photo, 1 - other, 8.0, False, 0.12).args
    assert not label.any() and share > 0.5


def test_only_the_area_counts(draws, disc):
    photo, images, _ = draws
    area = torch.from_numpy(disc(200, 20, 20, 20)).float()[None]
    assert not Visible.execute(photo, images[1:2], 8.0, False, 0.12, area).args[0].any()
