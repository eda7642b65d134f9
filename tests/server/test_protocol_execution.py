"""Execution over the wire: the order of messages, caching, lazy inputs, failures, interruption, history."""

from __future__ import annotations

import struct
from io import BytesIO

import pytest
from PIL import Image


def value(name, number=1):
    return {"class_type": "ProbeValue", "inputs": {"name": name, "value": number}}


def show(source, slot=0, **more):
    return {"class_type": "ProbeShow", "inputs": {"value": [source, slot], **more}}


def steps(number):
    return {"class_type": "ProbeSteps", "inputs": {"steps": number}}


def loop(gate, listens=True, number=0):
    node = {"class_type": "ProbeLoop", "inputs": {"gate": str(gate), "listens": listens, "value": number}}
    return {"1": node, "2": show("1")}


@pytest.fixture
def name(request):
    """A name of the test's own, so that `ProbeValue` counts its runs afresh."""
    return request.node.name


def test_messages_come_in_comfyuis_order(client, name):
    prompt = {
        "1": value(name),
        "2": {"class_type": "ProbeSteps", "inputs": {"steps": 2}},
        "3": show("1", other=["2", 0]),
    }
    outcome = client.run(prompt)

    events = outcome.events()
    assert events[:2] == ["execution_start", "execution_cached"]
    assert events[-2:] == ["execution_success", "executing None"]
    assert events.count("progress 2") == 2
    middle = [event for event in events[2:-2] if not event.startswith(("progress", "progress_state"))]
    assert middle == ["executing 1", "executing 2", "executing 3", "executed 3"] or middle == [
        "executing 2",
        "executing 1",
        "executing 3",
        "executed 3",
    ]
    # Each node: its state before `executing`, and again when it has finished.
    first = events.index("executing 1")
    assert events[first - 1 : first + 2] == ["progress_state", "executing 1", "progress_state"]


def test_progress_tells_value_total_node_and_prompt(client):
    outcome = client.run({"1": steps(3), "2": show("1")})
    assert [(entry["value"], entry["max"]) for entry in outcome.data("progress")] == [(1, 3), (2, 3), (3, 3)]
    assert {(entry["node"], entry["prompt_id"]) for entry in outcome.data("progress")} == {("1", outcome.prompt_id)}
    last = outcome.data("progress_state")[-1]
    assert last["prompt_id"] == outcome.prompt_id
    assert last["nodes"]["1"] == {
        "value": 3,
        "max": 3,
        "state": "finished",
        "node_id": "1",
        "prompt_id": outcome.prompt_id,
        "display_node_id": "1",
        "parent_node_id": None,
        "real_node_id": "1",
    }


def test_an_own_prompt_id_is_kept_and_the_status_counts_the_queue(client):
    answer = client.submit({"1": value("own id"), "2": show("1")}, prompt_id="my-own-id").json()
    assert answer["prompt_id"] == "my-own-id"
    assert answer["node_errors"] == {}
    outcome = client.finish("my-own-id")
    counts = [entry["status"]["exec_info"]["queue_remaining"] for entry in outcome.data("status")]
    assert counts[0] == 1
    assert counts[-1] == 0


def test_the_same_prompt_again_runs_nothing_and_shows_the_old_output(client, name):
    prompt = {"1": value(name), "2": show("1", slot=1)}
    first = client.run(prompt)
    again = client.run(prompt)
    assert first.data("execution_cached")[0]["nodes"] == []
    assert again.data("execution_cached")[0]["nodes"] == ["1", "2"]
    assert (
        again.data("executed")[0]["output"]
        == first.data("executed")[0]["output"]
        == {
            "value": [1],
            "other": [None],
            "unloads": first.data("executed")[0]["output"]["unloads"],
        }
    )
    assert [entry["node"] for entry in again.data("executing")] == [None]
    assert again.history["outputs"] == first.history["outputs"]


def test_only_what_changed_runs_again(client, name):
    client.run({"1": value(name), "2": value(f"{name} b", 1), "3": show("1", slot=1, other=["2", 0])})
    second = client.run({"1": value(name), "2": value(f"{name} b", 2), "3": show("1", slot=1, other=["2", 0])})
    assert second.data("execution_cached")[0]["nodes"] == ["1"]
    assert second.data("executed")[0]["output"]["value"] == [1]
    assert second.data("executed")[0]["output"]["other"] == [2]


def test_renumbered_nodes_still_find_their_results(client, name):
    client.run({"1": value(name), "2": show("1", slot=1)})
    renumbered = client.run({"70": value(name), "80": show("70", slot=1)})
    assert sorted(renumbered.data("execution_cached")[0]["nodes"]) == ["70", "80"]
    assert renumbered.history["outputs"]["80"]["value"] == [1]


def test_a_result_that_the_next_prompt_has_no_use_for_is_dropped(client, name):
    prompt = {"1": value(name), "2": show("1", slot=1)}
    client.run(prompt)
    client.run({"1": value(f"{name} other"), "2": show("1", slot=1)})
    assert client.run(prompt).history["outputs"]["2"]["value"] == [2]


def test_a_fingerprint_that_changed_runs_the_node_again(client, tmp_path):
    path = tmp_path / "number"
    prompt = {"1": {"class_type": "ProbeFile", "inputs": {"path": str(path)}}, "2": show("1")}
    path.write_text("3")
    assert client.run(prompt).history["outputs"]["2"]["value"] == [3]
    assert client.run(prompt).data("execution_cached")[0]["nodes"] == ["1", "2"]
    path.write_text("4")
    assert client.run(prompt).history["outputs"]["2"]["value"] == [4]


def test_a_lazy_input_that_is_not_needed_is_not_computed(client, name):
    prompt = {
        "1": value(f"{name} left", 1),
        "2": value(f"{name} right", 2),
        "3": {"class_type": "ProbeLazy", "inputs": {"which": "right", "left": ["1", 0], "right": ["2", 0]}},
        "4": show("3"),
    }
    outcome = client.run(prompt)
    assert outcome.history["outputs"]["4"]["value"] == [2]
    assert "executing 1" not in outcome.events()
    assert outcome.events().count("executing 2") == 1


def test_free_forgets_results_and_unloads_models(client, name):
    prompt = {"1": value(name), "2": show("1", slot=1)}
    before = client.run(prompt).history["outputs"]["2"]
    assert client.post("/free", {"unload_models": True, "free_memory": True}).status_code == 200
    after = client.run(prompt).history["outputs"]["2"]
    assert after["value"] == [2]
    assert after["unloads"][0] == before["unloads"][0] + 1


def test_free_without_forgetting_keeps_results(client, name):
    prompt = {"1": value(name), "2": show("1", slot=1)}
    client.run(prompt)
    client.post("/free", {"unload_models": True})
    assert client.run(prompt).data("execution_cached")[0]["nodes"] == ["1", "2"]


def test_a_failing_node_is_reported_with_where_and_why(client, name):
    prompt = {
        "1": value(name),
        "2": {"class_type": "ProbeFail", "inputs": {"how": "error", "value": ["1", 0]}},
        "3": show("2"),
    }
    outcome = client.run(prompt)
    failure = outcome.data("execution_error")[0]
    assert failure["node_id"] == "2"
    assert failure["node_type"] == "ProbeFail"
    assert failure["exception_type"] == "ValueError"
    assert failure["exception_message"] == "the probe fails as asked\n"
    assert "probe_fail" in "".join(failure["traceback"])
    assert failure["executed"] == ["1"]
    assert failure["current_inputs"] == {"how": ["error"], "value": [1]}
    assert outcome.history["status"]["status_str"] == "error"
    assert outcome.history["status"]["completed"] is False
    assert outcome.history["status"]["messages"][-1][0] == "execution_error"
    assert "execution_success" not in outcome.events()


def test_out_of_memory_unloads_models_and_the_server_goes_on(client, name):
    failing = {"1": {"class_type": "ProbeFail", "inputs": {"how": "memory", "value": 1}}, "2": show("1")}
    working = {"1": value(name), "2": show("1")}
    before = client.run(working).history["outputs"]["2"]["unloads"][0]
    failure = client.run(failing).data("execution_error")[0]
    assert failure["exception_type"] in ("torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError")
    assert "ran out of memory" in failure["exception_message"]
    after = client.run({"1": value(name), "2": show("1", slot=1)}).history
    assert after["status"]["completed"] is True
    assert after["outputs"]["2"]["unloads"][0] == before + 1


def test_the_history_is_there_when_the_end_is_announced(client, name):
    """ComfyUI announces success before it keeps the history; 44 of 200 look-ups found nothing there."""
    prompt_id = client.submit({"1": value(name), "2": show("1")}).json()["prompt_id"]
    client.until_event("execution_success")
    assert client.get(f"/history/{prompt_id}").json()[prompt_id]["status"]["completed"] is True
    client.finish(prompt_id)


@pytest.mark.parametrize("number", [5, 2.5])
def test_the_history_holds_the_prompt_its_outputs_and_messages(client, name, number):
    prompt = {"1": value(name), "2": show("1")}
    outcome = client.run(
        prompt, number=number, extra_data={"extra_pnginfo": {"workflow": {}}, "api_key_comfy_org": "x"}
    )
    listed_number, prompt_id, kept, extra_data, outputs = outcome.history["prompt"]
    assert (listed_number, prompt_id, kept, outputs) == (number, outcome.prompt_id, prompt, ["2"])
    assert extra_data == {"extra_pnginfo": {"workflow": {}}, "client_id": client.client_id}
    assert outcome.history["status"]["status_str"] == "success"
    assert [event for event, _ in outcome.history["status"]["messages"]] == [
        "execution_start",
        "execution_cached",
        "execution_success",
    ]
    assert outcome.history["meta"]["2"]["real_node_id"] == "2"


def test_history_can_be_paged_and_deleted(client, name):
    client.post("/history", {"clear": True})
    ids = [client.run({"1": value(f"{name} {n}"), "2": show("1")}).prompt_id for n in range(4)]
    assert list(client.get("/history").json()) == ids
    assert list(client.get("/history", max_items=2).json()) == ids[2:]
    assert list(client.get("/history", max_items=2, offset=1).json()) == ids[1:3]
    client.post("/history", {"delete": [ids[1]]})
    assert list(client.get("/history").json()) == [ids[0], ids[2], ids[3]]
    assert client.get(f"/history/{ids[1]}").json() == {}
    assert client.get("/history", max_items="many").status_code == 400
    assert client.get("/history", max_items=-1).json() == {}


def test_previews_are_binary_frames_of_at_most_512_pixels(client, gate):
    gate.touch()
    outcome = client.run(loop(gate))
    event, kind = struct.unpack(">II", outcome.frames[0][:8])
    assert (event, kind) == (1, 1)
    picture = Image.open(BytesIO(outcome.frames[0][8:]))
    assert (picture.format, picture.size) == ("JPEG", (512, 256))


def test_previews_carry_metadata_for_clients_that_ask_for_it(connect, gate):
    gate.touch()
    client = connect(features={"supports_preview_metadata": True})
    client.connect()
    assert client.until_event("feature_flags")[-1]["data"]["supports_preview_metadata"] is True
    outcome = client.run(loop(gate))
    event, length = struct.unpack(">II", outcome.frames[0][:8])
    assert event == 4
    assert b'"node_id": "1"' in outcome.frames[0][8 : 8 + length]
    assert Image.open(BytesIO(outcome.frames[0][8 + length :])).size == (512, 256)


def test_an_interrupt_stops_the_node_in_its_middle(client, gate):
    prompt_id = client.submit(loop(gate)).json()["prompt_id"]
    client.until_event("progress")
    assert client.post("/interrupt", {"prompt_id": prompt_id}).status_code == 200
    outcome = client.finish(prompt_id)
    assert outcome.data("execution_interrupted")[0]["node_id"] == "1"
    assert outcome.data("execution_interrupted")[0]["node_type"] == "ProbeLoop"
    assert outcome.history["status"]["status_str"] == "error"
    assert outcome.history["status"]["completed"] is False
    assert outcome.history["status"]["messages"][-1][0] == "execution_interrupted"
    assert not gate.exists()


def test_an_interrupt_without_a_prompt_id_stops_whatever_runs(client, gate):
    prompt_id = client.submit(loop(gate)).json()["prompt_id"]
    client.until_event("progress")
    client.post("/interrupt")
    assert client.finish(prompt_id).data("execution_interrupted")


def test_an_interrupt_for_another_prompt_changes_nothing(client, gate):
    prompt_id = client.submit(loop(gate)).json()["prompt_id"]
    client.until_event("progress")
    assert client.post("/interrupt", {"prompt_id": "somebody-elses"}).status_code == 200
    gate.touch()
    assert client.finish(prompt_id).history["status"]["completed"] is True


def test_an_interrupt_of_a_deaf_node_takes_effect_before_the_next_node(client, gate):
    prompt_id = client.submit(loop(gate, listens=False)).json()["prompt_id"]
    client.until_event("progress")
    client.post("/interrupt", {"prompt_id": prompt_id})
    gate.touch()
    assert client.finish(prompt_id).data("execution_interrupted")[0]["node_id"] == "2"


def test_an_interrupt_does_not_reach_the_next_prompt(client, gate, name):
    prompt_id = client.submit(loop(gate)).json()["prompt_id"]
    next_id = client.submit({"1": value(name), "2": show("1")}).json()["prompt_id"]
    client.until_event("progress")
    client.post("/interrupt", {"prompt_id": prompt_id})
    client.finish(prompt_id)
    assert client.finish(next_id).history["status"]["completed"] is True


def test_waiting_prompts_are_listed_deleted_cleared_and_overtaken(client, gate, name):
    def submit(label, **more):
        return client.submit({"1": value(f"{name} {label}"), "2": show("1")}, **more).json()["prompt_id"]

    running = client.submit(loop(gate)).json()["prompt_id"]
    client.until_event("progress")
    first, second, third = submit("a"), submit("b"), submit("c")
    ahead = submit("d", front=True)

    listing = client.get("/queue").json()
    assert [entry[1] for entry in listing["queue_running"]] == [running]
    assert sorted(entry[1] for entry in listing["queue_pending"]) == sorted([first, second, third, ahead])
    assert client.get("/prompt").json() == {"exec_info": {"queue_remaining": 5}}

    client.post("/queue", {"delete": [second, "not there"]})
    assert client.get("/prompt").json()["exec_info"]["queue_remaining"] == 4
    gate.touch()
    order = [client.until_event("execution_start")[-1]["data"]["prompt_id"] for _ in range(3)]
    assert order == [ahead, first, third]
    client.finish(third)
    assert client.get(f"/history/{second}").json() == {}


def test_clear_empties_the_queue_but_lets_the_running_prompt_finish(client, gate, name):
    running = client.submit(loop(gate, number=4)).json()["prompt_id"]
    client.until_event("progress")
    client.submit({"1": value(name), "2": show("1")})
    client.post("/queue", {"clear": True})
    assert client.get("/queue").json()["queue_pending"] == []
    gate.touch()
    assert client.finish(running).history["outputs"]["2"]["value"] == [4]


def test_two_prompts_with_one_number_run_in_order_of_arrival(client, gate, name):
    """In ComfyUI the second answers 500 and is queued all the same."""
    client.submit(loop(gate))
    client.until_event("progress")
    ids = [client.submit({"1": value(f"{name} {n}"), "2": show("1")}, number=7).json()["prompt_id"] for n in range(2)]
    gate.touch()
    client.finish(ids[0])
    client.finish(ids[1])


def test_only_the_asked_outputs_run(client, name):
    prompt = {"1": value(name), "2": show("1"), "3": show("1", slot=1)}
    outcome = client.run(prompt, partial_execution_targets=["3"])
    assert list(outcome.history["outputs"]) == ["3"]
    assert outcome.history["prompt"][4] == ["3"]


def test_undeclared_inputs_are_ignored(client, name):
    prompt = {"1": value(name), "2": show("1", surplus=["404", 0], note="hello")}
    assert client.run(prompt).history["status"]["completed"] is True
