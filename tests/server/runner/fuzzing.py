"""Wild requests, and the one question that is asked about each: did it end in one message and an exit code?

A further kind of input plugs in as a strategy that writes files into a folder and gives a command line.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from defectforge.runner import interrupts
from defectforge.runner.__main__ import main
from hypothesis import strategies as st
from PIL import Image

#: Seconds that one request may take, on a machine that does other work beside.
LONGEST = 60.0
CODES = {0, 1, 2, 3}


@dataclass
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float


class Hang(BaseException):
    """Nothing may catch it."""


def run(arguments: list[str]) -> Ended:
    """One command in this process, as `defectforge ARGUMENTS` would do it."""
    kept = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    hook = sys.unraisablehook
    out, err = io.StringIO(), io.StringIO()
    began = time.monotonic()

    def alarm(*_: Any) -> None:
        raise Hang(f"{arguments} takes longer than {LONGEST} s")

    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else -1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = hook
        for number, handler in kept.items():
            signal.signal(number, handler)
    return Ended(code, out.getvalue(), err.getvalue(), time.monotonic() - began)


def judge(ended: Ended, folder: Path) -> None:
    """Assert what must hold for every request."""
    text = ended.err + ended.out
    assert ended.code in CODES, (ended.code, text)
    for word in ("Traceback (most", "fault of DefectForge", "Exception ignored", "Task exception"):
        assert word not in text, text
    if ended.code == 2 and not text.startswith("Usage: defectforge [OPTIONS] COMMAND"):
        assert len(re.findall(r'^error:|"event": "error"', text, re.IGNORECASE | re.MULTILINE)) == 1, text
    assert all(char.isprintable() or char in "\n" for char in ended.err), repr(ended.err)
    assert list(folder.rglob("*.part")) == []
    for image in folder.glob("out/*/test/*/*.png"):
        assert (
            folder / "out" / image.parts[-4] / "ground_truth" / image.parent.name / f"{image.stem}_mask.png"
        ).exists()


# ---- wild values

SPECIAL = [
    *(
        "",
        " ",
        "-",
        "--",
        "-1",
        "0",
        "NaN",
        "inf",
        "1e999",
        "9" * 400,
        "é",
        "e\u0301",
        "\U0001f600",
        "a\nb",
        "\x1b[31m",
    ),
    *("\udcff", "~", "~nobody-here", "..", ".", "/", "/dev/null", "/proc/self/mem", "x" * 300, "a/" * 200, "=", ".="),
    *("a.b=", "%s", "{}", "None", "null", "\u202e", "CON", "a:b", "[", "http://[::1", "file:///etc/passwd"),
]
texts = st.one_of(
    st.sampled_from(SPECIAL), st.text(st.characters(exclude_characters="\0", exclude_categories=[]), max_size=20)
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)


# ---- command lines

OPTIONS = [
    *("--data", "--category", "--type", "--new-type", "--count", "--seed", "--set", "--vary", "--plan"),
    *("--out", "--shard", "--json", "--stall-seconds", "--model", "--models", "--header-file", "--check", "-h"),
    *("--help", "--version", "--bogus", "--count=1", "--shard=1/2", "--set=Hole mask.count=2"),
]
COMMANDS = [["run"], ["check"], ["rerun"], ["models", "list"], ["models", "verify"], ["workflows"], ["wrong"], []]
TAKES_SERVER = ("run", "check", "rerun")


@st.composite
def command_lines(draw: st.DrawFn, known: list[str]) -> list[str]:
    """Tokens of the command line in any order. `known` are paths and names that are there."""
    head = draw(st.sampled_from(COMMANDS))
    token = st.one_of(st.sampled_from(OPTIONS), st.sampled_from(known), texts)
    # Port 9 refuses at once; without a server our own would be started.
    server = ["--server", "http://127.0.0.1:9"] if head and head[0] in TAKES_SERVER else []
    return [*head, *server, *draw(st.lists(token, max_size=10))]


# ---- plan files

KEYS = [
    *("workflow", "data", "category", "type", "new_type", "count", "seed", "set", "vary", "model", "out"),
    *("shard", "models", "header_file"),
]


@st.composite
def plan_files(draw: st.DrawFn) -> bytes:
    """A plan with wild values, a broken one, or no plan at all."""
    content = draw(st.dictionaries(st.one_of(st.sampled_from(KEYS), texts), values, max_size=8))
    content["server"] = "http://127.0.0.1:9"
    try:
        raw = yaml.safe_dump(content, allow_unicode=draw(st.booleans())).encode(
            draw(st.sampled_from(["utf-8", "utf-16"]))
        )
    except (yaml.YAMLError, UnicodeError):
        raw = json.dumps(content).encode()
    return draw(mutated(raw))


# ---- any file


@st.composite
def mutated(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes as they are, cut off, with bytes changed, put in or taken out, or others."""
    how = draw(st.sampled_from(["same", "same", "cut", "change", "insert", "remove", "other"]))
    if how == "other":
        return draw(st.binary(max_size=200))
    if how == "same" or not raw:
        return raw
    changed = bytearray(raw)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(changed) - 1)))
        if how == "cut":
            del changed[place:]
        elif how == "remove":
            del changed[place : place + draw(st.integers(1, 30))]
        elif how == "insert":
            changed[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif changed:
            changed[place] = draw(st.integers(0, 255))
    return bytes(changed)


# ---- graphs


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The address of every value in a tree of JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@st.composite
def graphs(draw: st.DrawFn, sound: list[Any]) -> bytes:
    """A sound graph of either form in which some values became others, or went."""
    graph = copy.deepcopy(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(1, 4))):
        *way, last = draw(st.sampled_from([path for path in places(graph) if path] or [("x",)]))
        holder = graph
        for key in way:
            holder = holder[key]
        if (
            isinstance(holder, (dict, list))
            and draw(st.booleans())
            and len(holder) > 0
            and (isinstance(holder, list) or last in holder)
        ):
            del holder[last]
        elif isinstance(holder, (dict, list)) and (isinstance(holder, dict) or last < len(holder)):
            holder[last] = draw(values)
    raw = json.dumps(graph).encode()
    return draw(mutated(raw)) if draw(st.integers(0, 3)) == 0 else raw


# ---- pictures and masks


@st.composite
def pictures(draw: st.DrawFn, grey: bool = False) -> tuple[str, bytes]:
    """(suffix, bytes) of a picture in any format and mode, whole or broken."""
    form, suffix = draw(
        st.sampled_from([("PNG", ".png"), ("JPEG", ".jpg"), ("BMP", ".bmp"), ("TIFF", ".tif"), ("WEBP", ".webp")])
    )
    modes = {"JPEG": ["L", "RGB", "CMYK"], "WEBP": ["RGB", "RGBA"], "BMP": ["1", "L", "RGB", "P"]}
    mode = draw(st.sampled_from(modes.get(form, ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])))
    size = draw(st.sampled_from([(24, 16), (24, 16), (1, 1), (200, 3), (16, 24)]))
    base = np.zeros((size[1], size[0]) if grey else (size[1], size[0], 3), np.uint8)
    base[: size[1] // 2] = draw(st.integers(0, 255))
    picture = Image.fromarray(base)
    picture = picture.convert("L").convert(mode) if mode == "I;16" else picture.convert(mode)
    buffer = io.BytesIO()
    exif = Image.Exif()
    if draw(st.booleans()):
        exif[0x0112] = draw(st.integers(0, 9))
    picture.save(buffer, format=form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}))
    return draw(st.sampled_from([suffix, suffix.upper(), ".png"])), draw(mutated(buffer.getvalue()))


# ---- servers

NAMES = [
    *("system", "devices", "queue_running", "queue_pending", "prompt_id", "node_errors", "error", "name"),
    *("status", "outputs"),
]
answers = st.one_of(values, st.dictionaries(st.sampled_from(NAMES), values, max_size=4))
