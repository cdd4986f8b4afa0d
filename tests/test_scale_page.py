"""What docs/scale.md says was measured, and its code is code."""

from __future__ import annotations

import ast
import concurrent.futures
import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import _indexes, _scale_page, scale
from benchmarks._lab import RESULTS
from orthanc_research.local import _apt


def _found(name: str = "scale") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def test_the_page_holds_what_was_measured() -> None:
    page = scale.PAGE.read_text()
    blocks = {
        "scale": _scale_page.block(_found("scale"), _found("scale-growth")),
        "scale-postgresql": _indexes.block(_found("scale-postgresql")),
    }
    for name, block in blocks.items():
        assert f"<!-- {name} -->\n\n{block.strip()}\n\n<!-- /{name} -->" in page
    assert scale.FIGURE.read_bytes().startswith(b"\x89PNG")


def test_the_model_bends_where_the_slowest_changes() -> None:
    per = _scale_page.model(_found(), _found("scale-growth"))
    assert all(value >= 0 for value in per.values())
    hours = [_scale_page.hours(per, 1, workers) for workers in (1, 10, 100, 1000, 10_000)]
    assert hours == sorted(hours, reverse=True)
    assert len(set(hours[1:])) == 1  # no more of them have work than may ask
    assert _scale_page.hours(per, 2, 1) == hours[0]  # the workers


def test_the_model_finds_the_costs_that_builds_are_made_of() -> None:
    def row(series: int, slices: int, mb: float) -> dict[str, float]:
        instances = series * slices
        cpu = 2 * 1.5 + 0.03 * series + 0.002 * instances + 0.02 * mb * instances
        return {"workers": 2, "series": series, "instances": instances, **dict.fromkeys(_scale_page.SIDES, cpu)}

    small = 0.0045
    found = {"slices": 20, "received_mb": 20 * 0.13, "rows": [row(60, 20, 0.13), row(30, 20, 0.13)]}
    found["growth"] = [row(25, 20, small), row(1000, 20, small)]
    per = _scale_page.model(found, {"rows": [row(10, 100, small), row(1000, 100, small)]})
    assert per["worker_cpu"] == pytest.approx(0.03 + 100 * 0.002 + 100 * 0.53 * 0.02)


def test_builds_of_one_cohort_gave_one_dataset() -> None:
    rows = _found()["rows"]
    for size in {row["instances"] for row in _found("scale-postgresql")["rows"]}:  # whatever the index is in
        assert len({row["hash"] for row in _found("scale-postgresql")["rows"] if row["instances"] == size}) == 1
    assert len({row["hash"] for row in rows}) == 1
    assert {(row["orthancs"], row["workers"]) for row in rows} >= {(1, 1), (1, 2), (1, 4), (4, 4)}


def test_without_postgresql_one_sentence_says_what_is_missing_and_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(suite: str, packages: list[str], destination: Path) -> None:
        raise _apt.AptError("This machine's apt sources name no Debian mirror to fetch bookworm from.")

    monkeypatch.setattr(_apt, "fetch", fetch)
    monkeypatch.setattr(scale, "RESULTS", Path("nowhere"))
    assert scale.main(["--postgresql"]) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith("orthanc-postgresql of bookworm cannot be had: ")
    assert len(told.splitlines()) == 1


@pytest.mark.long
@pytest.mark.timeout(900)
def test_an_index_in_postgresql_gives_the_same_datasets(tmp_path: Path) -> None:
    found = _indexes.compare(_indexes.SMALL, tmp_path, None)
    kinds = {row["index"].partition(" ")[0] for row in found["rows"]}
    assert kinds == {"SQLite", "PostgreSQL"}
    assert len(found["rows"]) == 4
    for size in _indexes.SMALL.growth:
        of_size = [row for row in found["rows"] if row["instances"] == size]
        assert len({row["hash"] for row in of_size}) == 1
        for row in of_size:
            assert (row["cpu"]["store"][1] > 0) == row["index"].startswith("PostgreSQL")
    assert "gave one content hash" in _indexes.block(found)


def test_the_forms_for_others_are_executors() -> None:
    blocks = re.findall(r"```py\n(.*?)```", scale.PAGE.read_text(), re.DOTALL)
    classes = [node for block in blocks for node in ast.parse(block).body if isinstance(node, ast.ClassDef)]
    assert [each.name for each in classes] == ["RayExecutor", "SparkExecutor"]
    for each in classes:
        made: dict[str, Any] = {"concurrent": concurrent}
        exec(compile(ast.Module([each], []), "scale.md", "exec"), made)
        assert issubclass(made[each.name], concurrent.futures.Executor)
