"""The shell commands: thin, with exit codes, and nothing but sentences when something is wrong."""

from __future__ import annotations

import errno
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer.main
from stock import stock

import orthanc_research as ores
from orthanc_research import cli
from orthanc_research.cli import main

Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(
    orthanc: ores.Orthanc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Shell:
    """Run `orthanc-research …` in an empty folder, with the server in the environment: here, as a start takes 1.4 s."""
    user, password = orthanc.rest.connection.basic_auth() or ("", "")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORTHANC_URL", orthanc.url)
    monkeypatch.setenv("ORTHANC_USERNAME", user)
    monkeypatch.setenv("ORTHANC_PASSWORD", password)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", ["orthanc-research", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return subprocess.CompletedProcess(arguments, int(end.value.code or 0), *capsys.readouterr())

    return run


@pytest.mark.one_version
def test_the_main_job_from_a_shell(shell: Shell, orthanc: ores.Orthanc, tmp_path: Path) -> None:
    ores.samples.cohort(tmp_path / "in", patients=1, studies=1, slices=4, size=16)
    (tmp_path / "in" / "notes.txt").write_text("not DICOM")
    done = shell("upload", "in", "--out", "ledger.csv")
    assert done.returncode == 1  # one row failed
    assert "1 failed" in done.stderr
    assert pd.read_csv(tmp_path / "ledger.csv")["status"].value_counts().to_dict()["failed"] == 1
    (tmp_path / "in" / "notes.txt").unlink()
    command = [sys.executable, "-c", "from orthanc_research.cli import main; main()", "upload", "in"]
    assert subprocess.run(command, check=False).returncode == 0  # in a process of its own: the same
    done = shell("find", "Series", "Modality=CT,MR", "--out", "series.parquet")
    assert (done.returncode, len(ores.read_parquet(tmp_path / "series.parquet"))) == (0, 2)
    done = shell("tags", "series.parquet", "-c", "SliceThickness", "-c", "Rows", "--out", "tags.csv")
    assert done.returncode == 0, done.stderr
    assert list(pd.read_csv(tmp_path / "tags.csv")["Rows"].unique()) == [16]
    done = shell("tags", "series.parquet", "--out", "all.parquet")
    assert done.returncode == 0, done.stderr
    assert len(ores.read_parquet(tmp_path / "all.parquet")) == 10
    done = shell("tags", "series.parquet", "-c", "Modality", "--per", "Series", "--out", "protocol.csv")
    assert sorted(pd.read_csv(tmp_path / "protocol.csv")["Modality"]) == ["CT", "MR"]
    done = shell("overview", "--out", "overview.csv")
    assert pd.read_csv(tmp_path / "overview.csv")["instances"].sum() == 10
    done = shell("export", "series.parquet", "--to", "frames", "--out", "files.csv")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "frames").iterdir())) == 2
    volumes = ("--format", "npz", "--values", "rescaled", "--dtype", "float64", "--min-slices", "2")
    done = shell("export", "series.parquet", "--to", "volumes", *volumes, "--on-missing", "nan", "--on-4d", "split")
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "volumes").glob("*_001.npz"))
    assert [ores.read_volume(file)[0].dtype for file in files] == ["float64", "float64"]
    assert shell("find", "Study", "--out", "studies.parquet").returncode == 0
    done = shell("anonymize", "studies.parquet", "--journal", "j.sqlite", "--out", "mapping.csv")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE((tmp_path / "mapping.csv").stat().st_mode) == 0o600
    done = shell("anonymize", "--resume", "j.sqlite")
    assert done.returncode == 0, done.stderr
    assert "1 done" in done.stderr
    change = ("modify", "studies.parquet", "--replace", "StudyID=7", "--replace-from", "StudyDescription=PatientSex")
    dry = shell(*change, "--dry-run")
    assert (dry.returncode, "1 planned" in dry.stderr) == (0, True), dry.stderr
    assert len(orthanc.studies()) == 2
    done = shell(*change, "--journal", "m.sqlite", "--out", "modified.csv")
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "modified.csv")["instances"].tolist() == [10]
    assert len(orthanc.studies(StudyID="7")) == 1


@pytest.mark.one_version
def test_a_dry_run_shows_and_does_nothing_and_a_second_run_goes_on(
    shell: Shell, orthanc: ores.Orthanc, tmp_path: Path
) -> None:
    ores.samples.cohort(tmp_path / "in", patients=1, studies=1, slices=4, size=16)
    done = shell("upload", "in", "--dry-run", "--out", "plan.csv")
    assert (done.returncode, len(pd.read_csv(tmp_path / "plan.csv"))) == (0, 10), done.stderr
    assert orthanc.instances().empty
    orthanc.upload(tmp_path / "in", progress=False)
    ores.write_table(orthanc.series(), tmp_path / "series.parquet")
    done = shell("download", "series.parquet", "--to", "files", "--dry-run", "--out", "plan.csv")
    assert (done.returncode, "10 planned" in done.stderr) == (0, True), done.stderr
    assert not (tmp_path / "files").exists()
    done = shell("download", "series.parquet", "--to", "files", "--out", "ledger.parquet")
    assert (done.returncode, "10 done" in done.stderr) == (0, True), done.stderr
    plan, ledger = pd.read_csv(tmp_path / "plan.csv"), ores.read_parquet(tmp_path / "ledger.parquet")
    assert [str(tmp_path / "files" / path) for path in plan["file"]] == [
        str(tmp_path / path) for path in ledger["file"]
    ]
    done = shell("download", "series.parquet", "--to", "files")
    assert (done.returncode, "10 already-there" in done.stderr) == (0, True), done.stderr
    (tmp_path / "list.csv").write_text("acc,group\n0012,a\n,b\n")
    done = shell("retrieve", "list.csv", "--from", "PACS", "-c", "acc=AccessionNumber", "--dry-run", "--out", "r.csv")
    report = pd.read_csv(tmp_path / "r.csv", dtype="str")
    assert done.returncode == 1, done.stderr
    assert report["status"].tolist() == ["planned", "invalid"]
    assert report["AccessionNumber"].iloc[0] == "0012"
    orthanc.add_modality("PACS", "PACS", "127.0.0.1", 9)  # nothing is there
    options = ["-c", "acc=AccessionNumber", "--resume", "j.sqlite", "--out", "r.csv"]
    for _ in range(2):
        done = shell("retrieve", "list.csv", "--from", "PACS", *options)
        assert (done.returncode, "1 failed" in done.stderr) == (1, True), done.stderr
    orthanc.remove_modality("PACS")
    assert pd.read_csv(tmp_path / "r.csv")["status"].tolist() == ["failed", "invalid"]
    assert (tmp_path / "j.sqlite").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["find", "Study", "StudyDat=2024"], 2, "StudyDate"),
        (["find", "Study", "nonsense"], 2, "Keyword=value"),
        (["find", "Planet"], 2, "Planet"),
        (["find", "Study", "--out", "no/such/x.csv"], 2, "no folder no/such"),
        (["find", "Study", "--out", "x.doc"], 2, ".parquet or .csv"),
        (["upload", "nowhere"], 2, "no file or folder"),
        (["tags", "not-an-id"], 2, "no Orthanc IDs"),
        (["tags", "nowhere.parquet"], 2, "nowhere.parquet"),
        (["tags", "not-an-id", "-c", "StudyDat"], 2, "StudyDate"),
        (["tags", "not-an-id", "--per", "Study"], 2, "per is"),
        (["anonymize"], 2, "resume"),
        (["export", "not-an-id", "--to", "x", "--format", "bmp"], 2, "parquet, npy, npz, nifti"),
        (["export", "not-an-id", "--to", "x", "--on-4d", "split"], 2, "are for volumes"),
        (["export", "not-an-id", "--to", "x", "--format", "npz", "--on-shear", "bend"], 2, "keep, resample"),
        (["download", "not-an-id", "--to", "x"], 2, "no Orthanc IDs"),
        (["download", "nowhere.parquet", "--to", "x"], 2, "nowhere.parquet"),
        (["retrieve", "nowhere.csv", "--from", "PACS"], 2, "nowhere.csv"),
        (["retrieve", "nowhere.csv", "--from", "PACS", "-c", "acc"], 2, "YOURS=KEYWORD"),
        (["modify"], 2, "resume"),
        (["modify", "x", "--replace", "StudyID"], 2, "Keyword=text"),
        (["modify", "x", "--replace-from", "PatientID=new"], 2, "parquet table"),
        (["find", "Study", "StudyDate=2024"], 1, "No Orthanc answers"),
        (["find", "Study", "--url", "nonsense"], 2, "starts with http"),
        (["find", "Study", "--url", "http://h", "--auth-env", "NOT_SET_AT_ALL"], 2, "NOT_SET_AT_ALL is not set"),
    ],
)
def test_bad_input_is_one_sentence_and_a_code(
    arguments: list[str],
    code: int,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORTHANC_URL", "http://127.0.0.1:1")  # nothing is there: what is sent fails differently
    monkeypatch.setattr(sys, "argv", ["orthanc-research", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == code
    out, err = capsys.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert out == ""


def test_a_comma_is_a_list_for_codes_and_uids_only(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["Modality=CT,MR", "PatientName=DOE, JOHN", "StudyDescription=a,b", "SeriesInstanceUID=1.2,1.3"]
    assert cli._criteria([*given, "PatientID=7", "PatientID=8,9", "Modality=PT"]) == {
        "Modality": ["CT", "MR", "PT"],
        "PatientName": "DOE, JOHN",
        "StudyDescription": "a,b",
        "SeriesInstanceUID": ["1.2", "1.3"],
        "PatientID": ["7", "8,9"],
    }


def test_a_repeated_criterion_is_a_list(shell: Shell, orthanc: ores.Orthanc, tmp_path: Path) -> None:
    stock(orthanc, patients=1, studies=1, slices=3)
    found = {}
    for name, words in {"one": ["Modality=CT"], "two": ["Modality=CT", "Modality=MR"]}.items():
        done = shell("find", "Series", *words, "--out", f"{name}.parquet")
        assert done.returncode == 0, done.stderr
        found[name] = sorted(ores.read_parquet(tmp_path / f"{name}.parquet")["Modality"])
    assert found == {"one": ["CT"], "two": ["CT", "MR"]}


def test_what_the_disk_refuses_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "x"))

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"orthanc-research: No space left on device: {tmp_path / 'x'}.\n"


def test_a_private_server_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    import signal

    # A program that was started in the background of a shell ignores it, and its children do.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-c", f"{heard}from orthanc_research.cli import main; main()", "server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        words = line.split()
        url, user, password = words[3], words[5], words[7]
        with ores.Orthanc(url, auth=(user, password)) as orthanc:
            assert orthanc.statistics()["CountInstances"] == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    time.sleep(0.1)
    with ores.Orthanc(url, auth=(user, password)) as gone, pytest.raises(ores.UnreachableError):
        gone.statistics()


@pytest.mark.one_version
def test_a_recipe_that_cannot_be_is_bad_input(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[dataset]\nname = 'x'\n[querry]\n")
    for name in ("bad.toml", "none.toml"):
        done = shell("dataset", "plan", name)
        assert done.returncode == 2
        assert done.stderr.startswith(f"orthanc-research: {name}:")
        assert done.stderr.count("\n") == 1


@pytest.mark.one_version
def test_the_help_has_no_brackets_which_its_printer_takes_for_colours() -> None:
    ahead: list[Any] = [typer.main.get_command(cli.app)]
    wrong, count = [], 0
    while ahead:
        command = ahead.pop()
        ahead += getattr(command, "commands", {}).values()
        texts = [command.help, *(getattr(each, "help", None) for each in command.params)]
        count += len(texts)
        wrong += [(command.name, text) for text in texts if "[" in (text or "")]
    assert count > 100
    assert wrong == []
