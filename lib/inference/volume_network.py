"""A network looking at the slices of one volume: what a walk through it asks for.

All arithmetic goes to the worker of the network in pieces of one slice to encode or one prompt to
decode, because somebody's click may wait for the piece that runs. Whatever does not need
the network (names of slices, grey values, judgements) is done in the caller's thread.

Concurrency contract: an object of this class belongs to one request and one thread. It shares the
segmenter and the cache of steps, which have locks of their own and are keyed by content.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lib.inference.cache import ByteBoundedCache
from lib.inference.confidence import Histogram, Judgement, grey_values, histogram, judge
from lib.inference.decoder import LowRes
from lib.inference.embedder import Embedded
from lib.inference.neighbour import prompt_from
from lib.inference.segmenter import SliceSegmenter
from lib.inference.view import SliceView
from lib.inference.worker import Priority
from lib.prompts.prompt import Prompt

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class VolumeSlices:
    """The slices 0 .. ``count`` - 1 of a volume; ``view`` gives each as the network sees it."""

    count: int
    view: Callable[[int], SliceView]


@dataclass(frozen=True)
class Step:
    """The answer on slice ``k``, and what is thought of it."""

    k: int
    answer: LowRes
    judgement: Judgement

    @property
    def nbytes(self) -> int:
        """Bytes of memory it takes."""
        return self.answer.nbytes


@dataclass
class Spent:
    """Seconds spent in encoding and decoding, waiting for the worker not counted."""

    encode: float = 0.0
    decode: float = 0.0
    encoded: int = 0
    """Slices that no cache knew."""


@dataclass
class VolumeNetwork:
    """Answers on the slices of one volume.

    Args:
        segmenter: the network, its caches and its worker.
        slices: of the volume.
        steps: remembers steps by content, so that a correction repeats only what it changes.
    """

    segmenter: SliceSegmenter
    slices: VolumeSlices
    steps: ByteBoundedCache[Step]
    spent: Spent = field(default_factory=Spent)
    _views: dict[int, SliceView] = field(default_factory=dict)

    def view(self, k: int) -> SliceView:
        """Slice k; the same object every time, because it remembers its name."""
        if k not in self._views:
            self._views[k] = self.slices.view(k)
        return self._views[k]

    def prompted(self, k: int, prompt: Prompt) -> LowRes:
        """The answer to a user's prompt on slice k, by the rules of `lib.inference.chain`.

        Raises:
            PromptError: the prompt does not lie on the slice.
        """
        view = self.view(k)
        prompt.validate_for(view.height, view.width)
        image = self._embedded(k)
        return self._decode(lambda: self.segmenter.chains.answer(image, prompt))

    def reference(self, k: int, answer: LowRes) -> Histogram:
        """Grey values of the object on slice k, to which those of other slices are compared."""
        return histogram(grey_values(self.view(k)), answer)

    def step(self, k: int, neighbour: LowRes, reference: Histogram) -> Step:
        """Carry an answer on to the slice beside it.

        Of the masks that the network proposes the most confident one is taken.

        Args:
            k: the slice.
            neighbour: the answer on the slice beside it; not empty.
            reference: from `reference`, of the prompted slice.
        """
        image = self._embedded(k)
        name = _name(self.segmenter.model_version, image.key, neighbour.logits, reference)
        known = self.steps.get(name)
        if known is not None:
            return replace(known, k=k)  # equal slices of one volume share their steps
        view = self.view(k)
        prompt = prompt_from(neighbour, view.height, view.width)
        answers = self._decode(lambda: self.segmenter.decoder.candidates(image.embedding, prompt))
        grey = grey_values(view)
        rated = [Step(k, a, judge(a, neighbour, grey, reference)) for a in answers]
        best = max(rated, key=lambda step: step.judgement.confidence)
        best = replace(best, answer=replace(best.answer, logits=best.answer.logits.copy()))
        self.steps.put(name, best, best.nbytes)
        return best

    def mask(self, k: int, answer: LowRes) -> NDArray[np.bool_]:
        """An answer as mask (H, W) of slice k."""
        view = self.view(k)
        enlarge = self.segmenter.decoder.enlarge
        return self._decode(lambda: enlarge(answer, view.height, view.width) > 0)

    def _embedded(self, k: int) -> Embedded:
        """Slice k encoded. One at a time: an encoder gains nothing by more, and clicks wait."""
        embedder = self.segmenter.embedder
        view = self.view(k)
        found = embedder.find(view)  # names the slice here, and not while others wait
        if found is not None:
            return found
        made, seconds = self._run(lambda: embedder.embed(view))
        self.spent.encode += seconds
        self.spent.encoded += not made.cached
        return made

    def _decode(self, work: Callable[[], Answer]) -> Answer:
        answer, seconds = self._run(work)
        self.spent.decode += seconds
        return answer

    def _run(self, work: Callable[[], Answer]) -> tuple[Answer, float]:
        """Do something on the worker; with the seconds it took once it had its turn."""

        def timed() -> tuple[Answer, float]:
            begun = time.perf_counter()
            return work(), time.perf_counter() - begun

        return self.segmenter.worker.run(Priority.VOLUME, timed)


def _name(version: str, image: str, neighbour: NDArray[np.float32], reference: Histogram) -> str:
    """Of a step, by all that decides it: equal embeddings may meet different decoders."""
    content = hashlib.sha256(neighbour.tobytes())
    content.update(reference.tobytes())
    return f"{version}/{image}/step/{content.hexdigest()}"
