"""`orthanc-research`: the batch work from a shell. Thin calls; every command is one method of `Orthanc`.

Exit codes: 0 everything done, 1 some rows failed or the server did, 2 bad input (nothing was sent).
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from pydicom.datadict import dictionary_VR, tag_for_keyword

from orthanc_research import batch, read_parquet
from orthanc_research.cli_browse import browse
from orthanc_research.cli_dataset import app as dataset_app
from orthanc_research.cli_deid import app as deid_app
from orthanc_research.cli_tables import DryRun, Out, finish, show
from orthanc_research.errors import Error, QueryError
from orthanc_research.orthanc import Orthanc
from orthanc_research.tables import LEVELS, Level

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From an Orthanc archive to research data that can be trusted.",
    epilog="Where Orthanc is: --url, or ORTHANC_URL with ORTHANC_USERNAME and ORTHANC_PASSWORD, or ORTHANC_TOKEN.",
)

app.add_typer(dataset_app, name="dataset")
app.add_typer(deid_app, name="deid")
app.command()(browse)

Url = Annotated[str | None, typer.Option("--url", help="Address of Orthanc; without it, ORTHANC_URL.")]
AuthName = Annotated[
    str | None, typer.Option("--auth-env", metavar="NAME", help="Variable that holds user:password for --url.")
]
Ids = Annotated[list[str], typer.Argument(help="Orthanc IDs, or the path of a parquet table that `find` wrote.")]


def main() -> None:
    """The entry point."""
    try:
        app()
    except Error as error:
        print(f"orthanc-research: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, QueryError) else 1)
    except OSError as error:
        what = error.strerror or type(error).__name__
        print(f"orthanc-research: {what}{f': {error.filename}' if error.filename else ''}.", file=sys.stderr)
        sys.exit(1)


@contextmanager
def _client(url: str | None, auth_env: str | None) -> Iterator[Orthanc]:
    with Orthanc(url, auth=f"env:{auth_env}" if auth_env else None) as orthanc:
        yield orthanc


def _resources(given: list[str]) -> Any:
    if len(given) == 1 and given[0].endswith(".parquet"):
        if not Path(given[0]).is_file():
            raise QueryError(f"There is no table {given[0]}.")
        return read_parquet(given[0])
    return given


def _level(word: str) -> Level:
    for level in LEVELS:
        if word.lower() == level.lower():
            return level
    raise QueryError(f"{word!r} is no level; it is one of {', '.join(LEVELS)}.")


def _criteria(given: list[str]) -> dict[str, Any]:
    """Keyword=value; the values of a list by repeating the keyword, those of codes and UIDs with commas as well."""
    found: dict[str, list[str]] = defaultdict(list)
    for each in given:
        keyword, equals, value = each.partition("=")
        if not equals:
            raise QueryError(
                f"{keyword!r} is no criterion; write Keyword=value, such as StudyDate=2024 or Modality=CT,MR."
            )
        found[keyword] += value.split(",") if "," in value and _is_code(keyword) else [value]
    return {keyword: values if len(values) > 1 else values[0] for keyword, values in found.items()}


def _is_code(keyword: str) -> bool:
    """Whether no value of this keyword has a comma in it: in names and descriptions it is text like any other."""
    tag = tag_for_keyword(keyword)
    return tag is not None and dictionary_VR(tag) in ("UI", "CS")


@app.command()
def find(
    level: Annotated[str, typer.Argument(help="Patient, Study, Series or Instance.")],
    criteria: Annotated[
        list[str] | None,
        typer.Argument(help="Keyword=value; again for a list. Days: 2024, 2024-03, 20240101-20240331."),
    ] = None,
    url: Url = None,
    auth_env: AuthName = None,
    out: Out = None,
) -> None:
    """Table of the resources that match."""
    with _client(url, auth_env) as orthanc:
        show(orthanc.find(_level(level), **_criteria(criteria or [])), out)


@app.command()
def tags(
    resources: Ids,
    columns: Annotated[list[str] | None, typer.Option("--column", "-c", help="A keyword; again for more.")] = None,
    per: Annotated[str, typer.Option(help="Instance, or Series: one instance of each is read.")] = "Instance",
    url: Url = None,
    auth_env: AuthName = None,
    out: Out = None,
) -> None:
    """Table of the tags of all instances of the resources; as .parquet, of any number of them."""
    with _client(url, auth_env) as orthanc:
        if out is not None and out.suffix == ".parquet":
            count = orthanc.tags_to_parquet(_resources(resources), out, columns or None, per=per)
            print(f"{count} rows → {out}", file=sys.stderr)
        else:
            show(orthanc.tags(_resources(resources), columns or None, per=per, progress=None), out)


@app.command()
def overview(url: Url = None, auth_env: AuthName = None, out: Out = None) -> None:
    """Table of what there is, by modality and year of study."""
    with _client(url, auth_env) as orthanc:
        show(orthanc.overview(), out)


@app.command()
def upload(
    paths: Annotated[list[Path], typer.Argument(help="Files, folders or zips.")],
    dry_run: DryRun = False,
    url: Url = None,
    auth_env: AuthName = None,
    out: Out = None,
) -> None:
    """Store DICOM files; again to go on: what is stored already stays."""
    if dry_run:
        finish(batch.upload_plan(paths), ("planned", "skipped"), out)
        return
    with _client(url, auth_env) as orthanc:
        finish(orthanc.upload(paths), ("stored", "already-stored", "skipped"), out)


@app.command()
def download(
    resources: Ids,
    folder: Annotated[Path, typer.Option("--to", help="The folder to write to; again to go on.")],
    layout: Annotated[str, typer.Option(help="Path of a file below the folder.")] = batch.LAYOUT,
    dry_run: DryRun = False,
    url: Url = None,
    auth_env: AuthName = None,
    out: Out = None,
) -> None:
    """Bring the DICOM files of the resources, each held against its MD5; what is there and right stays."""
    with _client(url, auth_env) as orthanc:
        if dry_run:
            finish(batch.download_plan(orthanc.rest, _resources(resources), layout=layout), ("planned",), out)
        else:
            ledger = orthanc.download(_resources(resources), folder, layout=layout)
            finish(ledger, ("done", "already-there"), out)


@app.command()
def retrieve(
    table: Annotated[Path, typer.Argument(help="A .csv or .parquet with a row for each study.")],
    modality: Annotated[str, typer.Option("--from", help="The archive, as Orthanc calls it.")],
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", "-c", metavar="YOURS=KEYWORD", help="What a column is; again for more."),
    ] = None,
    several: Annotated[bool, typer.Option("--several", help="Take all where several studies are a row.")] = False,
    method: Annotated[str, typer.Option(help="C-MOVE or C-GET.")] = "C-MOVE",
    pause: Annotated[float, typer.Option(help="Seconds between two rows.")] = 0.0,
    resume: Annotated[
        Path | None, typer.Option("--resume", "--journal", help="Keep a journal here, or go on with the one there.")
    ] = None,
    dry_run: DryRun = False,
    url: Url = None,
    auth_env: AuthName = None,
    out: Out = None,
) -> None:
    """Bring a list of studies from a remote archive; again to go on: what is here is not sent twice."""
    names = _columns(columns or [])
    if dry_run:
        finish(batch.retrieve_plan(batch.read_table(table), names, several=several), ("planned",), out)
        return
    with _client(url, auth_env) as orthanc:
        chosen: Any = method  # `retrieve` says what a method can be
        report = orthanc.retrieve(
            table, modality=modality, columns=names, several=several, method=chosen, pause=pause, journal=resume
        )
        finish(report, ("complete", "already-there"), out)


def _columns(given: list[str]) -> dict[str, str]:
    pairs = [each.rpartition("=") for each in given]
    if not all(yours and keyword for yours, _, keyword in pairs):
        raise QueryError("--column is YOURS=KEYWORD, such as -c accession=AccessionNumber.")
    return {yours: keyword for yours, _, keyword in pairs}


@app.command()
def anonymize(
    resources: Annotated[list[str] | None, typer.Argument(help="As for `tags`.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this journal instead.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Keep the journal here.")] = None,
    dicom_version: Annotated[str | None, typer.Option(help="Profile of Orthanc: 2008, 2017c, 2021b, 2023b.")] = None,
    url: Url = None,
    auth_env: AuthName = None,
    out: Out = None,
) -> None:
    """Anonymized copies, made by Orthanc: for use in the house, not for release."""
    with _client(url, auth_env) as orthanc:
        if resume is not None:
            ledger = orthanc.resume(resume)
        elif not resources:
            raise QueryError("Say what to anonymize: Orthanc IDs, a table that `find` wrote, or --resume JOURNAL.")
        else:
            ledger = orthanc.anonymize(_resources(resources), journal=journal, dicom_version=dicom_version)
        finish(ledger, ("done", "already-anonymized"), out)


@app.command()
def modify(
    resources: Annotated[list[str] | None, typer.Argument(help="As for `tags`.")] = None,
    replace: Annotated[list[str] | None, typer.Option(help="Keyword=text; again for more.")] = None,
    replace_from: Annotated[
        list[str] | None, typer.Option(help="Keyword=column of the table: a value for each row; again for more.")
    ] = None,
    remove: Annotated[list[str] | None, typer.Option(help="A keyword; again for more.")] = None,
    remove_private_tags: Annotated[bool, typer.Option("--remove-private-tags", help="Remove these as well.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a PatientID or UID.")] = False,
    allow_merge: Annotated[bool, typer.Option("--allow-merge", help="Merge patients or studies.")] = False,
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="Delete each original after its copy was read back.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
    resume: Annotated[Path | None, typer.Option(help="Go on with this journal instead.")] = None,
    journal: Annotated[Path | None, typer.Option(help="Keep the journal here.")] = None,
    url: Url = None,
    auth_env: AuthName = None,
    out: Out = None,
) -> None:
    """Changed copies: new values of tags, the same for all or one for each row; originals stay."""
    with _client(url, auth_env) as orthanc:
        if resume is not None:
            finish(orthanc.resume(resume), ("done",), out)
            return
        if not resources:
            raise QueryError("Say what to modify: Orthanc IDs, a table that `find` wrote, or --resume JOURNAL.")
        table = _resources(resources)
        ledger = orthanc.modify(
            table,
            {**_assigned(replace or []), **_from_columns(table, _assigned(replace_from or []))},
            remove or (),
            remove_private_tags=remove_private_tags,
            force=force,
            keep_source=not delete_source,
            allow_merge=allow_merge,
            dry_run=dry_run,
            journal=journal,
        )
        finish(ledger, ("done", "planned"), out)


def _assigned(given: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if not all(equals for _, equals, _ in pairs):
        raise QueryError("--replace is Keyword=text, --replace-from is Keyword=column.")
    return {keyword: text for keyword, _, text in pairs}


def _from_columns(table: Any, given: dict[str, str]) -> dict[str, pd.Series]:
    if given and not isinstance(table, pd.DataFrame):
        raise QueryError("--replace-from takes a column of a parquet table: give that table.")
    lost = [name for name in given.values() if name not in table.columns]
    if lost:
        raise QueryError(f"The table has no column {lost[0]!r}.")
    return {keyword: table[name] for keyword, name in given.items()}


@app.command()
def export(
    resources: Ids,
    folder: Annotated[Path, typer.Option("--to", help="The folder to write to.")],
    form: Annotated[str, typer.Option("--format", help="parquet (frames); npy, npz or nifti (volumes).")] = "parquet",
    values: Annotated[str, typer.Option(help="Of volumes: stored, rescaled or suv.")] = "stored",
    dtype: Annotated[str | None, typer.Option(help="Of volumes: int16, float32 …, where every value fits.")] = None,
    min_slices: Annotated[int, typer.Option(help="Fewer are no volume.")] = 3,
    on_missing: Annotated[str, typer.Option(help="Missing slices: raise, nan or split.")] = "raise",
    on_shear: Annotated[str, typer.Option(help="A stack that leans: raise, keep or resample.")] = "raise",
    on_4d: Annotated[str, typer.Option("--on-4d", help="Time points, echoes …: raise, split or stack.")] = "raise",
    url: Url = None,
    auth_env: AuthName = None,
    out: Out = None,
) -> None:
    """Frames or volumes of series to files."""
    with _client(url, auth_env) as orthanc:
        ledger = orthanc.export(
            _resources(resources),
            folder,
            format=form,
            values=values,
            dtype=dtype,
            min_slices=min_slices,
            on_missing=on_missing,
            on_shear=on_shear,
            on_4d=on_4d,
        )
        finish(ledger, ("done",), out)


@app.command()
def server(
    version: Annotated[str | None, typer.Option(help="A version, or a Debian suite such as trixie.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep the storage here; without it, it goes at the end.")] = None,
    fetch: Annotated[bool, typer.Option("--fetch", help="Only make sure that it can be started.")] = False,
) -> None:
    """Run a private Orthanc until Ctrl-C."""
    from orthanc_research.local import OrthancServer, provide

    if fetch:
        print(provide(version))
        return
    with OrthancServer(version, folder) as running:
        user, password = running.auth
        said = f"Orthanc {running.version} at {running.url}   user {user}   password {password}\nCtrl-C ends it."
        try:
            print(said, flush=True)
            _wait()
        except KeyboardInterrupt:
            print("\nEnding it.")


def _wait() -> None:
    import threading

    threading.Event().wait()


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="A folder of DICOM files of yours, beside the samples.")] = None,
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("demo-output"),
    version: Annotated[str | None, typer.Option(help="A version of Orthanc, or a Debian suite.")] = None,
) -> None:
    """The main job from end to end, on a private Orthanc and real files."""
    from orthanc_research.demo import run

    more = [Path(folder) for folder in (os.environ.get("ORTHANC_RESEARCH_REALDATA"),) if folder]
    run(out, lambda text: print(text, flush=True), data=[data] if data else more, version=version)
