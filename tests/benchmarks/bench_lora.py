"""Does an adapter learn a defect from five photos? `python tests/benchmarks/bench_lora.py [--pairs 64] [--threads 2]`.

Draws nuts with a kind of defect that the miniature has never seen (a stain), trains `defectforge lora` on five of them,
and paints places of other nuts with the shipped `lora_inpaint` twice: with the adapter, and with its strength at 0,
which is the base model. Where nothing visible came, the runner draws again elsewhere on the same nut. A judge that is
trained on drawn nuts only, and that no score knows of (tests/tools/hole_judge.py), says where a stain is; a job of
which nothing visible came has none. Printed: the two shares, their difference with its 95 % interval, and the time of
the training. A sheet goes to WORK/sheet.png. The same command goes on where it was stopped.
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
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import numpy as np
from defectforge.nodes.algorithms.run_length import decode
from defectforge.runner.nuts import KINDS, UNSEEN_KINDS, write_dataset
from hole_judge import SIDE, Judge, place_of, trained
from label_truth import opened, records_of
from numpy.typing import NDArray
from PIL import Image

KIND = UNSEEN_KINDS[0]
PHOTOS, GOOD, SIZE = 5, 24, 256
TRAIN_SEED, TEST_SEED = 900, 7000
SURE = 0.5
ASKED_POINTS, ASKED_MINUTES = 30.0, 10.0


class Place(NamedTuple):
    """A picture around a requested mask, and the mask."""

    picture: NDArray[np.uint8]
    requested: str


def command(name: str, *arguments: object) -> float:
    """Run a command of ours; gives the seconds that it took."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "defectforge.runner", name, *map(str, arguments)], check=False)
    if done.returncode not in (0, 1):  # 1: nothing visible came of some jobs
        raise SystemExit(f"defectforge {name} ended with {done.returncode}")
    return time.monotonic() - began


def painted(work: Path, lora: Path, pairs: int, strength: float, model: str, more: list[str]) -> list[dict[str, Any]]:
    """Records of one pair a photo, whatever is on it."""
    out = work / f"pairs-{model}-{strength:g}"
    sets = [f"LoRA.strength_model={strength}", f"LoRA.strength_clip={strength}"]
    sets += [f"Prompt.text=defective hazelnut with {KIND}", "Keep best.thresholds="]
    options = [part for text in sets for part in ("--set", text)]
    options += ["--data", work / "test", "--category", "hazelnut", "--type", KIND, "--new-type", "--model", model]
    command("run", "lora_inpaint", "--lora", lora, *options, "--count", pairs, "--seed", 1, "--out", out, *more)
    return records_of(out)


def places(work: Path, records: list[dict[str, Any]], strength: float, model: str) -> dict[int, Place]:
    """Job -> what is to be seen at its place, and which place that is."""
    out = work / f"pairs-{model}-{strength:g}"
    return {
        r["number"]: Place(place_of(opened(out / r["image"]["path"]), decode(r["requested"])), str(r["requested"]))
        for r in records
    }


def shares(judge: Judge, found: dict[int, Place], pairs: int) -> NDArray[np.bool_]:
    """Whether the judge sees the kind in each job's picture; where nothing visible was painted it is not there."""
    said = np.zeros(pairs, bool)
    if found:
        jobs = sorted(found)
        said[jobs] = judge.says([found[job].picture for job in jobs]) >= SURE
    return said


def told(base: NDArray[np.bool_], adapted: NDArray[np.bool_], of: str) -> str:
    """Both shares, and their difference in points with its interval (percentile bootstrap over places)."""
    difference = adapted.astype(float) - base.astype(float)
    index = np.random.default_rng(0).integers(0, len(difference), (4000, len(difference)))
    low, high = 100 * np.percentile(difference[index].mean(1), [2.5, 97.5])
    return (
        f"{KIND} found, {len(base)} {of}: base {base.sum()} ({base.mean():.0%}), with the adapter {adapted.sum()} "
        f"({adapted.mean():.0%}); difference {100 * difference.mean():+.0f} points (95 %: {low:+.0f} .. {high:+.0f}); "
        f"asked for: {ASKED_POINTS:+.0f}"
    )


def sheet(rows: list[list[Any]], path: Path, enlarged: int = 4) -> None:
    picture = Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows]))
    picture.resize((picture.width * enlarged, picture.height * enlarged), Image.Resampling.BICUBIC).save(path)


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--pairs", type=int, default=64)
    cli.add_argument("--threads", type=int, default=2)
    cli.add_argument("--model", default="miniature")
    cli.add_argument("--lora", type=Path, help="a file that is there already: no training")
    cli.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "defectforge-lora")
    cli.add_argument("--server", action="append", default=[], help="as for `defectforge run`")
    arguments, rest = cli.parse_known_args()
    work = arguments.work
    if not (work / "train").is_dir():
        write_dataset(work / "train", n_good=GOOD, n_defect=PHOTOS, size=SIZE, seed=TRAIN_SEED, kinds=(KIND,))
        write_dataset(work / "test", n_good=arguments.pairs, n_defect=0, size=SIZE, seed=TEST_SEED)
    lora = arguments.lora or work / f"{KIND}-{arguments.model}.safetensors"
    times = work / f"training-{arguments.model}.json"
    if arguments.lora is None and not lora.is_file():
        is_whole = not lora.with_name(lora.name + ".training").exists()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        options = ["--data", work / "train", "--category", "hazelnut", "--type", KIND, "--model", arguments.model]
        seconds = command("lora", *options, "--out", lora, "--threads", arguments.threads, *rest)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if is_whole:  # else only the rest of a training that was stopped
            times.write_text(json.dumps({"clock": seconds, "processor": processor, "threads": arguments.threads}))
    more = [part for url in arguments.server for part in ("--server", url)]
    judge = trained(nuts=100, steps=300, kind=KIND, others=tuple(KINDS))
    found = {
        strength: places(
            work, painted(work, lora, arguments.pairs, strength, arguments.model, more), strength, arguments.model
        )
        for strength in (0.0, 1.0)
    }
    base, adapted = (shares(judge, found[strength], arguments.pairs) for strength in (0.0, 1.0))
    both = sorted(found[0.0].keys() & found[1.0].keys())
    same = [job for job in both if found[0.0][job].requested == found[1.0][job].requested]
    print(f"judge: right on {judge.accuracy:.1%} of drawn places that it has not seen; no {KIND}: {', '.join(KINDS)}")
    print(told(base, adapted, "jobs"))
    if len(same) < arguments.pairs:
        # Where nothing visible came of a job, it was drawn again elsewhere on the same nut.
        print(told(base[same], adapted[same], "of these at the very same place"))
    if arguments.lora is None and times.is_file():
        took = json.loads(times.read_text())
        print(
            f"training: {took['clock'] / 60:.1f} min by the clock, {took['processor'] / 60:.1f} min of processor on "
            f"{took['threads']} threads; asked for: at most {ASKED_MINUTES:g} min on two cores"
        )
    nothing = Place(np.zeros((SIDE, SIDE, 3), np.uint8), "")
    first = range(min(16, arguments.pairs))
    rows = [[found[strength].get(job, nothing).picture for job in first] for strength in (0.0, 1.0)]
    sheet(rows, work / "sheet.png")
    print(f"look at: {work / 'sheet.png'} (above: base, below: with the adapter)")


if __name__ == "__main__":
    main()
