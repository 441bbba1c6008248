"""A few-shot learning benchmark whose numbers reproduce.

``import fewshot as fs`` gives the names of ``dir(fs)``. Each is imported when it is first used, so that the import
itself takes no time and loads no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from episodes.spec import EpisodeSpec
    from episodes.types import Episode, ImageSet
    from fewshot.api import (
        Data,
        build,
        compare,
        evaluate,
        evaluate_embeddings,
        leaderboard,
        list_datasets,
        list_encoders,
        list_losses,
        list_methods,
        list_paper_tables,
        list_protocols,
        list_readouts,
        load_dataset,
        load_records,
        paper_table,
        run,
        show_episode,
        train,
    )
    from fewshot.evaluation.evaluate import Evaluation
    from fewshot.experiments.config import RunConfig
    from fewshot.models.encoders.base import Encoder
    from fewshot.models.methods.base import Method
    from fewshot.records.record import RunRecord
    from fewshot.training.recipes import Recipe

_HOMES = {
    "episodes.spec": ("EpisodeSpec",),
    "episodes.types": ("Episode", "ImageSet"),
    "fewshot.api": (
        "Data",
        "build",
        "compare",
        "evaluate",
        "evaluate_embeddings",
        "leaderboard",
        "list_datasets",
        "list_encoders",
        "list_losses",
        "list_methods",
        "list_paper_tables",
        "list_protocols",
        "list_readouts",
        "load_dataset",
        "load_records",
        "paper_table",
        "run",
        "show_episode",
        "train",
    ),
    "fewshot.evaluation.evaluate": ("Evaluation",),
    "fewshot.experiments.config": ("RunConfig",),
    "fewshot.models.encoders.base": ("Encoder",),
    "fewshot.models.methods.base": ("Method",),
    "fewshot.records.record": ("RunRecord",),
    "fewshot.training.recipes": ("Recipe",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """The public name, imported from the module that holds it."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fewshot-bench")
    if name not in _HOME_OF:
        raise AttributeError(f"fewshot has no {name!r}: dir(fewshot) lists what there is")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value  # the next use costs nothing
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
