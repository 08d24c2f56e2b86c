"""Embeddings outlive a run."""

from __future__ import annotations

from pathlib import Path

import torch

from lib.training.remembered import RememberedEncoder


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return images.mean(dim=(2, 3), keepdim=True).expand(1, 3, 2, 2).contiguous()


def test_the_next_run_finds_what_was_encoded(tmp_path: Path) -> None:
    image, other = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    encode = Counted()
    first = RememberedEncoder(encode, "v", tmp_path)
    expected = first(image)
    first.close()
    second = RememberedEncoder(encode, "v", tmp_path)
    assert torch.equal(second(image), expected) and encode.calls == 1
    second(other)
    assert encode.calls == 2


def test_other_weights_have_other_embeddings(tmp_path: Path) -> None:
    image, encode = torch.rand(1, 3, 8, 8), Counted()
    for version in ("a", "b"):
        remembered = RememberedEncoder(encode, version, tmp_path)
        remembered(image)
        remembered.close()
    assert encode.calls == 2
