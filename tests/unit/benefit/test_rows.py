"""Which rows there are, and that a row knows k real defects and no more."""

from __future__ import annotations

from pathlib import Path

import pytest
from defectforge.runner.benefit.protocol.rows import Plan, chosen_references, plan_rows
from defectforge.runner.benefit.sets.generated import REQUESTED, VISIBLE, GeneratedSet, read_generated
from defectforge.runner.benefit.sets.real import RealSet
from defectforge.runner.benefit.sets.training_records import TrainingRecords
from defectforge.runner.errors import RequestError

from .conftest import SIZE, WriteRun


def read(out: Path, name: str = "mine") -> GeneratedSet:
    return read_generated(name, out, "hazelnut", "hole", SIZE, TrainingRecords(lambda folder, file: None))


def names(plan: Plan, k: int) -> list[str]:
    return [row.name for row in plan.rows if row.k == k]


def test_without_real_defects_there_is_no_real_row(real: RealSet, write_run: WriteRun) -> None:
    plan = plan_rows(real, [read(write_run(label="visible"))], [0], 3)
    assert names(plan, 0) == [
        "PatchCore, good photos only",
        "CutPaste",
        "Perlin",
        "mine, requested label",
        "mine, visible label",
        "mine, visible label + CutPaste",
    ]


def test_with_real_defects(real: RealSet, write_run: WriteRun) -> None:
    plan = plan_rows(real, [read(write_run(label="visible"))], [1], 3)
    assert names(plan, 1) == [
        "real only",
        "real, augmented",
        "real + CutPaste",
        "real + Perlin",
        "real + mine, requested label",
        "real + mine, visible label",
        "real + mine, visible label + CutPaste",
    ]


def test_each_seed_sees_other_real_defects() -> None:
    assert chosen_references(1, 3, 4) == [(0,), (1,), (2,), (0,)]
    assert chosen_references(2, 3, 3) == [(0, 1), (1, 2), (0, 2)]
    assert chosen_references(0, 3, 2) == [(), ()]


class TestPairsMadeWithRealDefects:
    """Six pairs, made with reference 0 and 1 by turns."""

    @pytest.fixture
    def moved(self, write_run: WriteRun) -> GeneratedSet:
        return read(write_run("moved", label="visible", references=("000", "001")), "moved")

    def test_at_k_0_there_is_no_row_and_it_is_said(self, real: RealSet, moved: GeneratedSet) -> None:
        plan = plan_rows(real, [moved], [0], 2)
        assert not [name for name in names(plan, 0) if "moved" in name]
        assert any("k=0, moved, visible label: every pair was made with a real defect" in t for t in plan.left_out)

    def test_at_k_1_each_seed_takes_those_of_its_own_real_defect(self, real: RealSet, moved: GeneratedSet) -> None:
        plan = plan_rows(real, [moved], [1], 2)
        row = next(row for row in plan.rows if row.name == "real + moved, visible label")
        assert row.sources[0].members == ((0,), (1,))
        assert row.sources[1].members == ((0, 2, 4), (1, 3, 5))
        assert row.pairs == (3, 3)

    def test_they_alone_are_a_row_too(self, real: RealSet, moved: GeneratedSet) -> None:
        plan = plan_rows(real, [moved], [2], 1)
        row = next(row for row in plan.rows if row.name == "moved only, visible label")
        assert len(row.sources) == 1
        assert row.sources[0].members == ((0, 1, 2, 3, 4, 5),)

    @pytest.mark.parametrize("by", ["sha256", "name"])
    def test_a_lora_counts_as_knowing_what_it_was_trained_on(
        self, by: str, real: RealSet, write_run: WriteRun, tmp_path: Path
    ) -> None:
        listed = tmp_path / "photos.txt"
        listed.write_text("\n".join(getattr(photo, by) for photo in real.references))
        records = TrainingRecords(lambda folder, file: None, [listed])
        lora = read_generated("lora", write_run(), "hazelnut", "hole", SIZE, records)
        plan = plan_rows(real, [lora], [0, 1, 2], 2)
        assert {row.k for row in plan.rows if row.generated} == {2}


def test_two_sets_have_a_row_together(real: RealSet, write_run: WriteRun) -> None:
    sets = [read(write_run("a", label="visible"), "a"), read(write_run("b"), "b")]
    plan = plan_rows(real, sets, [0, 1], 1)
    assert names(plan, 0)[-1] == "a + b"
    assert names(plan, 1)[-1] == "real + a + b"
    together = plan.rows[-1]
    assert [source.label for source in together.sources[1:]] == [VISIBLE, REQUESTED]


def test_of_many_pairs_an_even_choice_is_taken_and_it_is_said(write_run: WriteRun) -> None:
    records = TrainingRecords(lambda folder, file: None)
    few = read_generated("mine", write_run(), "hazelnut", "hole", SIZE, records, most=3)
    assert [pair.record["number"] for pair in few.pairs] == [0, 2, 4]
    assert any("3 of 6 pairs are taken, evenly" in note for note in few.notes)


class TestLabels:
    def test_a_line_of_0_1_0_has_the_requested_one_only(self, write_run: WriteRun) -> None:
        old = read(write_run())
        assert old.labels() == [REQUESTED]
        assert "visible label: not recorded by this run; no row" in old.notes

    def test_a_new_line_has_both(self, write_run: WriteRun) -> None:
        pair = read(write_run(label="visible")).pairs[0]
        visible, requested = pair.labels[VISIBLE], pair.labels[REQUESTED]
        assert visible is not None and requested is not None
        assert (visible <= requested).all() and visible.sum() < requested.sum()

    def test_none_is_no_label(self, write_run: WriteRun) -> None:
        pair = read(write_run(label="none")).pairs[0]
        assert pair.labels[VISIBLE] is None

    def test_an_unknown_kind_is_refused(self, write_run: WriteRun) -> None:
        with pytest.raises(RequestError, match="label 'wished'"):
            read(write_run(label="wished"))

    def test_runs_that_do_not_fill_the_mask_are_refused(self, write_run: WriteRun) -> None:
        out = write_run(label="visible")
        manifest = out / "manifest.jsonl"
        manifest.write_text(manifest.read_text().replace('"counts": [', '"counts": [7, '))
        with pytest.raises(RequestError, match="no run-length code"):
            read(out)


class TestASetThatIsNotOne:
    def test_no_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(RequestError, match="no output of a run"):
            read(tmp_path)

    def test_another_type(self, write_run: WriteRun) -> None:
        with pytest.raises(RequestError, match="it holds hazelnut crack") as refused:
            read(write_run(type="crack"))
        assert refused.value.problems[0].code == "benefit.other_set"

    def test_a_picture_that_was_changed(self, write_run: WriteRun) -> None:
        out = write_run()
        (out / "hazelnut/test/hole/000002.png").write_bytes(b"other")
        with pytest.raises(RequestError, match="not the recorded one"):
            read(out)
