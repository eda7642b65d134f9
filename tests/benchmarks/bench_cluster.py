"""What planning, Ray, the store and merging cost a job. Processor time of this process, and the clock.

    python tests/benchmarks/bench_cluster.py [plan] [ray] [merge]

`plan`: 10^5 and 10^6 jobs. `ray`: start, an actor, empty calls. `merge`: 20 shards of 100
pairs of 512 px, packed, put into a store (a folder, and S3 from moto where it is installed), fetched, merged.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))
from by_location import ROOT, import_package

import_package()

from defectforge.runner.cluster.home import Home  # noqa: E402
from defectforge.runner.cluster.store import Store, name_of, pack  # noqa: E402
from defectforge.runner.graphs.roles import find_roles  # noqa: E402
from defectforge.runner.nuts import write_dataset  # noqa: E402
from defectforge.runner.outputs.commit import Committer  # noqa: E402
from defectforge.runner.outputs.journal import Journal  # noqa: E402
from defectforge.runner.outputs.manifest import Manifest  # noqa: E402
from defectforge.runner.outputs.output import JOURNAL, MANIFEST  # noqa: E402
from defectforge.runner.outputs.pairs import Fetched  # noqa: E402
from defectforge.runner.plans.plan import Selection, make_plan  # noqa: E402
from made import Job  # noqa: E402

SHARDS, PAIRS, SIDE = 20, 100, 512


@contextmanager
def measured(what: str, jobs: int) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what:44s} {wall:8.2f} s  {1000 * wall / jobs:8.3f} ms each  {1000 * cpu / jobs:8.3f} ms processor")


def plan(folder: Path) -> None:
    data = folder / "nuts"
    write_dataset(data, n_good=40, n_defect=4, size=128, seed=3)
    graph = json.loads((ROOT / "workflows" / "api" / "inpaint_latent_noise.json").read_text())
    for count in (100_000, 1_000_000):
        with measured(f"{count} jobs: plan and check", count):
            made = make_plan(graph, find_roles(graph, ""), Selection(data, "hazelnut", count=count), [], [])
        with measured(f"{count} jobs: every one, with its id", count):
            assert sum(len(job.id) for job in made.jobs) == 64 * count
        with measured(f"{count} jobs: a shard of 200", 200):
            part = Selection(data, "hazelnut", count=count, shard=(7, count // 200))
            assert len(list(make_plan(graph, find_roles(graph, ""), part, [], []).jobs)) == 200
        print(f"{'':44s} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB at most so far")


class Empty:
    def call(self, part: int, parts: int) -> dict[str, Any]:
        return {"done": 0, "failed": 0, "seconds": {"run": 0.0}}


def ray_itself(folder: Path) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    with measured("ray: start here", 1):
        ray.init(address="local", include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    with measured("ray: an actor's first answer", 1):
        actor = ray.remote(num_cpus=1)(Empty).remote()
        ray.get(actor.call.remote(0, 0))
    with measured("ray: calls, one after the other", 1000):
        for n in range(1000):
            ray.get(actor.call.remote(n, 1000))
    ray.shutdown()


def merging(folder: Path) -> None:
    pairs = SHARDS * PAIRS
    archives = [shard(folder / f"shard-{part}", part) for part in range(1, SHARDS + 1)]
    with measured("pack", pairs):
        for path, archive in archives:
            pack(path, archive)
    print(f"{'':44s} {archives[0][1].stat().st_size / 1e6:.1f} MB a shard")
    through(folder, Store(folder / "store"), archives, pairs)
    if importlib.util.find_spec("moto") is None:
        return
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    login = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    os.environ.update({"AWS_ENDPOINT_URL": f"http://{host}:{port}", **login})
    import s3fs

    s3fs.S3FileSystem().mkdir("bench")
    through(folder, Store("s3://bench/run"), archives, pairs)
    server.stop()


def through(folder: Path, store: Store, archives: list[tuple[Path, Path]], pairs: int) -> None:
    kind = store.url.partition(":")[0]
    with measured(f"{kind}: put", pairs):
        for part, (_, archive) in enumerate(archives, 1):
            store.put(archive, f"shards/{name_of(part, SHARDS)}.tar")
    out = folder / f"out-{kind}"
    out.mkdir()
    journal = Journal(out / JOURNAL)
    home = Home(out, journal, store, {"pairs_a_job": 1})
    with measured(f"{kind}: fetch, unpack and merge", pairs):
        for part in range(1, SHARDS + 1):
            home.take(name_of(part, SHARDS), {"made": "once", "failed": 0})
    with measured(f"{kind}: the manifest", pairs):
        found = home.finish(SHARDS)
    assert found.complete and found.pairs == pairs
    journal.close()


def shard(place: Path, part: int) -> tuple[Path, Path]:
    place.mkdir()
    noise = np.random.default_rng(part).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    smooth = Image.fromarray(noise).resize((SIDE // 4, SIDE // 4)).resize((SIDE, SIDE))
    image, mask = io.BytesIO(), io.BytesIO()
    smooth.save(image, "PNG", compress_level=1)
    Image.new("L", (SIDE, SIDE), 255).save(mask, "PNG")
    journal = Journal(place / JOURNAL)
    journal.start_run({"pairs_a_job": 1, "shard": f"{part}/{SHARDS}", "plan": {"jobs": SHARDS * PAIRS}}, "bench")
    committer = Committer(place, journal, Manifest(place / MANIFEST))
    jobs = [Job(n) for n in range(part - 1, SHARDS * PAIRS, SHARDS)]
    journal.add(jobs)  # type: ignore[arg-type]
    for job in jobs:
        pair = Fetched(image.getvalue(), mask.getvalue(), {"label": "given"}, (SIDE, SIDE), 1.0)
        journal.submitted(job.id, "bench", "prompt")
        committer.commit(job.id, pair, {"seed": job.index, "assignments": ["x" * 3000]})
    journal.close()
    return place, place.with_suffix(".tar")


def main() -> None:
    sections = {"plan": plan, "ray": ray_itself, "merge": merging}
    for name in sys.argv[1:] or list(sections):
        with tempfile.TemporaryDirectory(prefix="defectforge-bench-") as folder:
            sections[name](Path(folder))


if __name__ == "__main__":
    main()
