"""Whatever goes wrong becomes one message that can be shown anywhere; plans of any content are read or refused."""

from __future__ import annotations

import errno
import gc
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.commands.requests.request import Request, with_plan_file
from defectforge.runner.errors import (
    BAD_REQUEST,
    SOME_JOBS_FAILED,
    Problem,
    RequestError,
    StorageError,
    printable,
    quoted,
)
from defectforge.runner.explain import InternalError, explained
from defectforge.runner.outputs.files import write_whole
from defectforge.runner.outputs.hashes import remembered_sha256
from defectforge.runner.outputs.manifest import Manifest, read
from defectforge.runner.reporter import Reporter

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "cases" / "files" / "plans"
DEEP = "[" * 1000 + "]" * 1000
PLANS = {
    "deep list": f"set: {DEEP}",
    "deep block": "\n".join(" " * n + f"k{n}:" for n in range(300)),
    "deep dashes": "set:\n " + "- " * 500 + "x",
    "deep and long": f"set: [{', '.join(['[' * 19 + ']' * 19] * 1500)}]",
    "bomb": "a: &a [x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{b}: &{b} [{','.join([f'*{a}'] * 8)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "bomb of merges": "a: &a {k: v}\n"
    + "\n".join(f"{b}: &{b} {{<<: [{','.join([f'*{a}'] * 8)}]}}" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "holds itself": "set: &a [*a]",
    "twice": "count: 3\ncount: 4",
    "key is a list": "? [1, 2]\n: 3",
    "key is a number": "3: 4",
    "date": "category: 2026-01-01",
    "bad date": "category: 2026-99-99",
    "huge number": "count: " + "9" * 5000,
    "too many": "count: 100000000000",
    "negative": "seed: -1",
    "python": "count: !!python/object/apply:os.system ['true']",
    "unknown tag": "count: !x 3",
    "zero byte": 'data: "a\\0b"',
    "empty name": 'category: ""',
    "path is a list": "data: [a, b]",
    "server is a number": "server: [1, 2]",
    "vary of lists": "vary: {A.b: [[1], [2]]}",
    "set of lists": "set: {A.b: [1, 2]}",
    "two documents": "count: 3\n---\ncount: 4",
    "no value": "count: 3\n  x: 4",
    "long": "#" * 200_000,
    "anchor alone": "&a",
    "bytes": b"\x80\x81\x82",
    "utf-16 cut": "count: 3".encode("utf-16")[:-1],
    "control": "a: \x07",
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_may_be_anything_and_is_refused_at_once(tmp_path: Path, name: str) -> None:
    gc.collect()
    gc.freeze()  # what earlier tests left in this process is not the plan's to collect
    content = PLANS[name]
    path = tmp_path / "plan.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    began = time.process_time()
    with pytest.raises(RequestError) as caught:
        with_plan_file(Request(), path)
    assert time.process_time() - began < 1.0
    assert str(path) in caught.value.text()
    assert len(caught.value.text()) < 20_000


@pytest.mark.parametrize("name", ["binary", "bomb", "deep", "latin1", "list", "number", "tab", "unknown"])
def test_the_known_plans_that_are_none(name: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared cases are not here")
    began = time.process_time()
    with pytest.raises(RequestError):
        with_plan_file(Request(), SHARED / f"{name}.yaml")
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "not a mapping"),
        ("count: 3\nservre: x\nseed: x", "2 problems"),
    ],
)
def test_all_that_is_wrong_with_a_plan_comes_at_once(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "plan.yaml").write_text(content)
    with pytest.raises(RequestError, match=expected):
        with_plan_file(Request(), tmp_path / "plan.yaml")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_plan_with_aliases_in_any_unicode_is_a_plan(tmp_path: Path, encoding: str) -> None:
    text = "category: Haselnuß\nset: &s {Sampler.steps: 3}\nvary: {A.b: [1, 2]}\ncount:\n"
    (tmp_path / "plan.yaml").write_bytes(text.encode(encoding))
    request = with_plan_file(Request(), tmp_path / "plan.yaml")
    assert (request.category, request.set, request.count) == ("Haselnuß", ("Sampler.steps=3",), None)


def test_a_plan_is_read_from_a_pipe_and_never_without_end(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="longer than 128 kB"):
        with_plan_file(Request(), Path("/dev/zero"))
    read_end, write_end = os.pipe()
    os.write(write_end, b"count: 3\n")
    os.close(write_end)
    assert with_plan_file(Request(), Path(f"/dev/fd/{read_end}")).count == 3
    os.close(read_end)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/out/a"), StorageError, "make room"),
        (OSError(errno.EFBIG, "File too large", "/out/a"), StorageError, "make room"),
        (PermissionError(errno.EACCES, "Permission denied", "/out/a"), RequestError, "change the permission"),
        (OSError(errno.EROFS, "Read-only file system", "/out/a"), RequestError, "change the permission"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "/out/a"), RequestError, "255"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "/out/a"), RequestError, "/out/a"),
        (OSError("something"), StorageError, "something"),
        (MemoryError(), StorageError, "memory"),
        (RecursionError(), RequestError, "nested too deeply"),
        (RuntimeError("Could not determine home directory."), RequestError, "leads nowhere"),
        (KeyError("x"), InternalError, "a fault of DefectForge itself: KeyError"),
    ],
)
def test_every_exception_has_words_and_an_exit_code(error: Exception, kind: type, words: str) -> None:
    told = explained(error)
    assert type(told) is kind
    assert words in told.text()
    assert told.exit_code in (BAD_REQUEST, SOME_JOBS_FAILED)
    assert explained(told) is told


def test_a_message_can_be_shown_anywhere() -> None:
    problem = Problem("x", "a\nb\x1b[31m\udcff", where="c\nd\x07", mend="e" * 100_000)
    text = problem.text()
    assert "\x1b" not in text and "\x07" not in text and "\udcff" not in text
    assert text.splitlines()[0] == "a\\nb\\x1b[31m\\udcff", "what is wrong is one line"
    assert "c\nd" in text, "a log's end keeps its lines"
    assert len(text) < 10_000
    text.encode()
    assert printable("Haselnuß \u00e9") == "Haselnuß \u00e9"
    assert len(quoted(["x" * 100] * 100)) < 120
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert quoted(deep) == "a list" and quoted(10**5000) == "a int"


def test_a_terminal_that_is_gone_ends_no_run(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        reporter = Reporter(stream)
    reporter.line("into a closed stream")


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "graph.json"
    write_whole(path, b"first")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"second")
    assert path.read_bytes() == b"first" and os.listdir(tmp_path) == ["graph.json"]


def test_a_record_may_hold_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    record = {"id": "a", "source": "n\udcfft", "said": "line\u2028end \ud800"}
    Manifest(path).append(record)
    Manifest(path).append({"id": "b"})
    assert read(path) == [record, {"id": "b"}]


@pytest.mark.parametrize("store", ["[1]", "{", '{"x": 3}', "null", '"x"', "\\udcff"])
def test_a_broken_memory_of_hashes_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("DEFECTFORGE_MODELS", str(tmp_path / "place" / "models"))
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "sha256.json").write_text(store)
    (tmp_path / "model").write_bytes(b"abc")
    assert remembered_sha256(tmp_path / "model").startswith("ba7816bf")
    assert len(json.loads((tmp_path / "place" / "sha256.json").read_text())) == 1
