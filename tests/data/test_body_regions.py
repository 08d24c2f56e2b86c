"""Parts of the body by names of classes."""

from __future__ import annotations

import pytest

from lib.data.body_regions import OTHER, body_region


@pytest.mark.parametrize(
    ("name", "region"),
    [
        ("liver", "abdomen"),
        ("left_kidney", "abdomen"),
        ("RightKidney", "abdomen"),
        ("liver lesion 1", "lesions"),
        ("kidney_tumor", "lesions"),
        ("GTV_mass", "lesions"),
        ("Hippocampus_L", "head and neck"),
        ("brain stem", "head and neck"),
        ("optic_disc", "head and neck"),
        ("left ventricle", "thorax"),
        ("LV_endocardium", "thorax"),
        ("right_lung", "thorax"),
        ("gallbladder", "abdomen"),
        ("bladder", "pelvis"),
        ("hip_left", "bones and muscles"),
        ("vertebrae_T11", "bones and muscles"),
        ("spinal_cord", "bones and muscles"),
        ("nucleus0", "cells"),
        ("mole", "skin"),
        ("instrument", OTHER),
        ("0007", OTHER),
        ("", OTHER),
    ],
)
def test_regions(name: str, region: str) -> None:
    assert body_region(name) == region
