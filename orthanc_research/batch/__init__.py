"""Many resources at once, durable: a row for every input, a journal, resume."""

from orthanc_research.batch._anonymize import Options, Source, anonymize
from orthanc_research.batch._archive import ARCHIVE_COLUMNS, archive
from orthanc_research.batch._download import DOWNLOAD_COLUMNS, download, download_plan
from orthanc_research.batch._label import LABEL_COLUMNS, label
from orthanc_research.batch._layout import LAYOUT
from orthanc_research.batch._ledger import ANONYMIZE_COLUMNS, MODIFY_COLUMNS, leftovers
from orthanc_research.batch._modify import Changes, modify
from orthanc_research.batch._regroup import merge, split
from orthanc_research.batch._resume import resume
from orthanc_research.batch._retrieve import RETRIEVE_COLUMNS, retrieve
from orthanc_research.batch._retrieve_table import RETRIEVE_TABLE_COLUMNS, read_table, retrieve_plan, retrieve_table
from orthanc_research.batch._send import SEND_COLUMNS, send
from orthanc_research.batch._sweep import SWEEP_COLUMNS, sweep
from orthanc_research.batch._upload import UPLOAD_COLUMNS, upload, upload_again, upload_joined, upload_plan
from orthanc_research.batch.journal import Journal

__all__ = [
    "ANONYMIZE_COLUMNS",
    "ARCHIVE_COLUMNS",
    "DOWNLOAD_COLUMNS",
    "LABEL_COLUMNS",
    "LAYOUT",
    "MODIFY_COLUMNS",
    "RETRIEVE_COLUMNS",
    "RETRIEVE_TABLE_COLUMNS",
    "SEND_COLUMNS",
    "SWEEP_COLUMNS",
    "UPLOAD_COLUMNS",
    "Changes",
    "Journal",
    "Options",
    "Source",
    "anonymize",
    "archive",
    "download",
    "download_plan",
    "label",
    "leftovers",
    "merge",
    "modify",
    "read_table",
    "resume",
    "retrieve",
    "retrieve_plan",
    "retrieve_table",
    "send",
    "split",
    "sweep",
    "upload",
    "upload_again",
    "upload_joined",
    "upload_plan",
]
