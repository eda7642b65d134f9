"""Category, type, part masks and real masks reach the graph, or the run says why they do not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.nodes.datasets.names import PART
from defectforge.runner.commands.preparing.prepare import selection_of
from defectforge.runner.commands.requests.parts import hand_over
from defectforge.runner.commands.requests.request import Request, with_plan_file
from defectforge.runner.errors import RequestError
from defectforge.runner.graphs.graph import copied
from defectforge.runner.graphs.overrides import Axis, Setting
from defectforge.runner.graphs.roles import find_roles
from defectforge.runner.plans.plan import Plan, make_plan
from defectforge.runner.servers.work.collect import prompts
from made import titled
from PIL import Image

MASK = ["MASK", {}]
SIZE = 96


@pytest.fixture
def schema(object_info: dict[str, Any]) -> dict[str, Any]:
    """The nodes of the small graph, and those that place any type of defect and write prompts."""
    image = {"image": ["IMAGE", {}]}
    return object_info | {
        "DefectForgePlaceDefectMask": {"input": {"required": image, "optional": {"part_mask": MASK}}},
        "DefectForgeMaskPrior": {"input": {"required": {}, "optional": {"images": ["IMAGE", {}], "part_masks": MASK}}},
        "DefectForgeTransplantDefect": {
            "input": {
                "required": {**image, "reference": ["IMAGE", {}]},
                "optional": {"part_mask": MASK, "reference_part_mask": MASK},
            }
        },
    }


@pytest.fixture
def any_defect(graph: dict[str, Any]) -> dict[str, Any]:
    """Good photo -> mask of any type -> saved pair, with a prompt of part and type."""
    graph["3"] = titled("DefectForgePlaceDefectMask", "Defect mask", image=["1", 0], type="hole", name="", count=1)
    template = "defective {part} with {type}"
    graph["5"] = titled("DefectForgeDefectPrompt", "Words", part="hazelnut", type="hole", template=template, words="")
    return graph


def disc(radius: float, at: tuple[float, float] = (48, 48)) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    return (y - at[0]) ** 2 + (x - at[1]) ** 2 < radius**2


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def write_part(path: Path, level: int = 160) -> None:
    """A grey part before black."""
    part = np.where(disc(36), level, 0).astype(np.uint8)
    save(path, np.stack([part] * 3, axis=-1))


@pytest.fixture
def bottles(tmp_path: Path) -> Path:
    """Three good bottles; two contaminated ones with masks; one broken one without."""
    category = tmp_path / "data" / "bottle"
    for n in range(3):
        write_part(category / "train" / "good" / f"{n:03d}.png", 150 + n)
    for n in range(2):
        write_part(category / "test" / "contamination" / f"{n:03d}.png", 170 + n)
        save(
            category / "ground_truth" / "contamination" / f"{n:03d}_mask.png",
            disc(6, (40, 50 + n)).view(np.uint8) * 255,
        )
    write_part(category / "test" / "broken_large" / "000.png", 190)
    return tmp_path / "data"


@pytest.fixture
def request_(bottles: Path) -> Request:
    return Request(workflow="any", data=bottles, category="bottle")


Handed = tuple[Plan, list[str]]


@pytest.fixture
def planned(any_defect: dict[str, Any], schema: dict[str, Any]) -> Callable[..., Handed]:
    """The plan of a request over a graph, and what was said on the way."""

    def plan(
        request: Request, *sets: Setting, graph: dict[str, Any] = any_defect, axes: tuple[Axis, ...] = ()
    ) -> Handed:
        said: list[str] = []
        graph = copied(graph)
        selection = selection_of(request)
        shared = hand_over(request, graph, selection, schema, sets, axes, said.append)
        return make_plan(graph, find_roles(graph, "any"), selection, axes, sets, shared), said

    return plan


# ---- words


def test_the_prompt_is_about_the_category_and_the_type_in_plain_words(
    planned: Callable[..., Handed], request_: Request
) -> None:
    made, said = planned(replace(request_, type="contamination", real_masks=0))
    assert made.graph["5"]["inputs"]["part"] == "bottle"
    assert made.graph["5"]["inputs"]["type"] == "contamination"
    assert "'Words' says: defective glass bottle with contamination" in said


def test_words_of_a_persons_own_stay_and_are_said(
    planned: Callable[..., Handed], request_: Request, any_defect: dict[str, Any]
) -> None:
    any_defect["5"]["inputs"]["part"] = "green flask"
    made, said = planned(replace(request_, type="contamination", real_masks=0))
    assert made.graph["5"]["inputs"]["part"] == "green flask"
    assert any("'Words.part' stays 'green flask'" in text and "--set 'Words.part=bottle'" in text for text in said)


def test_own_words_for_what_the_graph_was_saved_for_need_no_remark(
    planned: Callable[..., Handed], mvtec: Path, any_defect: dict[str, Any]
) -> None:
    any_defect["5"]["inputs"]["part"] = "dry nut"
    made, said = planned(Request(workflow="any", data=mvtec, category="hazelnut"))
    assert made.graph["5"]["inputs"]["part"] == "dry nut"
    assert said == []


def test_a_set_or_varied_word_is_not_touched(planned: Callable[..., Handed], request_: Request) -> None:
    made, _ = planned(request_, Setting("Words", "part", "hazelnut"), axes=(Axis("Words", "type", ("a", "b")),))
    assert made.graph["5"]["inputs"]["part"] == "hazelnut"
    assert made.graph["5"]["inputs"]["type"] == "hole"


def test_the_same_part_and_type_change_and_say_nothing(
    planned: Callable[..., Handed], mvtec: Path, any_defect: dict[str, Any]
) -> None:
    before = dict(any_defect["5"]["inputs"])
    made, said = planned(Request(workflow="any", data=mvtec, category="hazelnut"))
    assert made.graph["5"]["inputs"] == before
    assert said == []


def test_a_fixed_prompt_about_another_part_is_said(
    planned: Callable[..., Handed], request_: Request, graph: dict[str, Any]
) -> None:
    graph["6"] = titled("CLIPTextEncode", "Prompt", text="defective hazelnut with hole")
    _, said = planned(replace(request_, type="contamination", real_masks=0), graph=graph)
    assert (
        "'Prompt' still says 'defective hazelnut with hole'; "
        "--set 'Prompt.text=defective glass bottle with contamination' changes it"
    ) in said


def test_a_mask_node_that_knows_holes_only_is_said(planned: Callable[..., Handed], request_: Request) -> None:
    holes = {
        "1": titled(
            "DefectForgeLoadMVTec", "Good photo", category="hazelnut", split="train", type="good", index=0, root=""
        ),
        "3": titled("DefectForgePlaceHoleMask", "Hole mask", image=["1", 0], seed=1),
        "4": titled("DefectForgeSaveDefectPair", "Save pair", image=["1", 0], mask=["3", 0], category="h", type="hole"),
    }
    _, said = planned(replace(request_, type="contamination"), graph=holes)
    assert "'Hole mask' draws holes, whatever --type says; inpaint_any_defect draws other types" in said


# ---- masks by type


def test_real_masks_of_the_type_are_learnt_from_and_said(planned: Callable[..., Handed], request_: Request) -> None:
    made, said = planned(replace(request_, type="contamination"))
    placer = made.graph["3"]["inputs"]
    prior = made.graph[placer["prior"][0]]
    assert placer["type"] == "as the real ones"
    assert prior["class_type"] == "DefectForgeMaskPrior"
    assert (prior["inputs"]["category"], prior["inputs"]["type"], prior["inputs"]["most"]) == (
        "bottle",
        "contamination",
        2,
    )
    assert (
        "masks as the 2 real ones of bottle/contamination in shape, size and place; --real-masks 0 draws the type "
        "instead"
    ) in said
    files = [item.address for job in made.jobs for item in job.files if item.shared_root]
    root = prior["inputs"]["root"]
    assert sorted(set(files)) == [f"{root}/bottle/test/contamination/{n:05d}.png" for n in range(2)]


def test_other_real_masks_make_other_jobs(planned: Callable[..., Handed], request_: Request, bottles: Path) -> None:
    wanted = replace(request_, type="contamination")
    first = [job.id for job in planned(wanted)[0].jobs]
    save(bottles / "bottle/ground_truth/contamination/001_mask.png", disc(9, (52, 44)).view(np.uint8) * 255)
    assert not set(first) & {job.id for job in planned(wanted)[0].jobs}


def test_fewer_real_masks_may_be_asked_for(planned: Callable[..., Handed], request_: Request) -> None:
    made, said = planned(replace(request_, type="contamination", real_masks=1))
    assert any("masks as the only real one of bottle/contamination" in text and "first of 2" in text for text in said)
    assert len(made.jobs[0].shared) == 1


@pytest.mark.parametrize(
    ("type_", "plain", "real_masks"), [("broken_large", "missing part", None), ("contamination", "spot", 0)]
)
def test_without_real_masks_the_type_is_drawn(
    planned: Callable[..., Handed], request_: Request, type_: str, plain: str, real_masks: int | None
) -> None:
    made, said = planned(replace(request_, type=type_, real_masks=real_masks))
    assert made.graph["3"]["inputs"]["name"] == type_
    assert f"'Defect mask' draws masks of the type {plain}" in said
    assert not made.jobs[0].shared


def test_a_real_defect_whose_part_is_not_found_is_left_out_and_said(
    planned: Callable[..., Handed], request_: Request, bottles: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (6, 6, 3), np.uint8)
    photo = np.asarray(Image.fromarray(noise).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    save(bottles / "bottle/test/contamination/000.png", photo)
    made, said = planned(replace(request_, type="contamination"))
    assert any(text.startswith("not learnt from: bottle/test/contamination/000.png: no part found") for text in said)
    assert len(made.jobs[0].shared) == 1


def test_a_real_mask_of_the_whole_part_is_no_place(
    planned: Callable[..., Handed], request_: Request, bottles: Path
) -> None:
    """A flipped part: nothing can be learnt of where such a defect lies, and no mask is drawn for the name either."""
    write_part(bottles / "bottle/test/flip/000.png", 170)
    save(bottles / "bottle/ground_truth/flip/000_mask.png", disc(34).view(np.uint8) * 255)
    with pytest.raises(RequestError, match="whole part"):
        planned(replace(request_, type="flip"))


def test_a_mask_type_that_the_user_set_stays(planned: Callable[..., Handed], request_: Request) -> None:
    made, _ = planned(replace(request_, type="contamination"), Setting("Defect mask", "type", "scratch"))
    assert "prior" not in made.graph["3"]["inputs"]
    assert made.graph["3"]["inputs"]["name"] == ""


def test_without_a_type_the_masks_stay_as_the_workflow_has_them(
    planned: Callable[..., Handed], request_: Request
) -> None:
    made, _ = planned(request_)
    assert made.graph["3"]["inputs"]["type"] == "hole"
    assert "prior" not in made.graph["3"]["inputs"]


@pytest.mark.parametrize("type_", ["flip", "zzz"])
def test_a_type_that_no_mask_can_be_drawn_for_is_refused(
    planned: Callable[..., Handed], request_: Request, type_: str
) -> None:
    with pytest.raises(RequestError, match=r"whole part|unknown") as caught:
        planned(replace(request_, type=type_, new_type=True))
    assert "--set 'Defect mask.type=scratch'" in caught.value.text()


@pytest.mark.parametrize("type_", [None, "broken_large"])
def test_real_masks_that_are_not_there_are_refused(
    planned: Callable[..., Handed], request_: Request, type_: str | None
) -> None:
    with pytest.raises(RequestError, match="--real-masks"):
        planned(replace(request_, type=type_, real_masks=4))


# ---- the user's own part masks


def write_masks(folder: Path, names: list[str]) -> Path:
    for name in names:
        save(folder / name, disc(30).view(np.uint8) * 255)
    return folder


@pytest.mark.parametrize(
    "names",
    [
        [f"{n:03d}.png" for n in range(3)],
        [f"{n:03d}_mask.png" for n in range(3)],
        [f"train/good/{n:03d}.png" for n in range(3)],
        [f"bottle/train/good/{n:03d}_mask.png" for n in range(3)],
        [f"bottle/{n:03d}.png" for n in range(3)],
        [f"{n:03d}/{piece}.png" for n in range(3) for piece in "ab"],
    ],
)
def test_part_masks_are_matched_by_name_and_linked(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path, names: list[str]
) -> None:
    folder = write_masks(tmp_path / "parts", names)
    made, said = planned(replace(request_, part_masks=folder))
    link = made.graph["3"]["inputs"]["part_mask"]
    assert made.graph[link[0]]["inputs"]["type"] == PART
    assert link[1] == 1
    assert any(text.endswith("for Defect mask.part_mask") for text in said)
    for job in made.jobs:
        assert [part.photo.path for part in job.part_masks] == [job.source.photo.path]
        assert {mask.name.partition("_")[0].partition(".")[0] for mask in job.part_masks[0].photo.masks} <= {
            job.source.photo.path.stem, "a", "b"
        }  # fmt: skip
        assert job.references == []


def test_what_was_linked_to_part_mask_gives_way(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path, any_defect: dict[str, Any]
) -> None:
    any_defect["7"] = titled("DefectForgeObjectMask", "Object mask", image=["1", 0])
    any_defect["3"]["inputs"]["part_mask"] = ["7", 0]
    folder = write_masks(tmp_path / "parts", [f"{n:03d}.png" for n in range(3)])
    made, _ = planned(replace(request_, part_masks=folder))
    assert made.graph["3"]["inputs"]["part_mask"][0] != "7"


def test_photos_without_a_part_mask_are_named_before_anything_is_queued(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path
) -> None:
    folder = write_masks(tmp_path / "parts", ["001.png"])
    with pytest.raises(RequestError) as caught:
        planned(replace(request_, part_masks=folder))
    assert "2 of 3 photos have no mask of their part" in caught.value.text()
    assert "000.png" in caught.value.text()


def test_only_the_photos_that_are_drawn_need_masks(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path
) -> None:
    folder = write_masks(tmp_path / "parts", ["000.png"])
    made, _ = planned(replace(request_, part_masks=folder, count=1))
    assert len(made.jobs) == 1


def test_a_white_part_mask_is_a_texture_and_a_black_one_is_refused(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path
) -> None:
    folder = tmp_path / "parts"
    for n in range(3):
        save(folder / f"{n:03d}.png", np.full((SIZE, SIZE), 255, np.uint8))
    assert planned(replace(request_, part_masks=folder))[0].jobs
    save(folder / "001.png", np.zeros((SIZE, SIZE), np.uint8))
    with pytest.raises(RequestError, match="marks nothing"):
        planned(replace(request_, part_masks=folder))


def test_a_part_mask_of_another_size_is_refused(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path
) -> None:
    folder = write_masks(tmp_path / "parts", [f"{n:03d}.png" for n in range(3)])
    save(folder / "002.png", np.eye(20, dtype=np.uint8) * 255)
    with pytest.raises(RequestError, match="20x20 px"):
        planned(replace(request_, part_masks=folder))


def test_a_graph_without_a_place_for_part_masks_is_refused(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path, graph: dict[str, Any]
) -> None:
    graph["3"] = titled("DefectForgePlaceHoleMask", "Hole mask", image=["1", 0], seed=1)
    with pytest.raises(RequestError, match="no node of the workflow takes the mask of a part"):
        planned(replace(request_, part_masks=write_masks(tmp_path / "parts", ["000.png"])), graph=graph)


def test_a_photo_that_was_changed_on_its_way_to_the_node_is_refused(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path, any_defect: dict[str, Any]
) -> None:
    any_defect["8"] = titled("ImageScale", "Smaller", image=["1", 0])
    any_defect["3"]["inputs"]["image"] = ["8", 0]
    with pytest.raises(RequestError, match="is no photo as it was loaded"):
        planned(replace(request_, part_masks=write_masks(tmp_path / "parts", ["000.png"])))


def test_no_such_folder_of_part_masks(planned: Callable[..., Handed], request_: Request, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there is no folder"):
        planned(replace(request_, part_masks=tmp_path / "nowhere"))


@pytest.fixture
def transplant(graph: dict[str, Any]) -> dict[str, Any]:
    graph["2"] = titled(
        "DefectForgeLoadMVTec", "Reference defect", root="", category="x", split="test", type="hole", index=0
    )
    graph["3"] = titled("DefectForgeTransplantDefect", "Transplant", image=["1", 0], reference=["2", 0])
    return graph


def test_numbers_of_good_photos_are_no_masks_of_references(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path, transplant: dict[str, Any]
) -> None:
    """000.png in DIR is the good part's; that of the defect's photo lies in a folder of its type."""
    folder = write_masks(tmp_path / "parts", [f"{n:03d}.png" for n in range(3)])
    wanted = replace(request_, type="contamination", part_masks=folder)
    made, _ = planned(wanted, graph=transplant)
    assert "reference_part_mask" not in made.graph["3"]["inputs"]
    write_masks(folder, [f"contamination/{n:03d}.png" for n in range(2)])
    made, _ = planned(wanted, graph=transplant)
    link = made.graph["3"]["inputs"]["reference_part_mask"]
    assert link != made.graph["3"]["inputs"]["part_mask"]
    for job in made.jobs:
        of_good, of_reference = job.part_masks
        assert of_good.photo.path == job.source.photo.path
        assert of_reference.photo.path == job.references[0].photo.path
        assert of_reference.photo.masks[0].parent.name == "contamination"


def test_part_masks_of_real_defects_are_used_where_masks_are_learnt_from_them(
    planned: Callable[..., Handed], request_: Request, tmp_path: Path
) -> None:
    folder = write_masks(tmp_path / "parts", [f"{n:03d}.png" for n in range(3)])
    write_masks(folder, [f"contamination/{n:03d}.png" for n in range(2)])
    made, _ = planned(replace(request_, type="contamination", part_masks=folder))
    assert sorted(item.checked.photo.type for item in made.jobs[0].shared) == [
        "contamination", "contamination", PART, PART,
    ]  # fmt: skip


def test_a_workflow_that_loads_part_masks_asks_for_a_folder_of_them(
    planned: Callable[..., Handed], request_: Request, any_defect: dict[str, Any]
) -> None:
    any_defect["9"] = titled(
        "DefectForgeLoadMVTec", "Part mask", root="", category="bottle", split="test", type=PART, index=0
    )
    any_defect["3"]["inputs"]["part_mask"] = ["9", 1]
    with pytest.raises(RequestError, match="--part-masks DIR"):
        planned(request_)


def test_the_manifest_tells_the_prompt_that_a_node_writes() -> None:
    words = {"part": "bottle", "type": "contamination", "template": "defective {part} with {type}", "words": ""}
    graph = {
        "1": titled("DefectForgeDefectPrompt", "Words", **words),
        "2": titled("CLIPTextEncode", "Prompt", text=["1", 0]),
        "3": titled("CLIPTextEncode", "Negative prompt", text=""),
    }
    assert prompts(graph) == {"Words": "defective glass bottle with contamination", "Negative prompt": ""}


def test_a_plan_file_may_name_them_relative_to_itself(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("part_masks: parts\nreal_masks: 3\n")
    request = with_plan_file(Request(), plan)
    assert request.part_masks == tmp_path / "parts"
    assert request.real_masks == 3


@pytest.mark.parametrize(("saved", "handed"), [("hole", "contamination"), ("dent", "dent"), ("", "")])
def test_the_type_reaches_the_transplant_that_was_saved_for_another(
    planned: Callable[..., Handed], request_: Request, transplant: dict[str, Any], saved: str, handed: str
) -> None:
    """Cracks belong to holes: a graph that was saved for them must not draw them around a contamination."""
    transplant["3"]["inputs"]["type"] = saved
    made, said = planned(replace(request_, type="contamination"), graph=transplant)
    assert made.graph["3"]["inputs"]["type"] == handed
    assert any("'Transplant.type' stays 'dent'" in text for text in said) == (saved == "dent")
