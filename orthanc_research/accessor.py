"""`df.orthanc`: the verbs of `Orthanc`, on the DataFrame that it found or on rows of it.

    studies = orthanc.studies(StudyDate="2024")
    studies[studies["PatientSex"] == "F"].orthanc.series(Modality="CT").orthanc.download("ct/")

Importing the package registers it. A frame knows its client by a token in its `attrs`, which pandas hands on to rows,
columns, sorted and concatenated frames; a merge with another frame drops them, and `ores.attach` puts them back.
"""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from orthanc_research import resolve
from orthanc_research.errors import QueryError
from orthanc_research.orthanc import Orthanc, client_of
from orthanc_research.rest import Level
from orthanc_research.tables import LEVELS, UID_OF

__all__ = ["OrthancAccessor"]

_MOST_TABS = 10


@pd.api.extensions.register_dataframe_accessor("orthanc")
class OrthancAccessor:
    """What can be done with the resources in the rows of a DataFrame; arguments are those of the verbs of `Orthanc`.

    `AttributeError` for a frame that no client found. A verb is a `QueryError` when the client is gone (`ores.attach`
    binds the frame to another), or when the rows are what a remote archive has.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        if not isinstance(frame.attrs.get("orthanc"), dict):
            raise AttributeError(
                "This DataFrame is not bound to an Orthanc: it is of another origin, or a merge dropped that; bind it "
                "with ores.attach(frame, orthanc)."
            )
        self._frame = frame

    def __repr__(self) -> str:
        return f"<{len(self._frame)} rows at {self._frame.attrs['orthanc'].get('url')}>"

    def patients(self, **options: Any) -> pd.DataFrame:
        """A row for each of the patients of these resources; options and criteria as in `Orthanc.find`."""
        return self._at("Patient", options)

    def studies(self, **options: Any) -> pd.DataFrame:
        """A row for each study below these patients, or that these series and instances belong to."""
        return self._at("Study", options)

    def series(self, **options: Any) -> pd.DataFrame:
        """A row for each series below these patients and studies, or that these instances belong to."""
        return self._at("Series", options)

    def instances(self, **options: Any) -> pd.DataFrame:
        """A row for each instance below these resources."""
        return self._at("Instance", options)

    def tags(self, columns: Sequence[str | tuple[str, str]] | None = None, **options: Any) -> pd.DataFrame:
        """`Orthanc.tags`: a row an instance, with chosen tags or all of them."""
        return self._client().tags(self._frame, columns, **options)

    def montage(self, values: str = "stored", **options: Any) -> Any:
        """`plots.montage` of the volume of one series: a `Figure`; `QueryError` unless it is one row, of a series."""
        from orthanc_research import plots  # matplotlib alone would double the time of an import

        return plots.montage(self._client().volume(self._frame, values), **options)

    def download(self, folder: str | os.PathLike[str], **options: Any) -> pd.DataFrame:
        """`Orthanc.download`: the DICOM files, each held against the server's MD5."""
        return self._client().download(self._frame, folder, **options)

    def archive(self, path: str | os.PathLike[str], **options: Any) -> pd.DataFrame:
        """`Orthanc.archive`: the DICOM files in one zip, each held against the server's MD5."""
        return self._client().archive(self._frame, path, **options)

    def send(self, **options: Any) -> pd.DataFrame:
        """`Orthanc.send`: to a modality or a peer."""
        return self._client().send(self._frame, **options)

    def export(self, folder: str | os.PathLike[str], **options: Any) -> pd.DataFrame:
        """`Orthanc.export`: frames as parquet, or volumes as npy, npz or NIfTI."""
        return self._client().export(self._frame, folder, **options)

    def anonymize(self, **options: Any) -> pd.DataFrame:
        """`Orthanc.anonymize`: copies by Orthanc's own engine, for use in the house."""
        return self._client().anonymize(self._frame, **options)

    def modify(
        self, replace: Mapping[str, Any] | None = None, remove: Sequence[str] = (), **options: Any
    ) -> pd.DataFrame:
        """`Orthanc.modify`: changed copies, `replace={"PatientID": df["new_id"]}`."""
        return self._client().modify(self._frame, replace, remove, **options)

    def label(self, add: Sequence[str] = (), remove: Sequence[str] = (), **options: Any) -> pd.DataFrame:
        """`Orthanc.label`: labels put on these resources, and taken off."""
        return self._client().label(self._frame, add, remove, **options)

    def open(self, *, browser: bool = False) -> list[str]:
        """The address of each resource in Orthanc Explorer; with `browser`, opened there as well, ten at most."""
        client = self._client()
        chosen = resolve.select(client.rest, self._frame)
        if browser and len(chosen.ids) > _MOST_TABS:
            raise QueryError(f"These are {len(chosen.ids)} pages; choose {_MOST_TABS} rows at most to open them.")
        kind = str(chosen.level).lower()
        pages = [f"{client.url}/app/explorer.html#{kind}?uuid={identifier}" for identifier in chosen.ids]
        for page in pages if browser else ():
            webbrowser.open(page)
        return pages

    def _client(self) -> Orthanc:
        if self._frame.index.name in UID_OF.values() and "ID" not in self._frame.columns:
            raise QueryError(
                "These rows have UIDs and no Orthanc IDs: what a remote archive has is retrieved first, "
                "orthanc.modality(name).retrieve(frame); of what is here keep the index ID, or orthanc.lookup(uids)."
            )
        return client_of(self._frame)

    def _at(self, level: Level, options: dict[str, Any]) -> pd.DataFrame:
        client, frame = self._client(), self._frame
        here = resolve.select(client.rest, frame).level
        # A row names its parent and nothing above that: upwards it goes level by level.
        between = LEVELS[LEVELS.index(level) + 1 : LEVELS.index(here)] if here in LEVELS else ()
        for above in reversed(between):
            frame = client.find(above, within=frame)
        return client.find(level, within=frame, **options)
