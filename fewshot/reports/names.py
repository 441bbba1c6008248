"""What tables and pictures call a method: the name that its paper gave it."""

from __future__ import annotations

import re
import shlex

from episodes.datasets.cards import DATASETS, benchmarks
from fewshot.experiments.comparison.terms import all_terms
from fewshot.models.catalog import paper_names, readout_names
from fewshot.records.protocols import ProtocolName

USUAL_EPISODES = 10_000


def method_name(model: str) -> str:
    """``Prototypical Networks`` for ``proto``; the name itself of what is not installed here."""
    return paper_names().get(model, model)


def method_and_readout(model: str, readout: str | None) -> str:
    """``Prototypical Networks + SimpleShot``; the name of the method alone where it classifies by its own rule."""
    return method_name(model) + (f" + {readout_names().get(readout, readout)}" if readout else "")


def images_name(dataset_id: str) -> str:
    """``Omniglot, 25 % of the images corrupted`` for omniglot-vinyals-28-damaged-25; without a card the id."""
    clean, _, share = re.fullmatch(r"(.+?)(-damaged-([\d.]+))?", dataset_id).groups()  # type: ignore[union-attr]
    known = benchmarks().get(clean)
    return (known.display_name if known else clean) + (f", {share} % of the images corrupted" if share else "")


def dataset_name(dataset: str) -> str:
    """``Omniglot`` for omniglot, as its card has it in tables; without such a card the word itself."""
    card = DATASETS.get(dataset) if dataset in DATASETS else None
    return card.benchmarks[0].display_name if card and card.benchmarks else dataset


def shape_name(way: int, shot: int) -> str:
    """``5-way 1-shot``."""
    return f"{way}-way {shot}-shot"


def seed_words(episode_seed: int) -> str:
    """``episode seed 7``; those of a comparison, on which nothing was ever chosen, are the final episodes."""
    final = any(terms.episode_seed == episode_seed for terms in all_terms().values())
    return f"final episodes, seed {episode_seed}" if final else f"episode seed {episode_seed}"


def protocol_words(name: ProtocolName) -> str:
    """``Omniglot, 5-way 1-shot``, and how the episodes depart from the usual ones."""
    return f"{images_name(name.dataset_id)}, {cell_words(name)}"


def cell_words(name: ProtocolName, num_episodes: int = USUAL_EPISODES, episode_seed: int = 0) -> str:
    """``5-way 1-shot``, and how the episodes depart from the usual ones."""
    return ", ".join([shape_name(name.way, name.shot), *departures(name, num_episodes, episode_seed)])


def departures(name: ProtocolName, num_episodes: int = USUAL_EPISODES, episode_seed: int = 0) -> list[str]:
    """What the episodes have that the usual ones of the field's tables do not: ``14 queries a class``."""
    if name.published_as:
        return [f"{num_episodes} published episodes"]
    said = name.details + ([] if name.is_current else [f"version {name.version} of the protocol"])
    said += [seed_words(episode_seed)] if episode_seed else []
    return said + ([f"{num_episodes:,} episodes"] if num_episodes != USUAL_EPISODES else [])


def typed_dataset(command: str) -> str:
    """The word behind --dataset in a record's command: for one's own images where they lie. Empty without one."""
    words = shlex.split(command)
    return words[words.index("--dataset") + 1] if "--dataset" in words[:-1] else ""
