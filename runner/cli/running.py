"""Commands that make pictures: run and what belongs to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..commands.requests.moments import seconds, until
from ..commands.requests.request import Request, with_plan_file
from ..embedded.follows import CHOICES
from ..errors import RequestError
from ..reporting import make_reporter
from .base import FOLDER, HEADER_FILE, cli, fail, graph_options, guarded


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
            from ..commands.running.dry_run import dry_run

            return dry_run(request, reporter)
        if cluster is not None:
            from ..cluster.driver import run_on_cluster
            from ..cluster.program import Cluster

            return run_on_cluster(request, Cluster(cluster, store, shard_size, stations), reporter)
        from ..commands.running.run import run as run_request
        from ..servers.worker import Timing

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
    from ..commands.running.check import check as check_request

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
    from ..commands.running.convert_command import convert as convert_request

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
    from ..commands.running.rerun import rerun as rerun_records

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
    from ..commands.running.serve import serve as serve_forever

    reporter = make_reporter(False)
    return guarded(reporter, lambda: serve_forever(reporter, port, listen, models, data, device, follow))


@cli.command()
@click.option("--out", type=FOLDER, default=Path("demo-out"), show_default=True, help="Where everything goes.")
@click.option("--model", help="Checkpoint; by default the miniature.")
def demo(out: Path, model: str | None) -> int:
    """The main job on generated nuts: dataset, server, run, contact sheet. Needs nothing but this program."""
    from ..commands.running.demo import demo as show

    reporter = make_reporter(False)
    return guarded(reporter, lambda: show(reporter, out, model))


@cli.command()
@click.argument("out", type=FOLDER)
@click.argument("shards", type=FOLDER, nargs=-1, required=True, metavar="SHARD...")
@click.option("--json", "as_json", is_flag=True, help="One JSON event a line on stdout.")
def merge(out: Path, shards: tuple[Path, ...], as_json: bool) -> int:
    """Join the outputs of `run --shard 1/N` to `N/N`: files, journal and manifest as one run would have given them.

    Names what is missing or double (exit code 1). The same command goes on after an interruption, and with more shards.
    """
    from ..commands.running.merge_command import merge_shards

    reporter = make_reporter(as_json)
    return guarded(reporter, lambda: merge_shards(out, shards, reporter))


@cli.command()
@click.argument("out", type=FOLDER)
@click.option("--watch", is_flag=True, help="Again every two seconds, until the run ends.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object (with --watch: a line each time).")
def status(out: Path, watch: bool, as_json: bool) -> int:
    """How far the run into OUT is: jobs, servers, speed, failures. From another shell; reads the journal only."""
    from ..commands.running.status import status as show

    return guarded(make_reporter(False), lambda: show(out, watch, as_json))
