"""Commands about what was made: export, benefit, report, review, compare; and what is learnt from it, lora."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..reporting import make_reporter
from .base import FOLDER, HEADER_FILE, cli, guarded


@cli.command("export")
@click.argument("out", type=FOLDER)
@click.option(
    "--to",
    required=True,
    type=click.Choice(["anomalib", "coco", "yolo-seg", "voc", "datumaro", "fiftyone", "csv"]),
    help="What reads it.",
)
@click.option("--dest", type=FOLDER, required=True, help="A new or empty folder.")
@click.option(
    "--label",
    type=click.Choice(["recorded", "visible", "requested"]),
    default="recorded",
    show_default=True,
    help="Which mask; recorded: the one that the run wrote.",
)
@click.option("--val", type=float, default=0.2, show_default=True, help="Share of the source photos for validation.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which source photos those are.")
@click.option("--link", is_flag=True, help="Symbolic links to the run's pictures instead of copies.")
def export_pairs(out: Path, to: str, dest: Path, label: str, val: float, seed: int, link: bool) -> int:
    """The pairs of a run in a format that detectors read; no source photo is in both training and validation."""
    from ..commands.results.export_command import export as write_export

    reporter = make_reporter(False)
    return guarded(reporter, lambda: write_export(out, to, dest, reporter, label, val, seed, link))


@cli.command()
@click.option("--real", type=FOLDER, metavar="ROOT", help="Real photos in MVTec AD layout: to train on and to test.")
@click.option("--drawn", is_flag=True, help="Drawn nuts instead of real photos, into OUT/nuts.")
@click.option("--category", help="Category of the dataset; may be left out where there is one.")
@click.option("--type", "type_", help="Defect type to test; may be left out where one has masks.")
@click.option("--generated", multiple=True, metavar="NAME=OUT", help="Output of a run; repeatable, each its own rows.")
@click.option("--make", type=click.IntRange(1), metavar="N", help="Paint N pairs first, from what training may see.")
@click.option("--model", help="Checkpoint for --make; by default the miniature.")
@click.option("--k", help="Numbers of real defects that training sees.  [default: those of 0,1,3,6 that can be]")
@click.option("--seeds", type=click.IntRange(1, 50), default=3, show_default=True, help="Trainings of each row.")
@click.option("--references", metavar="N|NAMES", help="Real defects that training may see.  [default: a third]")
@click.option("--detector", type=click.Choice(["backbone", "unet"]), default="backbone", show_default=True)
@click.option("--detector-command", metavar="TEMPLATE", help="A detector of your own: {train} {test} {maps} {seed}.")
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True, help="Training steps of a row.")
@click.option("--size", type=int, default=256, show_default=True, help="Side of the pictures that detectors see.")
@click.option("--good", type=click.IntRange(2), default=400, show_default=True, help="Most good photos to train on.")
@click.option("--pairs", type=click.IntRange(1), default=1000, show_default=True, help="Most pairs of a set.")
@click.option("--only", multiple=True, metavar="TEXT", help="Only rows whose name (with 'k=1 ') holds TEXT.")
@click.option(
    "--training-record",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What a model was trained on: its safetensors file, or a list of photos or sha256.",
)
@click.option("--foreign", is_flag=True, help="Allow pairs made from photos that are not in the real set.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 ...")
@click.option("--workers", type=click.IntRange(1), help="Processes.  [default: one a core]")
@click.option("--resamples", type=click.IntRange(100), default=1000, show_default=True, help="Bootstrap samples.")
@click.option("--out", type=FOLDER, default=Path("benefit-out"), show_default=True, help="Page, JSON, made pairs.")
@click.option("--single-file", is_flag=True, help="Pictures inside the page.")
def benefit(type_: str | None, **options: Any) -> int:
    """Does a detector gain from generated pairs? Trained with and without them, tested on photos nothing has seen."""
    from ..commands.results.benefit_command import BenefitRequest
    from ..commands.results.benefit_command import benefit as measure

    reporter = make_reporter(False)
    return guarded(reporter, lambda: measure(BenefitRequest(type=type_, **options), reporter))


@cli.command()
@click.argument("out", type=FOLDER)
@click.option("--single-file", is_flag=True, help="Pictures inside the page, at 512 px.")
def report(out: Path, single_file: bool) -> int:
    """A page of a run's pairs, OUT/report.html: to look at, to filter, to mark. Also while the run goes on."""
    from ..commands.results.report_command import report as write_report

    reporter = make_reporter(False)
    return guarded(reporter, lambda: write_report(out, single_file, reporter))


@cli.command()
@click.argument("out", type=FOLDER)
@click.argument("marks", required=False, type=click.Path(dir_okay=False, path_type=Path, allow_dash=True))
@click.option("--undo", is_flag=True, help="Take back: what MARKS names, or without MARKS everything.")
def review(out: Path, marks: Path | None, undo: bool) -> int:
    """Apply MARKS, saved from a report's page: rejected pairs leave the dataset, relabelled ones get their type.

    Rejected pairs go to OUT/rejected, their lines into the journal; --undo brings them back byte for byte.
    """
    from ..commands.results.review_command import review as apply_review

    reporter = make_reporter(False)
    return guarded(reporter, lambda: apply_review(out, marks, undo, reporter))


@cli.command()
@click.option("--data", type=FOLDER, metavar="ROOT", help="Dataset; without it, drawn nuts into OUT/nuts.")
@click.option("--category", help="Category of the dataset; may be left out where there is one.")
@click.option("--type", "type_", help="Defect type: names the output, and chooses reference photos.")
@click.option("--count", type=click.IntRange(1, 24), default=4, show_default=True, help="Photos.")
@click.option("--seed", type=click.IntRange(0, 2**63), default=1, show_default=True, help="Seed of the first photo.")
@click.option("--model", metavar="NAME", help="Checkpoint and working size; on drawn nuts the miniature.")
@click.option("--only", multiple=True, metavar="METHOD", help="Only this method; repeatable.")
@click.option("--server", multiple=True, metavar="URL", help="A ComfyUI server; without it, our own is started.")
@HEADER_FILE
@click.option("--models", type=FOLDER, help="Models folder of the embedded server.")
@click.option("--out", type=FOLDER, default=Path("compare-out"), show_default=True, help="Page, JSON, pairs.")
@click.option("--single-file", is_flag=True, help="Pictures inside the page.")
def compare(type_: str | None, **options: Any) -> int:
    """Every method on the same photos, masks and seeds: one page, a row a photo, a column a method."""
    from ..commands.results.compare_command import CompareRequest
    from ..commands.results.compare_command import compare as compare_methods

    reporter = make_reporter(False)
    return guarded(reporter, lambda: compare_methods(CompareRequest(type=type_, **options), reporter))


@cli.command()
@click.option("--data", type=FOLDER, required=True, metavar="ROOT", help="Dataset with real defects and their masks.")
@click.option("--category", help="Category of the dataset; may be left out where there is one.")
@click.option("--type", "type_", required=True, help="Defect type to learn.")
@click.option("--layout", metavar="NAME", help="Layout of the dataset; by default it is found by what is there.")
@click.option("--photos", metavar="A,B,...", help="Only these photos of the type, by name; the first 20 by default.")
@click.option("--model", default="miniature", show_default=True, metavar="NAME|FILE", help="Checkpoint to learn for.")
@click.option("--models", type=FOLDER, help="Models folder; that of the embedded server by default.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The .safetensors file.")
@click.option("--rank", type=int, help="Size of the adapters; 8 by default, 4 to 16 are usual.")
@click.option("--text-encoder", is_flag=True, help="The text encoder learns, too.")
@click.option("--steps", type=int, help="Steps; 250 for the miniature, 800 else.")
@click.option("--batch", type=int, help="Defects in a step; 4 for the miniature, 2 else.")
@click.option("--learning-rate", type=float, help="0.002 for the miniature, 0.0001 else.")
@click.option("--prior", type=float, help="Weight of the good photos, which keep the model as it is; 0.3, 0: none.")
@click.option("--around", type=float, help="Weight of what surrounds a defect; 0.15 by default.")
@click.option("--turns/--no-turns", default=True, help="Also turned and mirrored views; not for parts with one way up.")
@click.option("--size", type=int, help="Side of the working crop in px; the model's own by default.")
@click.option("--seed", type=int, help="0 by default; same seed, same file.")
@click.option("--prompt", help="What it is called; 'defective CATEGORY with TYPE' by default.")
@click.option("--device", help="cpu, cuda, cuda:1 ...; the best one by default.")
@click.option("--threads", type=click.IntRange(1, 256), help="Of the CPU; all by default.")
def lora(type_: str, **options: Any) -> int:
    """Train an adapter (LoRA) on 1 to 20 real defects. The same command goes on where it was stopped.

    FILE is in the format of ComfyUI's LoRA loaders; FILE.training holds samples on the way. Photos that were trained on
    are recorded in the file, and `defectforge benefit` refuses them in a test set.
    """
    from ..commands.results.lora_command import LoraRequest
    from ..commands.results.lora_command import lora as train_lora

    reporter = make_reporter(False)
    return guarded(reporter, lambda: train_lora(LoraRequest(type=type_, **options), reporter))
