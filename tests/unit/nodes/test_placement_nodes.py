"""The nodes that place, learn and move defects: batches, masks of one's own, and errors that say what to do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from defectforge.nodes.algorithms.prompts import TEMPLATE, defect_prompt
from defectforge.nodes.placement_nodes import DefectForgeMaskPrior, DefectForgePlaceDefectMask
from defectforge.nodes.prompt_nodes import DefectForgeDefectPrompt
from defectforge.nodes.transplant_nodes import DefectForgeTransplantDefect, DefectForgeTransplantMask
from defectforge.runner.nuts import draw_pair

pytestmark = pytest.mark.usefixtures("embedded_host")

SIZE = 160


def run(node: Any, **inputs: Any) -> tuple[Any, ...]:
    defaults = {entry.id: getattr(entry, "default", None) for entry in node.GET_SCHEMA().inputs}
    given = {key: value for key, value in {**defaults, **inputs}.items() if value is not None}
    return tuple(node.PREPARE_CLASS_CLONE({}).execute(**given).args)


@pytest.fixture(scope="module")
def nuts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two sound nuts, two broken ones, the holes' masks."""
    drawn = [draw_pair(number, size=SIZE, defect_seed=number) for number in (4, 7)]
    sound, broken, masks = (torch.stack([torch.from_numpy(d[i]) for d in drawn]).float() / 255 for i in range(3))
    return sound, broken, masks


def test_a_transplant_gives_each_photo_its_defect_and_leaves_the_rest_exact(nuts):
    sound, broken, masks = nuts
    image, label, denoise, _ = run(
        DefectForgeTransplantDefect, image=sound, reference=broken, reference_mask=masks, seed=3
    )
    assert image.shape == sound.shape and label.shape == denoise.shape == masks.shape
    assert set(label.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(image[denoise == 0], sound[denoise == 0])
    assert all((image[i] != sound[i]).any() for i in range(2))


def test_one_reference_serves_all_photos_and_a_mask_of_the_part_wins(nuts):
    sound, broken, masks = nuts
    mine = torch.zeros(1, SIZE, SIZE)
    mine[:, 50:110, 40:120] = 1
    for node, which in ((DefectForgeTransplantDefect, 1), (DefectForgeTransplantMask, 0)):
        label = run(
            node, image=sound, reference=broken[:1], reference_mask=masks[:1], part_mask=mine, min_scale=0.3,
            max_scale=0.4,
        )[which]  # fmt: skip
        assert all(label[i].any() for i in range(2))
        assert not (label * (1 - mine)).any()


def test_cracks_are_drawn_around_holes_and_around_nothing_else(nuts):
    sound, broken, masks = nuts
    given = {"image": sound, "reference": broken, "reference_mask": masks, "seed": 5}
    plain = run(DefectForgeTransplantDefect, **given)[:2]
    for name in ("poke", "scratch", "gouge", "color"):
        is_hole = name == "poke"
        image, label, _, _ = run(DefectForgeTransplantDefect, **given, cracks=8, type=name)
        assert torch.equal(image, plain[0]) != is_hole
        assert (label >= plain[1]).all() and (label.sum() > plain[1].sum()) == is_hole


def test_a_prior_of_connected_masks_is_drawn_from(nuts):
    sound, broken, masks = nuts
    prior, summary = run(DefectForgeMaskPrior, images=broken, masks=masks)
    assert summary.startswith("2 real defects on 2 photos")
    label, denoise, _ = run(
        DefectForgePlaceDefectMask, image=sound, type="as the real ones", count=0, prior=prior, seed=2
    )
    assert all(label[i].any() for i in range(2)) and ((denoise > 0) >= (label > 0)).all()


def test_one_real_mask_says_that_its_spread_is_a_default(nuts):
    _, broken, masks = nuts
    assert "only one" in run(DefectForgeMaskPrior, images=broken[:1], masks=masks[:1])[1]


def test_a_prior_reads_a_folder(nuts, embedded_host):
    from PIL import Image

    _, broken, masks = nuts
    root = embedded_host / "input" / "hazelnut"
    for folder, batch, name in (("test/hole", broken, "{}.png"), ("ground_truth/hole", masks, "{}_mask.png")):
        (root / folder).mkdir(parents=True)
        for i in range(2):
            Image.fromarray((batch[i] * 255).byte().numpy()).save(root / folder / name.format(i))
    assert run(DefectForgeMaskPrior)[1].startswith("2 real defects")


def test_a_dataset_s_name_decides_the_type(nuts):
    sound, _, _ = nuts
    named = run(DefectForgePlaceDefectMask, image=sound, name="metal_contamination", type="hole", seed=1)[0]
    assert torch.equal(named, run(DefectForgePlaceDefectMask, image=sound, type="spot", seed=1)[0])
    assert DefectForgePlaceDefectMask.validate_inputs("metal_contamination", "hole") is True
    assert "flip" in str(DefectForgePlaceDefectMask.validate_inputs("flip", "hole"))
    assert DefectForgePlaceDefectMask.validate_inputs("flip", "as the real ones") is True


def test_masks_that_do_not_fit_are_refused(nuts):
    sound, broken, masks = nuts
    both = {"image": sound, "reference": broken, "reference_mask": masks}
    with pytest.raises(ValueError, match="reference_mask, photo 0: the mask is empty"):
        run(DefectForgeTransplantDefect, **both | {"reference_mask": torch.zeros_like(masks)})
    with pytest.raises(ValueError, match="reference_mask: the mask is 80x80 px but the picture is 160x160"):
        run(DefectForgeTransplantMask, **both | {"reference_mask": masks[:, ::2, ::2]})
    with pytest.raises(ValueError, match="part_mask, photo 0: the mask is empty"):
        run(DefectForgeTransplantDefect, **both, part_mask=torch.zeros_like(masks))
    with pytest.raises(ValueError, match="larger than the part"):
        run(DefectForgeTransplantDefect, **both, min_scale=9.0, max_scale=9.0)
    with pytest.raises(ValueError, match="connect their photos"):
        run(DefectForgeMaskPrior, masks=masks)
    with pytest.raises(ValueError, match="all of the 2 masks are empty"):
        run(DefectForgeMaskPrior, images=broken, masks=torch.zeros_like(masks))
    with pytest.raises(ValueError, match="no part found that can be trusted"):
        run(DefectForgePlaceDefectMask, image=torch.rand(1, 64, 64, 3) * torch.linspace(0, 1, 64)[:, None])


def test_prompts_name_part_and_type_in_plain_words():
    assert run(DefectForgeDefectPrompt) == ("defective hazelnut with hole", "a close up of a hazelnut with hole")
    assert defect_prompt(TEMPLATE, "metal_nut", "faulty_imprint", "") == "defective metal nut with smudged imprint"
    assert defect_prompt("{part}, {words}", "pcb2", "x", "a burn") == "printed circuit board, a burn"
    told = run(DefectForgeDefectPrompt, part="widget_7", type="poke", template="{part}: {words}")
    assert told[0] == "widget 7: a dark opening with a chipped rim"


@pytest.mark.parametrize("template", ["{prat} broken", "a { brace", "{part.__class__}"])
def test_a_placeholder_that_does_not_exist_is_refused(template):
    with pytest.raises(ValueError, match=r"expected \{part\}, \{type\} and \{words\}"):
        defect_prompt(template, "nut", "hole", "")


def test_words_that_a_template_asks_for_must_be_there():
    with pytest.raises(ValueError, match="words: it is empty"):
        run(DefectForgeDefectPrompt, type="frobnicated", template="{words}")
