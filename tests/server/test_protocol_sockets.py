"""WebSockets: who gets which message, reconnecting, and clients that vanish."""

from __future__ import annotations

import json

import pytest


def steps(number):
    return {
        "1": {"class_type": "ProbeSteps", "inputs": {"steps": number}},
        "2": {"class_type": "ProbeShow", "inputs": {"value": ["1", 0]}},
    }


def loop(gate):
    return {
        "1": {"class_type": "ProbeLoop", "inputs": {"gate": str(gate), "listens": True}},
        "2": {"class_type": "ProbeShow", "inputs": {"value": ["1", 0]}},
    }


def test_the_first_message_tells_the_clients_id_and_the_queue(connect):
    client = connect(client_id="chosen")
    hello = client.connect()
    assert hello["type"] == "status"
    assert hello["data"]["sid"] == "chosen"
    assert hello["data"]["status"]["exec_info"]["queue_remaining"] >= 0


def test_a_client_without_an_id_is_given_one(connect):
    hello = connect(client_id="").connect()
    assert len(hello["data"]["sid"]) == 32


def test_messages_of_a_prompt_go_to_its_client_and_status_to_all(connect):
    owner, other = connect(), connect()
    owner.connect()
    other.connect()
    outcome = owner.run(steps(2))
    assert outcome.data("progress")
    # The owner's end came after the last status, so whatever the other was sent is on its way already.
    seen = other.until(lambda m: m["data"].get("status", {}).get("exec_info") == {"queue_remaining": 0})
    assert {message["type"] for message in seen} == {"status"}


def test_progress_of_a_prompt_without_a_client_goes_to_everybody(connect):
    client = connect()
    client.connect()
    answer = client.post("/prompt", {"prompt": steps(5)}).json()
    seen = client.until_event("progress")
    assert seen[-1]["data"]["prompt_id"] == answer["prompt_id"]
    assert "execution_start" not in {message["type"] for message in seen}


def test_a_reconnecting_client_learns_what_runs_and_gets_the_rest(connect, gate):
    client = connect()
    client.connect()
    prompt_id = client.submit(loop(gate)).json()["prompt_id"]
    client.until_event("progress")
    client.socket.close()
    assert client.connect()["type"] == "status"
    assert client.until_event("executing")[-1]["data"] == {"node": "1", "prompt_id": prompt_id}
    gate.touch()
    assert client.finish(prompt_id).history["status"]["completed"] is True


def test_the_end_of_an_old_connection_does_not_silence_the_new_one(connect):
    """In ComfyUI the late end of the first connection leaves the second deaf for ever."""
    first = connect(client_id="twice")
    first.connect()
    second = connect(client_id="twice")
    second.connect()
    first.socket.close()
    outcome = second.run(steps(3))
    assert len(outcome.data("progress")) == 3


def test_a_client_that_vanishes_without_a_word_stops_nothing(connect, gate):
    gone, other = connect(), connect()
    gone.connect()
    other.connect()
    prompt_id = gone.submit(loop(gate)).json()["prompt_id"]
    gone.until_event("progress")
    gone.socket.shutdown()
    gate.touch()
    other.run(steps(4))
    assert other.get(f"/history/{prompt_id}").json()[prompt_id]["status"]["completed"] is True


@pytest.mark.parametrize("noise", ["not json", "[]", json.dumps({"type": "unknown"}), '{"type": "feature_flags"}'])
def test_noise_from_a_client_is_harmless(client, noise):
    client.socket.send(noise)
    assert client.run(steps(2)).history["status"]["completed"] is True


def test_a_slow_reader_delays_nobody(connect):
    slow, quick = connect(), connect()
    slow.connect()
    quick.connect()
    for number in range(20, 25):
        quick.run(steps(number))
    # The slow one finds every status message waiting for it.
    assert len(slow.until(lambda m: m["data"]["status"]["exec_info"]["queue_remaining"] == 0)) >= 1
