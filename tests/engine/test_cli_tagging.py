"""`tag`, `tags` and `audit` in the shell: what they record, print and refuse."""

import json

from engine.__main__ import main
from engine.curation import audit
from engine.curation.facts import Facts
from engine.store.project import Project


def test_tags_and_the_audit_from_the_shell(tmp_path, capsys):
    rows = [json.dumps({"id": f"r{i}", "prompt": f"Say {i}.", "completion": f"It is {i}."}) for i in range(8)]
    (tmp_path / "pool.jsonl").write_text("\n".join(rows))
    place = str(tmp_path / "p")
    assert main(["add-pool", place, str(tmp_path / "pool.jsonl")]) == 0
    assert main(["tag", place, "r1", "r2", "odd sum", "--by", "Ada"]) == 0
    assert main(["tag", place, "r2", "odd sum", "--remove"]) == 0
    capsys.readouterr()
    assert main(["tags", place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tags"] == {"odd sum": 1}
    assert main(["tag", place, "odd sum"]) == 2
    assert main(["tag", place, "nobody", "odd sum"]) == 1
    assert main(["tag", place, "r1", "  "]) == 1
    assert "Nothing was recorded" in capsys.readouterr().err
    assert main(["audit", place]) == 0
    assert "No audit was begun" in capsys.readouterr().out
    project = Project.open(place)
    begun = audit.begin(project, Facts(project), by="Ada")
    for row in begun.rows[:4].tolist():
        project.decide([row], "approve", by="Ada")
        audit.answered(project, begun, row, by="Ada")
    assert main(["audit", place, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["audit"]
    assert (told["sample"], told["left"], told["high"]) == (4, 4, 1.0)
