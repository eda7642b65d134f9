"""Which LoRA a run uses, and whether it was trained for the checkpoint that is loaded.

ComfyUI leaves out whatever of a LoRA does not fit and says so in its log only: the pictures would be wrong in silence.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import Problem, request_error
from ..graphs.graph import Graph, address_of, label, title_of
from ..graphs.inputs import offered
from ..graphs.overrides import Setting
from ..outputs.hashes import remembered_sha256
from .families import FLUX2, SD1, SD2, SDXL, family_of
from .lora_files import check_whole, metadata_of, training_record
from .models import Model, by_file, checkpoint_loaders, local_path, models_directory

LOADERS = ("LoraLoader", "LoraLoaderModelOnly")
FOLDER, INPUT = "loras", "lora_name"
SAFE = (".safetensors", ".sft")
#: (folder, file) -> what a model file says about itself on the server, or nothing.
Ask = Callable[[str, str], dict[str, Any]]
Say = Callable[[str], None]

#: What trainers write about the base model, and the family that it is of.
_BASES = (
    (re.compile(r"xl", re.I), SDXL),
    (re.compile(r"flux[._-]?2|klein", re.I), FLUX2),
    (re.compile(r"flux", re.I), "FLUX.1"),
    (re.compile(r"(v|diffusion-v)-?2", re.I), SD2),
    (re.compile(r"(v|diffusion-v)-?1", re.I), SD1),
)


def lora_loaders(graph: Graph) -> Iterator[tuple[str, str]]:
    """(node id, file name) of every LoRA loader that names a file and has some strength."""
    for node_id, node in graph.items():
        inputs = node["inputs"]
        if node["class_type"] in LOADERS and isinstance(inputs.get(INPUT), str):
            strengths = [inputs.get(name) for name in ("strength_model", "strength_clip") if name in inputs]
            if any(strength != 0 for strength in strengths):
                yield node_id, inputs[INPUT]


def lora_settings(
    given: str | None, graph: Graph, object_info: dict[str, Any], embedded_models: Path | None, ask: Ask, say: Say
) -> tuple[list[Setting], bool]:
    """What `--lora FILE` means: the loader's file; for our own server the file is copied to where it looks.

    On another server it is the file of that name there: `ask` says what that one tells about itself.

    Returns:
        The settings, and whether a file was copied (the server's lists are old then).

    Raises:
        RequestError: no LoRA loader in the workflow, or several; another file of that name, here or on the server; no
            such file.
    """
    if given is None:
        return [], False
    loaders = [node_id for node_id, node in graph.items() if node["class_type"] in LOADERS]
    if len(loaders) != 1:
        titles = ", ".join(f"'{title_of(graph, node_id)}.{INPUT}=FILE'" for node_id in loaders)
        raise request_error(
            "lora.no_loader",
            f"--lora {given}: the workflow has {len(loaders) or 'no'} LoRA loader{'s' if len(loaders) > 1 else ''}",
            expected=f"one node of class {' or '.join(LOADERS)}",
            mend=f"--set {titles}" if titles else "use lora_inpaint or lora_reference_local, or leave --lora away",
        )
    setting = [Setting(address_of(graph, loaders[0]), INPUT, Path(given).name)]
    there = offered(object_info.get(graph[loaders[0]]["class_type"], {}), INPUT)
    path = Path(given).expanduser()
    if not path.is_file():
        if given in there:
            return [Setting(setting[0].title, INPUT, given)], False
        if path.parent != Path("."):
            raise request_error(
                "lora.no_file",
                f"there is no file '{given}'",
                where=f"--lora {given}",
                expected="a LoRA file, or the name of one in the server's models/loras",
                mend="check the path",
            )
        return setting, False  # that it is missing is told with all other missing files
    _check_file(path)
    if embedded_models is None:
        if path.name in there:
            _check_same(path, ask(FOLDER, path.name), say)
        return setting, False
    return setting, _brought(path, embedded_models, say)


def _check_file(path: Path) -> None:
    """Before it is copied anywhere. Files of PyTorch's own format say nothing about themselves."""
    if path.suffix not in SAFE:
        return
    try:
        check_whole(path)
    except (OSError, ValueError) as error:
        raise request_error(
            "lora.no_lora",
            f"{path.name} is no LoRA file, or was not copied to its end: {error}",
            where=str(path),
            expected="a whole safetensors file",
            mend="copy it again, or choose another --lora",
        ) from error


def _check_same(path: Path, there: dict[str, Any], say: Say) -> None:
    """A file's contents do not come over the wire; what it says about itself does, and tells most files apart."""
    here = metadata_of(path) if path.suffix in SAFE else {}
    if here and not there:
        say(f"note: the server does not tell whether its {path.name} is this one")
    elif here != there:
        raise request_error(
            "lora.other_on_server",
            f"the server has another file of the name {path.name}",
            where=f"--lora {path}, and models/{FOLDER} of the server",
            expected="the same file on both sides",
            mend="copy this one there under a name of its own, and give that",
        )


def _brought(path: Path, models: Path, say: Say) -> bool:
    """Copy a file to where our own server looks for LoRAs, unless it is there."""
    there = local_path(FOLDER, path.name, models)
    if there is not None:
        if there.resolve() == path.resolve() or remembered_sha256(there) == remembered_sha256(path):
            return False
        raise request_error(
            "lora.other_file",
            f"another LoRA is called {path.name}",
            where=f"{path} and {there}",
            expected="one file of a name",
            mend="rename one of the two, or delete the old one",
        )
    target = models_directory(models) / FOLDER / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(path, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    say(f"copied {path.name} to {target.parent}, where the embedded server finds it")
    return True


def strange_loras(graph: Graph, models: Path | None, ask: Ask, say: Say) -> list[Problem]:
    """One problem for each LoRA that was trained for another family of models than the checkpoint that is loaded.

    Another checkpoint of the same family is allowed and told. Files that say nothing about themselves are taken as
    they are: our own server looks at their tensors, ComfyUI leaves out what does not fit.
    """
    problems = []
    for node_id, file in lora_loaders(graph):
        metadata = _metadata(file, models, ask)
        for _, _, checkpoint in checkpoint_loaders(graph):
            made_for = _made_for(metadata, checkpoint)
            if made_for is None:
                continue
            expected, is_other_family = made_for
            if is_other_family:
                problems.append(
                    Problem(
                        "lora.other_model",
                        f"the LoRA {file} is for {expected}, and the workflow loads {checkpoint}",
                        where=f"{label(graph, node_id)}, input '{INPUT}'",
                        expected="a LoRA that was trained for the checkpoint that is loaded",
                        mend="choose the other checkpoint (--model), or another LoRA (--lora)",
                    )
                )
            else:
                say(f"note: the LoRA {file} was trained for {expected}; the workflow loads {checkpoint}")
    return problems


def trained_on(file: str, models: Path | None, ask: Ask) -> dict[str, Any]:
    """Photos that a LoRA of ours has seen: ``{"photos": [{"path", "sha256", ...}], "good_photos": [sha256, ...]}``.

    Empty where the file says nothing about it.
    """
    record = training_record(_metadata(file, models, ask)) or {}
    photos = [entry for entry in record.get("photos") or [] if isinstance(entry, dict)]
    good = [entry.get("sha256") for entry in record.get("good_photos") or [] if isinstance(entry, dict)]
    return {"photos": photos, "good_photos": good} if photos or good else {}


def _metadata(file: str, models: Path | None, ask: Ask) -> dict[str, Any]:
    path = local_path(FOLDER, file, models) if models is not None else None
    if path is None:
        return ask(FOLDER, file) if models is None else {}
    try:
        return dict(metadata_of(path))
    except (OSError, ValueError):
        return {}  # that it is broken is told when it is loaded


def _made_for(metadata: dict[str, Any], checkpoint: str) -> tuple[str, bool] | None:
    """(what the LoRA was made for, whether that is another family); None where it fits or nothing is known."""
    loaded = by_file(checkpoint)
    record = training_record(metadata)
    trained = record.get("model") if record else None
    if isinstance(trained, dict) and isinstance(trained.get("file"), str):
        if trained["file"] == checkpoint:
            return None
        base = by_file(trained["file"])
        if base is None:  # a checkpoint of somebody's own: the file also says of which kind it was
            return trained["file"], _other_kind(metadata, loaded) is not None
        return trained["file"], loaded is not None and base.family != loaded.family
    other = _other_kind(metadata, loaded)
    return None if other is None else (other, True)


def _other_kind(metadata: dict[str, Any], loaded: Model | None) -> str | None:
    """What the file says that it was made for, where that is another kind of model than the one that is loaded."""
    text = str(metadata.get("modelspec.architecture") or metadata.get("ss_base_model_version") or "")
    family = family_of(loaded)
    made_for = next((name for pattern, name in _BASES if pattern.search(text)), None)
    return None if family is None or family == made_for else made_for
