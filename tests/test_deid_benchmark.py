"""The tables of docs/deid.md are what was measured, and what misses a target says so."""

from __future__ import annotations

import json
from typing import Any

from benchmarks import deid
from benchmarks._lab import OURS, ROOT


def test_the_page_holds_what_was_measured_and_nothing_else() -> None:
    page = (ROOT / "docs" / "deid.md").read_text()
    for name, block in deid.BLOCKS.items():
        kept = ROOT / "benchmarks" / "results" / f"{name}.json"
        text = f"{block(json.loads(kept.read_text())).strip()}\n\n" if kept.exists() else ""
        assert f"<!-- {name} -->\n\n{text}<!-- /{name} -->" in page


def test_what_misses_its_target_is_said() -> None:
    def row(tool: str, rate: float, per_cpu: float) -> dict[str, Any]:
        return {"job": "ct", "where": "folder", "tool": tool, "rate": rate, "per_cpu": per_cpu}

    rows = [row(f"{OURS}, a project, 1 worker", 10, 30), row(f"{OURS}, a project, 2 workers", 17, 30)]
    found = {
        "date": "2026-01-01",
        "cores": 2,
        "system": "Linux",
        "versions": {},
        "repeats": 3,
        "jobs": {"ct": "slices"},
        "memory": [
            {"instances": 100, "peak_mb": 100, "above_mb": 9},
            {"instances": 5000, "peak_mb": 130, "above_mb": 30},
        ],
    }
    slower = deid.BLOCKS["deid-speed"]({**found, "rows": [*rows, row(deid.DICOGNITO, 50, 40)]})
    assert "| 0.75 times | **no** |" in slower
    assert "| 1.70 times | yes |" in slower
    assert "| 1.30 times | **no** |" in slower
    assert "| 1.50 times | yes |" in deid.BLOCKS["deid-speed"]({**found, "rows": [*rows, row(deid.DICOGNITO, 50, 20)]})
