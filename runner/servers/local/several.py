"""`--launch N`: as many servers, one a GPU, started at the same time and ended with the run."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import ServerError
from .comfyui import comfyui
from .embedded import embedded
from .gpus import VISIBLE, assignments
from .launched import Launched, RunFolder


@contextlib.contextmanager
def launch(
    count: int, home: Path | None = None, arguments: Sequence[str] = (), models: Path | None = None
) -> Iterator[list[tuple[Launched, str]]]:
    """Servers and their addresses. All run, or all are ended again.

    Args:
        home: a ComfyUI; None for embedded servers.
        arguments: for each ComfyUI.
        models: folder of the embedded servers.

    Raises:
        ServerError, RequestError.
    """
    with RunFolder() as folder, contextlib.ExitStack() as ends:
        servers = []
        for number, gpu in enumerate(assignments(count)):
            environment = {} if gpu is None else {VISIBLE: gpu}
            if home is not None:
                start, kind = comfyui(home, arguments, environment, cpu=gpu is None), "ComfyUI"
            else:
                start, kind = embedded(models, environment=environment), "the embedded server"
            place = folder / f"server-{number}"
            place.mkdir()
            name = f"{kind} {number + 1} of {count}" if count > 1 else kind
            servers.append(Launched(name, start, place))
            ends.callback(servers[-1].stop)
        addresses = _start_all(servers)
        yield list(zip(servers, addresses, strict=True))


def _start_all(servers: Sequence[Launched]) -> list[str]:
    """At the same time: each takes ten seconds, or minutes."""
    if len(servers) == 1:
        return [servers[0].start()]
    addresses: dict[int, str] = {}
    errors: list[BaseException] = []

    def start(number: int) -> None:
        try:
            addresses[number] = servers[number].start()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(number,), daemon=True) for number in range(len(servers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        # In slices: a Ctrl-C must get through.
        while thread.is_alive():
            thread.join(0.2)
        if errors:
            raise next((error for error in errors if isinstance(error, ServerError)), errors[0])
    return [addresses[number] for number in range(len(servers))]
