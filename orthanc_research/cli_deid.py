"""`orthanc-research deid`: releases from a shell. Thin calls; a command is a method of `Project`, `Plan` or `Run`.

Exit codes: 0 everything done, 1 some rows are not, 2 bad input. The key is never an argument: --key says where it is.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from orthanc_research.cli_tables import DryRun, Out, finish, show
from orthanc_research.deid import Profile
from orthanc_research.errors import DeidError, QueryError
from orthanc_research.export import read_parquet
from orthanc_research.orthanc import Orthanc
from orthanc_research.release._keys import make_key_file
from orthanc_research.release._places import check_house
from orthanc_research.release._plan import Plan
from orthanc_research.release._run import Run
from orthanc_research.release.project import Project

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="De-identified releases: keyed, verified, with a journal and a mapping.")

Folder = Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's folder; 0700, and it holds PHI.")]
KeyName = Annotated[str, typer.Option("--key", help="Where the key is: env:NAME, file:/path or keyring:name.")]
Source = Annotated[str, typer.Argument(help='A folder, the address of an Orthanc, or "orthanc" for ORTHANC_URL.')]
Target = Annotated[str, typer.Argument(help="As SOURCE.")]
Resources = Annotated[
    list[str] | None,
    typer.Option("--resource", "-r", help="Orthanc ID, path below the folder, or a table that `find` wrote; again."),
]
ProfileFile = Annotated[Path | None, typer.Option("--profile", help="A profile as JSON; without it, the default one.")]
Acknowledge = Annotated[
    list[str] | None, typer.Option("--acknowledge", help="A series whose pixels you have looked at, or all; again.")
]
Names = Annotated[
    Path | None, typer.Option("--patient-ids", help="A .csv with two columns: what it is in the source, pseudonym.")
]
Sequential = Annotated[bool, typer.Option("--sequential", help="Pseudonyms 00001, 00002 … instead of keyed codes.")]
SourceAgain = Annotated[str | None, typer.Option("--source", help="Where its journal has no password for it.")]
TargetAgain = Annotated[str | None, typer.Option("--target", help="The same.")]
SourceAuth = Annotated[str | None, typer.Option(metavar="NAME", help="Variable with user:password of the source.")]
TargetAuth = Annotated[str | None, typer.Option(metavar="NAME", help="Variable with user:password of the target.")]
Workers = Annotated[int, typer.Option(help="Processes.")]
Number = Annotated[int | None, typer.Option("--run", help="The number of a run; without it, the last one.")]
KEY = "env:ORES_KEY"


@app.command()
def init(
    folder: Folder,
    key: KeyName = KEY,
    make_key: Annotated[bool, typer.Option("--make-key", help="Make a new key in the file that --key names.")] = False,
) -> None:
    """Make a project, bound to its key."""
    if make_key:
        if not key.startswith("file:"):
            raise QueryError("--make-key writes a file: give --key file:/path.")
        make_key_file(Path(key[5:]).expanduser(), folder.expanduser())
    project = Project(folder, key)
    print(f"A project with the key {project.key_id}. Keep the key apart from it: without it no run can go on.")


@app.command()
def plan(
    folder: Folder,
    source: Source,
    target: Target,
    resource: Resources = None,
    profile: ProfileFile = None,
    acknowledge: Acknowledge = None,
    patient_ids: Names = None,
    sequential: Sequential = False,
    key: KeyName = KEY,
    source_auth_env: SourceAuth = None,
    target_auth_env: TargetAuth = None,
    out: Out = None,
) -> None:
    """What a run would do, a row a series; nothing is stored."""
    with _places((source, source_auth_env), (target, target_auth_env)) as places:
        planned = _plan(Project(folder, key), places, resource, profile, acknowledge, patient_ids, sequential)
    _tell(planned)
    finish(planned.frame, ("planned", "done"), out)


@app.command()
def run(
    folder: Folder,
    source: Source,
    target: Target,
    resource: Resources = None,
    profile: ProfileFile = None,
    acknowledge: Acknowledge = None,
    patient_ids: Names = None,
    sequential: Sequential = False,
    workers: Workers = 2,
    dry_run: DryRun = False,
    key: KeyName = KEY,
    source_auth_env: SourceAuth = None,
    target_auth_env: TargetAuth = None,
    out: Out = None,
) -> None:
    """Plan, then make, examine and store the copies; again to bring what is new."""
    with _places((source, source_auth_env), (target, target_auth_env)) as places:
        planned = _plan(Project(folder, key), places, resource, profile, acknowledge, patient_ids, sequential)
        _tell(planned)
        if dry_run:
            finish(planned.frame, ("planned", "done"), out)
        else:
            _end(planned.run(workers=workers), out)


@app.command()
def resume(
    folder: Folder,
    number: Number = None,
    workers: Workers = 2,
    key: KeyName = KEY,
    source: SourceAgain = None,
    target: TargetAgain = None,
    source_auth_env: SourceAuth = None,
    target_auth_env: TargetAuth = None,
    out: Out = None,
) -> None:
    """Do the rest of a run that was interrupted."""
    with _places((source, source_auth_env), (target, target_auth_env)) as (first, second):
        _end(Project(folder, key).resume(number, workers=workers, source=first, target=second), out)


@app.command()
def verify(
    folder: Folder,
    number: Number = None,
    workers: Workers = 2,
    key: KeyName = KEY,
    source: SourceAgain = None,
    target: TargetAgain = None,
    source_auth_env: SourceAuth = None,
    target_auth_env: TargetAuth = None,
    out: Out = None,
) -> None:
    """Hold all stored copies against their originals again."""
    with _places((source, source_auth_env), (target, target_auth_env)) as (first, second):
        found = Project(folder, key).verify(number, workers=workers, source=first, target=second)
    finish(found, ("verified",), out)


@app.command()
def report(
    folder: Folder,
    path: Annotated[Path, typer.Option("--to", help="The HTML to write.")],
    number: Number = None,
    manifest: Annotated[Path | None, typer.Option(help="And a JSON that may go with the data.")] = None,
    key: KeyName = KEY,
    source: SourceAgain = None,
    target: TargetAgain = None,
    source_auth_env: SourceAuth = None,
    target_auth_env: TargetAuth = None,
) -> None:
    """Write the report of a run."""
    project = Project(folder, key)
    with _places((source, source_auth_env), (target, target_auth_env)) as (first, second):
        print(project.report(number, path, source=first, target=second))
    if manifest is not None:
        print(project.manifest(number, manifest))


@app.command()
def mapping(
    folder: Folder,
    reveal: Annotated[bool, typer.Option("--reveal", help="Show who is who: PHI.")] = False,
    midi: Annotated[Path | None, typer.Option(help="Write uid_mapping.csv and patid_mapping.csv here: PHI.")] = None,
    key: KeyName = KEY,
    out: Out = None,
) -> None:
    """How many patients there are; who is who only with --reveal."""
    project = Project(folder, key)
    found = project.mapping()
    if midi is not None:
        project.export_midi(midi)
    if reveal:
        if out is not None:
            with project.reading() as store:
                check_house(out, (row.target for row in store.runs()))
        show(found.reveal(), out)
    else:
        print(found)


@contextmanager
def _places(*given: tuple[str | None, str | None]) -> Iterator[list[Any]]:
    """Folders and Orthancs, which are closed at the end, for (SOURCE or TARGET, variable with its password)."""
    with ExitStack() as opened:
        found: list[Any] = []
        for where, auth in given:
            if where is not None and (where == "orthanc" or where.startswith(("http://", "https://"))):
                url = None if where == "orthanc" else where
                found.append(opened.enter_context(Orthanc(url, auth=f"env:{auth}" if auth else None)))
            else:
                found.append(where)
        yield found


def _plan(
    project: Project,
    places: list[Any],
    resources: list[str] | None,
    profile: Path | None,
    acknowledge: list[str] | None,
    names: Path | None,
    sequential: bool,
) -> Plan:
    chosen: Any = resources or None
    if resources and len(resources) == 1 and resources[0].endswith(".parquet"):
        chosen = read_parquet(resources[0])
    return project.plan(
        places[0],
        chosen,
        profile=_profile(profile) if profile else Profile(),
        target=places[1],
        patient_ids=_names(names) if names else None,
        sequential=sequential,
        acknowledge=acknowledge or (),
    )


def _profile(path: Path) -> Profile:
    try:
        return Profile.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, DeidError) as error:
        raise QueryError(f"--profile: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Without what is in the file, which a decoder's message may quote."""
    return str(error) if isinstance(error, DeidError) else f"the file cannot be read ({type(error).__name__})."


def _names(path: Path) -> pd.Series:
    try:
        table = pd.read_csv(path, dtype="str", keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise QueryError(f"--patient-ids: {_reason(error)}") from None
    if len(table.columns) != 2:
        raise QueryError("--patient-ids is a .csv with two columns: what it is in the source, and its pseudonym.")
    return table.set_index(table.columns[0])[table.columns[1]]


def _tell(planned: Plan) -> None:
    for row, problem in planned.problems.iterrows():
        print(f"{row}: {problem['problem']} {problem['action']}", file=sys.stderr)


def _end(done: Run, out: Path | None) -> None:
    if done.state == "unverified":
        print("The check across all copies failed: do not release them; see `deid report`.", file=sys.stderr)
    finish(done.frame, ("done",), out)
