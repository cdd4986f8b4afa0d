"""A find as data: (level, columns, criteria, capabilities) → the bodies of its requests, before anything is sent.

One POST /tools/find a page. Tags of parents come within it where the server has RequestedTags (1.11), and by one POST
/tools/bulk-content a page and parent level where it has not. Orthanc ignores fields that it does not know and answers
with everything, so each field goes only to a server that has the feature.

Observed on 1.12.7 and 1.13.0, with a criterion outside the index: `Since` is a 400, and `Limit` counts before the
criterion is applied, so that matches are missing without a word. Such a find is one request, and cut here. The same
holds for `CaseSensitive`, which is never sent: identifiers are compared with the answers instead.

There, too, the index is looked through without what is not ASCII (PatientName="山*" is "*"), and only then is each
answer held against the criterion: `Limit` and count-resources count candidates. So a find by a text is `loose`: a page
that is not full need not be the last, and only the number of candidates tells where they end.

All versions hold each answer against each value of a list, which takes seconds for thousands; so a long list of
identifiers is asked for in `pieces`.

Modalities of a study: 1.10.1 cuts the page before it compares them, and of two studies with one UID under two patients
it sees one; so before 1.12.5 series are found, and their studies read. No version has them at patient level: studies
are found, and their patients read. Such a find is `lifted`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from pydicom.datadict import dictionary_is_retired, dictionary_VR, tag_for_keyword

from orthanc_research.capabilities import Capabilities
from orthanc_research.errors import QueryError, UnsupportedError
from orthanc_research.tables.criteria import Query
from orthanc_research.tables.levels import COMPUTED, FACTS_OF, INDEX, columns_for, depth, index_of, level_of
from orthanc_research.tables.schema import FACTS, LEVELS, Level, column_type
from orthanc_research.tables.selection import Selection
from orthanc_research.tables.within import Inside, inside

__all__ = ["FindPlan", "plan_find"]

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONG = frozenset({"LT", "ST", "UT", "UC", "UR"})
# In the index of every version, and matched whole: what a list of them finds, its parts find together.
_LISTED = frozenset({"PatientID", "AccessionNumber", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"})
# Values in the file's character set (PS3.5 section 6.1.2.2).
_CHARACTERS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
_WIDTHS = range(2, 7)  # some write 3 as 003
_FIRST = {"DA": "00010101", "TM": "00", "DT": "0001"}
_PIECE = 300  # values of one request; half or twice as many differ little


@dataclass(frozen=True, slots=True)
class FindPlan:
    """How a find is carried out.

    `body` is the request without its page; `paged` False means one request for everything. `fetched` are the keywords
    to read from the answers (`columns` and what has to be compared). `parents` are the levels to ask for by one
    bulk-content each, in this order, of the IDs that `ask` gives. `empty`: the result is known to be empty, and nothing
    is to be sent. `loose`: pages are of candidates, and not of answers. `find_frame` applies `exact`, `inside` and
    `limit`.
    """

    level: Level
    query: Query = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    columns: tuple[str, ...]
    fetched: tuple[str, ...]
    parents: tuple[Level, ...] = ()
    page: int = 10_000
    paged: bool = True
    limit: int | None = None
    empty: bool = False
    inside: Inside | None = field(default=None, repr=False)
    loose: bool = False

    @property
    def exact(self) -> tuple[str, ...]:
        """Identifiers whose case is compared with the answers."""
        return self.query.exact

    @property
    def lifted(self) -> bool:
        """True when resources below are looked for, and these read: `parents` begins with `level` itself."""
        return bool(self.body["Level"] != self.level)

    @property
    def filtered(self) -> bool:
        """True when answers may be dropped here, so that the server cannot count to `limit` or to a total."""
        return bool(self.exact) or self.lifted or self.inside is not None

    @property
    def counted(self) -> bool:
        """True when the server can count the answers without listing them: all of it is in its index."""
        return self.paged and not self.filtered and not self.loose

    @property
    def counting(self) -> dict[str, Any]:
        """The body of POST /tools/count-resources that counts the candidates of a loose find."""
        return {key: value for key, value in self.body.items() if key not in ("Expand", "RequestedTags", "OrderBy")}

    def pieces(self) -> list[FindPlan]:
        """This find as several, with a part of its longest list of identifiers each; as it is, when that is not long.

        A resource may be found by two of them (PatientIDs are matched without case); each is cut at `limit` by itself.
        Only the server can put answers in order, so a find with an order stays whole.
        """
        query = self.body["Query"]
        lists = {name: text.split("\\") for name, text in query.items() if name in _LISTED}
        name = max(lists, key=lambda each: len(lists[each]), default=None)
        if name is None or len(lists[name]) <= _PIECE or "OrderBy" in self.body:
            return [self]
        count = -(-len(lists[name]) // _PIECE)
        parts = ("\\".join(lists[name][start::count]) for start in range(count))
        return [replace(self, body=MappingProxyType({**self.body, "Query": {**query, name: part}})) for part in parts]

    def request(self, since: int = 0) -> dict[str, Any]:
        """The body of POST /tools/find for the page that begins at `since`."""
        body = dict(self.body)
        if self.paged:
            left = self.page if self.limit is None or self.filtered else self.limit - since
            body |= {"Since": since, "Limit": max(1, min(self.page, left))}
        return body

    def ask(
        self, parent: Level, answers: Sequence[Mapping[str, Any]], related: Mapping[Level, Mapping[str, Any]]
    ) -> list[str]:
        """The IDs to ask bulk-content for, with Level=`parent`; `related` is what was read for the levels before."""
        if self.lifted and parent != self.level:
            # What lies below the patients and studies that were found, not below what they were found by.
            return list(related[self.level])
        return list(dict.fromkeys(str(answer["ID"]) for answer in answers))

    def complete(self, count: int) -> bool:
        """True when so many answers are all that is wanted."""
        return self.limit is not None and not self.filtered and count >= self.limit

    def explain(self) -> dict[str, Any]:
        """What will be asked, without values: `requests` is for one page of answers, of each piece."""
        requests = 0 if self.empty else len(self.pieces()) * (2 if self.loose else 1) + len(self.parents)
        return {
            "level": self.level,
            "route": "POST /tools/find" + "".join(f" + bulk-content of {parent}" for parent in self.parents),
            "requests": requests,
            "page": self.page if self.paged else None,
            "criteria": sorted(self.query.tags),
            "compared_here": sorted(self.exact),
            "columns": list(self.columns),
        }


def plan_find(
    level: Level,
    *,
    query: Query,
    columns: Sequence[str] | None = None,
    within: Selection | tuple[Level, Sequence[str]] | None = None,
    labels: str | Sequence[str] | None = None,
    labels_match: str = "all",
    metadata: Mapping[str, str] | None = None,
    order_by: str | Sequence[str] | None = None,
    limit: int | None = None,
    capabilities: Capabilities,
    page: int = 10_000,
) -> FindPlan:
    """Plan a find; `QueryError` for what makes no sense, `UnsupportedError` for what this server would ignore.

    `order_by` is a keyword of the index or "LastUpdate", with "-" in front for descending, or several. The columns
    default to `columns_for(level)`; tags outside the index of 1.10.1 need RequestedTags (1.11), and `orthanc.tags`
    serves every other.
    """
    _check_numbers(limit, page)
    if query.level != level:
        raise QueryError("The criteria were read for another level.")
    find_level, tags = _findable(query, capabilities)
    if find_level != level and (labels is not None or metadata is not None or order_by is not None):
        raise QueryError(
            f"labels, metadata and order_by do not go with the modalities of a {level.lower()} on this server; find "
            "without the modality, and filter the DataFrame."
        )
    chosen = _columns(level, columns)
    index = index_of(find_level, capabilities)
    place = None if within is None else inside(level, within, capabilities)
    extra: dict[str, Any] = {}
    if place is not None:
        extra |= place.fields
        for keyword, text in place.tags.items():
            tags.setdefault(keyword, text)
    extra |= _labels(labels, labels_match, capabilities)
    extra |= _metadata(metadata, capabilities)
    extra |= _order(level, order_by, index, capabilities)
    fetched = tuple(dict.fromkeys([*(name for name in chosen if name not in FACTS), *query.exact]))
    requested, parents = _sources(level, find_level, fetched, place, capabilities)
    body = {"Level": find_level, "Query": {_sent(name): text for name, text in tags.items()}, "Expand": True, **extra}
    if requested:
        body["RequestedTags"] = list(requested)
    indexed = index | {"ModalitiesInStudy"}
    paged = all(name in indexed for name in tags)
    texts = [name for name in tags if tag_for_keyword(name) and dictionary_VR(name) in _CHARACTERS]
    return FindPlan(
        level=level,
        query=query,
        body=MappingProxyType(body),
        columns=chosen,
        fetched=fetched,
        parents=parents,
        page=page,
        paged=paged,
        limit=limit,
        empty=query.empty or (place is not None and not place.ids),
        inside=None if place is None or place.by_server else place,
        loose=paged and bool(texts) and capabilities.has("extended-find") and capabilities.has("count-resources"),
    )


def _findable(query: Query, capabilities: Capabilities) -> tuple[Level, dict[str, str]]:
    """Where this server has to look, and for what."""
    tags = {name: _compared(name, text) for name, text in query.tags.items()}
    if "ModalitiesInStudy" not in tags:
        return query.level, tags
    if capabilities.has("extended-find"):
        return "Study", tags
    tags["Modality"] = tags.pop("ModalitiesInStudy")
    return "Series", tags


def _sent(name: str) -> str:
    """Orthanc does not know the names of what is retired, and answers with a 500."""
    tag = tag_for_keyword(name)
    return f"{tag >> 16:04x},{tag & 0xFFFF:04x}" if tag and dictionary_is_retired(tag) else name


def _compared(name: str, text: str) -> str:
    """A criterion as Orthanc compares it, which is text with text."""
    vr = dictionary_VR(name) if tag_for_keyword(name) else ""
    if text.startswith("-") and vr in _FIRST:
        return _FIRST[vr] + text  # with an open beginning, "" would be before every date and time
    if vr == "IS" and re.fullmatch(r"[+0-9\\]+", text):
        numbers = [str(int(each)) for each in text.split("\\")]
        return "\\".join(dict.fromkeys(form for each in numbers for form in (each, *map(each.zfill, _WIDTHS))))
    return text


def _check_numbers(limit: int | None, page: int) -> None:
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise QueryError("limit is a number from 1; leave it out for everything.")
    if not isinstance(page, int) or page < 1:
        raise QueryError("page is a number from 1.")


def _columns(level: Level, columns: Sequence[str] | None) -> tuple[str, ...]:
    if columns is None:
        return columns_for(level)
    names = [columns] if isinstance(columns, str) else list(columns)
    if not all(isinstance(name, str) for name in names):
        raise QueryError("Columns are DICOM keywords, or Orthanc's own facts.")
    chosen = tuple(name for name in dict.fromkeys(names) if name not in ("ID", "Issues"))
    for name in chosen:
        _check_column(level, name)
    return chosen


def _check_column(level: Level, name: str) -> None:
    if name in FACTS:
        if name not in FACTS_OF[level]:
            raise QueryError(f"Orthanc has no {name} at {level} level; it has {', '.join(FACTS_OF[level])}.")
        return
    kind = column_type(name)
    if "." in name or "," in name or kind.vr == "SQ" or kind.vr == "" or kind.vr in _LONG:
        raise QueryError(
            f"{name} is not in Orthanc's index, or too long for it; read it with orthanc.tags(resources, [{name!r}])."
        )
    home = level_of(name, level)
    if name in COMPUTED and home != level:
        raise QueryError(f"{name} is counted at {home} level only; find at that level and merge.")
    if depth(home) > depth(level):
        raise QueryError(f"{name} belongs to the {home} level; find at that level, or use orthanc.tags.")


def _sources(
    level: Level, find_level: Level, fetched: Iterable[str], place: Inside | None, capabilities: Capabilities
) -> tuple[tuple[str, ...], tuple[Level, ...]]:
    """(tags to request within the find, levels to ask bulk-content for)."""
    if find_level != level:
        for name in fetched:
            if not _own(level, name) and name not in COMPUTED:
                raise QueryError(f"{name} cannot be had for a {level.lower()} found by modality; use orthanc.tags.")
        return (), (level, *_counted(level, fetched))
    foreign = [name for name in fetched if not _own(level, name)]
    chain = set(place.chain) if place is not None and not place.by_server else set()
    if capabilities.has("requested-tags"):
        return tuple(foreign), _ordered(chain)
    _only_indexed(level, foreign, capabilities)
    homes: set[Level] = {level_of(name, level) for name in foreign if name not in COMPUTED}
    if "Patient" in homes:
        # A study carries its patient's tags, so nobody asks for patients.
        homes = (homes - {"Patient"}) | {"Study"}
    # An answer names its own parent only, so the levels between are asked for as well.
    homes |= {between for home in homes for between in LEVELS[depth(home) + 1 : depth(level)]}
    homes |= chain | set(_counted(level, fetched))
    return (), _ordered(homes)


def _ordered(levels: set[Level]) -> tuple[Level, ...]:
    return tuple(level for level in LEVELS if level in levels)


def _own(level: Level, name: str) -> bool:
    """True for what every answer of this level carries without being asked."""
    if name == "NumberOfPatientRelatedStudies":
        return level == "Patient"
    if name == "NumberOfStudyRelatedSeries":
        return level == "Study"
    if name == "NumberOfSeriesRelatedInstances":
        return level == "Series"
    return name in INDEX[level] or (level == "Study" and name in INDEX["Patient"])


def _counted(level: Level, fetched: Iterable[str]) -> tuple[Level, ...]:
    """Series, when they have to be counted to know something of their study or patient."""
    counted = [name for name in fetched if name in COMPUTED and not _own(level, name)]
    return ("Series",) if counted and level in ("Patient", "Study") else ()


def _only_indexed(level: Level, names: Iterable[str], capabilities: Capabilities) -> None:
    for name in names:
        if name in INDEX[level_of(name, level)] or name in COMPUTED:
            continue
        raise UnsupportedError(
            f"{name} is not in the index of Orthanc {capabilities.version}, and tags requested within a find need "
            f"1.11.0 or later; read it with orthanc.tags(resources, [{name!r}]).",
            found=capabilities.version,
            needed="1.11.0",
        )


def _labels(labels: str | Sequence[str] | None, match: str, capabilities: Capabilities) -> dict[str, Any]:
    if match not in ("all", "any", "none"):
        raise QueryError('labels_match is "all", "any" or "none".')
    if labels is None:
        return {}
    names = [labels] if isinstance(labels, str) else list(labels)
    if not names or not all(isinstance(name, str) and _LABEL.fullmatch(name) for name in names):
        raise QueryError("labels are one or more names of letters, digits, - and _, at most 64 characters each.")
    capabilities.require("labels")
    return {"Labels": names, "LabelsConstraint": match.capitalize()}


def _metadata(metadata: Mapping[str, str] | None, capabilities: Capabilities) -> dict[str, Any]:
    if metadata is None:
        return {}
    fine = all(isinstance(key, str) and isinstance(value, str) and value for key, value in metadata.items())
    if not metadata or not fine:
        raise QueryError("metadata is {name: text}, with no empty text; leave it out to match everything.")
    capabilities.require("extended-find")
    return {"MetadataQuery": dict(metadata)}


def _order(
    level: Level, order_by: str | Sequence[str] | None, index: frozenset[str], capabilities: Capabilities
) -> dict[str, Any]:
    if order_by is None:
        return {}
    keys = [order_by] if isinstance(order_by, str) else list(order_by)
    capabilities.require("extended-find")
    order = []
    for key in keys:
        name = str(key).removeprefix("-")
        fact = name == "LastUpdate" and name in FACTS_OF[level]
        if not fact and (name not in index or dictionary_VR(name) == "SQ"):
            raise QueryError(f"Orthanc orders by tags of its index and by LastUpdate, not by {_shown(name)}.")
        direction = "DESC" if str(key).startswith("-") else "ASC"
        order.append({"Type": "Metadata" if fact else "DicomTag", "Key": name, "Direction": direction})
    if not order:
        raise QueryError("order_by names no keyword; leave it out.")
    return {"OrderBy": order}


def _shown(name: str) -> str:
    return name if re.fullmatch(r"\w{1,64}", name, re.ASCII) else "that"
