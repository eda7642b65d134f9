"""`defectforge demo`: the main job on generated nuts, from nothing to a contact sheet."""

from __future__ import annotations

from pathlib import Path

from ...checkpoints.choose_model import stand_ins
from ...checkpoints.fetch import can_generate
from ...errors import OK
from ...outputs.manifest import read
from ...outputs.output import MANIFEST
from ...reporter import Reporter
from ..requests.request import Request
from .contact_sheet import write_sheet
from .run import run

NUTS, DEFECTIVE, SIZE, SEED = 8, 4, 512, 1


def demo(reporter: Reporter, out: Path, model: str | None = None) -> int:
    """Write a dataset of generated hazelnuts, run `inpaint_latent_noise` over it, and put the results side by side."""
    from ...nuts import drawn_once

    data, results = drawn_once(out / "nuts", NUTS, DEFECTIVE, SIZE, SEED, reporter.line), out / "pairs"
    request = Request(
        workflow="inpaint_latent_noise",
        data=data,
        category="hazelnut",
        count=NUTS,
        seed=SEED,
        model=model or best_generated(),
        out=results,
    )
    code = run(request, reporter)
    if code == OK:
        sheet = out / "contact-sheet.png"
        write_sheet(read(results / MANIFEST), data, results, sheet)
        reporter.line(f"photos:  {data}\npairs:   {results}\nrecords: {results / MANIFEST}\nlook at: {sheet}")
    return code


def best_generated(inpaints: bool = True) -> str:
    """The miniature that knows of masks, or the plain one; the random checkpoint where its weights are not there."""
    return next(candidate.name for candidate in stand_ins("sd15", inpaints) if can_generate(candidate))
