"""What it takes to go on with a folder that holds very many pairs: the journal's side.

    python tests/benchmarks/bench_resume.py [--jobs 100000] [--done 0.9]

Makes a journal, a manifest and (empty) pictures as a run of so many jobs leaves them, and measures opening them in a
fresh process: seconds, processor seconds, and the most memory it took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from by_location import import_package

import_package()

from defectforge.runner.outputs.commit import Committer  # noqa: E402
from defectforge.runner.outputs.journal import DONE, Journal  # noqa: E402
from defectforge.runner.outputs.manifest import Manifest  # noqa: E402
from defectforge.runner.outputs.pairs import names  # noqa: E402
from made import Job  # noqa: E402


def jobs(count: int) -> list[Job]:
    return [Job(n) for n in range(count)]


def record(job: Job) -> dict[str, object]:
    """As long as a real one: about 2.5 kB."""
    image, mask = names(job.category, job.type, job.index)
    about = {"path": image, "sha256": "0" * 64, "size": [512, 512]}
    filling = [["4", f"input {n}", "x" * 60] for n in range(20)]
    return {"id": job.id, "number": job.index, "image": about, "mask": {**about, "path": mask}, "assignments": filling}


def make(out: Path, count: int, done: int) -> None:
    journal = Journal(out / "run.sqlite")
    planned = jobs(count)
    journal.add(planned)
    with (out / "manifest.jsonl").open("w") as manifest, journal.together():
        for job in planned[:done]:
            image, mask = names(job.category, job.type, job.index)
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


def resume(out: Path, count: int) -> None:
    planned = jobs(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter(), time.process_time()
    journal = Journal(out / "run.sqlite")
    committer = Committer(out, journal, Manifest(out / "manifest.jsonl"))
    committer.recover()
    journal.add(planned)
    states, given = journal.states(), journal.pairs_given()
    todo = [job for job in planned if states[job.id] != DONE]
    took = time.perf_counter() - began[0], time.process_time() - began[1]
    journal.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{count} jobs, {sum(given.values())} pairs there, {len(todo)} to do: {took[0]:.2f} s, "
        f"{took[1]:.2f} s of processor time; {memory >> 10} MB at most, {(memory - before) >> 10} MB of it for this"
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
