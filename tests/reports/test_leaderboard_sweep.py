"""results/leaderboard.toml: the sweep that makes what the committed leaderboard ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from episodes.datasets.cards import DATASETS
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.measure import readouts_named
from fewshot.experiments.resolve import recipe_of, with_options_of_recipe
from fewshot.experiments.sweep.jobs import Job
from fewshot.experiments.sweep.plan import jobs_of, read_plan
from fewshot.models.methods import METHODS
from fewshot.models.options import options_of
from fewshot.records.ranking import ranked_rows
from fewshot.records.record import RunRecord, read_records

RESULTS = Path(__file__).parents[2] / "results"
Key = tuple[Any, ...]


def key_of(record: RunRecord) -> Key:
    """What is ranked: the training but for its recipe's numbers, which get better, and the test."""
    trained, test = record.trained, record.test
    clean_id = trained.dataset_id.partition("-damaged-")[0]
    before = trained.trained_as.model if trained.trained_as else record.model
    batches = METHODS.get(before).trains_on != "episodes"
    return (
        *(clean_id, before, trained.encoder, str(sorted(trained.encoder_options.items()))),
        *(None if batches else trained.recipe.train_shot, trained.recipe.labeled_share, trained.recipe.distractors),
        *(record.model, str(sorted(trained.model_options.items())), record.readout),
        *(test.way, test.shot, test.query, test.unlabeled, test.distractors, test.dirichlet, record.num_episodes),
    )


def keys_of(job: Job) -> set[Key]:
    """The same of all that a job measures."""
    config = with_options_of_recipe(job.config, job.config.dataset or "").checked()
    return {key for test in (None, *job.tests) for key in _tested(config, test)}


def _tested(config: RunConfig, test: EvaluateConfig | None) -> set[Key]:
    recipe, _ = recipe_of(config, config.dataset or "")
    card = DATASETS.get(config.dataset or "")
    pixels = f"{card.name}-{config.class_split or card.class_splits[0]}-{config.size or card.image_shape[-1]}"
    model = (test.as_model if test else None) or config.model
    uses = METHODS.get(model).uses_unlabeled
    own = (recipe.unlabeled, recipe.distractors) if recipe else (None, None)
    asked = (test.unlabeled, test.distractors) if test else (None, None)
    unlabeled, distractors = ((a or b or 0) if uses else 0 for a, b in zip(asked, own, strict=True))
    known = options_of(METHODS.get(model))
    options = {**config.model_options, **(test.model_options if test else {})}
    options = {name: value for name, value in options.items() if value != known[name].default}  # as records do
    if not test and (config.protocol == "runs"):
        assert config.episodes == 20
    episodic = recipe is not None and METHODS.get(config.model).trains_on == "episodes"
    ways, shots = ((test.way or (5,)), (test.shot or (1,))) if test else ((config.way,), (config.shot,))
    return {
        (
            *(pixels, config.model, config.encoder, str(sorted(config.encoder_options.items()))),
            *(
                ((recipe.train_shot or config.shot) if episodic and recipe else None),
                recipe and recipe.labeled_share,
                recipe and recipe.distractors,
            ),
            *(model, str(sorted(options.items())), readout),
            *(way, shot, (test or config).query, unlabeled, distractors),
            *((test or config).dirichlet or 0, (test or config).episodes or 10_000),
        )
        for way in ways
        for shot in shots
        for readout in readouts_named((test or config).readout)
    }


def test_the_sweep_makes_every_row_of_the_committed_leaderboard() -> None:
    rows = ranked_rows(read_records([RESULTS / "runs"]))
    ranked = {key_of(record) for row in rows if row.rank is not None for record in row.entry.records}
    made = {key for job in jobs_of(read_plan(RESULTS / "leaderboard.toml")) for key in keys_of(job)}
    assert len(ranked) > 400
    assert sorted(map(str, ranked - made)) == []
