"""Claimed beside reached, and class by class."""

import json
import re

from marey.report.results import claims_table, class_shares, classes, protocol, reached
from marey.report.run import read_run


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [[re.sub("<[^>]+>", "", c) for c in re.findall(r"<t[dh].*?</t[dh]>", r)] for r in rows]


def test_claimed_and_reached_have_columns_of_their_own(make_run) -> None:
    run = read_run(make_run())
    head, first, second, third = cells(claims_table(run))
    assert head == ["measure", "claimed", "reached", "on", "source"]
    assert first == ["top-1", "74.8 %", "75.0 %", "Kinetics-400, 10x3", "a table"]
    assert second == ["top-5", "none", "100.0 %", "val split, 3x1 views", ""]
    assert third[:3] == ["mean class accuracy", "none", "72.2 %"]
    assert protocol(run) == "val split, 3x1 views"


def test_a_claim_nobody_measured_says_so(make_run) -> None:
    path = make_run()
    claims = [{"dataset": "Charades", "metric": "mAP", "value": None}]
    (path / "recipe.json").write_text(json.dumps({"claims": claims}))
    assert cells(claims_table(read_run(path)))[1][:4] == [
        "mAP", "unknown", "not measured", "Charades",
    ]  # fmt: skip


def test_before_the_evaluation_the_last_validation_counts(make_run) -> None:
    path = make_run()
    (path / "metrics.json").unlink()
    assert reached(read_run(path)) == {"top1": 0.8}


def test_shares_come_from_the_confusion_or_from_what_there_is(make_run) -> None:
    assert class_shares(read_run(make_run()))[0] == ("run & jump", 2 / 3, "2 of 3")
    per_class = {"a": {"count": 3, "ap": 0.25}, "b": {"count": 0, "ap": None}, "c": 0.5}
    run = read_run(make_run(confusion=[], per_class=per_class))
    assert class_shares(run) == [("a", 0.25, "25.0 %"), ("c", 0.5, "50.0 %")]
    run = read_run(make_run(confusion=[], per_class=[{"accuracy": 1.0}]))
    assert class_shares(run) == [("run & jump", 1.0, "100.0 %")]


def test_many_classes_fold(make_run) -> None:
    assert "<details>" not in classes(read_run(make_run()))
    per_class = {f"class {i}": i / 100 for i in range(100)}
    html = classes(read_run(make_run(confusion=[], per_class=per_class)))
    assert "All 100 classes" in html
    assert html.count("<li>") == 124
