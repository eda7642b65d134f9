"""`defectforge benefit`: does a detector gain from generated pairs? A table with intervals, a page, a JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import OK, request_error
from ...extras import require
from ...outputs.output import lies_in
from ...reporter import Reporter

if TYPE_CHECKING:
    from ...benefit.detectors.base import Detector
    from ...benefit.sets.real import RealSet

NEEDED = ("sklearn", "torch")
DEFAULT_K = (0, 1, 3, 6)
#: Drawn world: sound nuts to train on, nuts with a hole (a third of them references), sound nuts to test, pixels.
DRAWN_GOOD, DRAWN_HOLES, DRAWN_TEST, DRAWN_SIZE, DRAWN_SEED = 60, 15, 20, 512, 7
#: What `--make` paints with, as far as it ships, and the name of its rows. The first needs no real defect.
WORKFLOWS = {"inpaint_latent_noise": "inpaint", "transplant": "transplant"}


@dataclass(frozen=True)
class BenefitRequest:
    """What the user asks for; the options of the command."""

    real: Path | None
    drawn: bool
    category: str | None
    type: str | None
    generated: tuple[str, ...]
    make: int | None
    model: str | None
    k: str | None
    seeds: int
    references: str | None
    detector: str
    detector_command: str | None
    steps: int
    size: int
    good: int
    pairs: int
    only: tuple[str, ...]
    training_record: tuple[Path, ...]
    foreign: bool
    device: str
    workers: int | None
    resamples: int
    out: Path
    single_file: bool


def benefit(request: BenefitRequest, reporter: Reporter) -> int:
    """Measure, print the table, write OUT/benefit.html and OUT/benefit.json.

    Raises:
        RequestError: something is missing, a leak, a set that does not belong.
    """
    require("benefit", NEEDED, "benefit.not_installed", "the measure")
    _check(request)
    # Rooms that need the extra: not before it is known to be there.
    from ...benefit.protocol.study import Settings, study
    from ...benefit.protocol.workers import cores
    from ...benefit.results.page import write_benefit_page
    from ...benefit.results.record import as_record
    from ...benefit.sets.generated import parse, read_generated
    from ...benefit.sets.leaks import check_leaks
    from ...benefit.sets.real import read_real
    from ...benefit.sets.training_records import TrainingRecords
    from ...checkpoints.models import local_path

    start = time.monotonic()
    request = _with_drawn(request, reporter)
    assert request.real is not None
    _check_out(request.out, request.real)
    real = read_real(
        request.real, request.category, request.type, request.size, _references(request.references), request.good
    )
    ks, notes = which_k(request.k, len(real.references))
    _say_what_there_is(real, [*real.notes, *notes], reporter)
    detector, patchcore = detectors(request)

    named = [parse(text) for text in request.generated]
    if request.make:
        named += make(request, real, reporter)
    check_names([name for name, _ in named])
    records = [TrainingRecords(lambda f, n: local_path(f, n, None), request.training_record) for _ in named]
    sets = [
        read_generated(name, out, real.category, real.type, request.size, record, request.pairs)
        for (name, out), record in zip(named, records, strict=True)
    ]
    for generated in sets:
        for note in generated.notes:
            reporter.line(f"{generated.name}: {note}")
    check_leaks(real, sets, request.foreign)

    on_cpu = request.device == "cpu" and request.detector_command is None
    workers = (request.workers or cores()) if on_cpu else 0
    settings = Settings(ks, request.seeds, request.resamples, workers, request.only)
    results, differences, left_out = study(real, sets, detector, patchcore, settings, reporter.line)
    if not results:
        raise request_error(
            "benefit.no_rows",
            "no row is left",
            where=f"--only {' --only '.join(request.only)}",
            expected="a part of a row's name, such as 'CutPaste' or 'k=1'",
            mend="leave --only away",
        )
    used = [one for one in (patchcore, detector) if one is not None]
    seconds = time.monotonic() - start
    real = replace(real, notes=[*real.notes, *notes])
    table = as_record(real, sets, used, settings, results, differences, left_out, seconds)
    request.out.mkdir(parents=True, exist_ok=True)
    (request.out / "benefit.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    write_benefit_page(request.out / "benefit.html", table, results, real, request.single_file)
    for text in (f"left out: {reason}" for reason in left_out):
        reporter.line(text)
    from ...benefit.results.page import verdicts

    for text in verdicts(table):
        reporter.line(text)
    reporter.line(f"look at: {request.out / 'benefit.html'}  ({seconds:.0f} s)")
    return OK


def _check(request: BenefitRequest) -> None:
    if request.real is None and not request.drawn:
        raise request_error(
            "request.incomplete",
            "--real is missing",
            expected="real photos in MVTec AD layout, good ones to train on, good and defective ones to test",
            mend="--real ROOT, or --drawn for drawn nuts",
        )
    if request.size % 32 or request.size < 64:
        raise request_error(
            "benefit.size", f"--size {request.size}", expected="a multiple of 32, at least 64", mend="--size 256"
        )


def _with_drawn(request: BenefitRequest, reporter: Reporter) -> BenefitRequest:
    if not request.drawn:
        return request
    if request.real is not None:
        raise request_error("benefit.two_worlds", "--drawn and --real are both given", mend="choose one")

    from ...nuts import drawn_once

    nuts = request.out / "nuts"
    drawn_once(nuts, DRAWN_GOOD, DRAWN_HOLES, DRAWN_SIZE, DRAWN_SEED, reporter.line, n_test_good=DRAWN_TEST)
    return replace(request, real=nuts, category="hazelnut", type="hole")


def _check_out(out: Path, real: Path) -> None:
    if lies_in(out, real):
        raise request_error(
            "out.inside_data",
            "the output folder lies inside the real photos",
            where=f"--out {out}, --real {real}",
            expected="a folder of its own",
            mend="choose another --out",
        )


def _references(text: str | None) -> Sequence[str] | int | None:
    """`3` -> 3; `000,001` -> names. A number with leading zeros is a name."""
    if text is None:
        return None
    if re.fullmatch(r"0|[1-9]\d?", text):
        return int(text)
    return [name.strip() for name in text.split(",") if name.strip()]


def which_k(text: str | None, n_references: int) -> tuple[tuple[int, ...], list[str]]:
    """The numbers of real defects to try, and what is said about those that cannot be.

    Raises:
        RequestError: no numbers, or more than there are references.
    """
    if text is None:
        ks = tuple(k for k in DEFAULT_K if k <= n_references)
        too_many = [str(k) for k in DEFAULT_K if k > n_references]
        why = (
            f"k = {', '.join(too_many)} left out: {n_references} real defects are set apart for training (--references)"
        )
        return ks, [why] if too_many else []
    try:
        ks = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        ks = ()
    if not ks or min(ks) < 0:
        raise request_error("benefit.k", f"--k '{text}'", expected="numbers such as 0,1,3", mend="--k 0,1,3")
    if max(ks) > n_references:
        raise request_error(
            "benefit.k",
            f"k = {max(ks)}, but {n_references} real defects are set apart for training",
            where=f"--k {text}",
            expected=f"at most {n_references}",
            mend=f"--references {max(ks)} sets more apart; fewer are left to test",
        )
    return ks, []


def detectors(request: BenefitRequest) -> tuple[Detector, Detector | None]:
    """The chosen detector, and PatchCore where the backbone's weights are there."""
    from ...benefit.detectors.backbone import available
    from ...benefit.detectors.command import CommandDetector
    from ...benefit.detectors.head import Head
    from ...benefit.detectors.patchcore import PatchCore
    from ...benefit.detectors.unet import UNet

    patchcore = PatchCore(request.device) if available() else None
    if request.detector_command is not None:
        return CommandDetector(request.detector_command), patchcore
    if request.detector == "unet":
        return UNet(request.steps, request.device), patchcore
    head = Head(request.steps, request.device)
    head.require()
    return head, patchcore


def check_names(names: Sequence[str]) -> None:
    """Each generated set makes rows of its own name."""
    from ...benefit.protocol.rows import AUGMENTED, CUTPASTE, PERLIN, REAL

    for name in names:
        if names.count(name) > 1 or name in (REAL, AUGMENTED, CUTPASTE, PERLIN):
            raise request_error(
                "benefit.name",
                f"the name '{name}' is taken",
                where=f"--generated {name}=...",
                expected="a name of its own for each set",
                mend="--generated NAME=OUT",
            )


def _say_what_there_is(real: RealSet, notes: Sequence[str], reporter: Reporter) -> None:
    names = ", ".join(Path(photo.name).stem for photo in real.references) or "none"
    reporter.line(
        f"{real.category}, {real.type}: {len(real.good)} good photos to train on; real defects that training may see: "
        f"{names}; tested: {len(real.test_defects)} real defects, {len(real.test_good)} good photos"
    )
    for note in notes:
        reporter.line(note)


def make(request: BenefitRequest, real: RealSet, reporter: Reporter) -> list[tuple[str, Path]]:
    """Paint pairs from what training may see and nothing else, with every workflow of `WORKFLOWS` that ships.

    Raises:
        RequestError: a run did not finish.
    """
    from ...graphs.graph import shipped_workflows
    from ..requests.request import Request
    from ..running.demo import best_generated
    from ..running.run import run

    seen = seen_photos(request.out / "seen", real)
    made = []
    for number, (workflow, name) in enumerate(WORKFLOWS.items()):
        if workflow not in shipped_workflows() or (number and not real.references):
            continue
        out = request.out / f"pairs-{workflow}"
        code = run(
            Request(
                workflow=workflow,
                data=seen,
                category=real.category,
                type=real.type,
                new_type=not real.references,
                count=request.make,
                seed=1,
                # The plain one fills its masks less well, and detectors learn more from it (docs/labels.md).
                model=None if number else request.model or best_generated(inpaints=False),
                out=out,
            ),
            reporter,
        )
        if code != OK:
            raise request_error(
                "benefit.not_made",
                f"the pairs of {workflow} were not all made",
                where=str(out),
                expected="a finished run",
                mend="the same command goes on where this one stopped",
            )
        made.append((name, out))
    return made


def seen_photos(folder: Path, real: RealSet) -> Path:
    """A dataset of the good photos and the references only, as links (copies where links cannot be made).

    Made anew each time: a photo that was a reference once may be tested now.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for photo in [*real.good, *real.references]:
        for path in (photo.path, photo.mask_path):
            if path is not None:
                _link(path, folder / path.relative_to(real.root))
    return folder


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)
