"""History entries are read by their messages and outputs."""

from __future__ import annotations

from typing import Any

import pytest
from defectforge.runner.servers.client import rejection_text
from defectforge.runner.servers.work.outcome import judge

GRAPH = {"3": {"class_type": "KSampler", "inputs": {}, "_meta": {"title": "Sampler"}}}


def entry(status: str, *messages: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"status": {"status_str": status, "messages": [list(message) for message in messages]}, "outputs": {}}


ERROR = {"node_id": "3", "node_type": "KSampler", "exception_type": "ValueError", "exception_message": "no place\n"}
OOM = {**ERROR, "exception_type": "torch.OutOfMemoryError", "exception_message": "CUDA out of memory"}


@pytest.mark.parametrize(
    ("history", "kind", "text"),
    [
        (entry("success", ("execution_success", {})), "success", ""),
        (entry("success", ("execution_error", ERROR), ("execution_success", {})), "success", "no place"),
        (entry("error", ("execution_error", ERROR)), "error", "'Sampler': no place"),
        (entry("error", ("execution_error", OOM)), "out_of_memory", "CUDA out of memory"),
        (entry("error", ("execution_interrupted", {"node_id": "3"})), "interrupted", "interrupted on the server"),
        (entry("error"), "error", "the server gives no reason"),
    ],
)
def test_an_outcome_is_judged_and_named_by_title(history: Any, kind: str, text: str) -> None:
    outcome = judge(history, GRAPH)
    assert (outcome.kind, outcome.text) == (kind, text)


def test_a_rejection_calls_nodes_by_their_titles() -> None:
    errors = {"3": {"class_type": "KSampler", "errors": [{"message": "Value too small", "details": "steps"}]}}
    assert rejection_text({"error": {}, "node_errors": errors}, GRAPH) == "'Sampler': Value too small (steps)"
    assert "no outputs" in rejection_text({"error": {"message": "Prompt has no outputs", "details": ""}}, GRAPH)
