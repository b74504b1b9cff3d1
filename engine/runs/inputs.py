"""The inputs of a job: a frozen view of the pool and its targets, written once from the catalogue into `input/`.

    input/pool/            token table of the pool (`engine.models.tokens.TokenTable`)
    input/targets/<i>/     token table of target set i; `targets.json` lists name and rows in this order
    input/pool.jsonl       [prompt, response] per row, for what works on text; `targets/<i>.jsonl` likewise
    input/manifest.json    written last

The view is frozen by the number of rows and the hashes taken at the start: rows added later are not in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engine.data.samples import prompt_text, response_text
from engine.errors import EngineError
from engine.models.sources import ModelSource
from engine.models.tokens import TokenTable, tokenize
from engine.progress import Reporter
from engine.runs.jobfolder import JobFolder
from engine.runs.texts import text_line
from engine.runs.tokenizers import Tokenizer
from engine.store.artifacts import write_json
from engine.store.project import Project

CHUNK = 2000
UNNAMED = {"pool": "the pool", "owned": "the owned data"}


@dataclass(frozen=True)
class TargetView:
    """A target set as it was: name, usable rows, content hash."""

    name: str
    rows: int
    hash: str


@dataclass(frozen=True)
class View:
    """The pool and the targets as they were when the job began."""

    rows: int
    pool_hash: str
    targets: tuple[TargetView, ...]

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "View":
        """The view of `to_dict`."""
        targets = tuple(TargetView(**target) for target in values["targets"])
        return cls(values["rows"], values["pool_hash"], targets)


def take_view(project: Project, names: Sequence[str] | None = ()) -> View:
    """The pool and the target sets `names` (all where empty, no set for None) as they are now.

    Raises `EngineError` where the pool is empty or a target set does not exist.
    """
    rows, sets = project.counts().pool, {target.name: target.rows for target in project.targets()}
    if not rows:
        raise EngineError(f"The pool of {project.path} is empty. Add samples with add-pool first. Nothing was started.")
    unknown = [name for name in names or () if name not in sets]
    if unknown:
        raise EngineError(
            f"There is no target set {', '.join(map(repr, unknown))}; target sets: {', '.join(sets) or 'none'}. "
            "Add it with add-target. Nothing was started."
        )
    targets = tuple(
        TargetView(n, sets[n], project.set_hash("target", n)) for n in ([] if names is None else names or sets)
    )
    return View(rows, project.pool_hash(), targets)


def frozen_view(project: Project, folder: JobFolder, names: Sequence[str] | None = ()) -> View:
    """The view the job took when it first began, taken now where it has not."""
    spec = folder.spec
    if "view" not in spec:
        folder.update_spec(view=take_view(project, names).to_dict())
        spec = folder.spec
    view = View.from_dict(spec["view"])
    for target in view.targets:
        if project.set_hash("target", target.name) != target.hash:
            raise EngineError(f"The target set {target.name!r} changed after job {folder.id} began; start a new job.")
    return view


def describe_model(source: ModelSource | None) -> dict[str, str] | None:
    """What a job's spec says of its model: name, kind, path of the files and their hash."""
    if source is None:
        return None
    return {"name": source.name, "kind": source.kind, "path": str(source.path), "sha256": source.sha256}


def write_tokens(project: Project, folder: JobFolder, view: View, tokenizer: Tokenizer, *, reporter: Reporter) -> None:
    """Tokenise the pool and the targets of `view` into `input/`; sets that are there already are kept."""
    write_table(project, "pool", "", view.rows, folder.input / "pool", tokenizer, reporter=reporter)
    for i, target in enumerate(view.targets):
        place = folder.input / "targets" / str(i)
        write_table(project, "target", target.name, target.rows, place, tokenizer, reporter=reporter)


def write_sets(project: Project, folder: JobFolder, view: View, *, groups: str = "") -> None:
    """Name the target sets of `view` in their order, with the group of every row where a field of groups is named.

    A row without the field is in a group of its own kind, "". Raises `EngineError` where no target row has the field.
    """
    sets: list[dict[str, Any]] = [{"name": t.name, "rows": t.rows} for t in view.targets]
    if groups:
        for each in sets:
            chunks = _chunks(project, "target", each["name"], each["rows"])
            each["groups"] = [str(row.fields.get(groups, "")) for chunk in chunks for row in chunk]
        if not any(name for each in sets for name in each["groups"]):
            raise EngineError(f"No target sample has a field {groups!r} to group by. Name another, or none.")
    write_json(folder.input / "targets.json", sets)


def write_table(
    project: Project, role: str, name: str, rows: int, place: Path, tokenizer: Tokenizer, *, reporter: Reporter
) -> None:
    """Tokenise the first `rows` rows of one set into the folder `place`; a table that is complete is kept."""
    if (place / "done").exists():
        return
    called = name or UNNAMED[role]
    reporter.phase(f"tokenising {called}", rows)
    chunks = ([row.messages for row in chunk] for chunk in _chunks(project, role, name, rows))
    table = tokenize(chunks, tokenizer.tokenizer, max_length=tokenizer.max_length, reporter=reporter, folder=place)
    _explain(table, called, reporter)
    (place / "done").touch()


def write_texts(project: Project, folder: JobFolder, view: View, *, reporter: Reporter) -> None:
    """Write prompt and response of every row of `view` as JSON lines; files that are there already are kept."""
    (folder.input / "targets").mkdir(exist_ok=True)
    write_pairs(project, "pool", "", view.rows, folder.input / "pool.jsonl", reporter=reporter)
    for i, target in enumerate(view.targets):
        place = folder.input / "targets" / f"{i}.jsonl"
        write_pairs(project, "target", target.name, target.rows, place, reporter=reporter)


def write_pairs(project: Project, role: str, name: str, rows: int, place: Path, *, reporter: Reporter) -> None:
    """Write prompt and response of the first `rows` rows of one set into the file `place`, unless it is there."""
    if place.exists():
        return
    reporter.phase(f"reading {name or UNNAMED[role]}", rows)
    temporary = place.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        for chunk in _chunks(project, role, name, rows):
            reporter.check()
            file.writelines(text_line(prompt_text(r.messages), response_text(r.messages)) for r in chunk)
            reporter.advance(len(chunk))
    temporary.replace(place)


def complete_inputs(folder: JobFolder, view: View) -> None:
    """Declare the inputs complete."""
    write_json(folder.input / "manifest.json", {"view": view.to_dict()})


def _chunks(project: Project, role: str, name: str, rows: int) -> Iterator[list[Any]]:
    """The first `rows` rows of a set, chunk by chunk; rows added meanwhile are left out."""
    seen = 0
    for chunk in project.iterate(role=role, set_name=name, chunk=CHUNK):
        part = list(islice(chunk, rows - seen))
        if part:
            yield part
        seen += len(part)
        if seen >= rows:
            return


def _explain(table: TokenTable, name: str, reporter: Reporter) -> None:
    tokens, cut, aside = int(table.lengths.sum()), int(table.truncated.sum()), len(table.problems)
    reporter.log(f"{name}: {len(table)} samples, {tokens} tokens, {cut} cut to the model's length, {aside} set aside")
