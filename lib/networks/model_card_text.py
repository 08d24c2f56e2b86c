"""A model card as Markdown, for people."""

from __future__ import annotations

from collections.abc import Sequence

from lib.networks.model_card import Figure, Group, Measurement, ModelCard


def card_markdown(card: ModelCard) -> str:
    """The whole card."""
    digest = card.weights_sha256[:12]
    size = f"{card.weights_bytes / 1e6:.1f} MB, {card.parameters / 1e6:.1f} M parameters"
    parts = [
        f"# {card.architecture}",
        card.summary,
        f"Weights: `{card.weights}` ({size}, SHA-256 {digest}...). Licence: {card.licence}.",
        f"## Use\n\n{card.intended_use}",
        f"## Training\n\n{_training(card)}",
        f"## Data\n\n{_data(card)}",
        "## How good it is",
        *(_measurement(measurement) for measurement in card.measurements),
        "## Where it fails\n\n" + "\n".join(f"* {text}" for text in card.known_failures),
    ]
    return "\n\n".join(parts) + "\n"


def _training(card: ModelCard) -> str:
    facts = card.training
    rows = [
        ("hours", f"{facts.hours:g}"),
        ("hardware", facts.hardware),
        ("steps", f"{facts.steps:,}"),
        ("images shown", f"{facts.samples:,}"),
        ("images a second", f"{facts.samples_per_second:g}"),
        ("repeated by", facts.config),
    ]
    return f"{facts.summary}\n\n{_table(('', ''), rows)}"


def _data(card: ModelCard) -> str:
    rows = [(source.name, source.amount, source.licence, source.use) for source in card.data]
    return _table(("source", "amount", "licence", "use"), rows)


def _measurement(found: Measurement) -> str:
    patients = f" of {found.n_patients} patients" if found.n_patients else ""
    count = f"{found.n_masks} targets{patients}"
    setting = f", {found.setting}" if found.setting else ""
    head = f"### {found.data}: protocol {found.protocol}{setting}\n\n{count}. {found.note}".rstrip()
    names = [figure.name for figure in found.dice]
    rows = [
        (title, *_cells(figures, names))
        for title, figures in (
            ("Dice", found.dice),
            ("IoU", found.iou),
            ("NSD", found.nsd),
            ("Dice without a network", found.baseline_dice),
        )
        if figures
    ]
    parts = [head, _table(("", *map(_prompt, names)), rows)]
    if found.clicks:
        texts = (f"IoU {figure.name}: {_figure(figure, 2)}" for figure in found.clicks)
        parts.append(f"Mean clicks until {'; '.join(texts)}.")
    if found.modalities:
        groups = [_group(group, names) for group in found.modalities]
        parts.append(_table(("Dice by modality", "targets", *map(_prompt, names)), groups))
    return "\n\n".join(parts)


def _group(group: Group, names: Sequence[str]) -> tuple[str, ...]:
    return (group.name, str(group.n_masks), *_cells(group.dice, names))


def _cells(figures: Sequence[Figure], names: Sequence[str]) -> list[str]:
    known = {figure.name: figure for figure in figures}
    return [_figure(known[name], 3) if name in known else "" for name in names]


def _figure(figure: Figure, digits: int) -> str:
    """A mean with its interval, where there is one: "0.812 (0.790 to 0.834)"."""
    text = f"{figure.mean:.{digits}f}"
    if figure.low == figure.high:
        return text
    return f"{text} ({figure.low:.{digits}f} to {figure.high:.{digits}f})"


def _prompt(name: str) -> str:
    if not name.isdecimal():
        return name
    return f"{name} click{'s' * (name != '1')}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(text) for text in line)} |" for line in lines)


def _cell(text: str) -> str:
    """A text that does not end its cell or its row."""
    return " ".join(text.replace("|", "\\|").split())
