"""Typed paths and links: only the allowed folders, only projects."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import EngineError
from engine.store.project import Project
from pages.parts import home, paths, uploads


@pytest.fixture
def rooted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.jsonl").write_text("x")
    (inside / "pool.jsonl").write_text("x")
    (inside / "link.jsonl").symlink_to(tmp_path / "secret.jsonl")
    monkeypatch.setenv("TOUCHSTONE_ROOTS", str(inside))
    monkeypatch.setenv("TOUCHSTONE_HOME", str(inside / "projects"))
    return inside


def test_a_path_inside_is_found(rooted: Path) -> None:
    assert paths.allowed(f" {rooted}/pool.jsonl ") == rooted / "pool.jsonl"


@pytest.mark.parametrize("typed", ["/etc/passwd", "{root}/../secret.jsonl", "{root}/link.jsonl", "~root/x", "/"])
def test_a_path_outside_is_refused_with_the_remedy(rooted: Path, typed: str) -> None:
    with pytest.raises(EngineError, match="TOUCHSTONE_ROOTS"):
        paths.allowed(typed.format(root=rooted))


def test_a_missing_path_says_so(rooted: Path) -> None:
    with pytest.raises(EngineError, match="nothing at"):
        paths.allowed(f"{rooted}/none.jsonl")


@pytest.mark.parametrize("reference", ["", ".", "..", "none", "../x", "/etc", "a/../../b"])
def test_a_link_opens_projects_only(rooted: Path, reference: str) -> None:
    with pytest.raises(EngineError):
        paths.project_at(reference)


def test_a_reference_finds_its_project_again(make_project: Callable[..., Project]) -> None:
    project = make_project("my project", pool=False, targets=False)
    assert paths.project_at(paths.project_reference(project.path)) == project.path
    assert paths.listed_projects() == [project.path]


@pytest.mark.parametrize("name", ["", " ", ".hidden", "../x", "a/b", "a\\b", "c:d", "a\nb", "x\0"])
def test_a_bad_project_name_creates_nothing(rooted: Path, name: str) -> None:
    with pytest.raises(EngineError):
        home.named_folder(name)
    assert not (rooted / "projects").exists()


@pytest.mark.parametrize(
    ("given", "kept"),
    [("../../etc/x.jsonl", "x.jsonl"), ("C:\\a\\p.csv", "p.csv"), ("a\n<b>.json", "a__b_.json"), ("..", "upload")],
)
def test_an_upload_keeps_a_harmless_name(given: str, kept: str) -> None:
    assert uploads.safe_name(given) == kept
