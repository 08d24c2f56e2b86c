"""What this repository brings along, or fetches when asked to, that is no Python package."""

from __future__ import annotations

from dataclasses import dataclass

from lib.errors import NotFoundError
from lib.networks.model_card import ENDING, read_card
from lib.networks.published import PUBLISHED
from lib.networks.weights import WEIGHTS_FOLDER
from lib.server.viewer_build import OHIF

PUBLISHED_LICENCE = "Apache-2.0"
"""Of SAM and of SAM-Med2D, by the LICENSE of their repositories, which speak of the weights too."""


@dataclass(frozen=True)
class SuppliedFile:
    """A file that is no package.

    Attributes:
        name: of the file, or of the package it is in.
        version: "" where it has none.
        licence: an SPDX expression.
        sha256: None where its publisher gives none.
        is_weights: whether it holds a network.
        origin: how it gets here.
    """

    name: str
    version: str
    licence: str
    sha256: str | None
    is_weights: bool
    origin: str


def supplied_files() -> tuple[SuppliedFile, ...]:
    """Weights in the repository, weights that can be fetched, and the viewer.

    Raises:
        NotFoundError: weights in the repository have no card.
        CheckpointError: a damaged card.
    """
    fetched = [
        SuppliedFile(
            weights.filename,
            "",
            PUBLISHED_LICENCE,
            weights.sha256,
            is_weights=True,
            origin=f"on request: scripts/get_weights.py {weights.name}",
        )
        for weights in PUBLISHED.values()
    ]
    viewer = SuppliedFile(
        OHIF.name,
        OHIF.version,
        "MIT",
        OHIF.sha256,
        is_weights=False,
        origin="on request: scripts/get_viewer.py",
    )
    return (*_shipped(), *fetched, viewer)


def _shipped() -> list[SuppliedFile]:
    found = []
    for weights in sorted(WEIGHTS_FOLDER.glob("*.safetensors")):
        card = read_card(weights.with_name(weights.stem + ENDING))
        if card is None:
            raise NotFoundError(
                got=f"weights without a card: {weights.name}",
                allowed=f"weights with {weights.stem}{ENDING} beside them, which has their licence",
                todo="write it, see docs/reference/evaluation.md, or move weights of your own away",
            )
        sha256 = card.weights_sha256
        origin = "in the repository"
        found.append(SuppliedFile(weights.name, "", card.licence, sha256, True, origin))
    return found
