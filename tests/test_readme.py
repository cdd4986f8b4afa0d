"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_notebook_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(block.splitlines()) <= 12
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out == (
        "4 160 {'done'} <Volume 40 x 128 x 128 float32, 5 x 2.734 x 2.734 mm, HU> {'done'}\n"
    )
    assert len(list((tmp_path / "frames").glob("*.parquet"))) == 4


def test_the_picture_and_the_pages_are_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    assert (ROOT / "docs/montage.png").read_bytes()[:4] == b"\x89PNG"
