"""The data set card: what an export is, for people and for the Hugging Face hub, made of its manifest alone.

YAML front matter, then composition, how the rows were chosen, how far the scores can be trusted, decisions, approval,
how to make it again, and limits. Field values, names and notes are data: quoted in the YAML, escaped in the Markdown,
and no text of a sample is ever in it. The same manifest gives the same card. Writes no file.
"""

import html
import json
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.export.commands import reproduce_line
from engine.export.features import code_lines, quoted, yaml_lines
from engine.export.plan import Plan

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"),
         (10_000_000, "1M<n<10M"))  # fmt: skip
LICENCES = {
    "mit", "apache-2.0", "bsd-3-clause", "bsd-2-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "cc0-1.0",
    "cc-by-4.0", "cc-by-3.0", "cc-by-sa-4.0", "cc-by-sa-3.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0",
    "odc-by", "odbl", "pddl", "unlicense", "llama2", "llama3", "gemma", "openrail", "cdla-permissive-2.0",
}  # fmt: skip
_LICENCE, _LANGUAGE = ("licence", "license"), ("language", "lang")
_ESCAPED = {ord(c): "\\" + c for c in string.punctuation if c not in "&<>\"',.()-/;%"}
_UNTOLD = ("notes", "artifact", "rows", "went_by")  # of a choice: the manifest tells them
_TOLD = {"left_out": "guards", "filters": "only samples that pass", "keep": "of copies, keep the"}


def card(manifest: Mapping[str, Any]) -> str:
    """The card of the export that the complete manifest describes."""
    sections = [
        _front(manifest),
        f"# {escaped(manifest['output']['name'])}",
        _lead(manifest),
        "## What is in it",
        *_composition(manifest["composition"]),
        _files(manifest),
        "## Reading it",
        _reading(manifest),
        "## How it was chosen",
        *_choice(manifest),
        "## Decisions and approval",
        *_approval(manifest),
        "## Making it again",
        _again(manifest),
        "## Limits",
        _limits(manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def escaped(text: object, longest: int = 80) -> str:
    """Any value as one line of Markdown that shows its characters and does nothing else, cut to `longest`."""
    line = "".join(c if c.isprintable() else " " for c in str(text))
    short = line if len(line) <= longest else line[: longest - 1] + "…"
    return html.escape(short.translate(_ESCAPED), quote=False)


def licence_of(composition: Mapping[str, Any]) -> str | None:
    """The one licence that all rows state, in the hub's spelling; "other" for one the hub does not know; else None."""
    single = _single(composition, _LICENCE)
    if single is None:
        return None
    spelt = re.sub(r"[\s_]+", "-", single.strip().lower())
    return spelt if spelt in LICENCES else "other"


def _front(manifest: Mapping[str, Any]) -> str:
    makeup, plan = manifest["composition"], manifest["plan"]
    size = next((name for most, name in SIZES if makeup["rows"] < most), "n>10M")
    lines = [f"pretty_name: {quoted(manifest['output']['name'])}"]
    licence = licence_of(makeup)
    if licence:
        lines.append(f"license: {licence}")
        if licence == "other":
            lines.append(f"license_name: {quoted(_single(makeup, _LICENCE))}")
    languages = _languages(makeup)
    if languages:
        lines += ["language:", *(f"- {json.dumps(code)}" for code in languages)]  # bare, YAML reads no as false
    lines += ["task_categories:", "- text-generation", "tags:", "- instruction-tuning", "- touchstone"]
    lines += [f"- {plan['form']}", "size_categories:", f"- {size}"]
    kinds = manifest["output"].get("features")
    lines += yaml_lines(kinds) if kinds else []
    return "\n".join(["---", *lines, "---"])


def _lead(manifest: Mapping[str, Any]) -> str:
    makeup, selection = manifest["composition"], manifest["selection"]
    state = "approved" if manifest["approved"] else "**not approved**"
    return (
        f"{makeup['rows']:,} instruction-tuning samples ({makeup['words']:,} words), selected from a pool of "
        f"{manifest['pool']['rows']:,} with {escaped(manifest['made_by'])}: selection "
        f"{escaped(selection['name'])}, version {selection['version']}, {state}."
    )


def _composition(makeup: Mapping[str, Any]) -> Iterator[str]:
    yield _parts("File", makeup["files"], makeup["rows"], whole=True)
    for name, told in makeup["fields"].items():
        yield _parts(name, told["parts"], makeup["rows"], whole=told["whole"])


def _parts(title: str, parts: Sequence[Mapping[str, Any]], rows: int, *, whole: bool) -> str:
    lines = [f"| {escaped(title)} | Samples | Share | Words |", "|---|---:|---:|---:|"]
    for part in parts[:30]:
        value = "(none)" if part["value"] is None else escaped(part["value"])
        lines.append(f"| {value} | {part['rows']:,} | {part['rows'] / rows:.1%} | {part['words']:,} |")
    rest = rows - sum(part["rows"] for part in parts[:30])
    if rest and (not whole or len(parts) > 30):
        lines.append(f"| (others) | {rest:,} | {rest / rows:.1%} | |")
    return "\n".join(lines)


def _files(manifest: Mapping[str, Any]) -> str:
    output, plan = manifest["output"], manifest["plan"]
    lines = [f"Records in the form `{plan['form']}`, stored as `{plan['container']}`."]
    if plan["validation"]:
        parts = output["splits"]
        lines.append(
            f"{parts['validation']:,} samples are held back for validation and {parts['train']:,} are for training; "
            f"groups ({escaped(plan['group'])}) and duplicates are never parted."
        )
    if output["columns"]:
        lines.append("Added fields: " + ", ".join(escaped(name) for name in output["columns"]) + ".")
    return " ".join(lines)


def _reading(manifest: Mapping[str, Any]) -> str:
    """How `datasets` loads it."""
    name, plan = quoted(manifest["output"]["name"]), Plan.from_dict(manifest["plan"])
    kinds = None if plan.folder else manifest["output"].get("features")  # a folder's card is read with it
    if plan.container == "hf":
        line = f"datasets.load_from_disk({name})"
    elif plan.folder:
        line = f"datasets.load_dataset({name})"
    else:
        kind = {"jsonl": "json"}.get(plan.container, plan.container)
        typed = ", features=features" if kinds else ""
        load = f'datasets.load_dataset("{kind}", data_files={name}{typed})'
        line = "\n".join([*(code_lines(kinds) if kinds else ()), load])
    return f"```python\n{line}\n```"


def _choice(manifest: Mapping[str, Any]) -> Iterator[str]:
    spec, run = manifest["selection"]["spec"], manifest["run"]
    told = {k: v for k, v in spec.items() if k not in _UNTOLD and v not in (None, "", [], {})}
    if told:
        yield "\n".join(
            f"- {escaped(_TOLD.get(name, name))}: {escaped(_short(value), 400)}" for name, value in told.items()
        )
    if run is None:
        yield "The selection names no scoring run."
        return
    model = manifest["model"] or {}
    named = f"the model {escaped(model['name'])}" if model.get("name") else "no model"
    targets = ", ".join(escaped(name) for name in run["targets"]) or "no target set"
    yield (
        f"Scores: run {escaped(run['name'])}, method {escaped(run['method'])}, {named}, for {targets}, "
        f"covering {run['rows']:,} samples."
    )
    yield _fidelity(run["summary"].get("fidelity"))


def _fidelity(report: Any) -> str:
    if not isinstance(report, dict) or report.get("spearman") is None:
        return "The run was not audited: how well its scores agree with exact ones is not known."
    low, high = (report.get("interval") or (None, None))[:2]
    between = f" ({report.get('level', 0.9):.0%} interval {low:.2f} to {high:.2f})" if low is not None else ""
    return (
        f"Audit: the scores agree with exact ones at Spearman {report['spearman']:.2f}{between} on "
        f"{report.get('n', 0):,} samples."
    )


def _approval(manifest: Mapping[str, Any]) -> Iterator[str]:
    told = manifest["decisions"]
    counts = {name: len(told[name]) for name in ("approved", "rejected", "skipped")}
    said = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    yield f"In the whole pool, people have {said}." if any(counts.values()) else "Nobody has decided on any sample."
    if told["selected_but_rejected_since"]:
        yield f"{len(told['selected_but_rejected_since']):,} samples in it were rejected after it was selected."
    events = manifest["selection"].get("events", ())
    if events:
        yield "\n".join(
            f"- {escaped(e['kind'])} by {escaped(e['by'])}, {escaped(e['at'][:16])}"
            + (f": {escaped(e['note'])}" if e["note"] else "")
            for e in events
        )
    if not manifest["approved"]:
        yield "**Nobody has approved this selection.**"
    elif manifest["selection"].get("remark"):
        yield escaped(manifest["selection"]["remark"]).capitalize() + "."


def _again(manifest: Mapping[str, Any]) -> str:
    inputs = "\n".join(
        f"- {escaped(f['name'])} ({escaped(f['role'])}), SHA-256 `{f['sha256']}`" for f in manifest["inputs"]
    )
    line = reproduce_line(re.sub(r"[^\w.\-]", "_", manifest["output"]["name"]))
    sha256 = manifest["output"]["sha256"]
    return f"With the manifest and these inputs:\n\n{inputs}\n\n```\n{line}\n```\n\nSHA-256 `{sha256}`"


def _limits(manifest: Mapping[str, Any]) -> str:
    lines = ["- Scores estimate how a sample helps the targets for one model; for another model they may differ."]
    if manifest["decisions"]["approved"] or manifest["decisions"]["rejected"]:
        lines.append("- Decisions are the judgement of the people named in the project's log.")
    lines.append("- No sample was checked for truth; contents are as in the sources.")
    if licence_of(manifest["composition"]) is None:
        lines.append("- The samples state no single licence: the terms of the sources hold.")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, str | int | float):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _single(composition: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The one value that all rows have under a field of these names, if it is one."""
    for name, told in composition["fields"].items():
        if name.rpartition(".")[2].lower() in names:
            values = [part["value"] for part in told["parts"]]
            return str(values[0]) if told["whole"] and len(values) == 1 and values[0] is not None else None
    return None


def _languages(composition: Mapping[str, Any]) -> list[str]:
    """Language codes that the rows state, if all of them look like codes."""
    for name, told in composition["fields"].items():
        if name.rpartition(".")[2].lower() in _LANGUAGE:
            values = [str(part["value"]).lower() for part in told["parts"] if part["value"] is not None]
            return sorted(set(values)) if all(re.fullmatch(r"[a-z]{2,3}", v) for v in values) else []
    return []
