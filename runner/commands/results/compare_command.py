"""`defectforge compare`: every method on the same photos, masks and seeds, and one page of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...checkpoints.choose_model import inpaints, stand_ins
from ...checkpoints.fetch import can_generate
from ...checkpoints.models import by_file, checkpoint_loaders
from ...errors import INTERRUPTED, OK, SOME_JOBS_FAILED, RequestError, request_error
from ...graphs.graph import SHIPPED, shipped_workflows
from ...outputs.output import check_place
from ...reporter import Reporter
from ...servers.worker import Timing
from ..preparing.admission import prepare_for_all
from ..preparing.fleet import Fleet, fleet
from ..preparing.prepare import load_workflow
from ..requests.request import Request
from ..running.run import drive

#: The study's rows in its order, then what came after it. What ships and is not named here follows by name.
STUDY = (
    "img2img", "img2img_low", "inpaint_original", "inpaint_fill", "inpaint_latent_nothing", "inpaint_latent_noise",
    "instruct_pix2pix", "instruct_pix2pix_inpaint", "instruct_pix2pix_locked", "reimagine_normal", "reimagine_defect",
    "reference_only", "reference_only_balanced", "reference_only_prompt", "reference_local",
)  # fmt: skip
#: No methods by themselves: one writes the prompt that others use, two need a LoRA that somebody has trained.
LEFT_OUT = ("img2prompt", "lora_inpaint", "lora_reference_local")
#: They need files and a server of their own: compared when `--only` names them.
ON_REQUEST = ("sdxl_inpaint", "sdxl_inpaint_unet", "sdxl_reference_local", "klein_defect_local")
DRAWN_SIZE, DRAWN_SEED, DRAWN_DEFECTIVE = 512, 1, 4


@dataclass(frozen=True)
class CompareRequest:
    """What the user asks for; the options of the command."""

    data: Path | None
    category: str | None
    type: str | None
    count: int
    seed: int
    model: str | None
    only: tuple[str, ...]
    server: tuple[str, ...]
    header_file: Path | None
    models: Path | None
    out: Path
    single_file: bool


def compare(request: CompareRequest, reporter: Reporter) -> int:
    """Run each method into OUT/<method>, and write OUT/compare.html, compare.json and compare.jpg.

    The same command goes on where an interrupted one stopped.

    Raises:
        RequestError: the request is wrong, or no method could be run.
    """
    methods = chosen_methods(request.only)
    data = request.data or drawn(request, reporter)
    left_out: dict[str, str] = {}
    code = OK
    with fleet(request.server, request.models, reporter, request.header_file) as ships:
        for place, method in enumerate(methods, 1):
            reporter.line(f"method {place} of {len(methods)}: {method}")
            try:
                ended = run_one(request, method, data, ships, reporter)
            except RequestError as error:
                # One method that this dataset or this server cannot have does not cost the others.
                left_out[method] = "; ".join(dict.fromkeys(problem.what for problem in error.problems))
                reporter.line(f"left out: {method}: {left_out[method]}")
                code = SOME_JOBS_FAILED
                continue
            if ended == INTERRUPTED:
                return INTERRUPTED
            code = code or ended
    done = [method for method in methods if method not in left_out]
    if not done:
        raise request_error(
            "compare.nothing",
            "no method could be run",
            where=str(request.out),
            expected="at least one",
            mend=f"the first said: {next(iter(left_out.values()))}",
        )
    from ...pages.compare import write_comparison

    page = write_comparison(request.out, done, left_out, request.count, request.single_file)
    reporter.line(f"look at: {page}")
    return code


def chosen_methods(only: Sequence[str]) -> list[str]:
    """Workflows that ship, the study's first; without `only` those that run without a download.

    Raises:
        RequestError: `only` names one that does not.
    """
    shipped = [name for name in shipped_workflows() if name not in LEFT_OUT]
    ordered = [name for name in STUDY if name in shipped] + sorted(set(shipped) - set(STUDY))
    unknown = [name for name in only if name not in shipped]
    if unknown:
        raise request_error(
            "compare.unknown_method",
            f"there is no method '{unknown[0]}'",
            where="--only",
            expected="the name of a workflow that comes along",
            mend="there is " + ", ".join(ordered),
        )
    return [name for name in ordered if (name in only if only else name not in ON_REQUEST)]


def drawn(request: CompareRequest, reporter: Reporter) -> Path:
    """Nuts of our own, where no photos are given."""
    from ...nuts import drawn_once

    return drawn_once(request.out / "nuts", request.count, DRAWN_DEFECTIVE, DRAWN_SIZE, DRAWN_SEED, reporter.line)


def model_for(method: str, wanted: str | None, drawn: bool) -> str | None:
    """`--model` for one method: none where it loads no checkpoint; on drawn nuts the miniature that suits it best."""
    graph = json.loads((SHIPPED / "api" / f"{method}.json").read_text(encoding="utf-8"))
    known = [model for _, _, file in checkpoint_loaders(graph) if (model := by_file(file)) is not None]
    if not known or wanted is not None or not drawn:
        return wanted if known else None
    return next((m.name for m in stand_ins(known[0].kind, inpaints(graph)) if can_generate(m)), None)


def run_one(request: CompareRequest, method: str, data: Path, ships: Fleet, reporter: Reporter) -> int:
    """One method's pairs, with the settings of its workflow."""
    asked = Request(
        workflow=method,
        data=data,
        category=request.category,
        type=request.type,
        count=request.count,
        seed=request.seed,
        model=model_for(method, request.model, drawn=request.data is None),
        out=request.out / method,
        # Every method is to have the same masks, as far as it can.
        real_masks=0,
    )
    workflow = load_workflow(asked)
    check_place(request.out / method, data)
    prepared = prepare_for_all(asked, [workflow], ships.sites, lambda text: reporter.event("note", {"text": text}))
    return drive(asked, prepared, ships, reporter, Timing())
