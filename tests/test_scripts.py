"""The scripts that a newcomer runs: cheap checks of their form and of what they say when something is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = [ROOT / "scripts" / name for name in ("setup", "test", "check", "demo", "orthanc", "bench", "docs")]
ALL = [*SCRIPTS, ROOT / "scripts" / "_setup.sh", ROOT / ".ci" / "run"]
by_name = pytest.mark.parametrize("script", ALL, ids=lambda path: path.name)


@by_name
def test_a_script_parses_and_can_be_run(script: Path) -> None:
    shell = "bash" if script.name == "run" else "sh"
    subprocess.run([shell, "-n", script], check=True)
    assert os.access(script, os.X_OK) == (script.name != "_setup.sh")


@by_name
def test_no_mirror_or_index_is_written_down(script: Path) -> None:
    assert not re.search(r"https?:|index-url|trusted", script.read_text())


def test_the_scripts_stay_a_few_lines_over_one_setup() -> None:
    for script in SCRIPTS:
        lines = script.read_text().splitlines()
        assert lines[0] == "#!/bin/sh"
        assert lines[1].startswith("# ")
        assert lines[2] == '. "$(dirname "$0")/_setup.sh"'
        assert len(lines) <= 16


def copy(folder: Path) -> Path:
    """A checkout of no more than the scripts need to begin."""
    shutil.copytree(ROOT / "scripts", folder / "scripts")
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder / "scripts" / "setup"


def run(script: Path, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": str(path), "HOME": str(path)}
    return subprocess.run(["/bin/sh", script], env=environment, capture_output=True, text=True, check=False)


def tools(folder: Path, *names: str) -> Path:
    """A folder with these tools of the machine and nothing else."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def test_a_machine_without_a_python_that_will_do_is_told_so_in_one_sentence(tmp_path: Path) -> None:
    setup = copy(tmp_path / "checkout")
    text = setup.with_name("_setup.sh").read_text()
    setup.with_name("_setup.sh").write_text(text.replace("/usr/bin/python3", "/no/python3"))
    path = tools(tmp_path / "bin", "dirname", "cksum", "cat")
    (path / "python3").write_text("#!/bin/sh\nexit 1\n")  # too old, or a version manager's shim of nothing
    (path / "python3").chmod(0o755)
    done = run(setup, path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Python 3.11 or later is needed and was not found; install it")
    assert len(done.stderr.splitlines()) == 1


def test_a_machine_without_a_browser_is_told_how_to_get_one(tmp_path: Path) -> None:
    setup = copy(tmp_path / "checkout")
    path = tools(tmp_path / "bin", "dirname", "cksum", "cat")
    python = tmp_path / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    assert run(setup, path).stderr.splitlines()[-1].endswith("to get it on Debian: apt install chromium")
    (path / "chromium").symlink_to("/bin/true")
    assert "Chromium" not in run(setup, path).stderr


def test_a_second_setup_does_not_install_again(tmp_path: Path) -> None:
    setup = copy(tmp_path / "checkout")
    path = tools(tmp_path / "bin", "dirname", "cksum", "cat")
    python = tmp_path / "checkout" / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >> "$0.calls"\n')
    python.chmod(0o755)
    for _ in range(2):
        assert run(setup, path).returncode == 0
    calls = python.with_name("python.calls").read_text().splitlines()
    installs = [call for call in calls if "pip install" in call]
    assert len(installs) == 1
    assert installs[0].endswith("--editable .[dev]")
    assert [call for call in calls if "orthanc_research.local" in call] == ["-m orthanc_research.local"] * 2

    with (tmp_path / "checkout" / "pyproject.toml").open("a") as stream:
        stream.write("\n# another dependency\n")
    assert run(setup, path).returncode == 0
    assert python.with_name("python.calls").read_text().count("pip install") == 2
