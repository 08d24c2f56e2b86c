"""``GET /model_card/{model}``: what is to be known of the weights behind a model, as Markdown.

``/info`` names the address of each model under ``model_card``. A card says nothing about a
patient, so nobody has to sign in for it.

Concurrency contract: nothing is shared; the files are read for each request.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from monailabel.interfaces.utils.app import app_instance
from starlette.responses import Response

from lib.errors import NotFoundError
from lib.networks.model_card import card_of, card_path
from lib.networks.model_card_text import card_markdown
from lib.server.served_model import ServedNetwork
from lib.server.served_networks import served_network

ADDRESS = "/model_card"
MARKDOWN = "text/markdown; charset=utf-8"


def serve_cards(server: FastAPI) -> None:
    """Add the route; may be called again."""
    if any(getattr(route, "endpoint", None) is answer_card for route in server.routes):
        return
    server.add_api_route(
        f"{ADDRESS}/{{model}}",
        answer_card,
        methods=["GET"],
        summary="What a model was trained on, how good it is, and where it fails",
        response_class=Response,
    )


def card_address(model: str, weights: Path | None) -> str | None:
    """Where the card of a model is answered; None where its weights have none."""
    if weights is None or not card_path(weights).is_file():
        return None
    return f"{ADDRESS}/{model}"


def answer_card(model: str) -> Response:
    """The card of the weights behind a model; of a trained version, those it was trained from.

    Raises:
        NotFoundError: no such model, or its weights have no card.
        CheckpointError: a damaged card, or one of other weights.
    """
    network = served_network(app_instance(), model)
    weights = network.choice.weights
    card = None if weights is None else card_of(weights)
    if card is None:
        raise NotFoundError(
            got=f"model {model!r}, whose weights have no card",
            allowed="weights with a card beside them",
            todo="write one, see docs/reference/evaluation.md",
        )
    return Response(_text(card_markdown(card), network), media_type=MARKDOWN)


def _text(card: str, network: ServedNetwork[Any]) -> str:
    if network.version == network.base_version:
        return card
    return (
        f"**{network.version} serves, which was trained further from these weights; what is said "
        f"of its own figures is in `/info/`.**\n\n{card}"
    )
