"""Results on disk that are complete or absent: folders `<stage>-<key>` of arrays and a manifest.

Notation: a *stage* names the kind of result (tokens, scores, map), a *key* is the hash of everything that changes the
answer, so that equal work is found and never done again. `manifest.json` is written last and the folder is then
renamed to its name: a folder that has both its name and its manifest is complete.
NumPy and the standard library only: a job runs where there is no catalogue. Does not know what the arrays mean.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.store.disk import disk_errors, is_temporary, remove, temporary_name

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
_UNTOUCHED = "What was complete before is unchanged."


def canonical_json(value: Any) -> str:
    """Return one text per value: sorted keys, no spaces, tuples as lists, paths and dataclasses as plain values.

    Raises `EngineError` for NaN, infinities and types that have no JSON form.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise EngineError(f"{error}: only plain finite values can be part of a key or a manifest.") from error


def artifact_key(**parts: Any) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of `FORMAT_VERSION` and `parts`; the order of names is immaterial."""
    text = canonical_json({"format": FORMAT_VERSION, "parts": parts})
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def find(root: Path, stage: str, key: str) -> Path | None:
    """Return the complete artifact folder of this stage and key, else None."""
    folder = root / f"{stage}-{key}"
    return folder if (folder / MANIFEST).is_file() else None


@contextmanager
def create(root: Path, stage: str, key: str, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes `root/<stage>-<key>` with its manifest.

    The manifest may be changed inside the block: it is read at the end. After an error the temporary folder is gone
    and nothing else has changed. If another process completed the same artifact meanwhile, its folder stays.
    """
    if not stage or "/" in stage or stage.startswith("."):
        raise EngineError(f"{stage!r} is no stage name; use a plain word. Nothing was written.")
    target, work = root / f"{stage}-{key}", root / temporary_name(f"{stage}-{key}")
    with disk_errors(f"make the folder {work}", _UNTOUCHED):
        work.mkdir(parents=True)
    try:
        yield work
        with disk_errors(f"write {target}", _UNTOUCHED):
            head = {"format": FORMAT_VERSION, "stage": stage, "key": key}
            write_json(work / MANIFEST, {**manifest, **head})
            _publish(work, target)
    finally:
        remove(work)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a complete artifact; raises `EngineError` for an incomplete or newer one."""
    path = folder / MANIFEST
    if not path.is_file():
        raise EngineError(f"{folder} has no {MANIFEST}: it is not complete. Run the work again; nothing was changed.")
    manifest = read_json(path)
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if not isinstance(manifest, dict) or not isinstance(version, int) or version > FORMAT_VERSION:
        raise EngineError(
            f"{path} has format {version!r}; this engine reads up to {FORMAT_VERSION}. "
            "Update the engine or make the artifact again; nothing was changed."
        )
    return manifest


def save_array(folder: Path, name: str, array: np.ndarray) -> Path:
    """Write `array` to `folder/name.npy` under a temporary name, then rename; object arrays are refused."""
    if array.dtype.hasobject:
        raise EngineError(f"{name} has dtype {array.dtype}: objects are not stored, because reading them runs code.")
    path = folder / f"{name}.npy"
    with disk_errors(f"write {path}", _UNTOUCHED), _renamed(path) as work, work.open("wb") as stream:
        np.save(stream, array, allow_pickle=False)
    return path


def load_array(folder: Path, name: str, *, mmap: bool = True) -> np.ndarray:
    """Read `folder/name.npy`, mapped read-only by default; an empty array is read whole. Pickles are refused."""
    path = folder / f"{name}.npy"
    if not path.is_file():
        raise EngineError(f"{path} is missing. Run the work again; nothing was changed.")
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except ValueError as error:
        if mmap and "empty" in str(error):
            return load_array(folder, name, mmap=False)
        raise EngineError(
            f"{path} is not a readable array ({error}). Run the work again; nothing was changed."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON under a temporary name, then rename: a reader sees the old file or the new one.

    Non-finite numbers become null, because JSON has none.
    """
    text = json.dumps(finite(value), indent=1, ensure_ascii=False, allow_nan=False, default=_plain)
    with disk_errors(f"write {path}", _UNTOUCHED), _renamed(path) as work:
        work.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises `EngineError` if it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise EngineError(f"{path} is missing. Nothing was changed.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise EngineError(f"{path} is not readable JSON ({error}). Nothing was changed.") from error


def incomplete(root: Path) -> list[Path]:
    """Return the folders under `root` that are temporary or lack their manifest, by name."""
    if not root.is_dir():
        return []
    return sorted(p for p in root.iterdir() if p.is_dir() and (is_temporary(p) or not (p / MANIFEST).is_file()))


def finite(value: Any) -> Any:
    """Return `value` with NaN and infinities replaced by None, at any depth of dicts, lists and tuples."""
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return [finite(v) for v in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


@contextmanager
def _renamed(path: Path) -> Iterator[Path]:
    work = path.with_name(temporary_name(path.name))
    try:
        yield work
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)


def _publish(work: Path, target: Path) -> None:
    if (target / MANIFEST).is_file():
        return
    if target.exists():
        target.rename(work.with_name(temporary_name("incomplete")))
    try:
        work.rename(target)
    except OSError:
        if not (target / MANIFEST).is_file():
            raise
