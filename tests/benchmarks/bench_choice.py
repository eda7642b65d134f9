"""Does choosing among draws beat chance? `python tests/benchmarks/bench_choice.py [--photos 50] [--draws 4]`.

Draws each drawn nut several times with the shipped `inpaint_latent_noise` and the miniature, keeps every draw, and lets
a judge that no score knows of (tests/tools/hole_judge.py) say in which a hole is. Compared: a draw at random, and the
one that `quality` ranks first. And of what a threshold keeps: how much shows a hole, and how much is kept.
"""

from __future__ import annotations

import argparse
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import numpy as np
from defectforge.nodes.algorithms.run_length import decode
from defectforge.runner.nuts import write_dataset
from hole_judge import place_of, trained
from label_truth import opened, records_of

SEED = 4000
#: The judge's chance from which on a hole is there.
SURE = 0.5
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Draw:
    """A draw that was kept, its scores, and the judge's chance; one that shows nothing has no scores and chance 0."""

    scores: dict[str, Any]
    chance: float

    @property
    def hole(self) -> bool:
        return self.chance >= SURE


def made(data: Path, out: Path, photos: int, draws: int, more: list[str]) -> None:
    """Every draw of every photo."""
    nothing = out.parent / "no-thresholds.txt"
    nothing.write_text("")
    line = [sys.executable, "-m", "defectforge.runner", "run", "inpaint_latent_noise", "--model", "miniature"]
    line += ["--data", str(data), "--category", "hazelnut", "--count", str(photos), "--seed", "1", "--out", str(out)]
    line += ["--draws", str(draws), "--keep", str(draws), "--thresholds", str(nothing)]
    done = subprocess.run([*line, *more], check=False, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 1):
        raise SystemExit(f"defectforge run ended with {done.returncode}")


def judged(out: Path, draws: int, says: Callable[[list[Any]], Any]) -> list[list[Draw]]:
    """The draws of each job; those that were refused (nothing visible) too."""
    jobs: dict[str, list[dict[str, Any]]] = {}
    for record in records_of(out):
        jobs.setdefault(record["id"].partition("-")[0], []).append(record)
    with closing(sqlite3.connect(out / "run.sqlite")) as journal:
        empty = journal.execute("SELECT COUNT(*) FROM job WHERE state='failed'").fetchone()[0]
    found = []
    for records in jobs.values():
        places = [place_of(opened(out / r["image"]["path"]), decode(r["requested"])) for r in records]
        pairs = zip(records, says(places), strict=True)
        kept = [Draw(record["scores"], float(chance)) for record, chance in pairs]
        found.append(kept + [Draw({}, 0.0)] * (draws - len(kept)))
    return found + [[Draw({}, 0.0)] * draws for _ in range(empty)]


def best(draws: list[Draw], by: str = "quality") -> Draw:
    return max(draws, key=lambda draw: draw.scores.get(by) or 0.0)


def gain(jobs: list[list[Draw]], by: str = "quality") -> tuple[float, float, float, float, float]:
    """Rate of a draw at random, of the chosen one, and the difference with its 95 % interval (paired bootstrap)."""
    chance = np.array([np.mean([draw.hole for draw in draws]) for draws in jobs])
    chosen = np.array([best(draws, by).hole for draws in jobs], float)
    rng = np.random.default_rng(0)
    index = rng.integers(0, len(jobs), (4000, len(jobs)))
    low, high = np.percentile((chosen - chance)[index].mean(1), [2.5, 97.5])
    return float(chance.mean()), float(chosen.mean()), float((chosen - chance).mean()), float(low), float(high)


def kept(draws: list[Draw], score: str, least: float) -> tuple[float, float]:
    """(share of what is kept that shows a hole, share of the draws that are kept)."""
    passing = [draw for draw in draws if (draw.scores.get(score) or 0.0) >= least and draw.scores]
    return (float(np.mean([d.hole for d in passing])) if passing else float("nan")), len(passing) / max(1, len(draws))


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--photos", type=int, default=50)
    cli.add_argument("--draws", type=int, default=4)
    cli.add_argument("--size", type=int, default=256, help="side of the drawn photos, px")
    cli.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "defectforge-choice")
    cli.add_argument("--server", action="append", default=[], help="as for `defectforge run`")
    arguments = cli.parse_args()
    data, out = arguments.work / "nuts", arguments.work / "draws"
    if not data.is_dir():
        write_dataset(data, n_good=arguments.photos, n_defect=0, size=arguments.size, seed=SEED)
    made(data, out, arguments.photos, arguments.draws, [part for url in arguments.server for part in ("--server", url)])
    judge = trained()
    print(f"judge: right on {judge.accuracy:.1%} of drawn places that it has not seen")
    jobs = judged(out, arguments.draws, judge.says)
    report(jobs)


def report(jobs: list[list[Draw]]) -> None:
    """Print both tables; the second one for each half of the jobs too, so that a threshold is not its own witness."""
    print(f"{len(jobs)} photos, {sum(map(len, jobs))} draws\n")
    print("| chosen by | at random | chosen | difference |\n|---|---|---|---|")
    for by in ("quality", "presence", "contrast", "dark_core", "change", "label_agreement"):
        chance, chosen, more, low, high = gain(jobs, by)
        print(f"| {by} | {chance:.3f} | {chosen:.3f} | {more:+.3f} ({low:+.3f} .. {high:+.3f}) |")
    halves = [[draw for draws in part for draw in draws] for part in (jobs, jobs[::2], jobs[1::2])]
    for score in ("presence", "quality"):
        print(f"\n| {score} >= | precision, yield | on one half | on the other |\n|---|---|---|---|")
        for least in THRESHOLDS:
            cells = " | ".join(f"{p:.3f}, {y:.3f}" for p, y in (kept(half, score, least) for half in halves))
            print(f"| {least:g} | {cells} |")


if __name__ == "__main__":
    main()
