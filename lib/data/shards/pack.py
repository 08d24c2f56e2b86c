"""Packs a folder in the format of SA-Med2D-20M into shards.

Samples are shuffled once, by a seed, so that a shard holds images of many cases. A shard is
written under another name and renamed; one that is there already is not written again. The same
folder and seed give the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.data.builder.folder import write_whole
from lib.data.builder.outputs import PATIENTS
from lib.data.sa_med2d import masks_by_image, name_facts
from lib.data.shards.index import FILE, Index, Shard
from lib.data.shards.sample import Stored, store
from lib.data.shards.sides import images_of_side, read_object
from lib.data.workers import in_rounds
from lib.errors import ImageError, Samed2dError

_NOTES = ".pack"

Pair = tuple[Path, tuple[Path, ...]]


def pack(
    folder: Path,
    out: Path,
    per_shard: int,
    side: str = "all",
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    workers: int = 1,
) -> Index:
    """Write shards and their index.

    Args:
        folder: data set.
        out: for the shards.
        per_shard: samples in a shard.
        side: of the split: "train", "test" or "all".
        seed: of the order.
        progress: told how many samples are done, and how many there are.
        workers: processes; 1 works in this one.

    Raises:
        ImageError: nothing to pack, or a list of files that cannot be read.
    """
    pairs = _pairs(folder, side, seed)
    patients = read_object(folder / PATIENTS)
    out.mkdir(parents=True, exist_ok=True)
    (out / FILE).unlink(missing_ok=True)
    shards, left_out = [], []
    jobs = [
        _Job(out, number, start, chosen, _patients_of(chosen, patients))
        for number, start in enumerate(range(0, len(pairs), per_shard))
        for chosen in [pairs[start : start + per_shard]]
    ]
    for job, (shard, reasons) in zip(jobs, in_rounds(_shard, jobs, workers), strict=True):
        shards += [shard] if shard.samples else []
        left_out += reasons
        progress(job.first + len(job.pairs), len(pairs))
    if not shards:
        raise ImageError(f"nothing to pack in {folder}", f"images of side {side} with masks")
    index = Index(tuple(shards), tuple(left_out))
    write_whole(out / FILE, index.encode(), out / f"{FILE}.part")
    return index


def _pairs(folder: Path, side: str, seed: int) -> list[Pair]:
    chosen = images_of_side(folder, side)
    found = [
        pair for pair in masks_by_image(folder).items() if chosen is None or pair[0].name in chosen
    ]
    order = np.random.default_rng(seed).permutation(len(found))
    return [found[place] for place in order]


@dataclass(frozen=True)
class _Job:
    """One shard to write: where, its number, that of its first sample, and what goes into it."""

    out: Path
    number: int
    first: int
    pairs: Sequence[Pair]
    patients: Mapping[str, str]


def _patients_of(pairs: Sequence[Pair], patients: Mapping[str, str]) -> dict[str, str]:
    cases = {name_facts(image.stem).patient for image, _ in pairs}
    return {case: patients[case] for case in sorted(cases & patients.keys())}


def _shard(job: _Job) -> tuple[Shard, list[str]]:
    """Write a shard, or find it written from the same files."""
    out, first, pairs, patients = job.out, job.first, job.pairs, job.patients
    name = f"shard-{job.number:06d}.tar"
    note = out / f"{_NOTES}-{name}.json"
    digest = _digest(pairs, patients)
    known = read_object(note) if (out / name).is_file() else {}
    if known.get("digest") == digest:
        content = json.loads(known["shard"])
        if content["bytes"] == (out / name).stat().st_size:
            return Shard(**content), json.loads(known["left_out"])
    left_out: list[str] = []
    part = out / f"{name}.part"
    samples, masks = _write(part, _stored(first, pairs, patients, left_out))
    size, sha256 = part.stat().st_size, _sha256(part)
    shard = Shard(name, first, samples, masks, size, sha256)
    part.replace(out / name)
    facts = {
        "digest": digest,
        "shard": json.dumps(shard.__dict__),
        "left_out": json.dumps(left_out),
    }
    write_whole(note, json.dumps(facts).encode(), out / f"{name}.note")
    return shard, left_out


def _stored(
    first: int, pairs: Sequence[Pair], patients: Mapping[str, str], left_out: list[str]
) -> Iterator[Stored]:
    for place, (image, masks) in enumerate(pairs):
        try:
            stored, reasons = store(first + place, image, masks, patients)
        except Samed2dError as error:
            left_out.append(error.got)
            continue
        left_out += reasons
        yield stored


def _write(path: Path, samples: Iterator[Stored]) -> tuple[int, int]:
    """Write a tar file without times and owners; returns how many samples and masks."""
    count = masks = 0
    with path.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for sample in samples:
                for name, data in sample.members():
                    entry = tarfile.TarInfo(name)
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
                count += 1
                masks += len(json.loads(sample.facts)["masks"])
        file.flush()
        os.fsync(file.fileno())
    return count, masks


def _digest(pairs: Sequence[Pair], patients: Mapping[str, str]) -> str:
    whole = hashlib.sha256()
    for image, _ in pairs:
        whole.update(patients.get(name_facts(image.stem).patient, "").encode() + b"\n")
    for path in (path for image, masks in pairs for path in (image, *masks)):
        known = path.stat() if path.is_file() else None
        facts = (known.st_size, known.st_mtime_ns) if known else None
        whole.update(f"{path.name}\0{facts}\n".encode())
    return whole.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
