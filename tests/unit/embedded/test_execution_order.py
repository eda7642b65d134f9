"""Pure parts of the executor: links, cycles, schedules, cache keys, queue and values."""

from __future__ import annotations

import math

import pytest
from defectforge.runner.embedded.execution import cache
from defectforge.runner.embedded.execution.prompt_queue import PromptQueue
from defectforge.runner.embedded.execution.registry import CoreNode, NodeResult, Registry
from defectforge.runner.embedded.execution.schedule import Schedule
from defectforge.runner.embedded.protocol.links import find_cycle, is_link, upstream
from defectforge.runner.embedded.protocol.origin import foreign_origin, is_loopback
from defectforge.runner.embedded.protocol.paths import annotated, inside
from defectforge.runner.embedded.protocol.validation import validate_prompt
from defectforge.runner.embedded.protocol.values import converted, matches


def core(node_id, inputs=None, **more):
    return CoreNode(
        node_id=node_id,
        function=lambda **given: (1,),
        inputs=inputs or {"optional": {"a": ("INT", {}), "b": ("INT", {"lazy": True}), "x": ("INT", {})}},
        outputs=[("INT", "INT")],
        category="probe",
        display_name=node_id,
        **more,
    )


@pytest.fixture
def registry():
    return Registry(
        [
            core("Step"),
            core("Out", output_node=True),
            core("Fresh", is_changed=lambda x: math.nan),
            core("Broken", is_changed=lambda x: 1 // 0),
            core("Single", not_idempotent=True),
            core("Named", {"required": {}, "hidden": {"id": "UNIQUE_ID"}}),
        ]
    )


def graph(**nodes):
    """`graph(n2=("Step", {"a": "1"}))`: text is a link to slot 0 of that node."""
    return {
        name[1:]: {
            "class_type": kind,
            "inputs": {key: [value, 0] if isinstance(value, str) else value for key, value in inputs.items()},
        }
        for name, (kind, inputs) in nodes.items()
    }


DIAMOND = graph(n1=("Step", {}), n2=("Step", {"a": "1"}), n3=("Step", {"a": "1"}), n4=("Out", {"a": "2", "x": "3"}))


@pytest.mark.parametrize(
    ("value", "link"),
    [(["1", 0], True), (["1", 0.0], True), ([1, 0], False), (["1", "0"], False), (["1"], False), ("1", False)],
)
def test_a_link_is_a_list_of_node_and_slot(value, link):
    assert is_link(value) is link


def test_upstream_lists_sources_before_what_needs_them():
    order = upstream(DIAMOND, ["4"])
    assert sorted(order) == ["1", "2", "3", "4"]
    assert order.index("1") < min(order.index("2"), order.index("3")) < order.index("4")


def test_upstream_of_a_long_chain_needs_no_recursion():
    chain = graph(n0=("Step", {}), **{f"n{n}": ("Step", {"a": str(n - 1)}) for n in range(1, 5000)})
    assert len(upstream(chain, ["4999"])) == 5000


@pytest.mark.parametrize(
    ("prompt", "cycle"),
    [
        (DIAMOND, None),
        (graph(n4=("Step", {"a": "4"})), ["4", "4"]),
        (graph(n4=("Step", {"a": "5"}), n5=("Step", {"a": "6"}), n6=("Step", {"a": "5"})), ["5", "6", "5"]),
        (graph(n4=("Step", {"a": "404"})), None),
    ],
    ids=["diamond", "self", "behind", "missing"],
)
def test_cycles_are_found(prompt, cycle):
    assert find_cycle(prompt, "4") == cycle


def run_order(schedule, needs=None):
    order = []
    while schedule:
        node_id = schedule.next()
        if needs and node_id in needs:
            schedule.require(node_id, needs.pop(node_id))
            continue
        order.append(node_id)
        schedule.complete(node_id)
    return order


def test_a_schedule_runs_sources_first_and_each_node_once(registry):
    schedule = Schedule(DIAMOND, registry, lambda node_id: False)
    schedule.add(["4"])
    order = run_order(schedule)
    assert sorted(order) == ["1", "2", "3", "4"]
    assert (order[0], order[-1]) == ("1", "4")


def test_an_output_that_is_ready_runs_before_other_work(registry):
    prompt = graph(
        n1=("Step", {}),
        n2=("Step", {"a": "1"}),
        n3=("Step", {"a": "2"}),
        n8=("Out", {"a": "3"}),
        n9=("Out", {"a": "1"}),
    )
    schedule = Schedule(prompt, registry, lambda node_id: False)
    schedule.add(["8", "9"])
    assert run_order(schedule) == ["1", "9", "2", "3", "8"]


def test_nodes_of_equal_standing_run_in_comfyuis_order(registry):
    """Checkpoint, text, empty latent, sampler, decoder, preview: the latent comes before the text."""
    prompt = graph(
        n1=("Step", {}),
        n2=("Step", {"a": "1"}),
        n3=("Step", {}),
        n4=("Sampler", {"model": "1", "text": "2", "latent": "3"}),
        n5=("Sampler", {"latent": "4", "model": "1"}),
        n9=("Out", {"a": "5"}),
    )
    sampler = {"required": {name: ("INT", {}) for name in ("model", "text", "latent")}}
    schedule = Schedule(prompt, Registry([*registry, core("Sampler", sampler)]), lambda node_id: False)
    schedule.add(["9"])
    assert run_order(schedule) == ["1", "3", "2", "4", "5", "9"]


def test_what_is_cached_is_not_scheduled_but_a_cached_output_is_shown(registry):
    schedule = Schedule(DIAMOND, registry, lambda node_id: node_id != "4")
    schedule.add(["4"])
    assert run_order(schedule) == ["4"]
    schedule = Schedule(DIAMOND, registry, lambda node_id: True)
    schedule.add(["4"])
    assert run_order(schedule) == ["4"]


def test_lazy_inputs_run_only_when_required(registry):
    prompt = graph(n1=("Step", {}), n2=("Step", {}), n3=("Out", {"a": "1", "b": "2"}))
    schedule = Schedule(prompt, registry, lambda node_id: False)
    schedule.add(["3"])
    assert run_order(schedule) == ["1", "3"]
    schedule = Schedule(prompt, registry, lambda node_id: False)
    schedule.add(["3"])
    assert run_order(schedule, {"3": ["b"]}) == ["1", "2", "3"]


def test_requiring_what_is_not_linked_is_an_error(registry):
    schedule = Schedule(DIAMOND, registry, lambda node_id: False)
    schedule.add(["4"])
    with pytest.raises(ValueError, match="needs input 'b'"):
        schedule.require("4", ["b"])


def key_of(prompt, registry, node_id="4"):
    return cache.keys(prompt, [node_id], registry)[node_id]


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (
            graph(n7=("Step", {}), n8=("Step", {"a": "7"}), n9=("Step", {"a": "7"}), n4=("Out", {"a": "8", "x": "9"})),
            True,
        ),
        (
            graph(
                n1=("Step", {"x": 1}),
                n2=("Step", {"a": "1"}),
                n3=("Step", {"a": "1"}),
                n4=("Out", {"a": "2", "x": "3"}),
            ),
            False,
        ),
        (
            graph(n1=("Step", {}), n2=("Step", {"a": "1"}), n3=("Step", {"a": "1"}), n4=("Out", {"x": "2", "b": "3"})),
            False,
        ),
    ],
    ids=["renumbered", "another constant", "another input"],
)
def test_a_key_follows_the_graph_and_not_its_numbers(registry, other, same):
    assert (key_of(DIAMOND, registry) == key_of(other, registry)) is same


@pytest.mark.parametrize(("one", "other"), [(1, True), (1, 1.0), ("1", 1), (None, 0), ({"a": 1}, {"a": 2})])
def test_constants_of_different_types_have_different_keys(registry, one, other):
    prompts = [{"4": {"class_type": "Out", "inputs": {"x": value}}} for value in (one, other)]
    assert key_of(prompts[0], registry) != key_of(prompts[1], registry)


@pytest.mark.parametrize("kind", ["Fresh", "Broken"])
def test_a_fingerprint_that_equals_nothing_never_hits(registry, kind):
    prompt = graph(n4=(kind, {"x": 1}))
    assert key_of(prompt, registry) != key_of(prompt, registry)


@pytest.mark.parametrize("kind", ["Single", "Named"])
def test_nodes_that_know_their_id_do_not_share_results(registry, kind):
    keys = cache.keys(graph(n1=(kind, {}), n2=(kind, {})), ["1", "2"], registry)
    assert keys["1"] != keys["2"]


def test_the_cache_keeps_what_the_prompt_uses():
    kept = cache.OutputCache()
    kept.set_prompt({"1": "a", "2": "b"})
    kept.set("1", NodeResult((1,)))
    kept.set("2", NodeResult((2,)))
    kept.set_prompt({"5": "b", "6": "c"})
    assert kept.get("5").values == (2,)
    assert kept.get("6") is None
    kept.set_prompt({"1": "a"})
    assert kept.get("1") is None


def test_unloading_forgets_models_and_keeps_pictures():
    kept = cache.OutputCache()
    kept.set_prompt({"model": "a", "picture": "b"})
    kept.set("model", NodeResult((object(),)), holds_models=True)
    kept.set("picture", NodeResult((2,)))
    kept.drop_models()
    assert kept.get("model") is None
    assert kept.get("picture").values == (2,)


def test_the_queue_orders_by_number_then_arrival_and_keeps_secrets_out_of_the_history():
    queue = PromptQueue(lambda: None)
    for number, name in ((2, "c"), (1, "a"), (1, "b"), (-1, "front")):
        queue.put(number, name, {}, {"api_key_comfy_org": "secret"}, [])
    order = []
    while queue.remaining():
        item, _ = queue.next(lambda item: None)
        order.append(item.prompt_id)
        queue.done({"outputs": {}}, lambda: None)
    assert order == ["front", "a", "b", "c"]
    assert [entry["prompt"][3] for entry in queue.history().values()] == [{}] * 4


def test_a_prompt_can_be_interrupted_as_soon_as_it_is_seen_to_run():
    seen = []
    queue = PromptQueue(lambda: seen.append("changed"))
    queue.put(0, "a", {}, {}, [])
    queue.next(lambda item: seen.append(item.prompt_id))
    assert seen == ["changed", "a", "changed"]


def test_flags_wake_an_empty_queue_and_closing_ends_it():
    queue = PromptQueue(lambda: None)
    queue.set_flag("free_memory")
    assert queue.next(lambda item: None) == (None, {"free_memory": True})
    queue.close()
    assert queue.next(lambda item: None) == (None, {})


@pytest.mark.parametrize(
    ("received", "wanted", "fits"),
    [
        ("IMAGE", "IMAGE", True),
        ("IMAGE", "MASK", False),
        ("*", "MASK", True),
        ("INT", "*", True),
        ("INT,FLOAT", "FLOAT,STRING", True),
        (["a", "b"], ["a", "b"], True),
        (["a"], ["a", "b"], False),
        (["a"], "STRING", False),
    ],
)
def test_types_fit(received, wanted, fits):
    assert matches(received, wanted) is fits


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("64", "INT", 64),
        (64.9, "INT", 64),
        ("1.5", "FLOAT", 1.5),
        (5, "STRING", "5"),
        (1, "BOOLEAN", True),
        ([1], "X", [1]),
    ],
)
def test_constants_are_converted(value, kind, expected):
    assert converted(value, kind) == expected


@pytest.mark.parametrize(("value", "kind"), [("x", "INT"), (None, "FLOAT"), (math.nan, "FLOAT"), (math.inf, "INT")])
def test_what_cannot_be_converted_raises(value, kind):
    with pytest.raises((ValueError, TypeError, OverflowError)):
        converted(value, kind)


@pytest.mark.parametrize(
    ("parts", "safe"),
    [
        (("a", "b.png"), True),
        (("..", "b.png"), False),
        (("a/../../b",), False),
        (("/etc/passwd",), False),
        (("a\0b",), False),
        (("a/../b",), True),
        ((".",), True),
    ],
)
def test_paths_stay_inside(tmp_path, parts, safe):
    assert (inside(tmp_path, *parts) is not None) is safe


def test_annotated_names():
    assert annotated("a b.png [output]") == ("a b.png", "output")
    assert annotated("a.png") == ("a.png", None)


@pytest.mark.parametrize(
    ("host", "origin", "foreign"),
    [
        ("127.0.0.1:8188", "http://127.0.0.1:8188", False),
        ("localhost:8188", "http://localhost:8188", False),
        ("localhost:8188", "http://localhost", False),
        ("127.0.0.1:8188", "http://127.0.0.1:9", True),
        ("127.0.0.1:8188", "https://evil.example", True),
        ("192.0.2.1:8188", "https://evil.example", False),
        ("127.0.0.1:8188", "null", True),
        ("127.0.0.1:8188", None, False),
        ("127.0.0.1:port", "http://127.0.0.1:8188", True),
    ],
)
def test_pages_of_other_origins_are_foreign_to_a_loopback_server(host, origin, foreign):
    assert foreign_origin(host, origin) is foreign


def test_loopback_addresses():
    assert is_loopback("::1") and is_loopback("127.8.9.1")
    assert not is_loopback("192.0.2.1") and not is_loopback(None)


def test_validation_reports_a_missing_node_once_with_all_its_outputs(registry):
    verdict = validate_prompt(graph(n1=("Out", {"a": "404"}), n2=("Out", {"a": "404"}), n3=("Out", {})), registry)
    assert verdict.outputs == ["3"]
    assert verdict.error is None
    assert set(verdict.node_errors) == {"1", "2"}
