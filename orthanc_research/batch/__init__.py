"""Many resources at once, durable: a row for every input, a journal, resume."""

from orthanc_research.batch._anonymize import Options, Source, anonymize, resume
from orthanc_research.batch._archive import ARCHIVE_COLUMNS, archive
from orthanc_research.batch._download import DOWNLOAD_COLUMNS, download, download_plan
from orthanc_research.batch._label import LABEL_COLUMNS, label
from orthanc_research.batch._layout import LAYOUT
from orthanc_research.batch._ledger import ANONYMIZE_COLUMNS, leftovers
from orthanc_research.batch._retrieve import RETRIEVE_COLUMNS, retrieve
from orthanc_research.batch._retrieve_table import RETRIEVE_TABLE_COLUMNS, read_table, retrieve_plan, retrieve_table
from orthanc_research.batch._send import SEND_COLUMNS, send
from orthanc_research.batch._upload import UPLOAD_COLUMNS, upload, upload_plan
from orthanc_research.batch.journal import Journal

__all__ = [
    "ANONYMIZE_COLUMNS",
    "ARCHIVE_COLUMNS",
    "DOWNLOAD_COLUMNS",
    "LABEL_COLUMNS",
    "LAYOUT",
    "RETRIEVE_COLUMNS",
    "RETRIEVE_TABLE_COLUMNS",
    "SEND_COLUMNS",
    "UPLOAD_COLUMNS",
    "Journal",
    "Options",
    "Source",
    "anonymize",
    "archive",
    "download",
    "download_plan",
    "label",
    "leftovers",
    "read_table",
    "resume",
    "retrieve",
    "retrieve_plan",
    "retrieve_table",
    "send",
    "upload",
    "upload_plan",
]
