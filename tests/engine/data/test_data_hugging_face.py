"""Data set folders and hub names: the right files of the right split, and one clear message without a network."""

import json
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

from engine.data import hugging_face
from engine.data.intake import preview, read
from engine.data.samples import BadRow, Row
from engine.errors import EngineError

ROWS = [{"id": at, "question": f"q{at}", "answer": f"a{at}"} for at in range(2500)]


@pytest.fixture(autouse=True)
def _quiet(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows_of(source: str | Path) -> list[Row | BadRow]:
    return list(read(source))


def test_a_saved_data_set_is_read_in_order(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "d", num_shards=3)
    rows = rows_of(tmp_path / "d")
    assert [row.raw for row in rows if isinstance(row, Row)] == [json.dumps(row) for row in ROWS]
    assert [row.line for row in rows] == list(range(1, 2501))
    info = read(tmp_path / "d").info
    assert info.format == "Hugging Face save_to_disk: arrow"
    assert info.bytes > 0
    assert preview(tmp_path / "d", limit=5).total_seen == 5


def test_a_filtered_data_set_is_saved_and_read_as_filtered(tmp_path: Path) -> None:
    datasets.Dataset.from_list(ROWS).select([7, 3]).save_to_disk(tmp_path / "d")
    assert [row.own_id for row in rows_of(tmp_path / "d") if isinstance(row, Row)] == ["7", "3"]


def test_of_several_splits_train_is_taken_or_the_one_named(tmp_path: Path) -> None:
    parts = {"train": datasets.Dataset.from_list(ROWS[:5]), "test": datasets.Dataset.from_list(ROWS[5:8])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "d")
    assert len(rows_of(tmp_path / "d")) == 5
    assert [row.own_id for row in rows_of(f"{tmp_path / 'd'}#test") if isinstance(row, Row)] == ["5", "6", "7"]
    assert read(tmp_path / "d").info.sha256 != read(f"{tmp_path / 'd'}#test").info.sha256
    with pytest.raises(EngineError, match="has no split 'dev'; its splits are train, test"):
        read(f"{tmp_path / 'd'}#dev")


def test_without_train_a_split_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_text(lines(ROWS[:2]))
    (tmp_path / "test.jsonl").write_text(lines(ROWS[:3]))
    with pytest.raises(EngineError, match=r"name one, as in .*#"):
        read(tmp_path)
    assert len(rows_of(f"{tmp_path}#test")) == 3


def test_a_folder_of_data_files_keeps_lines_and_counts_on(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000.jsonl").write_text(lines(ROWS[:2]) + '{"id": 1\n')
    (tmp_path / "data" / "train-00001.jsonl").write_text(lines(ROWS[2:4]))
    (tmp_path / "data" / "test-00000.jsonl").write_text(lines(ROWS[4:5]))
    rows = rows_of(tmp_path)
    assert [row.raw for row in rows if isinstance(row, Row)] == [json.dumps(row) for row in ROWS[:4]]
    assert [row.line for row in rows] == [1, 2, 3, 4, 5]
    assert [row.reason for row in rows if isinstance(row, BadRow)] == [
        "broken JSON: Expecting ',' delimiter at character 9 (train-00000.jsonl, line 3)"
    ]
    assert read(tmp_path).info.format == "Hugging Face folder: jsonl, split train"


def test_configurations_of_the_readme_are_named_before_the_split(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(lines([{"question": name, "answer": "a"}]))
    configs = "".join(f"- config_name: {name}\n  data_files: {name}.jsonl\n" for name in ("one", "two"))
    (tmp_path / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")
    (row,) = rows_of(f"{tmp_path}#two/train")
    assert isinstance(row, Row)
    assert row.messages[0].content == "two"
    with pytest.raises(EngineError, match=r"one.*two"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("{", "cannot be read"),
        ("{}", "lists no data files"),
        ('{"_data_files": [{"filename": "../x.arrow"}]}', "lists no data files of its own"),
        ('{"_data_files": [{"filename": "x.arrow"}], "_indices_data_files": [{"filename": "i"}]}', "index table"),
        ('{"_data_files": [{"filename": "x.arrow"}]}', "there is no file"),
    ],
)
def test_a_damaged_saved_folder_is_one_clear_error(tmp_path: Path, state: str, words: str) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(EngineError, match=words):
        read(tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="holds no data set that can be read"):
        read(tmp_path)


def test_a_script_in_a_folder_is_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (folder / "train.jsonl").write_text(lines(ROWS[:1]))
    with pytest.raises(EngineError, match="scripts are no longer supported"):
        read(folder)
    assert not (tmp_path / "ran").exists()


class NoNetwork:
    def dataset_info(self, name: str, *, timeout: float) -> None:
        assert timeout == hugging_face.HUB_TIMEOUT
        raise huggingface_hub.errors.HTTPError("Name or service not known")


class UnknownName:
    def dataset_info(self, name: str, *, timeout: float) -> None:
        raise huggingface_hub.errors.HFValidationError("no such thing")


@pytest.mark.parametrize(("hub", "words"), [(NoNetwork, "cannot be reached"), (UnknownName, "gives no such data set")])
@pytest.mark.parametrize("call", [read, preview])
def test_a_hub_name_without_the_hub_is_one_message(
    monkeypatch: pytest.MonkeyPatch, hub: type, words: str, call: Any
) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", hub)
    with pytest.raises(EngineError, match=words) as caught:
        call("someone/some-data")
    assert "someone/some-data" in str(caught.value)


def test_an_existing_folder_beats_a_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", NoNetwork)
    monkeypatch.chdir(tmp_path)
    Path("someone/some-data").mkdir(parents=True)
    Path("someone/some-data/train.jsonl").write_text(lines(ROWS[:2]))
    assert len(rows_of("someone/some-data")) == 2


def test_of_a_hub_data_set_only_the_split_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is stood in for by a folder; what is asked of it is what matters."""
    for name in ("train-0.jsonl", "train-1.jsonl", "test-0.jsonl"):
        (tmp_path / name).write_text(lines(ROWS[:2]))
    resolve, asked = hugging_face._resolved, []

    def resolved(location: str, wanted: str, *, where: str, kind: str) -> hugging_face.Collection:
        return resolve(str(tmp_path), wanted, where=where, kind=kind)

    def download(names: tuple[str, ...], where: str) -> list[Path]:
        asked.append([Path(name).name for name in names])
        return [Path(name) for name in names]

    monkeypatch.setattr(hugging_face, "_check_hub", lambda name: None)
    monkeypatch.setattr(hugging_face, "_resolved", resolved)
    monkeypatch.setattr(hugging_face, "_download", download)
    assert len(rows_of("someone/some-data")) == 4
    preview("someone/some-data")
    assert asked == [["train-0.jsonl", "train-1.jsonl"], ["train-0.jsonl"]]


@pytest.mark.parametrize("name", ["missing.jsonl", "folder/missing.csv.gz", "./a/b", "/a/b", "a/b/c"])
def test_a_missing_path_is_not_taken_for_a_hub_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", NoNetwork)
    with pytest.raises(EngineError, match="there is no file or folder"):
        read(name)
