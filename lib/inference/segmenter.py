"""One network shared by all requests: an image is encoded once, whoever clicks on it.

Concurrency contract: embeddings and chains are kept in caches with locks of their own, keyed by
content, so no request can change what another one gets. The arithmetic runs on one
`PriorityWorker`, which belongs to this object; `segment` waits for it from any thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import Embedded, SliceEmbedder
from lib.inference.predictor import Prediction
from lib.inference.view import SliceView
from lib.inference.worker import Priority, PriorityWorker
from lib.prompts.prompt import Prompt


@dataclass(frozen=True)
class Timings:
    """Seconds spent in the parts of one request: naming the image, waiting, encoding, decoding."""

    prepare: float
    wait: float
    encode: float
    decode: float


@dataclass(frozen=True)
class SegmentResult:
    """The answer to one request.

    Attributes:
        prediction: mask, logits and predicted IoU.
        timings: where the time went.
        encoder: what encoded the image: "openvino bf16".
        cached: the image had been encoded before.
    """

    prediction: Prediction
    timings: Timings
    encoder: str
    cached: bool


class SliceSegmenter:
    """Answers prompts on any 2D image, from any thread.

    Args:
        embedder: of the network.
        decoder: of the same network.
        chains: remembers the stages of prompts.
        worker: does the arithmetic.
    """

    def __init__(
        self,
        embedder: SliceEmbedder,
        decoder: PromptDecoder,
        chains: ChainDecoder,
        worker: PriorityWorker,
    ) -> None:
        self.embedder = embedder
        self.decoder = decoder
        self.worker = worker
        self.chains = chains

    @property
    def model_version(self) -> str:
        """Architecture and weights."""
        return self.embedder.model_version

    def segment(self, view: SliceView, prompt: Prompt, *, multimask: bool = True) -> SegmentResult:
        """Segment one object. Dear for an image never seen, cheap afterwards.

        Args:
            view: the image.
            prompt: points, box and mask in pixels of the view; points in the order of
                `lib.inference.chain`.
            multimask: let the network propose three masks and take the one it rates best.

        Raises:
            PromptError: the prompt does not lie on the image.
            ImageError: pixels that are no image.
        """
        prompt.validate_for(view.height, view.width)
        started = time.perf_counter()
        _ = view.digest  # here, and not while others wait for the worker
        named = time.perf_counter()

        def work() -> tuple[Prediction, Embedded, float, float]:
            begun = time.perf_counter()
            image = self.embedder.embed(view)
            encoded = time.perf_counter()
            answer = self.chains.answer(image, prompt, multimask)
            logits = self.decoder.enlarge(answer, view.height, view.width)
            prediction = Prediction(logits > 0, logits, answer.iou, answer.logits)
            return prediction, image, begun, encoded

        prediction, image, begun, encoded = self.worker.run(Priority.CLICK, work)
        timings = Timings(
            prepare=named - started,
            wait=begun - named,
            encode=encoded - begun,
            decode=time.perf_counter() - encoded,
        )
        return SegmentResult(prediction, timings, image.encoder, image.cached)
