"""What it takes to go on with a folder that holds very many pairs: the plan, the journal, the files.

    python tests/benchmarks/bench_resume.py [--jobs 100000] [--done 0.9]

Makes a journal, a manifest and (empty) pictures as a run of so many jobs leaves them, and measures opening them in a
fresh process: seconds, processor seconds, and the most memory it took.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from by_location import import_package

import_package()

from defectforge.runner.graphs.roles import find_roles  # noqa: E402
from defectforge.runner.nuts import write_dataset  # noqa: E402
from defectforge.runner.outputs.commit import Committer  # noqa: E402
from defectforge.runner.outputs.journal import DONE, Journal, take_stock  # noqa: E402
from defectforge.runner.outputs.manifest import Manifest  # noqa: E402
from defectforge.runner.outputs.pairs import names  # noqa: E402
from defectforge.runner.plans.plan import Job, Plan, Selection, make_plan  # noqa: E402


def node(class_type: str, title: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": title}}


PHOTO = {"root": "", "category": "hazelnut", "split": "train", "type": "good", "index": 0}
HOLE = {"image": ["1", 0], "seed": 0, "count": 1, "rim": 0.3, "mode": "round", "cracks": True}
PAIR = {"image": ["1", 0], "mask": ["3", 0], "filename_prefix": "", "category": "hazelnut", "type": "hole"}
GRAPH = {
    "1": node("DefectForgeLoadMVTec", "Good photo", **PHOTO),
    "3": node("DefectForgePlaceHoleMask", "Hole mask", **HOLE),
    "4": node("DefectForgeSaveDefectPair", "Save pair", **PAIR),
}


def planned(folder: Path, count: int) -> Plan:
    """The plan of a real request, computed lazily as every plan is."""
    data = folder / "nuts"
    if not data.exists():
        write_dataset(data, n_good=20, n_defect=0, size=64, seed=3)
    selection = Selection(data, "hazelnut", type="hole", new_type=True, count=count)
    return make_plan(GRAPH, find_roles(GRAPH, "bench"), selection, [], [])


def record(job: Job) -> dict[str, object]:
    """As long as a real one: about 2.5 kB."""
    image, mask = names(job.category, job.type, job.number)
    about = {"path": image, "sha256": "0" * 64, "size": [512, 512]}
    filling = [["4", f"input {n}", "x" * 60] for n in range(20)]
    return {"id": job.id, "number": job.number, "image": about, "mask": {**about, "path": mask}, "assignments": filling}


def make(folder: Path, count: int, done: int) -> None:
    out = folder / "out"
    out.mkdir()
    journal = Journal(out / "run.sqlite")
    whole = planned(folder, count)
    take_stock(journal, whole)
    with (out / "manifest.jsonl").open("w") as manifest, journal.together():
        for job in whole.jobs[:done]:
            image, mask = names(job.category, job.type, job.number)
            for name in (mask, image):
                place = out / name
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            said = json.dumps(record(job), sort_keys=True)
            outputs = json.dumps([{"role": "mask", "path": mask, "sha256": "0" * 64},
                                  {"role": "image", "path": image, "sha256": "0" * 64}])  # fmt: skip
            manifest.write(said + "\n")
            journal._do("UPDATE job SET state=?, record=?, outputs=? WHERE id=?", DONE, said, outputs, job.id)
    journal.close()


def most_memory() -> int:
    """KiB that this process has held at most. Not ru_maxrss: that begins with what its parent held."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)


def resume(folder: Path, count: int) -> None:
    out, before = folder / "out", most_memory()
    began = time.perf_counter(), time.process_time()
    whole = planned(folder, count)
    plan = time.perf_counter() - began[0], time.process_time() - began[1]
    began = time.perf_counter(), time.process_time()
    journal = Journal(out / "run.sqlite")
    Committer(out, journal, Manifest(out / "manifest.jsonl")).recover()
    stock = take_stock(journal, whole)
    took = time.perf_counter() - began[0], time.process_time() - began[1]
    journal.close()
    memory = most_memory()
    print(
        f"{count} jobs, {stock.pairs} pairs there, {len(stock.todo)} to do: planned in {plan[0]:.2f} s "
        f"({plan[1]:.2f} s of processor time), gone on after {took[0]:.2f} s ({took[1]:.2f} s of processor time); "
        f"{memory >> 10} MB at most, {(memory - before) >> 10} MB of it for this"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--done", type=float, default=0.9, help="share of the jobs that are done")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resume is not None:
        resume(options.resume, options.jobs)
        return
    with tempfile.TemporaryDirectory(prefix="defectforge-bench-") as folder:
        make(Path(folder), options.jobs, int(options.jobs * options.done))
        # A process of its own: this one's memory holds what was made.
        subprocess.run([sys.executable, __file__, "--jobs", str(options.jobs), "--resume", folder], check=True)


if __name__ == "__main__":
    main()
