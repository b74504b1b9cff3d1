"""Which files a model name stands for: the built-in model, a folder, or a name on the Hugging Face hub.

Weights are safetensors only; pickled weights (`pytorch_model.bin`, `*.pt`) can run code when they are read, so they
are refused. Code shipped with a model is never run. A folder that exists beats a hub name. Nothing is loaded here.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from engine.errors import EngineError

BUILTIN = "builtin"
BUILTIN_FOLDER = Path(__file__).parent / "builtin"

Kind = Literal["builtin", "folder", "hub"]

INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")
MEANINGFUL = (
    *("config.json", "adapter_config.json", "*.safetensors", INDEX),
    *(*TOKENIZER_FILES, "merges.txt", "added_tokens.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "chat_template.*"),
)
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
HUB_SECONDS = 10.0

_HUB_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?(@[\w./-]+)?$")


@dataclass(frozen=True)
class ModelSource:
    """`name` as the user gave it, where its files lie, and one hash over all files that change its answers."""

    name: str
    kind: Kind
    path: Path
    sha256: str


def resolve(name: str) -> ModelSource:
    """The files of `name`: "builtin", a folder, or a hub name (`owner/model`, or `owner/model@revision`).

    Raises `EngineError` for a folder without configuration, tokenizer or safetensors weights, for an unknown name,
    and, soon, for a hub name when the hub cannot be reached and the model is not in the local cache.
    """
    if name == BUILTIN:
        return _checked(name, "builtin", BUILTIN_FOLDER)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(name, "folder", folder.resolve())
    if folder.exists():
        raise EngineError(f"{name} is a file; a model is a folder with config.json, a tokenizer and *.safetensors.")
    if not _HUB_NAME.match(name):
        raise EngineError(
            f"There is no model folder {name}, and it is no hub name either. "
            f'Give an existing folder, a hub name such as "owner/model", or "{BUILTIN}".'
        )
    return _checked(name, "hub", _hub_folder(name))


def check_folder(folder: Path) -> None:
    """Raise `EngineError`, saying what to do, unless `folder` holds a loadable causal language model's files."""
    if not (folder / "config.json").is_file():
        hint = ""
        if (folder / "adapter_config.json").is_file():
            hint = " It holds an adapter: merge it into its base model first (merge_and_unload, save_pretrained)."
        raise EngineError(f"{folder} is not a model folder: it has no config.json.{hint}")
    if not any((folder / n).is_file() for n in TOKENIZER_FILES):
        raise EngineError(
            f"{folder} has no tokenizer (looked for {', '.join(TOKENIZER_FILES)}). "
            "Save the model's tokenizer into the folder with tokenizer.save_pretrained."
        )
    _check_weights(folder)


def fingerprint(folder: Path) -> str:
    """SHA-256 (hex) over the names and contents of the files that change a model's answers, in name order."""
    files = sorted({p for pattern in MEANINGFUL for p in folder.glob(pattern) if p.is_file()})
    total = hashlib.sha256()
    for path in files:
        status = path.stat()
        total.update(f"{path.name}\0{_file_hash(path, status.st_size, status.st_mtime_ns)}\n".encode())
    return total.hexdigest()


def _checked(name: str, kind: Kind, folder: Path) -> ModelSource:
    check_folder(folder)
    return ModelSource(name, kind, folder, fingerprint(folder))


def _check_weights(folder: Path) -> None:
    if (folder / INDEX).is_file():
        missing = sorted(n for n in _shards(folder / INDEX) if not (folder / n).is_file())
        if missing:
            raise EngineError(f"{folder} lacks weight files that its index names: {', '.join(missing)}. Copy them too.")
        return
    if (folder / "model.safetensors").is_file():
        return
    pickled = sorted(p.name for pattern in PICKLED for p in folder.glob(pattern))
    if pickled:
        raise EngineError(
            f"{folder} has only pickled weights ({', '.join(pickled[:3])}), which can run code when read and are never "
            "opened. Convert them where you trust their origin: load the model there and save_pretrained it again, "
            "which writes model.safetensors."
        )
    raise EngineError(f"{folder} has no weights: neither model.safetensors nor {INDEX} is there.")


def _shards(index: Path) -> set[str]:
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise EngineError(f"{index} is not a safetensors index: {error}. Copy the model folder again.") from error
    foreign = [n for n in names if not isinstance(n, str) or Path(n).name != n or not n.endswith(".safetensors")]
    if foreign:
        raise EngineError(f"{index} names weights that are not safetensors files of this folder: {foreign[0]}.")
    return names


@lru_cache(maxsize=256)
def _file_hash(path: Path, size: int, modified: int) -> str:
    """The content hash; `size` and `modified` are part of the key, so that a changed file is read again."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hub_folder(name: str) -> Path:
    """The local snapshot of a hub model: fetched if the hub answers, else the copy in the cache."""
    import huggingface_hub as hub

    repository, _, revision = name.partition("@")
    network_failures: tuple[type[Exception], ...] = (OSError, hub.errors.HfHubHTTPError, *_transport_errors())
    cached = _cached(hub, repository, revision or None)
    try:
        info = hub.HfApi().model_info(repository, revision=revision or None, timeout=HUB_SECONDS)
    except (hub.errors.GatedRepoError, hub.errors.RepositoryNotFoundError, hub.errors.RevisionNotFoundError) as error:
        raise EngineError(f"The hub has no {name} that you may read: {_first_line(error)}") from error
    except network_failures as error:
        if cached is not None:
            return cached
        raise EngineError(
            f"There is no folder {name}, and the Hugging Face hub cannot be reached ({_first_line(error)}), nor is the "
            "model in the local cache. Give a folder with the model's files, or use the built-in model."
        ) from error
    files = [s.rfilename for s in info.siblings or []]
    if not any("/" not in f and f.endswith(".safetensors") for f in files):
        raise EngineError(f"{name} on the hub has no safetensors weights; others are never opened. Choose another.")
    try:
        return Path(hub.snapshot_download(repository, revision=info.sha, allow_patterns=list(MEANINGFUL)))
    except network_failures as error:
        raise EngineError(f"{name} could not be fetched whole: {_first_line(error)}. Try again; it resumes.") from error


def _cached(hub: Any, repository: str, revision: str | None) -> Path | None:
    try:
        return Path(hub.snapshot_download(repository, revision=revision, local_files_only=True))
    except hub.errors.HFValidationError as error:
        raise EngineError(f"There is no folder {repository}, and it is no hub name: {_first_line(error)}") from error
    except (OSError, ValueError):
        return None


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the hub library's HTTP client raises when the network fails, whichever client it was built on."""
    clients = [import_module(n) for n in ("httpx2", "httpx") if find_spec(n) is not None]
    return tuple(client.HTTPError for client in clients)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
