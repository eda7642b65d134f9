"""Does anything get lost when everything is killed? One command:

    python tests/chaos/chaos.py [--jobs 1000] [--kills 20] [--kind embedded|stub|comfyui] [--comfyui PATH] [--seed 1]

Two servers, a run over both, and at random moments kill -9 of a server or of the runner, dropped connections, a full
disk for a while. What was killed is started again. At the end the output is counted: nothing lost, nothing committed
twice, no image without its mask, and nothing computed again beyond what was in flight at the kills.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tools")]
from chaos_servers import PATIENCE, ROOT, Front, Server, Start, comfyui, embedded, object_info_of, stub  # noqa: E402
from made import cheapest  # noqa: E402

#: Jobs that a server has at a time, and so loses with a kill.
DEPTH = 2
#: Seconds within which a runner at work has to notice that its disk is full.
NOTICED = 60.0
#: How the runner ends then, and what it says.
SOME_JOBS_FAILED, FULL = 1, "make room"


@dataclass
class Disk:
    """Where the output goes. On a small disk of its own, if this machine lets us mount one."""

    place: Path
    mounted: bool

    def fill(self) -> None:
        with (self.place / "ballast").open("wb", buffering=0) as ballast:
            for size in (1 << 20, 4 << 10, 1):
                with contextlib.suppress(OSError):
                    while ballast.write(b"\0" * size) == size:
                        pass

    def empty(self) -> None:
        (self.place / "ballast").unlink(missing_ok=True)


@contextlib.contextmanager
def disk(place: Path, size: str) -> Iterator[Disk]:
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)], capture_output=True)
    try:
        yield Disk(place, done.returncode == 0)
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", str(place)], check=False)


@dataclass
class Report:
    """What came out.

    `full`: how often the disk was filled, `full_noticed`: the runner ended then, with a message that says so; `again`:
    jobs sent to a server more than once; `restarts`: of the runner.
    """

    jobs: int
    kills: int
    drops: int = 0
    full: int = 0
    full_noticed: int = 0
    disk: str = "its own"
    restarts: int = 0
    images: int = 0
    masks: int = 0
    without_mask: int = 0
    lines: int = 0
    ids: int = 0
    lost: int = 0
    committed_twice: int = 0
    again: int = 0
    leftovers: int = 0
    seconds: float = 0.0

    def problems(self) -> list[str]:
        found = []
        if self.images != self.jobs or self.masks != self.jobs or self.lines != self.jobs or self.lost:
            found.append(
                f"{self.images} images, {self.masks} masks, {self.lines} lines of {self.jobs}: lost {self.lost}"
            )
        if self.ids != self.lines or self.committed_twice:
            found.append(f"{self.lines - self.ids} lines double, {self.committed_twice} jobs committed twice")
        if self.without_mask:
            found.append(f"{self.without_mask} images were seen without their mask")
        if self.leftovers:
            found.append(f"{self.leftovers} leftovers")
        if self.full_noticed != self.full:
            found.append(f"the disk was full {self.full} times, and {self.full_noticed} times the runner ended with it")
        if self.again > DEPTH * self.kills:
            found.append(f"{self.again} jobs were sent again, more than {DEPTH} x {self.kills} kills")
        return found


class Chaos:
    """The servers, the run, and what is done to them."""

    def __init__(self, folder: Path, servers: Sequence[Server], jobs: int, target: Disk, chance: random.Random) -> None:
        self.folder, self.servers, self.jobs, self.disk, self.chance = folder, servers, jobs, target, chance
        self.out = target.place / "out"
        self.client: subprocess.Popen[bytes] | None = None
        self.report = Report(jobs, 0)
        if not target.mounted:
            self.report.disk = "none of its own could be mounted here: it was never full"
        data, graph = folder / "nuts", folder / "graph.json"
        self._nuts(data, graph)
        values = ",".join(f"{1 - n / 1e6:.6f}" for n in range(jobs))
        plan = folder / "plan.yaml"
        plan.write_text(
            json.dumps({"workflow": str(graph), "data": str(data), "category": "hazelnut", "type": "hole",
                        "new_type": True, "count": 1, "vary": [f"Mask.value={values}"]})
        )  # fmt: skip
        self.command = [sys.executable, "-m", "defectforge.runner", "run", "--plan", str(plan), "--out", str(self.out)]
        self.command += ["--patience", "120"]
        for server in servers:
            self.command += ["--server", server.front.url]

    def _nuts(self, data: Path, graph: Path) -> None:
        code = "import sys; from defectforge.runner.nuts import write_dataset; from pathlib import Path; "
        code += "write_dataset(Path(sys.argv[1]), n_good=1, n_defect=0, size=64, seed=3)"
        subprocess.run([sys.executable, "-c", code, str(data)], check=True, env=self.environment())
        graph.write_text(json.dumps(cheapest(64)))

    def environment(self) -> dict[str, str]:
        package = self.folder / "package"
        package.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (package / "defectforge").symlink_to(ROOT)
        return {**os.environ, "PYTHONPATH": str(package), "DEFECTFORGE_MODELS": str(self.folder / "models")}

    def begin(self) -> None:
        with (self.folder / "run.log").open("ab") as log:
            self.client = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=self.environment(), start_new_session=True
            )

    def keep_going(self) -> bool:
        """Start the runner again where it has ended before its time. True once it says that all is done."""
        assert self.client is not None
        code = self.client.poll()
        if code is None:
            return False
        if code == 0:
            return True
        if code == 2:
            raise SystemExit((self.folder / "run.log").read_text()[-2000:])
        self.report.restarts += 1
        self.disk.empty()
        for server in self.servers:
            server.wait()
        self.begin()
        return False

    def made(self) -> int:
        try:
            return (self.out / "manifest.jsonl").read_bytes().count(b"\n")
        except OSError:
            return 0

    def until(self, pairs: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.made() < pairs:
            if self.keep_going():
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"nothing goes on after {self.made()} pairs; see {self.folder / 'run.log'}")
            time.sleep(0.02)

    def look(self) -> None:
        """No image may stand without its mask, at any moment."""
        images = {p.stem for p in (self.out / "hazelnut" / "test").rglob("*.png")}
        masks = {p.stem.removesuffix("_mask") for p in (self.out / "hazelnut" / "ground_truth").rglob("*.png")}
        self.report.without_mask += len(images - masks)

    def strike(self, what: str) -> None:
        if what == "server":
            server = self.chance.choice(self.servers)
            server.kill()
            self.report.kills += 1
            time.sleep(self.chance.uniform(0.0, 1.0))
            server.up()
        elif what == "client":
            assert self.client is not None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.client.pid, signal.SIGKILL)
            self.client.wait()
            self.report.kills += 1
            self.look()
            self.begin()
        elif what == "drop":
            for server in self.servers:
                server.front.drop()
            self.report.drops += 1
        elif self.disk.mounted:
            self._fill_the_disk()
        self.look()

    def _fill_the_disk(self) -> None:
        """While the runner works: one that only starts would say so before its first job, which is another test."""
        for server in self.servers:
            server.wait()
        self.until(min(self.made() + 1, self.jobs - 1))
        assert self.client is not None
        log = self.folder / "run.log"
        said_before = log.stat().st_size
        self.disk.fill()
        self.report.full += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.client.wait(NOTICED)
            said = log.read_bytes()[said_before:].decode("utf-8", "replace")
            self.report.full_noticed += code == SOME_JOBS_FAILED and FULL in said
        self.disk.empty()

    def run(self, kills: int) -> Report:
        began = time.monotonic()
        strikes = ["server", "client"] * (kills // 2) + ["server"] * (kills % 2)
        strikes += ["drop"] * max(2, kills // 4) + ["full"] * max(1, kills // 10)
        self.chance.shuffle(strikes)
        moments = sorted(self.chance.sample(range(1, max(self.jobs * 9 // 10, len(strikes) + 1)), len(strikes)))
        self.begin()
        for moment, what in zip(moments, strikes, strict=True):
            self.until(moment)
            self.strike(what)
        self.until(self.jobs)
        assert self.client is not None
        while not self.keep_going():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.client.wait(1.0)
        self.report.seconds = time.monotonic() - began
        self._count()
        return self.report

    def _count(self) -> None:
        report = self.report
        self.look()
        report.images = sum(1 for _ in (self.out / "hazelnut" / "test").rglob("*.png"))
        report.masks = sum(1 for _ in (self.out / "hazelnut" / "ground_truth").rglob("*.png"))
        records = [json.loads(line) for line in (self.out / "manifest.jsonl").read_text().splitlines()]
        report.lines, report.ids = len(records), len({record["id"] for record in records})
        report.leftovers = sum(1 for _ in self.out.rglob("*.part"))
        with contextlib.closing(sqlite3.connect(self.out / "run.sqlite")) as journal:
            count = lambda sql: int(journal.execute(sql).fetchone()[0] or 0)  # noqa: E731
            report.lost = count("SELECT COUNT(*) FROM job WHERE state != 'done'")
            report.committed_twice = count(
                "SELECT COUNT(*) FROM (SELECT job FROM attempt WHERE verdict='done' GROUP BY job HAVING COUNT(*) > 1)"
            )
            report.again = count(
                "SELECT SUM(n - 1) FROM (SELECT COUNT(*) AS n FROM attempt WHERE verdict != 'not queued' GROUP BY job)"
            )


def run_chaos(folder: Path, jobs: int, kills: int, starts: Sequence[Start], seed: int) -> Report:
    """The whole thing in a folder. The servers are ended at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    servers = [Server(start) for start in starts]
    fronts = []
    with disk(folder / "disk", f"{128 + jobs // 4}m") as target:
        try:
            for server in servers:
                server.up()
                server.front = Front(server.port)
                fronts.append(server.front)
            for server in servers:
                server.wait()
            chaos = Chaos(folder, servers, jobs, target, random.Random(seed))
            try:
                return chaos.run(kills)
            finally:
                if chaos.client is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(chaos.client.pid, signal.SIGKILL)
                    chaos.client.wait()
        finally:
            for server in servers:
                server.kill()
            for front in fronts:
                front.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kind", choices=["embedded", "stub", "comfyui"], default="embedded")
    parser.add_argument("--comfyui", type=Path, help="the checkout, for --kind comfyui")
    parser.add_argument("--object-info", type=Path, help="for --kind stub: a server's answer to /object_info")
    parser.add_argument("--seconds", type=float, default=0.05, help="for --kind stub: how long a job takes")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="defectforge-chaos-"))
    places = [folder / "server-a", folder / "server-b"]
    if options.kind == "stub":
        info = options.object_info or object_info_of(folder)
        starts = [stub(place, info, options.seconds) for place in places]
    elif options.kind == "comfyui":
        starts = [comfyui(place, options.comfyui) for place in places]
    else:
        starts = [embedded(place) for place in places]
    report = run_chaos(folder, options.jobs, options.kills, starts, options.seed)
    print(json.dumps(vars(report), indent=1))
    problems = report.problems()
    for problem in problems:
        print(f"wrong: {problem}", file=sys.stderr)
    if problems:
        sys.exit(f"everything lies in {folder}")
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
