"""What commands have in common: a table on the screen or in a file, and an exit code for how it went."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from orthanc_research.errors import QueryError
from orthanc_research.export import write_csv, write_table

__all__ = ["DryRun", "Out", "finish", "show"]


def _checked(out: Path | None) -> Path | None:
    if out is not None and out.suffix not in (".parquet", ".csv"):
        raise QueryError("--out takes a name that ends in .parquet or .csv.")
    if out is not None and not out.parent.is_dir():  # said before the work, not after it
        raise QueryError(f"There is no folder {out.parent} for --out.")
    return out


Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Write the table here: .parquet or .csv.", callback=_checked)
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]


def show(frame: pd.DataFrame, out: Path | None) -> None:
    """Print a table, or write it."""
    if out is None:
        with pd.option_context("display.width", 160, "display.max_columns", 12, "display.max_colwidth", 40):
            print(frame)
    elif out.suffix == ".csv":
        write_csv(frame, out)
    else:
        write_table(frame, out)
    if out is not None:
        print(f"{len(frame)} rows → {out}", file=sys.stderr)


def finish(ledger: pd.DataFrame, good: tuple[str, ...], out: Path | None) -> None:
    """Show a ledger; exit code 1 when a row has another status than these."""
    show(ledger, out)
    counts = ledger["status"].value_counts().to_dict()
    print(" · ".join(f"{count} {status}" for status, count in counts.items()) or "nothing to do", file=sys.stderr)
    if not ledger["status"].isin(good).all():
        raise typer.Exit(1)
