"""What lies where in an archive: a small YAML file, parsed once into frozen dataclasses.

A key that is not known is an error, so that a mistyped one cannot silently mean the default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from pydicom.datadict import tag_for_keyword

from lib.data.builder.naming import MODALITIES, is_word
from lib.errors import OptionError

PACS = "dicomweb"
KINDS = ("volume", "dicom", "picture", "npz", PACS)
WITH_HEADER = ("dicom", PACS)
"""Kinds whose files say who the patient is."""

VERSIONS = ("newest", "all")
INTENSITIES = ("volume", "slice")
NAMES = ("hash", "keep")
ORIENTATIONS = ("lps", "file")
AXES = "xyz"
CASE, LABEL = "{case}", "{label}"
HEADER = "header"


@dataclass(frozen=True)
class Source:
    """One set of cases that are described alike.

    Attributes:
        dataset: name of the data set, as it stands in the names of files.
        kind: "volume" (NIfTI or NRRD), "dicom" (a folder with one series), "picture" (PNG or
            JPEG), "npz" (`image` (H, W[, 3]), `mask` (N, H, W), `labels` (N,)), or "dicomweb" (a
            PACS).
        modality: as in SA-Med2D-20M, such as "ct_00".
        classes: what stands in the labels (a value as text, or a name) -> class; None: passed
            over. A label that is not listed makes its case fail.
        root: folder of the files, or address of a DICOMweb service.
        images: path in `root`; ``{case}`` stands for the name of the case. Of a PACS a question for
            series: "Modality=CT&BodyPartExamined=CHEST".
        labels: path in `root`, with ``{case}``; with ``{label}`` there is one file a class. Empty
            for kind "npz". Of a PACS a question for series: "Modality=SEG".
        patient: a regular expression whose first group, found in the case's name, is the patient;
            "header" takes PatientID (DICOM). Empty: each case is a patient.
        intensity: stretch grey values by "volume", as the paper says, or by "slice", as the
            published demo images look. 2D images are stretched by "slice" only; else they must be
            8 bit and stay as they are.
        axes: along which slices are taken, of "xyz".
        orientation: "lps": x runs to the patient's left, y back, z up, whatever the file's order;
            "file": x, y, z are the axes of the file.
        names: "hash": a salted hash stands for the case's name; "keep": the name itself.
        versions: which label series of an image in a PACS count: the "newest", or "all".
    """

    dataset: str
    kind: str
    modality: str
    classes: Mapping[str, str | None]
    root: str
    images: str = CASE
    labels: str = ""
    patient: str = ""
    intensity: str = "volume"
    axes: str = AXES
    orientation: str = "lps"
    names: str = "hash"
    versions: str = "newest"

    def __post_init__(self) -> None:
        """Refuse what contradicts itself (OptionError)."""
        _one_of("kind", self.kind, KINDS)
        _one_of("intensity", self.intensity, INTENSITIES)
        _one_of("names", self.names, NAMES)
        _one_of("orientation", self.orientation, ORIENTATIONS)
        _one_of("modality", self.modality, MODALITIES)
        _one_of("versions", self.versions, VERSIONS)
        if not is_word(self.dataset):
            raise _wrong(f"dataset {self.dataset!r}", "letters, digits, _ and single -")
        if not self.axes or len(set(self.axes)) < len(self.axes) or set(self.axes) - set(AXES):
            raise _wrong(f"axes {self.axes!r}", "some of xyz, each once")
        if not self.classes:
            raise _wrong(f"no classes of {self.dataset}", "label: class, at least one")
        if self.kind == PACS:
            self._check_pacs()
        elif CASE not in self.images:
            raise _wrong(f"images {self.images!r}", f"a path with {CASE}")
        if self.kind in ("volume", "dicom", "picture") and CASE not in self.labels:
            raise _wrong(f"labels {self.labels!r}", f"a path with {CASE}")
        self._check_patient()

    def _check_pacs(self) -> None:
        address = urlsplit(self.root)
        if address.scheme not in ("http", "https") or "@" in address.netloc:
            raise _wrong("root of a PACS", "https://host/path; an account belongs into ~/.netrc")
        if self.patient != HEADER:
            raise _wrong(f"patient {self.patient!r} in a PACS", HEADER)
        for query in (self.images, self.labels):
            try:
                words = dict(parse_qsl(query, strict_parsing=True))
            except ValueError:
                words = {}
            if not words or any(tag_for_keyword(word) is None for word in words):
                raise _wrong(f"question {query!r}", "Keyword=value, several joined by &")

    def _check_patient(self) -> None:
        if self.patient == HEADER:
            if self.kind not in WITH_HEADER:
                raise _wrong(f"patient: header in kind {self.kind}", " or ".join(WITH_HEADER))
            return
        try:
            groups = re.compile(self.patient).groups
        except re.error as error:
            raise _wrong(f"patient {self.patient!r} ({error})", "a regular expression") from error
        if self.patient and groups < 1:
            raise _wrong(f"patient {self.patient!r}", "a regular expression with one group")


def parse_description(path: Path) -> tuple[Source, ...]:
    """The sources of a YAML file; a relative `root` is one beside the file.

    Raises:
        OptionError: no YAML, an unknown or missing key, or a value that is not allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise _wrong(f"{path} which cannot be read ({error})", "a YAML file") from error
    if not isinstance(content, dict) or set(content) != {"sources"}:
        raise _wrong(f"{path} without 'sources' or with more", "one key: sources")
    entries = content["sources"]
    if not isinstance(entries, list) or not entries:
        raise _wrong(f"sources of {path} that are no list", "a list of sources")
    sources = tuple(_source(entry, path.resolve().parent) for entry in entries)
    names = [source.dataset for source in sources]
    if len(set(names)) < len(names):
        raise _wrong(f"data sets {', '.join(names)}", "each name once")
    return sources


def class_ids(sources: tuple[Source, ...]) -> dict[str, dict[str, str]]:
    """{data set: {class: four digits}}; a class has one id in all data sets, in order of mention.

    Raises:
        OptionError: more classes than four digits can say.
    """
    ids: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for source in sources:
        for name in source.classes.values():
            if name is not None:
                ids.setdefault(name, f"{len(ids):04d}")
        found[source.dataset] = {n: ids[n] for n in source.classes.values() if n is not None}
    if len(ids) > 9999:
        raise _wrong(f"{len(ids)} classes", "at most 9999")
    return found


def _source(entry: object, folder: Path) -> Source:
    known = [field.name for field in fields(Source)]
    if not isinstance(entry, dict):
        raise _wrong(f"source {entry!r}", "keys and values")
    unknown = sorted(str(key) for key in entry if key not in known)
    missing = [key for key in known[:5] if key not in entry]
    if unknown or missing:
        problem = f"unknown keys {unknown}" if unknown else f"no {missing}"
        raise _wrong(f"a source with {problem}", ", ".join(known))
    values: dict[str, Any] = dict(entry)
    classes = values.pop("classes")
    wrong = [key for key, value in values.items() if not isinstance(value, str)]
    if wrong or not isinstance(classes, dict):
        raise _wrong(f"{wrong or 'classes'} of another type", "text; classes: label: class")
    named = {str(key): _class_name(value) for key, value in classes.items()}
    if values["kind"] != PACS:
        values["root"] = str(folder / values["root"])
    return Source(classes=named, **values)


def _class_name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise _wrong(f"class {value!r}", "a name, or null for a label that is passed over")
    return value.strip()


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise _wrong(f"{name} {value!r}", ", ".join(allowed))


def _wrong(got: str, allowed: str) -> OptionError:
    return OptionError(got=got, allowed=allowed, todo="correct the description of the sources")
