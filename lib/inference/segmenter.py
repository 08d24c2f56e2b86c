"""One network shared by all requests: an image is encoded once, whoever clicks on it.

Concurrency contract: embeddings and chains are kept in caches with locks of their own, keyed by
content, so no request can change what another one gets. The arithmetic runs on one
`PriorityWorker`, which several of these objects may share; `segment` waits for it from any thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lib.inference.chain import ChainDecoder
from lib.inference.decoder import PromptDecoder
from lib.inference.embedder import Embedded, SliceEmbedder
from lib.inference.predictor import Prediction
from lib.inference.view import Crop, SliceView
from lib.inference.worker import Priority, PriorityWorker
from lib.inference.zoom import Zoom, Zoomed, pasted
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
        crop: the part of the image that was looked at again, or None. ``prediction.low_res`` is in
            the frame of that part.
    """

    prediction: Prediction
    timings: Timings
    encoder: str
    cached: bool
    crop: Crop | None = None


@dataclass(frozen=True)
class _Answered:
    """What the worker hands back; times on the clock of `time.perf_counter`."""

    prediction: Prediction
    image: Embedded
    zoomed: Zoomed | None
    begun: float
    encode: float
    ended: float


class SliceSegmenter:
    """Answers prompts on any 2D image, from any thread.

    Args:
        embedder: of the network.
        decoder: of the same network.
        chains: remembers the stages of prompts; for this decoder only.
        worker: does the arithmetic.
        model_version: architecture and weights; None where the encoder's version says it all.
    """

    def __init__(
        self,
        embedder: SliceEmbedder,
        decoder: PromptDecoder,
        chains: ChainDecoder,
        worker: PriorityWorker,
        model_version: str | None = None,
    ) -> None:
        self.embedder = embedder
        self.decoder = decoder
        self.worker = worker
        self.chains = chains
        self.model_version = model_version or embedder.encoder_version
        self._zoom = Zoom(embedder, decoder, chains)

    def segment(
        self, view: SliceView, prompt: Prompt, *, multimask: bool = True, zoom: str = "off"
    ) -> SegmentResult:
        """Segment one object. Dear for an image never seen, cheap afterwards.

        Args:
            view: the image.
            prompt: points, box and mask in pixels of the view; points in the order of
                `lib.inference.chain`.
            multimask: let the network propose three masks and take the one it rates best.
            zoom: whether to look again at a small target, see `lib.inference.zoom`.

        Raises:
            PromptError: the prompt does not lie on the image.
            ImageError: pixels that are no image.
        """
        prompt.validate_for(view.height, view.width)
        started = time.perf_counter()
        _ = view.digest  # here, and not while others wait for the worker
        named = time.perf_counter()
        answered = self.worker.run(
            Priority.CLICK, lambda: self._answer(view, prompt, multimask, zoom)
        )
        timings = Timings(
            prepare=named - started,
            wait=answered.begun - named,
            encode=answered.encode,
            decode=answered.ended - answered.begun - answered.encode,
        )
        crop = None if answered.zoomed is None else answered.zoomed.view.crop
        image = answered.image
        return SegmentResult(answered.prediction, timings, image.encoder, image.cached, crop)

    def _answer(self, view: SliceView, prompt: Prompt, multimask: bool, zoom: str) -> _Answered:
        """What is done on the worker."""
        begun = time.perf_counter()
        image = self.embedder.embed(view)
        encoded = time.perf_counter() - begun
        zoomed = self._zoom.look(view, image, prompt, multimask, zoom)
        if zoomed is None:
            answer = self.chains.answer(image, prompt, multimask)
            logits = self.decoder.enlarge(answer, view.height, view.width)
        else:
            answer, part = zoomed.answer, zoomed.view
            encoded += zoomed.seconds
            assert part.crop is not None
            logits = self.decoder.enlarge(answer, part.height, part.width)
            logits = pasted(logits, part.crop, view.height, view.width)
        prediction = Prediction(logits > 0, logits, answer.iou, answer.logits)
        return _Answered(prediction, image, zoomed, begun, encoded, time.perf_counter())
