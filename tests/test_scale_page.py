"""What docs/scale.md says was measured, and its code is code."""

from __future__ import annotations

import ast
import concurrent.futures
import json
import re
from typing import Any

from benchmarks import scale
from benchmarks._lab import RESULTS


def _found() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / "scale.json").read_text())
    return found


def test_the_page_holds_what_was_measured() -> None:
    page = scale.PAGE.read_text()
    assert f"<!-- scale -->\n\n{scale.block(_found()).strip()}\n\n<!-- /scale -->" in page
    assert scale.FIGURE.read_bytes().startswith(b"\x89PNG")


def test_the_model_bends_where_the_slowest_changes() -> None:
    per = scale.model(_found())
    assert all(value >= 0 for value in per.values())
    hours = [scale._hours(per, 1, workers) for workers in (1, 10, 100, 1000, 10_000)]
    assert hours == sorted(hours, reverse=True)
    assert len(set(hours[1:])) == 1  # no more of them have work than may ask
    assert scale._hours(per, 2, 1) == hours[0]  # the workers


def test_builds_of_one_cohort_gave_one_dataset() -> None:
    rows = _found()["rows"]
    assert len({row["hash"] for row in rows}) == 1
    assert {(row["orthancs"], row["workers"]) for row in rows} >= {(1, 1), (1, 2), (1, 4), (4, 4)}


def test_the_forms_for_others_are_executors() -> None:
    blocks = re.findall(r"```py\n(.*?)```", scale.PAGE.read_text(), re.DOTALL)
    classes = [node for block in blocks for node in ast.parse(block).body if isinstance(node, ast.ClassDef)]
    assert [each.name for each in classes] == ["RayExecutor", "SparkExecutor"]
    for each in classes:
        made: dict[str, Any] = {"concurrent": concurrent}
        exec(compile(ast.Module([each], []), "scale.md", "exec"), made)
        assert issubclass(made[each.name], concurrent.futures.Executor)
