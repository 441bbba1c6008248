"""A few-shot learning benchmark whose numbers reproduce.

``import fewshot as fs`` gives the names of ``dir(fs)``. Each is imported when it is first used, so that the import
itself takes no time and loads no PyTorch.
"""

# No module is imported here, __future__ neither: until __main__ has begun, Ctrl-C meets Python's own words.
TYPE_CHECKING = False  # the module typing takes longer than all of this
if TYPE_CHECKING:
    from typing import Any

    from episodes.spec import EpisodeSpec as EpisodeSpec
    from episodes.types import Episode as Episode
    from episodes.types import ImageSet as ImageSet
    from fewshot.api.catalog import list_datasets as list_datasets
    from fewshot.api.catalog import list_encoders as list_encoders
    from fewshot.api.catalog import list_losses as list_losses
    from fewshot.api.catalog import list_methods as list_methods
    from fewshot.api.catalog import list_paper_tables as list_paper_tables
    from fewshot.api.catalog import list_protocols as list_protocols
    from fewshot.api.catalog import list_readouts as list_readouts
    from fewshot.api.data import Data as Data
    from fewshot.api.data import load_dataset as load_dataset
    from fewshot.api.data import show_episode as show_episode
    from fewshot.api.methods import build as build
    from fewshot.api.methods import embed as embed
    from fewshot.api.methods import evaluate as evaluate
    from fewshot.api.methods import evaluate_embeddings as evaluate_embeddings
    from fewshot.api.methods import run as run
    from fewshot.api.methods import train as train
    from fewshot.api.pictures import plot_calibration as plot_calibration
    from fewshot.api.pictures import plot_classes as plot_classes
    from fewshot.api.pictures import plot_confused as plot_confused
    from fewshot.api.pictures import plot_confusion as plot_confusion
    from fewshot.api.pictures import plot_embeddings as plot_embeddings
    from fewshot.api.tables import compare as compare
    from fewshot.api.tables import leaderboard as leaderboard
    from fewshot.api.tables import load_records as load_records
    from fewshot.api.tables import paper_table as paper_table
    from fewshot.evaluation.classifier.estimator import Classifier as Classifier
    from fewshot.evaluation.evaluate import Evaluation as Evaluation
    from fewshot.evaluation.open_set import evaluate_open_set as evaluate_open_set
    from fewshot.experiments.config import RunConfig as RunConfig
    from fewshot.models.encoders.base import Encoder as Encoder
    from fewshot.models.methods.base import Method as Method
    from fewshot.models.options import Range as Range
    from fewshot.records.record import RunRecord as RunRecord
    from fewshot.training.recipes import Recipe as Recipe

_HOMES = {
    "episodes.spec": ("EpisodeSpec",),
    "episodes.types": ("Episode", "ImageSet"),
    "fewshot.api.catalog": (
        "list_datasets",
        "list_encoders",
        "list_losses",
        "list_methods",
        "list_paper_tables",
        "list_protocols",
        "list_readouts",
    ),
    "fewshot.api.data": ("Data", "load_dataset", "show_episode"),
    "fewshot.api.methods": ("build", "embed", "evaluate", "evaluate_embeddings", "run", "train"),
    "fewshot.api.pictures": (
        "plot_calibration",
        "plot_classes",
        "plot_confused",
        "plot_confusion",
        "plot_embeddings",
    ),
    "fewshot.api.tables": ("compare", "leaderboard", "load_records", "paper_table"),
    "fewshot.evaluation.classifier.estimator": ("Classifier",),
    "fewshot.evaluation.evaluate": ("Evaluation",),
    "fewshot.evaluation.open_set": ("evaluate_open_set",),
    "fewshot.experiments.config": ("RunConfig",),
    "fewshot.models.encoders.base": ("Encoder",),
    "fewshot.models.methods.base": ("Method",),
    "fewshot.models.options": ("Range",),
    "fewshot.records.record": ("RunRecord",),
    "fewshot.training.recipes": ("Recipe",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> "Any":
    """The public name, imported from the module that holds it."""
    if name == "__version__":
        from importlib.metadata import version

        return version("fewshot-bench")
    if name not in _HOME_OF:
        raise AttributeError(f"fewshot has no {name!r}: dir(fewshot) lists what there is")
    from importlib import import_module

    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value  # the next use costs nothing
    return value


def __dir__() -> list[str]:
    of_python = (name for name in globals() if name.startswith("__"))
    return sorted({*of_python, *__all__, "__version__"})
