"""Which elements frames are made of. Nothing else is read, so a damaged private sequence cannot spoil a verdict."""

from __future__ import annotations

__all__ = ["ASIDE", "BYTES", "CONVERTED", "LONG_TAGS", "MACROS", "REFERENCE_SEQUENCES", "SEQUENCES", "TAGS"]

# fmt: off
_IDENTITY = (
    "0008,0008", "0008,0016", "0008,0018", "0008,0060", "0020,000e", "0020,0013", "0020,0052",
    "0028,2110",
)
_PIXELS = (
    "0028,0002", "0028,0004", "0028,0008", "0028,0010", "0028,0011", "0028,0100",
    "0028,0101", "0028,0103", "7fe0,0008", "7fe0,0009",
)
_PLACE = (
    "0018,0088", "0020,0032", "0020,0037", "0028,0030", "3004,000c",  # Spacing Between Slices; Grid Frame Offset Vector
)
_VALUES = (
    "0028,1050", "0028,1051", "0028,1052", "0028,1053", "0028,1054", "0028,1055",
    "0028,1056", "0028,3002", "0028,3004", "0028,3006", "0054,1001", "3004,0002", "3004,000e",
    "0008,0100", "0040,9224",
    "0040,9225",
)
_SUV = (  # PS3.3 C.8.9.1, C.8.9.2, and Philips' own factors (7053)
    "0008,0021", "0008,0022", "0008,0031", "0008,0032", "0010,1030", "0018,1072",
    "0018,1074", "0018,1075", "0018,1078", "0018,1242", "0028,0051", "0054,1006",
    "0054,1102", "0054,1300", "7053,0010", "7053,1000", "7053,1009",
    "0008,0201", "0009,0010", "0009,100d",
)
_EXTRA = (  # what tells frames at one position apart
    "0018,0040", "0018,0081", "0018,0082", "0018,1060", "0018,1063", "0018,1065", "0018,1314", "0018,9082",
    "0018,9087", "0018,9079", "0020,0012", "0020,0100", "0020,9128", "0020,930d", "0020,9153", "0020,9156",
    "0020,9056", "0020,9057", "0020,9157", "0020,9165", "0008,9007", "0008,9208", "0054,0010",
    "0054,0020", "0054,0030", "0054,0050", "0054,0060", "0054,0070", "0054,0080", "0054,0090", "0054,0100",
    "0019,0010", "0019,100c", "0043,0010", "0043,1039",
)
_MOSAIC = (
    "0019,100a", "0029,0010", "0029,1010", "0065,0010", "0065,1050",
)
_REFERENCES = ("0008,1150", "0008,1155")

# Functional group macros (PS3.3 C.7.6.16.2 and the modalities' own), whose elements describe the frame.
MACROS = (
    "0018,9114", "0018,9115", "0018,9112", "0018,9117", "0018,9118", "0018,9226", "0018,9329", "0018,9751",
    "0018,9412", "0018,9504", "0018,9806", "0020,9111", "0020,9113", "0020,9116", "0020,9310", "0028,9110", "0028,9132",
    "0028,9145", "0040,9092", "0040,9096",
)
# Legacy Converted Enhanced: what the classic files held besides (PS3.3 C.7.6.16.2.25.1, C.7.6.16.2.25.2)
CONVERTED = ("0020,9170", "0020,9171")
# Where objects that are no images say what they are of
REFERENCE_SEQUENCES = (
    "0008,1115", "0008,114a", "0008,1199", "0008,1140", "0008,2112", "0040,a375", "0040,a385", "0040,a730",
    "0042,0013", "3006,0010", "3006,0012", "3006,0014", "3006,0016", "3006,0039", "3006,0040", "300c,0002",
    "300c,0060",
)
_OTHER_SEQUENCES = (
    "5200,9229", "5200,9230", "0020,9222", "0028,3000", "0028,3010", "0040,08ea", "0054,0016", "0054,0022",
    "0065,1051",
)
# fmt: on

SEQUENCES = frozenset((*MACROS, *CONVERTED, *REFERENCE_SEQUENCES, *_OTHER_SEQUENCES))

ASIDE = frozenset((*REFERENCE_SEQUENCES, "0028,3010"))
"""Sequences that no frame of a classic image is described by: what it refers to, and how it is shown."""

BYTES = frozenset({"0029,1010"})  # Siemens CSA image header: the normal of a mosaic's slices

# fmt: off
LONG_TAGS = (
    "0018,1065", "0054,0010", "0054,0020", "0054,0030", "0054,0050", "0054,0060", "0054,0070", "0054,0080",
    "0054,0090", "0054,0100", "3004,000c",
)
# fmt: on
"""A value for every frame: Orthanc gives null for more than 256 bytes, unless asked with `ignore-length`."""

TAGS: dict[int, str] = {
    int(key[:4] + key[5:], 16): key
    for key in (*_IDENTITY, *_PIXELS, *_PLACE, *_VALUES, *_SUV, *_EXTRA, *_MOSAIC, *_REFERENCES, *SEQUENCES)
}
