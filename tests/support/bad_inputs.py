"""Files and values that make no sense, made here one by one: what a server must survive."""

from __future__ import annotations

import gzip
import io
import json
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

File = tuple[str, bytes]
"""Name and contents."""

HOSTILE_NAMES = (
    *("", " ", ".", "..", "/", "//", "../..", "../../etc/passwd", "/etc/passwd", "~", "~root"),
    *("a/b", "a\\b", "..\\..\\x", "C:\\x", "file:///etc/passwd", "http://127.0.0.1:1/", "-rf"),
    *("a\0b", "\0", "a\nb", "a\r\nX: y", "\x7f", "\x1b[2J", "\u202egnp.nii", "\ufeff", "é" * 300),
    *("x" * 255, "x" * 256, "x" * 5000, "%2e%2e", "%00", "${HOME}", "$(id)", "`id`", "; ls", "|ls"),
    *("'", '"', "<script>", "{{7*7}}", "{}", "[]", "null", "nan", "*", "?", "con", "nul", ".lock"),
    *("datastore_v2.json", "labels", "labels/final", "1.2.3", "1..2", "1" * 65, "\U0001f600"),
)
"""Texts for names, ids, tags and file names."""

WRONG_VALUES: tuple[object, ...] = (
    *(True, -1, 0.5, 1e308, 10**30, -(10**30), "", "x" * 10_000, "NaN", [], [[]], [[[]]], {}),
    *({"a": 1}, [None], [1, 2, 3], [[1, 2]], [[1, 2, 3, 4]], [["1", "2", "3"]], [[1, 2, None]]),
    *([[1e300, 1, 1]], [[-1, -1, -1]], [[0, 0, 10**9]], "\0", "\ud800", [[0.5, 0.5, 0.5]]),
)
"""JSON values, each of which is wrong for most keys."""


def nifti(shape: tuple[int, ...] = (4, 4, 4), dtype: type = np.int16) -> bytearray:
    """A small NIfTI-1 file, header and data."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    dims = [len(shape), *shape] + [1] * (7 - len(shape))
    struct.pack_into("<8h", header, 40, *dims)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, *([1.0] * 8))
    struct.pack_into("<f", header, 108, 352.0)
    struct.pack_into("<h", header, 254, 1)  # sform
    for row in range(3):
        values = [0.0] * 4
        values[row] = 1.0
        struct.pack_into("<4f", header, 280 + 16 * row, *values)
    header[344:348] = b"n+1\0"
    return header + np.zeros(shape, dtype).tobytes()


def _changed(offset: int, form: str, *values: float) -> bytes:
    data = nifti()
    struct.pack_into(form, data, offset, *values)
    return bytes(data)


def bad_niftis() -> Iterator[File]:
    """Headers with one absurd field, truncated files, streams that are none."""
    nan, inf = float("nan"), float("inf")
    for dims in (
        *((0,) * 8, (-1, *[4] * 7), (8, *[4] * 7), (3, 0, 4, 4, 1, 1, 1, 1)),
        *((3, -4, 4, 4, 1, 1, 1, 1), (3, 32767, 32767, 32767, 1, 1, 1, 1), (7, *[32767] * 7)),
        *((1, 4, 1, 1, 1, 1, 1, 1), (5, 4, 4, 4, 9, 9, 1, 1), (3, 4, 4, 5, 1, 1, 1, 1)),
    ):
        yield "a.nii", _changed(40, "<8h", *dims)
    for code in (0, 1, 3, 32, 128, 255, 1536, 1792, 2048, 2304, -1, 9999):
        yield "a.nii", _changed(70, "<h", code)
    for value in (nan, inf, -inf, 0.0, -1.0, 1e38, 1e-45):
        yield "a.nii", _changed(80, "<3f", value, value, value)
        yield "a.nii", _changed(280, "<4f", value, value, value, value)
        yield "a.nii", _changed(112, "<2f", value, value)
        yield "a.nii", _changed(108, "<f", value)
    for size in (0, 1, 4, 100, 347, 348, 351, 352, 353, 400, 479):
        yield "a.nii", bytes(nifti()[:size])
        yield "a.nii.gz", gzip.compress(bytes(nifti()[:size]))
        yield "a.nii.gz", gzip.compress(bytes(nifti()))[:size]
    for magic in (b"\0\0\0\0", b"ni1\0", b"n+2\0", b"\xff" * 4):
        data = nifti()
        data[344:348] = magic
        yield "a.nii", bytes(data)
    yield "a.nii", _changed(0, "<i", 540)
    yield "a.nii", _changed(0, ">i", 348)
    yield "a.nii.gz", b"\x1f\x8b" + bytes(100)
    yield "a.nii.gz", gzip.compress(bytes(1 << 26))  # 64 MiB of nothing in 64 KiB
    yield "a.nii.gz", bytes(nifti())
    values = np.full((4, 4, 4), np.nan, np.float32)
    data = nifti(dtype=np.float32)
    struct.pack_into("<hh", data, 70, 16, 32)
    data[352:] = values.tobytes()
    yield "nan.nii", bytes(data)


NRRD_FIELDS = (
    *("space", "space dimension", "space origin", "space directions", "space units", "kinds"),
    *("units", "spacings", "thicknesses", "axis mins", "axis maxs", "centers", "labels", "content"),
    *("measurement frame", "old min", "byte skip", "line skip", "number", "block size", "min"),
    *("sample units", "endian", "no such field"),
)


def bad_nrrds() -> Iterator[File]:
    """Headers with a missing or an absurd field, and data that lie elsewhere."""
    good = {
        "type": "short",
        "dimension": "3",
        "sizes": "4 4 4",
        "encoding": "raw",
        "endian": "little",
    }
    data = bytes(128)

    def file(fields: dict[str, str], magic: str = "NRRD0004") -> bytes:
        lines = [magic, *(f"{key}: {value}" for key, value in fields.items()), "", ""]
        return "\n".join(lines).encode("utf-8", "replace") + data

    for key in good:
        yield "a.nrrd", file({name: value for name, value in good.items() if name != key})
        for value in ("", "-1", "nan", "4 4", "x" * 5000, "99999999999", "0 0 0", "\x00"):
            yield "a.nrrd", file(good | {key: value})
    for key in NRRD_FIELDS:
        for value in ("x" * 900, "x" * 5000, '"' * 900, "-1", "nan", "(1,", "9" * 900, "1 " * 400):
            yield "a.nrrd", file(good | {key: value})
    for sizes in ("65535 65535 65535", "4 4 -4", "1e9 4 4", "4 4 4 4"):
        yield "a.nrrd", file(good | {"sizes": sizes})
    for place in ("/etc/passwd", "../../etc/passwd", "LIST", "%d.raw 0 1000000000 1", "http://x/"):
        yield "a.nrrd", file(good | {"data file": place})
        yield "a.nrrd", file(good | {"datafile": place})
    for frame in ("(nan,0,0) (0,1,0) (0,0,1)", "(0,0,0) (0,0,0) (0,0,0)", "none none none", "(1)"):
        yield "a.nrrd", file(good | {"space": "left-posterior-superior", "space directions": frame})
    for encoding in ("gzip", "bzip2", "hex", "ascii", "pickle"):
        yield "a.nrrd", file(good | {"encoding": encoding})
    for magic in ("NRRD0009", "NRRD", "", "NIFTI"):
        yield "a.nrrd", file(good, magic)
    yield "a.nrrd", file(good)[:60]


def bad_pictures() -> Iterator[File]:
    """Cut, mislabelled, or larger than they say."""
    memory = io.BytesIO()
    Image.new("L", (8, 8)).save(memory, "PNG")
    png = memory.getvalue()
    for size in (0, 7, 8, 20, 33, 50, len(png) - 1):
        yield "a.png", png[:size]
    for width in (0, 1 << 31, 0xFFFFFFFF, 100_000):
        yield "a.png", png[:16] + struct.pack(">II", width, width) + png[24:]
    yield "a.jpg", png[:20]
    yield "a.jpg", b"\xff\xd8\xff\xe0" + bytes(50)
    yield "a.png", b"GIF89a" + bytes(20)
    yield "a.png", b"%PDF-1.4"
    yield "a.jpg", b"BM" + bytes(100)


def bad_dicoms() -> Iterator[File]:
    """A preamble and little else; lengths that lie."""
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", 20) + ExplicitVRLittleEndian.encode() + b"\0"
    sop = SecondaryCaptureImageStorage.encode() + b"\0"
    start = bytes(128) + b"DICM" + meta
    for tail in (
        *(b"", b"\0", b"\x08\x00\x16\x00UI" + struct.pack("<H", len(sop)) + sop, bytes(64)),
        b"\x08\x00\x05\x00CS\xff\xff",
        b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\xff",
        b"\xe0\x7f\x10\x00OW\0\0\xff\xff\xff\x7f" + bytes(16),
        b"\x28\x00\x10\x00US\x02\x00\xff\xff\x28\x00\x11\x00US\x02\x00\xff\xff",
        b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" * 500,
    ):
        yield "a.dcm", start + tail
    for size in (0, 64, 128, 131, 132, 140, 150):
        yield "a.dcm", start[:size]


def bad_params() -> Iterator[str]:
    """Texts for ``params``: no JSON, deep JSON, and each key with values of every wrong kind."""
    yield from ("", "{", "[", "nul", '"', "{'a': 1}", "[]", "3", '"x"', "NaN", "\0", "\ufeff{}")
    for depth in (500, 5000, 50_000):
        yield "[" * depth
        yield "[" * depth + "]" * depth
        yield '{"foreground":' * depth + "1" + "}" * depth
    yield '{"foreground": [[NaN, 1, 1]]}'
    yield '{"foreground": [[Infinity, 1, 1]]}'
    yield '{"foreground": [[1' + "0" * 5000 + ", 1, 1]]}"
    yield json.dumps({"foreground": [[1, 1, 1]] * 5000})
    for key in ("foreground", "background", "roi", "slice", "label", "intensity", "label_info"):
        for value in WRONG_VALUES:
            yield json.dumps({key: value})
    for key in ("zoom", "start", "overlap", "threshold", "time_budget", "client_id", "label_tag"):
        for value in WRONG_VALUES[::3]:
            yield json.dumps({"foreground": [[20, 17, 5]], key: value, "save_label": False})


def bad_files() -> tuple[File, ...]:
    """All files."""
    return (*bad_niftis(), *bad_nrrds(), *bad_pictures(), *bad_dicoms())
