"""A whole build of a small archive."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.builder.build import Built, build, read_salt
from lib.data.builder.case_builder import Outcome
from lib.data.builder.case_task import CaseTask
from lib.data.builder.description import parse_description
from lib.data.builder.engine import run_local
from lib.data.builder.folder import BuildFolder
from lib.data.builder.outputs import SplitRule
from lib.data.sa_med2d import masks_by_image
from lib.errors import OptionError, UnavailableError
from tests.support.archives import tree, write_archive
from tests.support.slow_build import write_lists, write_pictures

CLASSES = {1: "0000", 2: "0001", 7: "0000"}


def built(description: Path, out: Path, rule: SplitRule | None = None, workers: int = 1) -> Built:
    salt = read_salt(description.with_name("archive.yaml.salt"))

    def engine(tasks: Sequence[CaseTask], out: Path) -> Iterator[Outcome]:
        return run_local(tasks, out, workers)

    sources = parse_description(description)
    return build(sources, out, salt, rule or SplitRule(), engine, lambda outcome, total: None)


@pytest.mark.parametrize("intensity", ["volume", "slice"])
def test_a_slow_implementation_by_other_libraries_makes_the_same(
    tmp_path: Path, intensity: str
) -> None:
    description = write_archive(tmp_path / "in")
    text = description.read_text().split("  - dataset: flat")[0].replace("7: null", "7: liver")
    description.write_text(text.replace("names: keep", f"names: keep\n    intensity: {intensity}"))
    built(description, tmp_path / "out")
    slow = tmp_path / "slow"
    (slow / "images").mkdir(parents=True)
    (slow / "masks").mkdir()
    pairs: dict[str, list[str]] = {}
    patients = {}
    for image in sorted((tmp_path / "in" / "volumes").glob("*_image.nii.gz")):
        labels = image.with_name(image.name.replace("_image", "_label"))
        case = image.name.removesuffix("_image.nii.gz")
        prefix = f"mr_t1--small--{case}"
        patients[f"small--{case}"] = f"small:{case.split('_')[0]}"
        pairs |= write_pictures(image, labels, slow, prefix, CLASSES, intensity == "slice")
    salt = description.with_name("archive.yaml.salt").read_text().strip()
    write_lists(slow, pairs, patients, salt, {"small": {"liver": "0000", "spleen": "0001"}})
    lists = {path.name: path.read_bytes() for path in slow.glob("*.json")}
    assert lists == {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.json")}
    assert len(lists) == 6
    assert len(pairs) > 100 and sum(map(len, pairs.values())) > len(pairs)
    for folder in ("images", "masks"):
        names = {path.name for path in (slow / folder).iterdir()}
        assert names == {path.name for path in (tmp_path / "out" / folder).iterdir()}
        for file in names:
            ours = Image.open(tmp_path / "out" / folder / file)
            theirs = Image.open(slow / folder / file)
            assert ours.mode == theirs.mode
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_pictures_with_one_file_a_class(tmp_path: Path) -> None:
    built(write_archive(tmp_path / "in"), tmp_path / "out")
    (masks,) = [
        [mask.name.removeprefix("dermoscopy_00--flat--skin--2d_none--") for mask in masks]
        for image, masks in masks_by_image(tmp_path / "out").items()
        if "--flat--" in image.name
    ]
    assert masks == ["0002_000.png", "0002_001.png", "0003_000.png", "0003_001.png"]
    mapping = json.loads((tmp_path / "out" / "SAMed2D_v1_class_mapping_id.json").read_text())
    assert mapping == {
        "small": {"liver": "0000", "spleen": "0001"},
        "flat": {"mole": "0002", "hair": "0003"},
    }


def test_again_builds_nothing_and_changes_nothing(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in")
    assert built(description, tmp_path / "out").built == 5
    before = tree(tmp_path / "out")
    again = built(description, tmp_path / "out")
    assert (again.built, again.found) == (0, 5)
    assert tree(tmp_path / "out") == before


def test_processes_make_the_same(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in")
    built(description, tmp_path / "one")
    built(description, tmp_path / "two", workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_a_broken_file_costs_its_case_until_it_is_mended(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in", broken=True)
    first = built(description, tmp_path / "out")
    assert list(first.failed) == ["small--p1_scan2"]
    assert first.totals.cases == 4
    assert not [name for name in tree(tmp_path / "out") if "p1_scan2" in name]
    whole = write_archive(tmp_path / "other")
    name = "volumes/p1_scan2_image.nii.gz"
    (tmp_path / "in" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    assert built(description, tmp_path / "out").built == 1
    built(whole, tmp_path / "expected")
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


def test_what_the_archive_holds_no_more_goes(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in")
    built(description, tmp_path / "out")
    for path in (tmp_path / "in" / "volumes").glob("p1_*"):
        path.unlink()
    assert built(description, tmp_path / "out").removed == 2
    assert not [name for name in tree(tmp_path / "out") if "--p1_" in name]


@pytest.mark.parametrize("after", [0, 1, 7, 40])
def test_killed_while_files_are_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    description = write_archive(tmp_path / "in", cases=2)
    built(description, tmp_path / "whole")
    moves = 0
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        nonlocal moves
        moves += "parts" in self.parts
        if moves > after:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            built(description, tmp_path / "out")
    # Described in another way by now: what was put in place must go.
    text = description.read_text()
    description.write_text(text.replace("{1: liver, 2: spleen, 7: null}", "{1: a, 2: b, 7: c}"))
    built(description, tmp_path / "out")
    description.write_text(text)
    built(description, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_split_by_patient_keeps_patients_together(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in", cases=12)
    for seed in range(4):
        result = built(description, tmp_path / "out", SplitRule(seed=seed))
        assert result.totals.test_images and result.totals.train_images
        patients = json.loads((tmp_path / "out" / "patients.json").read_text())
        train = json.loads((tmp_path / "out" / "image2label_train.json").read_text())
        test = json.loads((tmp_path / "out" / "label2image_test.json").read_text())
        sides = [
            {patients["--".join(Path(image).name.split("--")[1:3])] for image in images}
            for images in (train, test.values())
        ]
        assert not sides[0] & sides[1]


@pytest.mark.parametrize("seed", range(6))
def test_one_patient_alone_is_to_learn_from(tmp_path: Path, seed: int) -> None:
    description = write_archive(tmp_path / "in", cases=2)
    description.write_text(description.read_text().split("  - dataset: flat")[0])
    totals = built(description, tmp_path / "out", SplitRule(share=0.9, seed=seed)).totals
    assert totals.train_images == totals.images > 0


def test_split_by_image(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in")
    totals = built(description, tmp_path / "out", SplitRule("image", 0.3)).totals
    assert totals.train_images + totals.test_images == totals.images
    assert 0.15 < totals.test_images / totals.images < 0.45


def test_nothing_in_names_or_files_says_who_it_is(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in", broken=True)
    description.write_text(description.read_text().replace("names: keep", "names: hash"))
    built(description, tmp_path / "out")
    for name, data in tree(tmp_path / "out").items():
        assert "scan" not in name and "skin" not in name
        assert b"scan" not in data and b"p1_" not in data


def test_another_salt_gives_other_names(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in", cases=2)
    description.write_text(description.read_text().replace("names: keep", "names: hash"))
    built(description, tmp_path / "one")
    description.with_name("archive.yaml.salt").write_text("another secret of length\n")
    built(description, tmp_path / "two")
    assert not set(tree(tmp_path / "one")) & {n for n in tree(tmp_path / "two") if "--" in n}


def test_salt_is_made_once_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "salt"
    salt = read_salt(path)
    assert read_salt(path) == salt and len(salt) == 64
    assert path.stat().st_mode & 0o077 == 0
    path.write_text("short")
    with pytest.raises(OptionError, match="16"):
        read_salt(path)


def test_one_builder_at_a_time(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in", cases=2)
    with (
        BuildFolder(tmp_path / "out").hold(),
        pytest.raises(UnavailableError, match="another process"),
    ):
        built(description, tmp_path / "out")


def test_a_damaged_record_is_built_again(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in", cases=2)
    built(description, tmp_path / "out")
    before = tree(tmp_path / "out")
    (tmp_path / "out" / ".build" / "cases" / "small--p0_scan0.json").write_text("{")
    assert built(description, tmp_path / "out").built == 1
    assert tree(tmp_path / "out") == before


def test_an_unlisted_label_is_told(tmp_path: Path) -> None:
    description = write_archive(tmp_path / "in", cases=2)
    description.write_text(description.read_text().replace(", 7: null", ""))
    result = built(description, tmp_path / "out")
    assert all("label '7'" in error for error in result.failed.values()) and result.failed
