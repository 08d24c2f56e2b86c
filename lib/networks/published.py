"""Weight files that others publish: where they are, how to tell them, how to install them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.errors import CheckpointError
from lib.networks.adapters import SamMed2dAdapter
from lib.networks.architectures import Architecture
from lib.networks.architectures3d import Architecture3d
from lib.networks.checkpoint import (
    LoadReport,
    kind_of_adapter,
    load_checkpoint,
    save_weights,
    sha256_of,
)
from lib.networks.medsa import MedSaAdapter
from lib.networks.prompt_adapter import PromptAdapter
from lib.networks.sam import AdapterSam, build_sam
from lib.networks.sam3d import Sam3d, build_sam3d

_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"


@dataclass(frozen=True)
class PublishedWeights:
    """One weight file.

    Attributes:
        name: what one asks for.
        filename: as it is published.
        architecture: the network it is for.
        url: where it is: the file itself, or a page that only a person can download it from.
        sha256: of the file; None where no hash was ever published.
        size: of the file in bytes; None where unknown.
        by_script: whether ``url`` is the file itself.
        about: one sentence for a list.
    """

    name: str
    filename: str
    architecture: str
    url: str
    sha256: str | None
    size: int | None
    by_script: bool
    about: str


# The publisher gives no hashes of the SAM files. These are the ones that independent projects
# which verify them agree on (micro-sam, Slicer's SegmentAnything extensions, among others); the
# first digits of each file's MD5 are part of its name.
PUBLISHED: dict[str, PublishedWeights] = {
    w.name: w
    for w in (
        PublishedWeights(
            "sam-med2d_b",
            "sam-med2d_b.pth",
            "samed2d_b",
            "https://drive.google.com/file/d/1ARiB5RkSsWmAB_8mqWnwDF8ZKTtFwsjl/view",
            sha256=None,
            size=None,
            by_script=False,
            about="SAM-Med2D as published with the paper; segments medical images",
        ),
        PublishedWeights(
            "sam_vit_b",
            "sam_vit_b_01ec64.pth",
            "samed2d_b",
            _SAM + "sam_vit_b_01ec64.pth",
            sha256="ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            size=375_042_383,
            by_script=True,
            about="Meta's SAM, photographs only; a starting point for training",
        ),
        PublishedWeights(
            "sam_vit_l",
            "sam_vit_l_0b3195.pth",
            "samed2d_l",
            _SAM + "sam_vit_l_0b3195.pth",
            sha256="3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            size=1_249_524_607,
            by_script=True,
            about="as sam_vit_b, larger",
        ),
        PublishedWeights(
            "sam_vit_h",
            "sam_vit_h_4b8939.pth",
            "samed2d_h",
            _SAM + "sam_vit_h_4b8939.pth",
            sha256="a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            size=2_564_550_879,
            by_script=True,
            about="as sam_vit_b, largest",
        ),
        PublishedWeights(
            "sam-med3d_turbo",
            "sam_med3d_turbo.pth",
            "sammed3d_b",
            "https://huggingface.co/blueyo0/SAM-Med3D",
            sha256=None,
            size=None,
            by_script=False,
            about="SAM-Med3D as released; segments volumes",
        ),
    )
}


@dataclass(frozen=True)
class Installed:
    """What `install_weights` did.

    Attributes:
        path: the file that was written.
        source_sha256: hash of the file it was made from.
        report: what was loaded, tensor by tensor.
        neutral_adapters: whether the source had no adapters and they were made to add nothing.
    """

    path: Path
    source_sha256: str
    report: LoadReport
    neutral_adapters: bool


def install_weights(
    source: Path,
    architecture: Architecture | Architecture3d,
    folder: Path,
    *,
    sha256: str | None = None,
) -> Installed:
    """Convert a weight file to ``<folder>/<architecture>.safetensors``; complete or not at all.

    A vanilla SAM file has no adapters. Adapters with random numbers would spoil what the file
    can do, so theirs are stored neutral: the network computes exactly what SAM's blocks compute,
    and training still reaches the adapters through the weight of their last normalisation.

    Args:
        source: any file that `load_checkpoint` reads.
        architecture: the network it is for.
        folder: made if absent.
        sha256: what ``source`` must have; None accepts any file that fits the network.

    Raises:
        CheckpointError: another hash, unreadable, unsafe, or not for this network. A file that
            was installed before stays as it was.
    """
    if not source.is_file():
        raise CheckpointError(got=f"no weight file at {source}", todo="correct the path")
    found = sha256_of(source)
    if sha256 is not None and found != sha256.lower():
        raise CheckpointError(
            got=f"{source.name} with SHA-256 {found}",
            allowed=f"SHA-256 {sha256}",
            todo="download it again; it is damaged or another file",
        )
    model, report = _load(source, architecture)
    neutral = False
    if isinstance(model, AdapterSam):
        kinds = {kind_of_adapter(name) for name in report.missing}
        neutral = kinds == set(model.config.adapters)
        if neutral:
            neutralise_adapters(model)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{architecture.name}.safetensors"
    save_weights(
        model,
        path,
        metadata={
            "architecture": architecture.name,
            "source": source.name,
            "source_sha256": found,
            "adapters": "neutral" if neutral else "trained",
        },
    )
    return Installed(path, found, report, neutral)


def _load(
    source: Path, architecture: Architecture | Architecture3d
) -> tuple[AdapterSam | Sam3d, LoadReport]:
    """Build the network, always with the same initial numbers, and load the file into it."""
    model: AdapterSam | Sam3d
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(architecture, Architecture):
            model = build_sam(architecture)
        else:
            model = build_sam3d(architecture)
    return model, load_checkpoint(model, source)


def neutralise_adapters(model: AdapterSam) -> None:
    """Make the adapters that an architecture learns with add zero.

    Of SAM-Med2D's, scale and shift of the last normalisation become 0; of Med-SA's, the second
    layer.
    """
    for module in _own_adapters(model):
        last = module.norm if isinstance(module, SamMed2dAdapter) else module.D_fc2
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)


def reset_adapters(model: AdapterSam) -> None:
    """Give them new random numbers, as the public codes start their training with."""
    for module in _own_adapters(model):
        if isinstance(module, SamMed2dAdapter):
            fresh = SamMed2dAdapter(module.norm.normalized_shape[0])
            module.load_state_dict(fresh.state_dict())
        else:
            module.D_fc1.reset_parameters()
            module.D_fc2.reset_parameters()


def _own_adapters(
    model: AdapterSam,
) -> Iterator[SamMed2dAdapter | MedSaAdapter | PromptAdapter]:
    """Those of the kind that learns; others belong to the base the network starts from."""
    samed2d = model.config.adapters[-1] == "samed2d"
    kinds = (SamMed2dAdapter,) if samed2d else (MedSaAdapter, PromptAdapter)
    yield from (module for module in model.modules() if isinstance(module, kinds))
