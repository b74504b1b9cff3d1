"""Which files a name stands for, and what is refused before anything is opened."""

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from engine.errors import EngineError
from engine.models import sources
from engine.models.sources import ModelSource, check_folder, fingerprint, resolve


@pytest.fixture
def folder(model_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A fresh copy of a tiny model's folder."""
    return Path(shutil.copytree(model_folder("llama"), tmp_path / "model"))


def test_a_folder_is_resolved_with_a_hash_of_what_matters(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = resolve(str(folder))
    assert source == ModelSource(str(folder), "folder", folder.resolve(), fingerprint(folder))
    assert len(source.sha256) == 64
    (folder / "README.md").write_text("a note changes no answer")
    assert resolve(str(folder)).sha256 == source.sha256
    monkeypatch.chdir(folder.parent)
    assert resolve("model").sha256 == source.sha256  # a folder beats a hub name


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "tokenizer_config.json"])
def test_any_change_of_a_file_that_matters_changes_the_hash(folder: Path, name: str) -> None:
    before = fingerprint(folder)
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    assert fingerprint(folder) != before


def test_a_chat_template_beside_the_tokenizer_matters(folder: Path) -> None:
    before = fingerprint(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert fingerprint(folder) != before


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        (["config.json"], "has no config.json"),
        (["tokenizer.json"], "has no tokenizer"),
        (["model.safetensors"], "has no weights"),
    ],
)
def test_an_incomplete_folder_says_what_is_missing(folder: Path, removed: list[str], message: str) -> None:
    for name in removed:
        (folder / name).unlink()
    with pytest.raises(EngineError, match=message):
        resolve(str(folder))


def test_pickled_weights_are_refused_with_the_remedy(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(EngineError, match=r"only pickled weights \(pytorch_model.bin\).*Convert them"):
        resolve(str(folder))


def test_an_adapter_alone_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(EngineError, match="merge it into its base model"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}, "lacks weight files.*model-2"),
        ({"weight_map": {"a": "../other.safetensors"}}, "not safetensors files of this folder"),
        ({"weight_map": {"a": "pytorch_model.bin"}}, "not safetensors files of this folder"),
        ({"metadata": {}}, "not a safetensors index"),
    ],
)
def test_sharded_weights_must_be_whole_and_in_the_folder(folder: Path, index: dict[str, Any], message: str) -> None:
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(EngineError, match=message):
        check_folder(folder)


@pytest.mark.parametrize("name", ["/nowhere/model", "./model", "a/b/c", "", "owner/"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_hub_folder", lambda name: pytest.fail("the hub was asked"))
    monkeypatch.chdir("/")
    with pytest.raises(EngineError, match=r"no model folder|not a model folder"):
        resolve(name)


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(EngineError, match="is a file"):
        resolve(str(folder / "config.json"))


class Hub:
    """Stands in for the hub: answers, or is out of reach."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, snapshot: Path, files: list[str] | Exception) -> None:
        self.fetched: list[dict[str, Any]] = []
        self.cached = False

        def model_info(_: object, name: str, **options: Any) -> SimpleNamespace:
            assert options["timeout"] <= 10
            if isinstance(files, Exception):
                raise files
            return SimpleNamespace(sha="abc123", siblings=[SimpleNamespace(rfilename=f) for f in files])

        def snapshot_download(name: str, **options: Any) -> str:
            if options.get("local_files_only") and not self.cached:
                raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
            self.fetched.append({"name": name, **options})
            return str(snapshot)

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)


def test_a_hub_model_is_fetched_at_one_revision_without_code_or_pickles(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch, snapshot=folder, files=["config.json", "model.safetensors", "modeling_evil.py", "a.bin"])
    source = resolve("owner/model@main")
    assert (source.name, source.kind, source.sha256) == ("owner/model@main", "hub", fingerprint(folder))
    (fetch,) = hub.fetched
    assert fetch["revision"] == "abc123"
    assert not any(p.endswith((".py", ".bin", ".pt", "*")) for p in fetch["allow_patterns"] if p != "chat_template.*")


def test_a_hub_model_without_safetensors_is_refused_before_it_is_fetched(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch, snapshot=folder, files=["config.json", "pytorch_model.bin"])
    with pytest.raises(EngineError, match="no safetensors weights"):
        resolve("owner/model")
    assert hub.fetched == []


def test_without_a_network_the_cached_copy_serves_or_one_error_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch, snapshot=folder, files=OSError("Name or service not known"))
    with pytest.raises(EngineError, match=r"cannot be reached \(Name or service not known\).*built-in model"):
        resolve("owner/model")
    hub.cached = True
    assert resolve("owner/model").path == folder


def test_offline_mode_answers_at_once_with_the_librarys_own_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    asked: list[object] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *about, **_: asked.append(about))
    with pytest.raises(EngineError, match="cannot be reached"):
        resolve("owner/a-model-that-is-not-there")
    assert asked == []
