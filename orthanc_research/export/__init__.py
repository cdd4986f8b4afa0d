"""Tables, frames and volumes to files, and back.

    table (DataFrame)      → .parquet      typed from the DICOM dictionary, read plainly by pandas and pyarrow
    frames of a series     → .parquet      one row a frame: little-endian bytes, shape, dtype, geometry
    volume                 → .npy, .npz or .nii.gz, and a .json beside it with its affine, spacing and slices
    table                  → .csv          with formulas neutralised

Every file is complete or absent, and 0600. Names are UIDs, never tag values that somebody typed.
"""

from orthanc_research.export.frames import FRAMES_SCHEMA, FrameRow, frame_rows, read_frames, write_frames
from orthanc_research.export.run import EXPORT_COLUMNS, FORMATS, Format, export_series
from orthanc_research.export.stream import stream_table
from orthanc_research.export.tables import read_parquet, write_csv, write_table
from orthanc_research.export.volumes import read_volume, write_volume

__all__ = [
    "EXPORT_COLUMNS",
    "FORMATS",
    "FRAMES_SCHEMA",
    "Format",
    "FrameRow",
    "export_series",
    "frame_rows",
    "read_frames",
    "read_parquet",
    "read_volume",
    "stream_table",
    "write_csv",
    "write_frames",
    "write_table",
    "write_volume",
]
