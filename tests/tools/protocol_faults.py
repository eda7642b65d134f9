"""What a ComfyUI server does to its client, the lines that handle it, and the test that holds them.

`where` is the kind: submitting (S), queue and history (Q), the WebSocket (W), files (F), failures of servers (D).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

SERVER = "tests/server/runner/"
PROTOCOL, FAULT = SERVER + "test_runner_protocol.py::test_", SERVER + "test_runner_faults.py::test_"
MANY, PEERS = SERVER + "test_runner_many.py::test_", SERVER + "test_runner_peers.py::test_"
SCHEMA = "tests/unit/runner/test_runner_schema.py::test_"
BREAKER = "tests/unit/runner/test_runner_breaker.py::test_"
SERVERS = PurePosixPath("servers")
CLIENT, WORKER, LISTENER, UPLOADS = (
    str(SERVERS / f"{name}.py") for name in ("client", "worker", "listener", "uploads")
)
WINDOW, JOBS, OUTCOME, COLLECT, BREAKS = (
    str(SERVERS / "work" / f"{name}.py") for name in ("window", "jobs", "outcome", "collect", "breaker")
)
GRAPH = "graphs/schema.py"

Edit = tuple[str, str, str]
"""A file below runner/, text that is in it once, and what stands there without the handling."""


@dataclass(frozen=True)
class Fault:
    where: str
    what: str
    test: str
    edits: tuple[Edit, ...]


def fault(where: str, what: str, test: str, *edit: str) -> Fault:
    return Fault(where, what, test, ((edit[0], edit[1], edit[2]),))


FAULTS = [
    fault("S", "without our own id a job is not found again", FAULT + "nothing_wrong", CLIENT,
          '"prompt_id": prompt_id, "client_id"', '"client_id"'),
    fault("S", "an older server ignores the id", PROTOCOL + "a_server_that_ignores_our_job_ids_is_refused", CLIENT,
          'if reply.get("prompt_id") != prompt_id:', "if False:"),
    fault("S", "a 5xx behind which the job is queued",
          FAULT + "a_500_behind_which_the_job_was_queued_is_not_queued_again",
          WINDOW, 'if client.find(prompt_id)[0] == "absent":', "if True:"),
    fault("S", "an answer lost on the way", FAULT + "a_job_whose_answer_was_lost_on_the_way_is_not_queued_again",
          WINDOW, "except (Unclear, Unreachable):\n                # It may",
          "except Unclear:\n                # It may"),
    fault("S", "the same id with the same number is a 500", FAULT + "nothing_wrong", CLIENT,
          '"client_id": self.client_id}', '"client_id": self.client_id, "number": 1}'),
    fault("S", "200 with node_errors: a part was dropped", FAULT + "a_job_accepted_in_part_is_a_rejection", CLIENT,
          'if reply.get("node_errors"):', "if False:"),
    fault("S", "that part stays queued", FAULT + "a_job_accepted_in_part_is_a_rejection", CLIENT,
          'self.delete_pending([reply.get("prompt_id", prompt_id)])', "pass"),
    fault("S", "a 400 is for ever", PROTOCOL + "a_rejected_graph_is_not_sent_again", CLIENT,
          'raise Rejected(rejection_text(reply, graph), reply.get("node_errors"))', 'raise Unclear("400")'),
    fault("S", "only the first unknown node is named",
          SCHEMA + "all_unknown_classes_and_other_faults_come_in_one_error", GRAPH,
          "list(_unknown_classes(graph, object_info, embedded))",
          "list(_unknown_classes(graph, object_info, embedded))[:1]"),
    fault("S", "a loop has an empty answer", SCHEMA + "a_node_that_feeds_itself_is_a_loop", GRAPH,
          "problems += _cycles(graph)", "pass"),
    fault("S", "64.9 becomes 64 in silence", SCHEMA + "each_fault_is_found_and_named", GRAPH,
          "if wrong is not None:", "if False:"),
    fault("S", "a misspelt input is ignored in silence", SCHEMA + "each_fault_is_found_and_named", GRAPH,
          "if not is_open(info) and name not in", "if False and name not in"),
    fault("S", "a link to a missing node is a KeyError there", SCHEMA + "each_fault_is_found_and_named", GRAPH,
          "if origin not in graph:", "if False:"),
    fault("S", "a link to a missing output is an IndexError there", SCHEMA + "each_fault_is_found_and_named", GRAPH,
          "if not 0 <= slot < len(outputs):", "if False:"),
    fault("S", "extra_data null kills the worker thread", FAULT + "nothing_wrong", CLIENT,
          '"extra_data": {extra_data}}}', '"extra_data": null}}'),
    fault("S", "a live HTTP side before a dead worker",
          FAULT + "a_worker_that_is_dead_behind_a_live_server_is_found_out", WORKER, "> self.timing.stall:", "> 1e9:"),
    fault("S", "the root of input is listed with every request", PROTOCOL + "what_is_sent_avoids_the_server_s_traps",
          UPLOADS, "subfolder, name = str(target.parent), target.name", 'subfolder, name = "", target.name'),
    fault("S", "413: too big", PEERS + "what_is_too_big_says_which_limit", "servers/answers.py",
          "if status == 413:", "if False:"),
    fault("Q", "a look at the queue gives every waiting graph", PROTOCOL + "what_is_sent_avoids_the_server_s_traps",
          WINDOW, "while len(self.flights) < depth and", "while len(self.flights) < 50 and"),
    fault("Q", "the whole history is megabytes", FAULT + "the_history_may_be_late", CLIENT,
          'f"/history/{prompt_id}").get', '"/history").get'),
    fault("Q", "a lost job is in neither", FAULT + "a_lost_job_is_queued_again", WINDOW,
          'elif where == "absent":', "elif False:"),
    fault("Q", "a cleared queue is silent", FAULT + "a_queue_that_somebody_clears_is_filled_again", WINDOW,
          'elif where == "absent":', "elif False:"),
    fault("Q", "a job moves between two looks", PROTOCOL + "a_job_that_moves_between_two_looks_is_found", CLIENT,
          "for _ in range(2):", "for _ in range(1):"),
    fault("Q", "an interruption without an id hits anybody",
          FAULT + "a_hanging_job_that_can_be_interrupted_is_tried_once_more", CLIENT,
          '"/interrupt", json={"prompt_id": prompt_id}', '"/interrupt", json={}'),
    fault("Q", "clearing the queue would hit others", FAULT + "the_end_of_a_run_leaves_jobs_of_others_alone", CLIENT,
          '"/queue", json={"delete": prompt_ids}', '"/queue", json={"clear": True}'),
    Fault("Q", "a node without progress is interrupted only at its end",
          FAULT + "the_end_of_a_run_does_not_wait_for_a_node_that_cannot_be_interrupted",
          ((WORKER, "and time.monotonic() < deadline + 5.0:", ":"),
           ("servers/following.py", "if leave_at is not None and time.monotonic() > leave_at:", "if False:"))),
    fault("Q", "somebody interrupts our job", PROTOCOL + "a_job_that_somebody_interrupted_is_tried_once_more", OUTCOME,
          'if "execution_interrupted" in messages:', "if False:"),
    fault("Q", "out of memory", FAULT + "out_of_memory_frees_the_server_and_tries_once_more", OUTCOME,
          "if any(kind.endswith(name) for name in OUT_OF_MEMORY):", "if False:"),
    fault("Q", "/free without a body is a 500", FAULT + "out_of_memory_frees_the_server_and_tries_once_more", CLIENT,
          '"/free", json={"unload_models": True, "free_memory": True})', '"/free")'),
    fault("Q", "a blocked branch is a success without outputs", FAULT + "success_is_believed_only_with_its_outputs",
          "outputs/pairs.py", "if not pairs or not isinstance(pairs, list):", "if False:"),
    fault("Q", "a history entry that is none", PEERS + "a_history_entry_that_is_none_fails_that_job", OUTCOME,
          "return value if isinstance(value, dict) else {}", "return value"),
    fault("W", "success is told before the history knows it", FAULT + "the_history_may_be_late", JOBS,
          "flight.look_at = time.monotonic() + 0.1\n            return", 'raise RuntimeError("no entry")'),
    fault("W", "a drop loses messages for good", FAULT + "a_dropped_socket_loses_no_result", WORKER,
          "self.window.look_at_all()\n            self._last_reconcile", "self._last_reconcile"),
    fault("W", "a socket that stays open and hears nothing", FAULT + "a_deaf_socket_is_noticed_and_replaced",
          "servers/connection.py", "self._listener.reopen()", "pass"),
    fault("W", "jobs belong to the client id that queued them", PROTOCOL + "the_client_id_stays_over_a_reconnect",
          LISTENER, "clientId={self._client_id}", "clientId={os.urandom(4).hex()}"),
    fault("W", "jobs of others are told to everybody", PROTOCOL + "others_jobs_are_not_taken_for_ours", WINDOW,
          "flight = self.flights.get(message.prompt_id)",
          "flight = self.flights.get(message.prompt_id) or next(iter(self.flights.values()), None)"),
    fault("W", "previews come as bytes", PROTOCOL + "frames_of_other_kinds_are_passed_over", LISTENER,
          "if isinstance(frame, bytes):", "if False:"),
    fault("W", "custom nodes send what they like", PEERS + "a_frame_may_be_anything", LISTENER,
          "except (ValueError, RecursionError):", "except KeyError:"),
    fault("W", "a cached repeat announces the files of the first", PROTOCOL + "what_is_sent_avoids_the_server_s_traps",
          COLLECT, '{job.id[:3]}/{job.id[:16]}-{prompt_id[:8]}"', 'all/same"'),
    fault("F", "a name taken by other bytes is changed", PROTOCOL + "a_name_taken_by_other_bytes_is_written_over",
          UPLOADS, "kept = self._client.upload(data, subfolder, name, overwrite=True)", "pass"),
    Fault("F", "an upload of the same bytes travels again", MANY + "what_the_socket_tells_is_not_asked_for",
          ((UPLOADS, "if known in self._known:", "if False:"), (UPLOADS, "if address in self._there:", "if False:"),
           (UPLOADS, "if not self._client.has_input(subfolder, name):", "if True:"))),
    fault("F", "a new server has none of our uploads",
          FAULT + "a_restarted_server_that_lost_its_photos_gets_them_again",
          WORKER, "self._connection.uploads.clear()", "pass"),
    fault("F", "preview= decodes on the event loop", PROTOCOL + "what_is_sent_avoids_the_server_s_traps", CLIENT,
          'for key in ("filename", "subfolder", "type")}',
          'for key in ("filename", "subfolder", "type")} | {"preview": "webp"}'),
    fault("F", "the saver lists its folder for every picture", PROTOCOL + "what_is_sent_avoids_the_server_s_traps",
          COLLECT, 'f"defectforge/{job.id[:3]}/', 'f"defectforge-'),
    fault("F", "another Origin is a 403", PROTOCOL + "what_is_sent_avoids_the_server_s_traps", LISTENER,
          "suppress_origin=True", "suppress_origin=False"),
    fault("F", "choices are each server's own files", MANY + "a_value_that_one_server_has_goes_only_there", WORKER,
          "accepts if lost is None else", "None if lost is None else"),
    fault("F", "a proxy wants a log-in", PEERS + "a_server_that_wants_a_log_in_is_told_once_with_the_way_in",
          "servers/answers.py", "if status in (401, 403, 407):", "if False:"),
    fault("D", "kill -9: what it had is gone without a trace", FAULT + "a_restarted_server_gets_its_jobs_again", WINDOW,
          'elif where == "absent":', "elif False:"),
    fault("D", "others wait while one is away", MANY + "a_lost_server_s_jobs_go_to_the_others_at_once", WORKER,
          "if not comes_back or self._standings.others_work(self.name):", "if not comes_back:"),
    fault("D", "a job that kills its server", FAULT + "a_job_that_kills_the_server_twice_is_put_aside", JOBS,
          "MAX_DEATHS = 2", "MAX_DEATHS = 10**9"),
    fault("D", "a lost server burns the attempts of jobs", FAULT + "a_death_of_the_server_costs_no_attempt", WINDOW,
          'self.give_back(flight, "lost", losses=int(died_with_it))',
          'self.give_back(flight, "lost", attempts=1, losses=int(died_with_it))'),
    fault("D", "a dead server is asked without a pause", BREAKER + "pauses_double_up_to_a_limit_and_never_end",
          BREAKS, "shortest * 2.0 ** min(self._opened, 30)", "shortest"),
    fault("D", "it comes back as another program",
          MANY + "a_server_that_comes_back_as_another_program_is_checked_again",
          WORKER, "self.source.join(self.name, self._admit(self.client))", "pass"),
    fault("D", "its disk is full", PEERS + "a_full_disk_on_the_server_is_told_once", OUTCOME,
          'if kind.endswith("OSError") and DISK_FULL.search(text):', "if False:"),
    fault("D", "a gateway answers in its place", PEERS + "a_gateway_without_a_server_behind_it_is_named",
          "servers/answers.py", "if status in GATEWAY:", "if False:"),
]  # fmt: skip
