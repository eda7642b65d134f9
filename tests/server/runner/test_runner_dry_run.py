"""`run --dry-run` asks the servers that `run` would work on, as `run` does, and queues nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from defectforge.runner.errors import BAD_REQUEST, NO_SERVER, OK

Start = Callable[..., Any]


@pytest.fixture
def dry(cli: Any, nuts: Path, place_workflow: Path) -> Callable[..., Any]:
    def ask(*servers: Any, more: tuple[Any, ...] = ()) -> Any:
        named = [word for server in servers for word in ("--server", getattr(server, "url", server))]
        return cli(
            "run", place_workflow, "--data", nuts, "--category", "hazelnut", "--count", 4, "--dry-run", *named, *more
        )

    return ask


@pytest.fixture
def with_fewer_choices(known_nodes: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a server says of which an input has only the first choice; and that input's first two choices."""
    info = copy.deepcopy(known_nodes)
    spec = info["DefectForgeObjectMask"]["input"]["required"]["when_unsure"]
    choices = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
    two = list(choices)[:2]
    choices[:] = two[:1]
    return info, two


def test_a_server_that_gets_no_job_does_not_stop_it(start: Start, dry: Any, known_nodes: dict[str, Any]) -> None:
    bare, whole = start(), start()
    bare.object_info = {name: node for name, node in known_nodes.items() if name != "DefectForgePlaceHoleMask"}
    said = dry(bare, whole)
    assert said.returncode == OK, said.stderr
    assert "4 jobs" in said.stderr
    assert f"the server at {bare.url} gets no job" in said.stderr
    assert bare.posted == whole.posted == []


def test_values_are_spread_over_the_servers_that_have_them(start: Start, dry: Any, with_fewer_choices: Any) -> None:
    first, both = start(), start()
    first.object_info, values = with_fewer_choices
    said = dry(first, both, more=("--vary", f"Object mask.when_unsure={','.join(values)}"))
    assert said.returncode == OK, said.stderr
    assert "8 jobs: 4 draws x 2 sets of values" in said.stderr


def test_a_value_that_no_server_has_is_said_as_run_says_it(start: Start, dry: Any, with_fewer_choices: Any) -> None:
    one, other = start(), start()
    one.object_info, values = with_fewer_choices
    other.object_info = one.object_info
    said = dry(one, other, more=("--vary", f"Object mask.when_unsure={','.join(values)}"))
    assert said.returncode == BAD_REQUEST
    assert values[1] in said.stderr


def test_a_server_that_does_not_answer_is_told_and_left(start: Start, dry: Any) -> None:
    said = dry("http://127.0.0.1:9", start())
    assert said.returncode == OK, said.stderr
    assert "going on with the others" in said.stderr
    assert dry("http://127.0.0.1:9").returncode == NO_SERVER


def test_the_comfyui_that_run_would_launch_is_asked(dry: Any, home: Path, told: Callable[[], list[Any]]) -> None:
    said = dry(more=("--launch", 2, "--comfyui", home))
    assert said.returncode == OK, said.stderr
    assert "processes of the ComfyUI" in said.stderr
    assert len(told()) == 2, "and no embedded server in their place"


def test_options_that_run_would_refuse_are_refused(dry: Any, tmp_path: Path) -> None:
    said = dry(more=("--comfyui", tmp_path))
    assert said.returncode == BAD_REQUEST
    assert "--comfyui without --launch" in said.stderr
