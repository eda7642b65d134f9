"""`defectforge rerun`: the pairs of manifest lines once more, from what the lines say, and whether the pixels agree."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ....nodes.datasets.errors import ReadError
from ....nodes.datasets.layouts import TEST
from ....nodes.datasets.names import PART
from ....nodes.datasets.pictures import read_result
from ...checkpoints.choose_model import Choice, raise_if
from ...checkpoints.fetch import fetch
from ...checkpoints.models import by_file, checkpoint_loaders
from ...errors import OK, SOME_JOBS_FAILED, Problem, RequestError, request_error
from ...graphs.graph import Graph, Workflow, canonical_hash, form_of
from ...graphs.roles import PART_MASK, Roles, find_roles, ordered
from ...outputs import differences
from ...outputs.manifest import read, select
from ...outputs.output import MANIFEST, check_place
from ...plans.photos import Checked, Photo, check_photos
from ...plans.plan import Input, Job, Plan
from ...plans.real_masks import shared_inputs
from ...reporter import Reporter
from ...servers.worker import Timing
from ..preparing.fleet import fleet
from ..preparing.prepare import Prepared, Site, problems_on
from ..requests.request import Request
from .run import drive


def rerun(
    reference: str,
    reporter: Reporter,
    data: Path | None,
    server: tuple[str, ...],
    models: Path | None,
    out: Path,
    header_file: Path | None = None,
) -> int:
    """Returns 0 if every pair came out with the same pixels.

    Raises:
        RequestError: the record, its graph or its photos are not there or were changed.
    """
    path, records = select(reference)
    with _a_record_is_whole(path):
        graph_names = {str(record["workflow"]["graph"]) for record in records}
    if len(graph_names) != 1:
        raise request_error(
            "rerun.several_graphs",
            f"the records come from {len(graph_names)} different workflows",
            where=str(path),
            expected="records of one workflow at a time",
            mend=f"name one record: {path}:ID",
        )
    with _a_record_is_whole(path):
        graph = _graph(path.parent / graph_names.pop(), records[0])
    roles = find_roles(graph, "the recorded graph")
    with _a_record_is_whole(path):
        root = data or Path(records[0]["data"])
        check_place(out, root)
        # The pairs of one job are made together.
        firsts = {record["id"].partition("-")[0]: record for record in reversed(records)}
        jobs = tuple(_job(record, roles, root) for record in reversed(firsts.values()))
        name, sha256 = records[0]["workflow"]["name"], records[0]["workflow"]["sha256"]
    with fleet(server, models, reporter, header_file) as ships:
        for site in ships.sites:
            _check(graph, site, reporter)
        workflow = Workflow(name, path, "queue", graph, sha256)
        prepared = Prepared(workflow, Plan(graph, roles, jobs), Choice(notes=[f"rerun of {path}"]), ())
        request = Request(workflow=workflow.name, data=root, out=out, model=records[0].get("model"))
        code = drive(request, prepared, ships, reporter, Timing())
    return code if code != OK else _compare(path.parent, graph, records, out, reporter)


@contextlib.contextmanager
def _a_record_is_whole(path: Path) -> Iterator[None]:
    """Somebody may have changed a line, or an older version may have written it."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        lacks = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise request_error(
            "rerun.record_broken",
            f"the record cannot be read: {lacks}",
            where=str(path),
            expected="a line as `defectforge run` writes it",
            mend="take the manifest as it was written; the journal beside it writes a lost one anew",
        ) from error


def _graph(path: Path, record: dict[str, Any]) -> Graph:
    try:
        graph: Graph = json.loads(path.read_text(encoding="utf-8"))
        expected = record["workflow"]["graph_sha256"]
    except (OSError, ValueError, RecursionError) as error:
        raise request_error(
            "rerun.no_graph", f"the record's graph cannot be read: {error}", str(path), "the file beside the manifest"
        ) from error
    if form_of(graph) != "queue" or canonical_hash(graph) != expected:
        raise request_error(
            "rerun.graph_changed",
            "the record's graph was changed since",
            where=str(path),
            expected=f"canonical sha256 {expected}",
            mend="restore the file",
        )
    return graph


def _job(record: dict[str, Any], roles: Roles, root: Path) -> Job:
    loaders = ordered(roles.loaders)
    files = [record["source"], *record["references"]]
    photos = [loader for loader in loaders if loader.source != PART_MASK]
    inputs = {
        loader.node_id: Input(loader.node_id, _same_photo(root, entry))
        for loader, entry in zip(photos, files, strict=True)
    }
    marked = [loader for loader in loaders if loader.source == PART_MASK]
    for loader, entry in zip(marked, record.get("part_masks") or [], strict=True):
        photo = inputs[loader.of].checked.photo
        inputs[loader.node_id] = Input(loader.node_id, _same_part(photo, entry))
    assignments = tuple((node_id, name, value) for node_id, name, value in record["assignments"])
    # The journal numbers jobs by the first of their pairs.
    index = (record["number"] - record.get("pair", 0)) // roles.keep
    return Job(
        record["id"].partition("-")[0],
        index,
        record["category"],
        record["type"],
        record["seed"],
        tuple(inputs.values()),
        assignments,
        shared=_shared(record, root),
    )


def _shared(record: dict[str, Any], root: Path) -> tuple[Input, ...]:
    """The real masks that those of the pair were made like."""
    photos = [_same_photo(root, entry) for entry in record.get("real_masks") or []]
    of = {checked.sha256: checked.photo for checked in photos}
    parts = [_same_part(of[entry["of"]], entry) for entry in record.get("real_part_masks") or []]
    return shared_inputs("", [*photos, *parts]) if photos else ()


def _same_part(photo: Photo, entry: dict[str, Any]) -> Checked:
    """A photo with the mask of its part, as it was."""
    marked = replace(photo, split=TEST, type=PART, masks=tuple(Path(mask) for mask in entry["mask"]))
    checked = check_photos([marked])[marked]
    if (checked.sha256, checked.mask_sha256) != (entry["of"], entry["mask_sha256"]):
        raise request_error(
            "rerun.photo_changed",
            "the mask of the part is not the one of the record",
            where=", ".join(entry["mask"]),
            expected=f"sha256 {entry['mask_sha256']}",
            mend="put the mask of that time there",
        )
    return checked


def _same_photo(root: Path, entry: dict[str, Any]) -> Checked:
    category, split, type_, *_ = entry["path"].split("/")
    path = root / entry["file"]
    masks = entry.get("mask") or []
    photo = Photo(
        path, category, split, type_, tuple(root / mask for mask in ([masks] if isinstance(masks, str) else masks))
    )
    checked = check_photos([photo])[photo]
    if checked.sha256 != entry["sha256"] or checked.mask_sha256 != entry.get("mask_sha256"):
        raise request_error(
            "rerun.photo_changed",
            "the photo is not the one of the record",
            where=str(path),
            expected=f"sha256 {entry['sha256']}",
            mend="give the dataset of that time with --data",
        )
    return checked


def _check(graph: Graph, site: Site, reporter: Reporter) -> None:
    if site.models is not None:
        for _, _, file in checkpoint_loaders(graph):
            model = by_file(file)
            if model is not None and model.is_generated:
                reporter.line(f"checkpoint {file}")
                fetch(model, site.models)
    raise_if(problems_on(site, graph, site.client.object_info()))


def _compare(old: Path, graph: Graph, records: Sequence[dict[str, Any]], out: Path, reporter: Reporter) -> int:
    again = {record["id"]: record for record in read(out / MANIFEST)}
    problems = []
    for record in records:
        then, now = record["server"], again[record["id"]]["server"]
        why = differences.reasons(graph, then, now)
        for role in ("image", "mask") if record["mask"] else ("image",):
            first, second = old / record[role]["path"], out / again[record["id"]][role]["path"]
            if not first.exists():
                reporter.line(f"{first} is gone; nothing to compare with")
            elif not _whole(first):
                problems.append(
                    Problem("rerun.unreadable", f"the recorded {role} is no whole picture any more", str(first))
                )
            elif not same_pixels(first.read_bytes(), second.read_bytes()):
                problems.append(
                    Problem(
                        "rerun.differs",
                        "; ".join([f"the {role} came out with other pixels", *why]),
                        where=f"{first} and {second}",
                        expected="the same pixels (on the same machine, with the same versions and model files)",
                        mend=differences.mend(then, now),
                    )
                )
    if problems:
        reporter.error(RequestError(problems))
        return SOME_JOBS_FAILED
    reporter.line(f"{len(records)} pairs: the same pixels")
    return OK


def same_pixels(first: bytes, second: bytes) -> bool:
    (a, mode), (b, other_mode) = read_result(first), read_result(second)
    return mode == other_mode and bool(np.array_equal(a, b))


def _whole(path: Path) -> bool:
    try:
        read_result(path.read_bytes())
    except (OSError, ReadError):
        return False
    return True
