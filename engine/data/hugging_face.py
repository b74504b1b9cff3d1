"""Hugging Face data sets: which files hold the rows of a folder or a hub name, split by split.

Three forms: a folder written by `save_to_disk` (Arrow files), a folder of data files (JSONL, CSV, Parquet; splits
and configurations found by `datasets`, from the README or the file names), and a hub name (`owner/name`), whose
files are downloaded by `datasets` into its cache. A split or configuration is named behind "#": `NAME#SPLIT` or
`NAME#CONFIG/SPLIT`; without it the split called train is taken, or the only one. No code of a data set is ever run.
`datasets` is imported only where it is needed, because it takes seconds.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError

HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub's first answer."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_UNTOUCHED = "Nothing was added."


@dataclass(frozen=True)
class Collection:
    """The files of one split in order. `hints`: the files' names where the local ones say nothing; `split` its name."""

    files: tuple[Path, ...]
    hints: tuple[str, ...]
    split: str
    kind: str


def is_hub_name(source: str) -> bool:
    """Whether `source` could be a data set's name on the hub, with or without "#SPLIT"."""
    return _HUB_NAME.fullmatch(source.partition("#")[0]) is not None


def find_folder(folder: Path, wanted: str = "") -> Collection:
    """Return the files of a folder's split; `wanted` is "SPLIT", "CONFIG/SPLIT" or "".

    Raises EngineError for a folder without data, an unknown split, or one that must be named.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = [str(name) for name in _json(folder / "dataset_dict.json").get("splits", [])]
        split = choose_split(splits, wanted, where=str(folder))
        return _saved(folder / split, split)
    if (folder / "state.json").is_file():
        return _saved(folder, wanted)
    return _resolved(str(folder.resolve()), wanted, where=str(folder), kind="folder")


def find_hub(name: str, *, first_only: bool = False) -> Collection:
    """Download the files of a hub data set's split (only the first with `first_only`) and return them.

    Raises EngineError where the hub cannot be reached or knows no such data set; gives up after `HUB_TIMEOUT`.
    """
    repository, _, wanted = name.partition("#")
    _check_hub(repository)
    found = _resolved(repository, wanted, where=name, kind="hub")
    names = found.hints[:1] if first_only else found.hints
    return Collection(tuple(_download(names, name)), names, found.split, "hub")


def choose_split(splits: list[str], wanted: str, *, where: str) -> str:
    """Return `wanted` if it exists, else train, else the only split; raises EngineError naming the choices."""
    choices = ", ".join(splits) or "none"
    if wanted:
        if wanted not in splits:
            raise EngineError(f"{where!r} has no split {wanted!r}; its splits are {choices}. {_UNTOUCHED}")
        return wanted
    if "train" in splits or len(splits) == 1:
        return "train" if "train" in splits else splits[0]
    raise EngineError(
        f"{where!r} has the splits {choices}; name one, as in {where}#{(splits or ['train'])[0]}. {_UNTOUCHED}"
    )


def _saved(folder: Path, split: str) -> Collection:
    """The Arrow files of one `save_to_disk` folder, as its state.json lists them."""
    state = _json(folder / "state.json")
    names = [str(item.get("filename", "")) for item in state.get("_data_files") or []]
    if state.get("_indices_data_files"):
        raise EngineError(
            f"{str(folder)!r} was saved with an index table; save it again with flatten_indices. {_UNTOUCHED}"
        )
    if not names or any(Path(name).name != name for name in names):
        raise EngineError(f"{str(folder)!r} lists no data files of its own in state.json. {_UNTOUCHED}")
    return Collection(tuple(folder / name for name in names), tuple(names), split, "save_to_disk")


def _resolved(location: str, wanted: str, *, where: str, kind: str) -> Collection:
    """Ask `datasets` which files make up the split; for the hub the files are addresses in `hints`."""
    import datasets

    config, split = wanted.rsplit("/", 1) if "/" in wanted else (None, wanted)
    try:
        builder = datasets.load_dataset_builder(location, name=config)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\nExample")[0].replace("\n", " ")
        raise EngineError(f"{where!r} holds no data set that can be read: {reason}. {_UNTOUCHED}") from None
    by_split = {str(name): [str(file) for file in files] for name, files in (builder.config.data_files or {}).items()}
    chosen = choose_split(list(by_split), split, where=where)
    names = tuple(by_split[chosen])
    return Collection(tuple(Path(name) for name in names), names, chosen, kind)


def _check_hub(repository: str) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError

    remedy = f"Download it where there is a network and give its folder. {_UNTOUCHED}"
    try:
        huggingface_hub.HfApi().dataset_info(repository, timeout=HUB_TIMEOUT)
    except (HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EngineError(
            f"no file or folder {repository!r}, and the hub gives no such data set: {reason}. {remedy}"
        ) from None
    except (HTTPError, OSError) as error:
        raise EngineError(
            f"no file or folder {repository!r}, and the Hugging Face hub cannot be reached ({error}). {remedy}"
        ) from None


def _download(names: tuple[str, ...], where: str) -> list[Path]:
    import datasets

    try:
        return [Path(path) for path in datasets.DownloadManager().download(list(names))]
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(f"the download of {where!r} failed: {error}. Try again. {_UNTOUCHED}") from None


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EngineError(f"{str(path)!r} cannot be read: {error}. {_UNTOUCHED}") from None
    return value if isinstance(value, dict) else {}
