"""`orthanc-research deid` from a shell: exit codes, and nothing of the patients on the screen."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock
from release_cases import KEY, cohort, files, kept
from stock import stock

import orthanc_research as ores
from orthanc_research.cli import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


Shell = Callable[..., Done]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """Run `orthanc-research deid …` in an empty folder, in this process: to start one takes seconds."""

    def run(*arguments: str, **more: str) -> Done:
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.delenv("ORTHANC_URL", raising=False)
            patch.setattr(sys, "argv", ["orthanc-research", "deid", *arguments])
            for name, value in more.items():
                patch.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main()
        done = Done(int(ended.value.code or 0), *capsys.readouterr())
        assert "SYN-" not in done.stdout + done.stderr or "--reveal" in arguments
        return done

    return run


def test_a_release_from_a_shell(shell: Shell, tmp_path: Path) -> None:
    cohort(tmp_path / "in", patients=1)
    key = ("--key", f"file:{tmp_path / 'key'}")
    assert shell("init", "project", *key).returncode == 2  # there is no key yet
    assert shell("init", "project", *key, "--make-key").returncode == 0
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert shell("init", "project", *key, "--make-key").returncode == 2
    assert shell("plan", "project", "nowhere", "out", *key).returncode == 2
    (tmp_path / "bad").write_bytes(b"{SYN-\xff\xfe\n")
    for option in ("--profile", "--patient-ids"):
        for name in ("bad", "none", "/dev/null"):
            done = shell("plan", "project", "in", "out", option, name, *key)
            assert (done.returncode, option in done.stderr) == (2, True), done.stderr
    (tmp_path / "bad").unlink()
    done = shell("run", "project", "in", "out", *key, "--dry-run", "--out", "plan.csv")
    assert (done.returncode, done.stderr.count("2 planned")) == (0, 1), done.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    done = shell("plan", "project", "in", "out", *key)
    assert done.returncode == 1
    assert "Leave it out" in done.stderr
    (tmp_path / "in" / "notes.txt").unlink()
    with FileLock(tmp_path / "project" / "project.sqlite.lock"):
        done = shell("run", "project", "in", "out", *key)
        assert (done.returncode, "Another process" in done.stderr) == (2, True)
    done = shell("run", "project", "in", "out", *key, "--out", "ledger.csv")
    assert (done.returncode, done.stderr.count("2 done")) == (0, 1), done.stderr
    assert len(kept(tmp_path / "out")) == 8
    assert set(pd.read_csv(tmp_path / "ledger.csv")["status"]) == {"done"}
    assert shell("resume", "project", *key).returncode == 0
    assert shell("verify", "project", *key).returncode == 0
    copy = files(tmp_path / "out")[0]
    copy.write_bytes(copy.read_bytes()[:-2])
    assert shell("verify", "project", *key).returncode == 1
    assert shell("run", "project", "in", "out", *key).returncode == 1  # a conflict
    done = shell("mapping", "project", *key)
    assert (done.returncode, done.stdout) == (0, "<Mapping of 1 patients: PHI; reveal() shows it>\n")
    assert "SYN-" in shell("mapping", "project", *key, "--reveal").stdout
    assert shell("mapping", "project", *key, "--reveal", "--out", "out/who.csv").returncode == 2
    assert shell("mapping", "project", *key, "--midi", "midi").returncode == 0
    assert {path.name for path in files(tmp_path / "midi")} == {"uid_mapping.csv", "patid_mapping.csv"}


@pytest.mark.one_version
def test_from_an_orthanc_with_a_password_in_the_environment(
    shell: Shell, orthanc: ores.Orthanc, tmp_path: Path
) -> None:
    stock(orthanc, patients=1, studies=1, slices=3)
    user, password = orthanc.rest.connection.basic_auth() or ("", "")
    secrets = {"ORES_KEY": KEY, "SOURCE_AUTH": f"{user}:{password}"}
    names = tmp_path / "names.csv"
    uids = orthanc.series()["SeriesInstanceUID"]
    names.write_text("series,name\n" + "".join(f"{uid},CASE-1\n" for uid in uids))
    where = ("project", orthanc.url, "out", "--source-auth-env", "SOURCE_AUTH", "--patient-ids", "names.csv")
    done = shell("run", *where, **secrets)
    assert done.returncode == 0, done.stderr
    assert "CASE-1" in done.stdout
    assert shell("verify", "project", **secrets).returncode == 0
    assert shell("report", "project", "--to", "report.html", "--manifest", "m.json", **secrets).returncode == 0
    assert shell("verify", "project", ORES_KEY=KEY).returncode == 2  # the password is not there any more
    assert shell("verify", "project", ORES_KEY="00" * 32).returncode == 1
    kept_texts = b"".join(path.read_bytes() for path in files(tmp_path / "project"))
    assert not password or password.encode() not in kept_texts
