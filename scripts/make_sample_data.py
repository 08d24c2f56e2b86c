#!/usr/bin/env python3
"""Make the sample study: an abdomen CT, a brain MR and an ultrasound image, all synthetic.

Writes, under --out:
  studies/  images alone, to be served: phantom_abdomen_ct.nii.gz, phantom_brain_mr.nii.gz,
            phantom_ultrasound.png
  dicom/phantom_ct/  the same CT as a DICOM series
  labels/   the truth under the images' names, and labels.json (value -> name)
  calibration.npz   10 images, one of each kind, on which 8 bit encoders are calibrated
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.data.anatomy import PhantomVolume, make_abdomen_ct, make_brain_mr
from lib.data.ct_series import save_ct_series
from lib.data.phantoms import PHANTOM_KINDS, Phantom, make_phantom
from lib.errors import Samed2dError
from lib.imaging.nifti import write_nifti

DEFAULT_OUT = Path(__file__).resolve().parents[1] / "sample-data"
PATIENT, PATIENT_ID = "Phantom^Abdomen", "PHANTOM-CT-1"


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Exit status: 0 done, 1 could not write, 2 wrong arguments. "
        "The same seed writes the same bytes; existing files are replaced.",
    )
    parser.add_argument(
        "--out", type=Path, default=DEFAULT_OUT, help="folder to write to (default: sample-data)"
    )
    parser.add_argument("--seed", type=int, default=0, help="0 or more (default: 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress lines")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed {options.seed}: must be 0 or more")
    return options


def write_volume(out: Path, name: str, volume: PhantomVolume) -> Mapping[int, str]:
    """Write image and labels as NIfTI; returns value -> name."""
    write_nifti(out / "studies" / f"{name}.nii.gz", volume.array, volume.affine)
    write_nifti(out / "labels" / f"{name}.nii.gz", volume.labels, volume.affine)
    return volume.names


def write_picture(out: Path, name: str, phantom: Phantom) -> Mapping[int, str]:
    """Write image and labels as PNG; returns value -> name."""
    labels = np.zeros(phantom.image.shape[:2], np.uint8)
    for value, mask in enumerate(phantom.masks, start=1):
        labels[mask] = value
    Image.fromarray(phantom.image).save(out / "studies" / f"{name}.png", optimize=True)
    Image.fromarray(labels).save(out / "labels" / f"{name}.png", optimize=True)
    return {value: f"{text} {value}" for value, text in enumerate(phantom.names, start=1)}


def make_ultrasound(seed: int) -> Phantom:
    """An ultrasound image with at least two objects (or the last of many tries)."""
    rng = np.random.default_rng([seed, 3])
    for _ in range(50):
        phantom = make_phantom(rng, 256, "ultrasound")
        if len(phantom.names) >= 2:
            break
    return phantom


def write_calibration(path: Path, seed: int, count: int = 10) -> None:
    """Write images (count, 256, 256, 3) of all kinds in turn."""
    rng = np.random.default_rng([seed, 4])
    images = np.empty((count, 256, 256, 3), np.uint8)
    for index in range(count):
        image = make_phantom(rng, 256, PHANTOM_KINDS[index % len(PHANTOM_KINDS)]).image
        images[index] = image if image.ndim == 3 else image[..., None]
    np.savez_compressed(path, images=images)


def write_study(out: Path, seed: int, quiet: bool = False) -> None:
    """Make and write everything.

    Args:
        out: folder, made where absent.
        seed: each part draws from its own stream of this seed.
        quiet: print nothing.
    """

    def say(text: str) -> None:
        if not quiet:
            print(text, flush=True)

    series = out / "dicom" / "phantom_ct"
    for folder in (out / "studies", out / "labels", series):
        folder.mkdir(parents=True, exist_ok=True)
    for old in series.glob("*.dcm"):
        old.unlink()
    names: dict[str, Mapping[int, str]] = {}
    say("1/5 abdomen CT, NIfTI")
    ct = make_abdomen_ct(np.random.default_rng([seed, 1]))
    names["phantom_abdomen_ct"] = write_volume(out, "phantom_abdomen_ct", ct)
    say(f"2/5 abdomen CT, DICOM series of {ct.array.shape[2]} files")
    save_ct_series(series, ct, PATIENT, PATIENT_ID)
    say("3/5 brain MR, NIfTI")
    mr = make_brain_mr(np.random.default_rng([seed, 2]))
    names["phantom_brain_mr"] = write_volume(out, "phantom_brain_mr", mr)
    say("4/5 ultrasound, PNG")
    names["phantom_ultrasound"] = write_picture(out, "phantom_ultrasound", make_ultrasound(seed))
    say("5/5 images for calibration")
    write_calibration(out / "calibration.npz", seed)
    table = {image: {str(v): n for v, n in labels.items()} for image, labels in names.items()}
    (out / "labels" / "labels.json").write_text(json.dumps(table, indent=2) + "\n")
    total = sum(f.stat().st_size for f in out.rglob("*") if f.is_file())
    say(f"done: {out} holds {total / 1e6:.2f} MB")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    options = parse_arguments(arguments)
    try:
        write_study(options.out, options.seed, options.quiet)
    except (OSError, Samed2dError) as error:
        print(f"make_sample_data: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
