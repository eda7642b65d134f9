"""The command line. Each command is a few lines; the work is elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from .commands.moments import seconds, until
from .commands.request import Request, with_plan_file
from .embedded.follows import CHOICES
from .errors import RequestError
from .reporting import make_reporter
from .version import version

FOLDER = click.Path(file_okay=False, path_type=Path)
HEADER_FILE = click.option(
    "--header-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Lines 'Name: value' sent to every --server, to log in; or DEFECTFORGE_HEADERS.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(version(), prog_name="defectforge")
def cli() -> None:
    """Photos of good parts in, a labelled dataset of plausible defects out.

    Exit codes: 0 all done, 1 some jobs failed, 2 the request is wrong, 3 no server, 130 interrupted (resumable).
    """


def graph_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that change what a workflow computes and where."""
    options = [
        click.option(
            "--set", "set_", multiple=True, metavar="'Title.input=value'", help="Set an input by its node's title."
        ),
        click.option("--model", metavar="NAME", help="Checkpoint and working size together; see `defectforge models`."),
        click.option("--lora", metavar="FILE", help="File of the LoRA loader; our own server gets a copy of it."),
        click.option(
            "--server", multiple=True, metavar="URL", help="A ComfyUI server; without it, our own is started."
        ),
        HEADER_FILE,
        click.option("--models", type=FOLDER, help="Models folder of the embedded server."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@cli.command()
@click.argument("workflow", required=False)
@click.option("--data", type=click.Path(path_type=Path), metavar="ROOT", help="Dataset, or a folder of good photos.")
@click.option("--category", help="Category of the dataset, such as hazelnut; may be left out where there is one.")
@click.option("--layout", metavar="NAME", help="Layout of the dataset; by default it is found by what is there.")
@click.option("--max-pixels", type=click.IntRange(1), metavar="N", help="Largest photo in px; 200000000 by default.")
@click.option("--type", "type_", help="Defect type: names the output, and chooses reference photos.")
@click.option("--new-type", is_flag=True, help="Allow a --type that the dataset does not have.")
@click.option("--count", type=int, help="Number of draws; by default one for each good photo.")
@click.option("--seed", type=click.IntRange(0, 2**63), help="Seed of the first draw; the next ones count up.")
@click.option("--vary", multiple=True, metavar="'Title.input=a,b'", help="Do every draw with each of these values.")
@click.option("--plan", type=click.Path(dir_okay=False, path_type=Path), help="The same options from a YAML file.")
@click.option("--draws", type=click.IntRange(1, 64), help="Draws for each photo, of which the best are kept.")
@click.option("--keep", type=click.IntRange(1, 64), help="How many of them are kept at most; 1 by default.")
@click.option(
    "--until",
    "until_",
    metavar="COUNT|TIME",
    help="Digits alone: go on until so many good pairs are there; --count limits. With ':' or a date (06:30, "
    "2027-01-31T06:30): begin no further job from then on.",
)
@click.option("--max-failures", type=click.IntRange(0, 10**6), metavar="N", help="Stop when more than N jobs failed.")
@click.option("--launch", type=click.IntRange(1, 64), metavar="N", help="Launch N servers, one a GPU, for this run.")
@click.option("--comfyui", type=FOLDER, metavar="PATH", help="--launch: the ComfyUI to launch; ours by default.")
@click.option("--comfyui-args", metavar="ARGS", help="--launch: further arguments of its main.py.")
@click.option("--patience", metavar="TIME", help="Wait so long while no server is left: 90s, 10m, 0. [default: 10m]")
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="A file for all events; it rotates.")
@click.option("--metrics", type=click.Path(dir_okay=False, path_type=Path), help="A text file for Prometheus.")
@click.option("--thresholds", type=click.Path(dir_okay=False, path_type=Path), help="What a draw must reach: a file.")
@click.option("--label", type=click.Choice(["visible", "requested"]), help="What the mask holds; visible by default.")
@click.option("--part-masks", type=FOLDER, metavar="DIR", help="Your own masks of the parts, named as the photos are.")
@click.option(
    "--real-masks",
    type=click.IntRange(0, 1000),
    metavar="N",
    help="Real masks of --type that new ones are made like; by default up to 32, 0 draws the type.",
)
@click.option("--out", type=FOLDER, help="Output folder; the same command continues an interrupted run.")
@click.option("--references", type=click.IntRange(1), metavar="N", help="Do every draw with each of N references.")
@click.option("--seeds", type=click.IntRange(1), metavar="N", help="Do every draw with each of N seeds.")
@click.option("--shard", metavar="i/N", help="Only the i-th of N parts of the jobs.")
@click.option("--cluster", metavar="auto|local|ADDRESS", help="Shards on a Ray cluster, one server for each GPU.")
@click.option("--store", metavar="ADDRESS", help="With --cluster: what machines share (a folder, s3://...).")
@click.option("--shard-size", type=click.IntRange(1, 100_000), default=200, show_default=True, help="Jobs of a shard.")
@click.option("--stations", type=click.IntRange(1), help="With --cluster: servers; by default one for each GPU.")
@click.option("--dry-run", "dry", is_flag=True, help="Say what would be done and what it would take; do nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON event a line on stdout.")
@click.option("--stall-seconds", type=click.FloatRange(0.1, 1e6), default=300.0, hidden=True)
@graph_options
def run(
    plan: Path | None,
    as_json: bool,
    stall_seconds: float,
    set_: tuple[str, ...],
    type_: str | None,
    dry: bool,
    cluster: str | None,
    store: str | None,
    shard_size: int,
    stations: int | None,
    until_: str | None,
    patience: str | None,
    log: Path | None,
    metrics: Path | None,
    **options: Any,
) -> int:
    """Run WORKFLOW over the good photos of a dataset.

    WORKFLOW is a file saved in ComfyUI's window or exported for its API, a PNG or WEBP that ComfyUI saved, "-" for
    standard input, or the name of one that comes along.
    """

    def work() -> int:
        if not stall_seconds > 0:  # NaN
            raise click.BadParameter("not a number", param_hint="--stall-seconds")
        pairs, moment = (None, None) if until_ is None else until(until_)
        request = Request(set=set_, type=type_, until=pairs, until_time=moment, **options)
        if plan is not None:
            request = with_plan_file(request, plan)
        give_up = {} if patience is None else {"give_up": seconds(patience, "--patience")}
        # Late: a plan that is wrong is told before the second that this takes.
        if dry:
            from .commands.dry_run import dry_run

            return dry_run(request, reporter)
        if cluster is not None:
            from .cluster.driver import run_on_cluster
            from .cluster.program import Cluster

            return run_on_cluster(request, Cluster(cluster, store, shard_size, stations), reporter)
        from .commands.run import run as run_request
        from .servers.worker import Timing

        return run_request(request, reporter, Timing(stall=stall_seconds, **give_up))

    try:
        reporter = make_reporter(as_json, log, metrics)
    except RequestError as error:
        wrong = error
        return guarded(make_reporter(as_json), lambda: fail(wrong))
    return guarded(reporter, work)


@cli.command()
@click.argument("workflow")
@click.option("--json", "as_json", is_flag=True, help="One JSON event a line on stdout.")
@graph_options
def check(workflow: str, as_json: bool, set_: tuple[str, ...], **options: Any) -> int:
    """Say everything that would fail with WORKFLOW on a server, all at once. Nothing is queued.

    WORKFLOW is what `run` takes: a saved file or picture, "-", or a name that comes along.
    """
    from .commands.check import check as check_request

    reporter = make_reporter(as_json)
    request = Request(workflow=workflow, set=set_, **options)
    return guarded(reporter, lambda: check_request(request, reporter))


@cli.command()
@click.argument("workflow")
@click.option("--server", multiple=True, metavar="URL", help="The server whose nodes it uses; ours by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Decides between the wordings of {a|b}.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write; standard output by default.")
def convert(workflow: str, server: tuple[str, ...], seed: int, out: Path | None) -> int:
    """Write the queue form of WORKFLOW: what ComfyUI's window would queue for it.

    WORKFLOW is a saved workflow, a PNG or WEBP that ComfyUI saved, "-" for standard input, or a name that comes along.
    """
    from .commands.convert_command import convert as convert_request

    reporter = make_reporter(False)
    return guarded(reporter, lambda: convert_request(workflow, server, out, seed, reporter))


@cli.command()
@click.argument("manifest")
@click.option("--data", type=click.Path(path_type=Path), metavar="ROOT", help="The dataset, if it has moved.")
@click.option("--server", multiple=True, metavar="URL", help="A ComfyUI server; without it, our own is started.")
@HEADER_FILE
@click.option("--models", type=FOLDER, help="Models folder of the embedded server.")
@click.option("--out", type=FOLDER, required=True, help="Where the repeated pairs go.")
@click.option("--json", "as_json", is_flag=True, help="One JSON event a line on stdout.")
def rerun(manifest: str, as_json: bool, **options: Any) -> int:
    """Make pairs again from their records: OUT/manifest.jsonl, or OUT/manifest.jsonl:ID for one of them.

    Says for each whether the pixels are the same.
    """
    from .commands.rerun import rerun as rerun_records

    reporter = make_reporter(as_json)
    return guarded(reporter, lambda: rerun_records(manifest, reporter, **options))


@cli.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8188, show_default=True, help="0 picks a free one.")
@click.option("--listen", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--models", type=FOLDER, help="Models folder (checkpoints, loras, ...).")
@click.option("--data", type=FOLDER, multiple=True, help="Dataset that nodes may read; repeatable.")
@click.option("--device", help="cpu, cuda, cuda:1 ...; the best one by default.")
@click.option("--follow", type=click.Choice(CHOICES), help="The ComfyUI whose pixels are followed.")
def serve(
    port: int, listen: str, models: Path | None, data: tuple[Path, ...], device: str | None, follow: str | None
) -> int:
    """Run the embedded server by itself until Ctrl-C."""
    from .commands.serve import serve as serve_forever

    reporter = make_reporter(False)
    return guarded(reporter, lambda: serve_forever(reporter, port, listen, models, data, device, follow))


@cli.command()
@click.option("--out", type=FOLDER, default=Path("demo-out"), show_default=True, help="Where everything goes.")
@click.option("--model", help="Checkpoint; by default the miniature.")
def demo(out: Path, model: str | None) -> int:
    """The main job on generated nuts: dataset, server, run, contact sheet. Needs nothing but this program."""
    from .commands.demo import demo as show

    reporter = make_reporter(False)
    return guarded(reporter, lambda: show(reporter, out, model))


@cli.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """Which model files there are, where they go, and whether they are there."""
    if context.invoked_subcommand is None:
        context.invoke(list_models)


MODELS = click.option("--models", "folder", type=FOLDER, help="Models folder, if not the default one.")


@models.command("list")
@MODELS
@click.option("--json", "as_json", is_flag=True, help="The table as JSON.")
def list_models(folder: Path | None = None, as_json: bool = False) -> int:
    """Every model: file, folder, address, hash, working size."""
    from .commands.models_command import list_all

    return guarded(make_reporter(False), lambda: list_all(folder, as_json))


@models.command()
@click.argument("names", nargs=-1)
@MODELS
def verify(names: tuple[str, ...], folder: Path | None) -> int:
    """Check the files that are there against their hashes."""
    from .commands.models_command import verify_all

    reporter = make_reporter(False)
    return guarded(reporter, lambda: verify_all(names, folder, reporter))


@models.command()
@click.argument("name")
@MODELS
def fetch(name: str, folder: Path | None) -> int:
    """Write (our own models) or download (all others) the file of model NAME."""
    from .commands.models_command import fetch_one

    reporter = make_reporter(False)
    return guarded(reporter, lambda: fetch_one(name, folder, reporter))


@cli.group(invoke_without_command=True)
@click.pass_context
def workflows(context: click.Context) -> None:
    """The workflows that come along."""
    if context.invoked_subcommand is None:
        from .commands.workflows_command import list_workflows

        reporter = make_reporter(False)
        guarded(reporter, lambda: list_workflows(reporter))


@workflows.command()
@click.option("--server", multiple=True, metavar="URL", help="A ComfyUI server; without it, our own is started.")
@HEADER_FILE
@click.option("--check", "check_only", is_flag=True, help="Write nothing; exit code 2 if one is not up to date.")
def export(server: tuple[str, ...], header_file: Path | None, check_only: bool) -> int:
    """Make the queue forms (workflows/api) from the window forms (workflows)."""
    from .commands.workflows_command import export_workflows

    reporter = make_reporter(False)
    return guarded(reporter, lambda: export_workflows(server, check_only, reporter, header_file))


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
    from .commands.export_command import export as write_export

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
    from .commands.benefit_command import BenefitRequest
    from .commands.benefit_command import benefit as measure

    reporter = make_reporter(False)
    return guarded(reporter, lambda: measure(BenefitRequest(type=type_, **options), reporter))


@cli.command()
@click.argument("out", type=FOLDER)
@click.argument("shards", type=FOLDER, nargs=-1, required=True, metavar="SHARD...")
@click.option("--json", "as_json", is_flag=True, help="One JSON event a line on stdout.")
def merge(out: Path, shards: tuple[Path, ...], as_json: bool) -> int:
    """Join the outputs of `run --shard 1/N` to `N/N`: files, journal and manifest as one run would have given them.

    Names what is missing or double (exit code 1). The same command goes on after an interruption, and with more shards.
    """
    from .commands.merge_command import merge_shards

    reporter = make_reporter(as_json)
    return guarded(reporter, lambda: merge_shards(out, shards, reporter))


@cli.command()
@click.argument("out", type=FOLDER)
@click.option("--watch", is_flag=True, help="Again every two seconds, until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (with --watch: a line each time).")
def status(out: Path, watch: bool, as_json: bool) -> int:
    """How far the run into OUT is: jobs, servers, speed, failures. From another shell; reads the journal only."""
    from .commands.status import status as show

    return guarded(make_reporter(False), lambda: show(out, watch, as_json))


@cli.command()
@click.argument("out", type=FOLDER)
@click.option("--single-file", is_flag=True, help="Pictures inside the page, at 512 px.")
def report(out: Path, single_file: bool) -> int:
    """A page of a run's pairs, OUT/report.html: to look at, to filter, to mark. Also while the run goes on."""
    from .commands.report_command import report as write_report

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
    from .commands.review_command import review as apply_review

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
    from .commands.compare_command import CompareRequest
    from .commands.compare_command import compare as compare_methods

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
    from .commands.lora_command import LoraRequest
    from .commands.lora_command import lora as train_lora

    reporter = make_reporter(False)
    return guarded(reporter, lambda: train_lora(LoraRequest(type=type_, **options), reporter))


def fail(error: Exception) -> int:
    raise error


def guarded(reporter: Any, work: Callable[[], int]) -> int:
    """Run, and turn whatever goes wrong into one message and its exit code."""
    from . import interrupts
    from .errors import INTERRUPTED
    from .explain import explained, wanted_traceback

    try:
        return work()
    except (KeyboardInterrupt, click.exceptions.Abort):
        reporter.line("interrupted")
        return INTERRUPTED
    except (click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:
        if interrupts.asked():  # a Ctrl-C inside an import comes out as another exception
            reporter.line("interrupted")
            return INTERRUPTED
        if text := wanted_traceback(error):
            print(text, file=sys.stderr)
        told = explained(error)
        reporter.error(told)
        return told.exit_code
    finally:
        reporter.close()
