"""The whole command on a small set: table, page and JSON; repeated figures; refusals in one message."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.benefit.detectors.backbone import available
from defectforge.runner.benefit.sets.real import RealSet
from defectforge.runner.commands.results.benefit_command import BenefitRequest, benefit, seen_photos, which_k
from defectforge.runner.errors import BAD_REQUEST, OK, RequestError
from defectforge.runner.plans.photos import Category
from defectforge.runner.reporter import Reporter

from .conftest import SIZE, WriteRun, write_run_into

Measure = Callable[..., dict[str, Any]]
NASTY = '<b>"it\'s" & co</b>'


def smallest(nuts: Path, out: Path) -> BenefitRequest:
    """A U-Net that hardly trains."""
    return BenefitRequest(
        real=nuts,
        drawn=False,
        category=None,
        type=None,
        generated=(),
        make=None,
        model=None,
        k="0,1",
        seeds=2,
        references=None,
        detector="unet",
        detector_command=None,
        steps=2,
        size=SIZE,
        good=400,
        pairs=1000,
        only=(),
        training_record=(),
        foreign=False,
        device="cpu",
        workers=1,
        resamples=100,
        out=out,
        single_file=False,
    )


@pytest.fixture
def request_(nuts: Path, tmp_path: Path) -> BenefitRequest:
    return smallest(nuts, tmp_path / "out")


@pytest.fixture
def measure(request_: BenefitRequest) -> Measure:
    def run(**changes: Any) -> dict[str, Any]:
        return measured(replace(request_, **changes))

    return run


def measured(request: BenefitRequest) -> dict[str, Any]:
    assert benefit(request, Reporter()) == OK
    return dict(json.loads((request.out / "benefit.json").read_text()))


@dataclass(frozen=True)
class Whole:
    """A measure with one generated set of a nasty name, which several tests look at."""

    run: Path
    out: Path
    record: dict[str, Any]
    said: str


@pytest.fixture(scope="module")
def whole(nuts: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder, said = tmp_path_factory.mktemp("whole"), io.StringIO()
    run = write_run_into(folder, nuts, label="visible")
    request = replace(smallest(nuts, folder / "out"), generated=(f"{NASTY}={run}",))
    assert benefit(request, Reporter(said)) == OK
    return Whole(run, request.out, json.loads((request.out / "benefit.json").read_text()), said.getvalue())


def figures(record: dict[str, Any]) -> dict[str, Any]:
    return {f"k={row['k']} {row['name']}": row["figures"] for row in record["rows"]}


def test_it_prints_every_row_of_the_json(whole: Whole) -> None:
    for row in whole.record["rows"]:
        lines = [one for one in whole.said.splitlines() if one.startswith(f"k={row['k']} {row['name']} ")]
        assert any(f" AP {row['figures']['pixel_ap']['mean']:.3f}" in line for line in lines)
    labels = {f"{NASTY}, requested label", f"{NASTY}, visible label"}
    assert labels <= {row["name"] for row in whole.record["rows"]}


def test_the_page_shows_names_as_they_are_and_loads_nothing_from_elsewhere(whole: Whole) -> None:
    page = (whole.out / "benefit.html").read_text()
    assert "&lt;b&gt;&#34;it&#39;s&#34; &amp; co&lt;/b&gt;, requested label" in page
    assert NASTY not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    pictures = re.findall(r'src="([^"]+)"', page)
    assert pictures and all((whole.out / picture).is_file() for picture in pictures)


def test_a_single_file_has_its_pictures_inside(measure: Measure, write_run: WriteRun, tmp_path: Path) -> None:
    measure(generated=(f"a={write_run()}",), only=("k=0 a",), single_file=True)
    sources = re.findall(r'src="([^"]+)"', (tmp_path / "out/benefit.html").read_text())
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert not (tmp_path / "out/benefit_files").exists()


def test_the_same_seeds_give_the_same_table_whatever_else_is_in_it(whole: Whole, measure: Measure) -> None:
    part = figures(measure(generated=(f"{NASTY}={whole.run}",), only=("k=1 real + <b>", "k=0 Perlin")))
    assert len(part) == 4
    assert all(figures(whole.record)[name] == values for name, values in part.items())


def test_differences_are_those_of_the_rows(whole: Whole) -> None:
    rows = figures(whole.record)
    assert {item["minus"] for item in whole.record["differences"]} >= {"real only", "real + CutPaste", "real + Perlin"}
    for item in whole.record["differences"]:
        if not item["minus"].startswith("PatchCore"):
            one, other = (rows[f"k={item['k']} {item[key]}"]["pixel_ap"]["mean"] for key in ("row", "minus"))
            assert item["measures"]["pixel_ap"]["mean"] == pytest.approx(one - other)


def test_patchcore_without_weights_is_said(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("defectforge.runner.benefit.detectors.backbone.available", lambda: False)
    record = measure(k="0", only=("CutPaste", "PatchCore"))
    assert not [row for row in record["rows"] if row["name"].startswith("PatchCore")]
    assert any("PatchCore" in reason and "weights" in reason for reason in record["left_out"])


def test_drawn_nuts_are_a_world_of_their_own(measure: Measure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"GOOD": 4, "HOLES": 4, "TEST": 2, "SIZE": 64}.items():
        monkeypatch.setattr(f"defectforge.runner.commands.results.benefit_command.DRAWN_{name}", value)
    record = measure(real=None, drawn=True, only=("k=0 CutPaste",), seeds=1)
    assert record["real"]["good"] == 4
    assert len(record["real"]["references"]) == 1
    assert len(record["real"]["test"]) == 3 + 2
    assert (tmp_path / "out/nuts/hazelnut/train/good/003.png").is_file()


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="the backbone's packages are not installed (extra `benefit`)")
def test_two_processes_give_the_table_of_one(nuts: Path, tmp_path: Path) -> None:
    """By the installed command: its workers start as processes of their own."""
    tables = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        options = f"--k 0,1 --seeds 2 --steps 3 --size {SIZE} --resamples 100 --only CutPaste --only PatchCore"
        command = [sys.executable, "-m", "defectforge.runner", "benefit", "--real", nuts, "--out", out]
        done = subprocess.run(
            [*command, "--workers", workers, *options.split()], capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == OK, done.stderr
        tables.append(figures(json.loads((out / "benefit.json").read_text())))
    assert tables[0] == tables[1]
    assert len(tables[0]) == 3


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"real": None}, "request.incomplete"),
            ({"drawn": True}, "benefit.two_worlds"),
            ({"k": "0,x"}, "benefit.k"),
            ({"k": "3"}, "benefit.k"),
            ({"size": 100}, "benefit.size"),
            ({"only": ("no such row",)}, "benefit.no_rows"),
            ({"type": "hoel"}, "data.unknown_type"),
            ({"references": "000,nine"}, "benefit.unknown_reference"),
        ],
    )
    def test_with_their_code(self, changes: dict[str, Any], code: str, request_: BenefitRequest) -> None:
        with pytest.raises(RequestError) as refused:
            benefit(replace(request_, **changes), Reporter())
        assert refused.value.problems[0].code == code

    def test_an_output_inside_the_photos(self, request_: BenefitRequest, nuts: Path) -> None:
        with pytest.raises(RequestError, match="inside the real photos"):
            benefit(replace(request_, out=nuts / "hazelnut/out"), Reporter())

    def test_two_sets_of_one_name(self, request_: BenefitRequest, write_run: WriteRun) -> None:
        out = write_run()
        with pytest.raises(RequestError, match="the name 'a' is taken"):
            benefit(replace(request_, generated=(f"a={out}", f"a={out}")), Reporter())

    def test_a_leak_ends_the_command_before_anything_is_trained(
        self, request_: BenefitRequest, write_run: WriteRun, capsys: Any
    ) -> None:
        request = replace(request_, generated=(f"a={write_run(references=('003',))}",))
        with pytest.raises(RequestError, match=r"leak: the test photo hazelnut/test/hole/003\.png"):
            benefit(request, Reporter())
        assert "preparing" not in capsys.readouterr().err

    def test_the_command_line_says_it_in_one_message(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "defectforge.runner", "benefit", "--real", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == BAD_REQUEST
        assert "Traceback" not in done.stderr


def test_more_real_defects_than_there_are_is_said_for_the_default_and_refused_when_asked() -> None:
    ks, notes = which_k(None, 2)
    assert ks == (0, 1) and "k = 3, 6 left out: 2 real defects" in notes[0]
    assert which_k(None, 6) == ((0, 1, 3, 6), [])
    with pytest.raises(RequestError, match="k = 3, but 2 real defects"):
        which_k("0,3", 2)


class TestWhatTrainingMaySee:
    def test_it_holds_good_photos_and_references_only(self, real: RealSet, tmp_path: Path) -> None:
        seen = Category(seen_photos(tmp_path / "seen", real), "hazelnut")
        assert len(seen.good_photos()) == 6
        assert [photo.path.stem for photo in seen.defect_photos("hole")] == ["000", "001"]

    def test_a_photo_that_is_tested_now_goes_out_again(self, real: RealSet, tmp_path: Path) -> None:
        seen_photos(tmp_path / "seen", real)
        fewer = replace(real, references=real.references[:1])
        seen = Category(seen_photos(tmp_path / "seen", fewer), "hazelnut")
        assert [photo.path.stem for photo in seen.defect_photos("hole")] == ["000"]
