"""What people had set down and a selection went by, as it was then: tags, and the rows of selections before it.

A manifest keeps it (`known`), so that a selection can be made again where the project is gone (`set_again`). Decisions
are told elsewhere in the manifest; runs, map and signals are made anew from their configuration (`replaying`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.errors import EngineError
from engine.store import selections, tags
from engine.store.project import Project
from engine.store.selections import Selection


def known(project: Project, selection: Selection) -> dict[str, Any]:
    """The tags and selections that `selection` went by, as far as it says, with their rows; {} where it went by none.

    A selection that is gone is left out.
    """
    went_by = selection.spec.get("went_by") or {}
    found: dict[str, Any] = {}
    with project.session() as con:
        if "tags" in went_by:
            found["tags"] = {name: rows.tolist() for name, rows in tags.as_of(con, int(went_by["tags"])).items()}
        earlier = [_found(con, str(name), int(version)) for name, version in went_by.get("selections", ())]
    if any(earlier):
        found["selections"] = [each for each in earlier if each]
    return found


def _found(con: Any, name: str, version: int) -> dict[str, Any]:
    try:
        held = selections.get(con, name, version)
    except EngineError:  # it is gone; who makes the selection again is told what is lacking
        return {}
    weights = None if held.weights is None else [float(str(w)) for w in held.weights]
    return {"name": name, "version": version, "rows": held.rows.tolist(), "weights": weights}


def set_again(project: Project, told: Mapping[str, Any], *, by: str) -> None:
    """Put the tags and save the selections that `known` told, under the same names and versions.

    To be done before anybody decides, because a selection takes in no rejected row.
    """
    for tag, rows in (told.get("tags") or {}).items():
        project.tag(np.asarray(rows, np.int64), tag, by=by)
    for each in told.get("selections") or ():
        rows, weights = np.asarray(each["rows"], np.int64), each.get("weights")
        saved = [held.version for held in project.selections() if held.name == each["name"]]
        for _ in range(max(saved, default=0), each["version"]):  # versions are numbered, so those before are filled
            project.save_selection(each["name"], spec={}, rows=rows, weights=weights, by=by)
