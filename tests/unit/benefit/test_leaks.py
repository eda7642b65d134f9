"""A photo that is tested has had no part in what trains: every way in is found, named and refused."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from defectforge.runner.benefit.sets.generated import read_generated
from defectforge.runner.benefit.sets.leaks import check_leaks
from defectforge.runner.benefit.sets.real import RealSet, read_real
from defectforge.runner.benefit.sets.training_records import TrainingRecords
from defectforge.runner.errors import RequestError
from PIL import Image

from .conftest import SIZE, WriteRun, sha256

Check = Callable[..., None]


@pytest.fixture
def check(real: RealSet) -> Check:
    def read_and_check(out: Path, of: RealSet = real, foreign: bool = False, loras: Path | None = None, **named: Any):
        records = TrainingRecords(lambda folder, file: loras / file if loras else None, **named)
        generated = read_generated("mine", out, "hazelnut", "hole", SIZE, records)
        check_leaks(of, [generated], foreign)
        return generated

    return read_and_check


def problems(check: Check, *args: Any, **options: Any) -> list[Any]:
    with pytest.raises(RequestError) as refused:
        check(*args, **options)
    return refused.value.problems


def test_pairs_from_good_photos_and_references_pass(check: Check, write_run: WriteRun) -> None:
    check(write_run(references=("000", "001")))


def test_a_good_test_photo_among_the_sources(check: Check, write_run: WriteRun) -> None:
    found = problems(check, write_run(source="test/good"))
    assert len(found) == 4
    assert all(problem.code == "benefit.leak" for problem in found)
    assert "hazelnut/test/good/000.png" in found[0].what
    assert "the source photo" in found[0].what


def test_a_tested_defect_among_the_references(check: Check, write_run: WriteRun) -> None:
    found = problems(check, write_run(references=("001", "004")))
    assert [problem.code for problem in found] == ["benefit.leak"]
    assert "hazelnut/test/hole/004.png" in found[0].what
    assert "a reference" in found[0].what
    assert "--references 004" in found[0].mend


def test_only_the_mask_of_a_tested_defect(check: Check, write_run: WriteRun, nuts: Path) -> None:
    """A prior that was fitted to it, say: anywhere in the line."""
    mask = sha256(nuts / "hazelnut/ground_truth/hole/003_mask.png")
    found = problems(check, write_run(node_record={"prior": {"masks": [{"sha256": mask}]}}))
    assert "hazelnut/test/hole/003.png" in found[0].what


def test_a_tested_photo_named_by_its_path_only(check: Check, write_run: WriteRun) -> None:
    found = problems(check, write_run(node_record={"prior": {"fitted_to": "/data/hazelnut/test/hole/003.jpg"}}))
    assert "hazelnut/test/hole/003.png" in found[0].what


@pytest.mark.parametrize("how", ["saved again", "another format", "smaller", "turned"])
def test_a_test_photo_in_disguise_among_the_sources(
    how: str, check: Check, write_run: WriteRun, own_nuts: Path
) -> None:
    """Other bytes, another name, another root: seen by its pixels, or by sight."""
    for index, photo in enumerate(sorted((own_nuts / "hazelnut/test/good").iterdir())):
        image = Image.open(photo)
        if how == "smaller":
            image = image.resize((100, 100), Image.Resampling.LANCZOS)
        elif how == "turned":
            image = image.rotate(90)
        suffix = "jpg" if how == "another format" else "png"
        image.save(own_nuts / f"hazelnut/train/good/9{index:02d}.{suffix}", compress_level=1, quality=90)
    for photo in (own_nuts / "hazelnut/train/good").glob("00*"):
        photo.unlink()
    found = problems(check, write_run(data=own_nuts), foreign=True)
    assert {"hazelnut/test/good/000.png", "hazelnut/test/good/003.png"} <= {p.what.split()[4] for p in found}


def test_a_tested_defect_in_disguise_among_the_references(check: Check, write_run: WriteRun, own_nuts: Path) -> None:
    shutil.move(own_nuts / "hazelnut/test/hole/005.png", own_nuts / "hazelnut/test/hole/905.png")
    masks = own_nuts / "hazelnut/ground_truth/hole"
    shutil.move(masks / "005_mask.png", masks / "905_mask.png")
    for path in (own_nuts / "hazelnut/test/hole/905.png", masks / "905_mask.png"):
        Image.open(path).save(path, compress_level=0)
    found = problems(check, write_run(data=own_nuts, references=("905",)), foreign=True)
    assert "hazelnut/test/hole/005.png" in found[0].what


def test_the_same_photo_in_training_and_test(check: Check, write_run: WriteRun, own_nuts: Path) -> None:
    Image.open(own_nuts / "hazelnut/test/good/001.png").save(own_nuts / "hazelnut/train/good/077.bmp")
    real = read_real(own_nuts, "hazelnut", "hole", SIZE, None, 400)
    found = problems(check, write_run(), of=real)
    assert found[0].code == "benefit.leak_same_photo"
    assert "test/good/001.png" in found[0].what and "train/good/077.bmp" in found[0].what


def write_lora(path: Path, metadata: dict[str, str] | None) -> Path:
    header = json.dumps({"__metadata__": metadata} if metadata else {}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


class TestLora:
    @pytest.mark.parametrize("by", ["sha256", "path"])
    def test_a_tested_photo_in_its_training_record(
        self, by: str, check: Check, write_run: WriteRun, nuts: Path, tmp_path: Path
    ) -> None:
        photo = nuts / "hazelnut/test/hole/004.png"
        entry = {"sha256": sha256(photo)} if by == "sha256" else {"file": "hazelnut/test/hole/004.png"}
        write_lora(tmp_path / "hole.safetensors", {"defectforge": json.dumps({"photos": [entry]})})
        out = write_run(models=[{"file": "hole.safetensors", "folder": "loras", "sha256": None}])
        found = problems(check, out, loras=tmp_path)
        assert "hazelnut/test/hole/004.png" in found[0].what
        assert "trained on" in found[0].what or "training record" in found[0].what

    def test_a_run_s_own_record_of_what_it_has_seen_is_enough(
        self, check: Check, write_run: WriteRun, nuts: Path
    ) -> None:
        """The LoRA lies on another machine."""
        seen = {"photos": [], "good_photos": [sha256(nuts / "hazelnut/test/good/001.png")]}
        out = write_run(models=[{"file": "hole.safetensors", "folder": "loras", "sha256": None, "trained_on": seen}])
        found = problems(check, out)
        assert "hazelnut/test/good/001.png" in found[0].what

    @pytest.mark.parametrize("key", ["sshs_model_hash", "ss_sd_model_hash", "modelspec.hash_sha256"])
    def test_the_hash_of_a_model_is_no_training_record(
        self, key: str, check: Check, write_run: WriteRun, tmp_path: Path
    ) -> None:
        write_lora(tmp_path / "hole.safetensors", {key: "0123456789abcdef" * 4})
        out = write_run(models=[{"file": "hole.safetensors", "folder": "loras"}])
        assert [note for note in check(out, loras=tmp_path).notes if "has no training record" in note]

    def test_named_by_hand(self, check: Check, write_run: WriteRun, nuts: Path, tmp_path: Path) -> None:
        listed = tmp_path / "trained-on.txt"
        listed.write_text(f"{sha256(nuts / 'hazelnut/test/hole/002.png')}  one.png\n")
        found = problems(check, write_run(), named=[listed])
        assert "hazelnut/test/hole/002.png" in found[0].what

    def test_trained_on_references_only_passes(
        self, check: Check, write_run: WriteRun, nuts: Path, tmp_path: Path
    ) -> None:
        record = json.dumps({"photos": [{"sha256": sha256(nuts / "hazelnut/test/hole/000.png")}]})
        write_lora(tmp_path / "hole.safetensors", {"training": record})
        generated = check(write_run(models=[{"file": "hole.safetensors", "folder": "loras"}]), loras=tmp_path)
        assert not [note for note in generated.notes if "LoRA" in note]

    @pytest.mark.parametrize(("is_here", "what"), [(False, "is not here"), (True, "has no training record")])
    def test_one_that_cannot_be_looked_into_is_said(
        self, is_here: bool, what: str, check: Check, write_run: WriteRun, tmp_path: Path
    ) -> None:
        if is_here:
            write_lora(tmp_path / "hole.safetensors", None)
        out = write_run(models=[{"file": "hole.safetensors", "folder": "loras"}])
        generated = check(out, loras=tmp_path if is_here else None)
        assert [note for note in generated.notes if what in note and "NOT checked" in note]


def test_a_set_of_other_photos_does_not_belong(check: Check, write_run: WriteRun, tmp_path: Path, nuts: Path) -> None:
    from defectforge.runner.nuts import write_dataset

    write_dataset(tmp_path / "other", n_good=3, n_defect=1, size=128, seed=900)
    out = write_run(data=tmp_path / "other")
    found = problems(check, out)
    assert [problem.code for problem in found] == ["benefit.foreign_set"]
    assert "3 of 3 pairs" in found[0].what
    check(out, foreign=True)


def test_a_reference_that_the_real_set_has_not(check: Check, write_run: WriteRun, own_nuts: Path) -> None:
    rng = np.random.default_rng(1)
    photo = own_nuts / "hazelnut/test/hole/888.png"
    Image.fromarray(rng.integers(0, 255, (128, 128, 3), dtype=np.uint8)).save(photo)
    shutil.copy(
        own_nuts / "hazelnut/ground_truth/hole/000_mask.png", photo.parents[2] / "ground_truth/hole/888_mask.png"
    )
    out = write_run(data=own_nuts, references=("888",))
    assert [problem.code for problem in problems(check, out)] == ["benefit.foreign_reference"]
