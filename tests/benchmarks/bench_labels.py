"""Whether the written labels are true: `python tests/benchmarks/bench_labels.py [--pairs 24] [--work DIR]`.

Makes pairs with the shipped `inpaint_latent_noise` and the miniature on drawn nuts of several sizes, and on real photos
where `--real DIR` (MVTec AD layout, a folder `hazelnut/`) is given, and compares each label with an independent measure
of the visible change (tests/tools/label_truth.py). Some seconds a pair; a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

from defectforge.runner.nuts import write_dataset
from label_truth import PairTruth, refused_draws, run_truth, summary

#: Photos of each size (further pairs take them again, with other seeds), and the seed of the first one.
NUTS, SEED = 8, 1000
GOALS = {"iou": 0.85, "worst": 0.6, "seen": 0.95, "outside": 0.08, "stray": 0}


def made(data: Path, out: Path, count: int, *more: str) -> None:
    """Run the shipped workflow over a dataset; pairs that are there already stay."""
    line = [sys.executable, "-m", "defectforge.runner", "run", "inpaint_latent_noise", "--model", "miniature"]
    line += ["--data", str(data), "--category", "hazelnut", "--count", str(count), "--seed", "1", "--out", str(out)]
    done = subprocess.run([*line, *more], check=False, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 1):  # 1: some jobs kept nothing, which is a figure of its own
        raise SystemExit(f"defectforge run ended with {done.returncode}")


def row(name: str, truths: list[PairTruth], refused: int) -> str:
    """One line of the table."""
    s = summary(truths)
    figures = f"{s['iou']:.3f} / {s['worst']:.3f} | {s['seen']:.3f} | {s['outside']:.3f} / {s['most_outside']:.3f}"
    return f"| {name} | {s['pairs']:.0f} | {figures} | {s['stray']:.0f} | {refused} |"


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--pairs", type=int, default=24)
    cli.add_argument("--sizes", default="256,512,1024")
    cli.add_argument("--real", type=Path)
    cli.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "defectforge-labels")
    cli.add_argument("--server", action="append", default=[], help="as for `defectforge run`")
    cli.add_argument("--each", action="store_true", help="print every pair")
    arguments = cli.parse_args()
    sets = []
    for size in [int(text) for text in arguments.sizes.split(",") if text]:
        data = arguments.work / f"nuts{size}"
        if not data.is_dir():
            write_dataset(data, n_good=min(NUTS, arguments.pairs), n_defect=0, size=size, seed=SEED)
        sets.append((f"drawn nuts, {size} px", data, arguments.work / f"pairs{size}"))
    if arguments.real:
        sets.append((f"real hazelnuts, {arguments.real.name}", arguments.real, arguments.work / "pairs-real"))
    print("| photos | pairs | IoU median / worst | label visible | visible outside median / most | stray | refused |")
    print("|---|---|---|---|---|---|---|")
    for name, data, out in sets:
        made(data, out, arguments.pairs, *(part for url in arguments.server for part in ("--server", url)))
        truths = run_truth(out, data)
        print(row(name, truths, len(refused_draws(out))), flush=True)
        for truth in truths if arguments.each else ():
            print("   ", truth)
    goals = f"IoU >= {GOALS['iou']} / {GOALS['worst']}; visible >= {GOALS['seen']}; outside <= {GOALS['outside']}"
    print(f"Goals: {goals}; stray {GOALS['stray']}.")


if __name__ == "__main__":
    main()
