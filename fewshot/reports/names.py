"""What tables and pictures call a method: the name that its paper gave it."""

from __future__ import annotations

import shlex

from fewshot.models.catalog import paper_names, readout_names


def method_name(model: str) -> str:
    """``Prototypical Networks`` for ``proto``; the name itself of what is not installed here."""
    return paper_names().get(model, model)


def method_and_readout(model: str, readout: str | None) -> str:
    """``Prototypical Networks + SimpleShot``; the name of the method alone where it classifies by its own rule."""
    return method_name(model) + (f" + {readout_names().get(readout, readout)}" if readout else "")


def typed_dataset(command: str) -> str:
    """The word behind --dataset in a record's command: for one's own images where they lie. Empty without one."""
    words = shlex.split(command)
    return words[words.index("--dataset") + 1] if "--dataset" in words[:-1] else ""
