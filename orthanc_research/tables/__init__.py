"""Pure tables: JSON of Orthanc → typed DataFrames, Python values → checked queries, a find → a plan of requests.

Nothing here touches the network or the disk; `orthanc.py` carries plans out.
"""

from orthanc_research.tables.arrays import to_numpy
from orthanc_research.tables.arrow import SCHEMA_VERSION, from_arrow, to_arrow
from orthanc_research.tables.columns import flat
from orthanc_research.tables.criteria import Query, parse_criteria
from orthanc_research.tables.frames import empty_frame, find_frame, issues
from orthanc_research.tables.identity import is_orthanc_id, is_uid, like_uid, orthanc_id
from orthanc_research.tables.levels import columns_for
from orthanc_research.tables.lists import changes_frame, exports_frame, jobs_frame, jobs_joined, listed_frame
from orthanc_research.tables.lookup import LookupPlan, lookup_frame, plan_lookup
from orthanc_research.tables.order import middle_instances, reading_order
from orthanc_research.tables.overview import OVERVIEW_COLUMNS, overview_frame, overview_series
from orthanc_research.tables.plan import FindPlan, plan_find
from orthanc_research.tables.pointers import Pointer, references_frame
from orthanc_research.tables.remote import (
    ANNOUNCED,
    KEYS,
    UID_OF,
    RemotePlan,
    askable,
    key_of,
    plan_remote,
    remote_frame,
    with_here,
)
from orthanc_research.tables.schema import LEVELS, ColumnType, Level, column_type, tag_of
from orthanc_research.tables.selection import Selection, selection
from orthanc_research.tables.tags import TagsPlan, plan_tags, project, too_long, too_many
from orthanc_research.tables.tags_frames import Row, empty_tags, join_tags, tags_frame
from orthanc_research.tables.wanted import Match, Wanted, matches, wanted_rows

__all__ = [
    "ANNOUNCED",
    "KEYS",
    "LEVELS",
    "OVERVIEW_COLUMNS",
    "SCHEMA_VERSION",
    "UID_OF",
    "ColumnType",
    "FindPlan",
    "Level",
    "LookupPlan",
    "Match",
    "Pointer",
    "Query",
    "RemotePlan",
    "Row",
    "Selection",
    "TagsPlan",
    "Wanted",
    "askable",
    "changes_frame",
    "column_type",
    "columns_for",
    "empty_frame",
    "empty_tags",
    "exports_frame",
    "find_frame",
    "flat",
    "from_arrow",
    "is_orthanc_id",
    "is_uid",
    "issues",
    "jobs_frame",
    "jobs_joined",
    "join_tags",
    "key_of",
    "like_uid",
    "listed_frame",
    "lookup_frame",
    "matches",
    "middle_instances",
    "orthanc_id",
    "overview_frame",
    "overview_series",
    "parse_criteria",
    "plan_find",
    "plan_lookup",
    "plan_remote",
    "plan_tags",
    "project",
    "reading_order",
    "references_frame",
    "remote_frame",
    "selection",
    "tag_of",
    "tags_frame",
    "to_arrow",
    "to_numpy",
    "too_long",
    "too_many",
    "wanted_rows",
    "with_here",
]
