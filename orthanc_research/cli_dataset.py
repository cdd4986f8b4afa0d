"""`orthanc-research dataset`: recipes planned, built, verified and described, from a shell."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from orthanc_research.cli_tables import Out, finish, show
from orthanc_research.dataset import DatasetPlan, Recipe, open_dataset
from orthanc_research.dataset import verify as changed_files
from orthanc_research.dataset._card import card as card_of
from orthanc_research.dataset._hash import content_hash
from orthanc_research.errors import DatasetError, QueryError
from orthanc_research.orthanc import Orthanc

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Datasets that anyone can rebuild: a recipe, planned, built, verified.")

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, .toml.")]
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="A built dataset.")]
Source = Annotated[
    str | None, typer.Option(help='The address of an Orthanc, or "orthanc" for ORTHANC_URL; not those of the recipe.')
]
SourceAuth = Annotated[str | None, typer.Option(metavar="NAME", help="Variable with user:password of the source.")]
Acknowledge = Annotated[
    list[str] | None, typer.Option("--acknowledge", help="A series whose pixels you have looked at, or all; again.")
]


@app.command()
def plan(recipe: RecipeFile, source: Source = None, source_auth_env: SourceAuth = None, out: Out = None) -> None:
    """What a build would hold and leave out, a row a series; nothing is written."""
    with _planned(recipe, source, source_auth_env) as made:
        _tell(made)
        finish(made.frame, ("planned", "dropped"), out)


@app.command()
def build(
    recipe: RecipeFile,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to; again, to go on with what is there.")],
    workers: Annotated[int, typer.Option(help="Series at a time.")] = 2,
    key: Annotated[str, typer.Option("--key", help="Of the release project: env:NAME, file:/path or keyring:name.")] = (
        "env:ORES_KEY"
    ),
    acknowledge: Acknowledge = None,
    label: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Put this column of the labels on the servers too (Orthanc 1.12)."),
    ] = None,
    source: Source = None,
    source_auth_env: SourceAuth = None,
    out: Out = None,
) -> None:
    """Build a dataset into a folder of its own."""
    with _planned(recipe, source, source_auth_env) as made:
        _tell(made)
        found = made.build(folder, workers=workers, key=key, acknowledge=acknowledge or ())
        if label is not None:
            put = made.put_labels(label)
            print(f"{(put['status'] == 'done').sum()} of {len(put)} labels are on the servers", file=sys.stderr)
    for _, leak in found.leaks.iterrows():
        print(f"{leak['count']} equal {leak['kind']} in {leak['splits']}", file=sys.stderr)
    if found.changes:
        print(f"series since the last build: {found.changes}", file=sys.stderr)
    if found.complete:
        print(f"content {found.content_hash}", file=sys.stderr)
    finish(found.status, ("done",), out)


@app.command()
def verify(folder: Folder, out: Out = None) -> None:
    """Name every file that is not as it was built; exit code 1 when there is one. All tables and frames are read."""
    found = changed_files(folder)
    show(found, out)
    if len(found):
        raise typer.Exit(1)
    content = content_hash(folder)  # of what is there: anybody can write a manifest
    if content != open_dataset(folder).manifest.get("content"):
        print(f"the manifest names another content than these files have: {content}", file=sys.stderr)
        raise typer.Exit(1)
    print(f"every file is as it was built; content {content}", file=sys.stderr)


@app.command()
def splits(folder: Folder, out: Out = None) -> None:
    """Who is in which split and fold, by what patients are called in the dataset."""
    show(open_dataset(folder).splits, out)


@app.command()
def card(folder: Folder) -> None:
    """Print the card of a built dataset, from its tables."""
    dataset = open_dataset(folder)
    tables = {name: getattr(dataset, name) for name in ("series", "instances", "issues")}
    if (folder / "splits.parquet").is_file():
        tables["splits"] = dataset.splits
    about = dataset.manifest
    facts = {"content_hash": about.get("content"), "versions": about.get("versions", {}), "recipe": about.get("recipe")}
    print(
        card_of(Recipe.load(folder / "recipe.toml"), tables, {**facts, "found": about.get("counts", {}).get("found")})
    )


@contextmanager
def _planned(recipe: Path, source: str | None, auth: str | None) -> Iterator[DatasetPlan]:
    try:
        wanted = Recipe.load(recipe)
    except DatasetError as error:  # bad input, as everywhere in the shell
        raise QueryError(str(error)) from error
    if source is None:
        with wanted.plan() as made:
            yield made
        return
    with Orthanc(None if source == "orthanc" else source, auth=f"env:{auth}" if auth else None) as orthanc:
        yield wanted.plan(orthanc)


def _tell(made: DatasetPlan) -> None:
    """What is to be looked at before anything is built."""
    print(made, file=sys.stderr)
    for reason, count in made.drops.items():
        print(f"{count} left out: {reason}", file=sys.stderr)
    if made.identifying:
        print(f"Columns that identify: {', '.join(made.identifying)}", file=sys.stderr)
    if made.decoders:
        print(f"To decode all of it, install {', '.join(made.decoders)}", file=sys.stderr)
    for note in made.notes:
        print(note, file=sys.stderr)
