"""What of a sweep is there, and how long the others take."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from episodes.datasets.strokes.dataset import Strokes
from episodes.types import ImageSet, Split
from fewshot.experiments.comparison.terms import terms_named
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.sweep.jobs import Job, Place, perform
from fewshot.experiments.sweep.survey import Speeds, survey
from fewshot.models.hardware import choose_device, describe_machine
from fewshot.progress import Reporter
from fewshot.records.record import read_records
from fewshot.records.schema import Hardware
from omniglot_records import of_omniglot

PROTO = RunConfig(dataset="strokes", recipe="smoke", encoder_options={"width": 8}, query=5, episodes=20)
REFINED = EvaluateConfig(as_model="soft-kmeans-proto", unlabeled=2, query=5, episodes=20)


@pytest.mark.usefixtures("fewshot")
def test_a_job_is_finished_when_all_its_records_are_there(tmp_path: Path) -> None:
    place = Place(tmp_path / "runs")
    own = Job("own", PROTO)
    both = Job("both", replace(PROTO, readout="own,prototype"))
    refined = Job("refined", PROTO, (REFINED,))
    other = Job("other", replace(PROTO, seed=1))
    impossible = Job("impossible", replace(PROTO, way=999))
    jobs = [own, both, refined, other, impossible]

    def states() -> list[str]:
        return [one.state for one in survey(jobs, place, read_records([tmp_path / "runs" / "records"]))]

    assert states() == ["to train", "shared", "shared", "to train", "refused"]
    perform([own], place, Reporter())
    assert states() == ["finished", "trained", "trained", "to train", "refused"]
    perform([both, refined], place, Reporter())
    assert states() == ["finished", "finished", "finished", "to train", "refused"]
    others = [replace(own, config=other) for other in (replace(PROTO, episodes=30), replace(PROTO, episode_seed=1))]
    found = survey(others, place, read_records([tmp_path / "runs" / "records"]))
    assert [one.state for one in found] == ["trained", "trained"], "another test of the same weights"
    found = survey([replace(own, config=replace(PROTO, train_episodes=7))], place, [])
    assert [(one.state, one.images) for one in found] == [("to train", 7 * 5 * (1 + 5))]


LOAD = Strokes.load


@functools.cache
def drawn(split: Split) -> ImageSet:
    """All strokes, which one test after the other looks at."""
    return LOAD(Strokes(), split)


@pytest.mark.parametrize("model", ["proto", "maml", "softmax"])
@pytest.mark.parametrize("here", [True, False])
def test_within_terms_a_sweep_counts_the_images_of_their_budget(
    model: str, here: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the data set is on this machine or not; a share of the budget is a share of the images."""
    monkeypatch.setattr(Strokes, "is_present", lambda self: here)
    monkeypatch.setattr(Strokes, "load", lambda self, split, progress: drawn(split))
    config = RunConfig(model=model, dataset="strokes", terms="comparison@v1")
    budget = terms_named("comparison@v1").budgets["strokes-standard-28"].images
    for share in (None, 0.25):
        (found,) = survey([Job("it", replace(config, budget=share))], Place(tmp_path / "runs"), [])
        assert found.images == pytest.approx(budget * (share or 1), rel=0.02)
        assert found.job.images() == found.images


def test_the_time_follows_the_records_of_this_machine() -> None:
    machine = describe_machine(choose_device())
    here = msgspec.convert({name: machine[name] for name in ("device", "name", "cores")}, Hardware)
    record = of_omniglot(model="proto")
    trained = msgspec.structs.replace(record.trained, image_shape=(1, 28, 28))
    cost = msgspec.structs.replace(record.cost, training_seconds=100.0)
    known = msgspec.structs.replace(record, hardware=here, trained=trained, cost=cost)
    job = Job("as recorded", RunConfig(train_episodes=record.trained.recipe.train_episodes))
    seconds = Speeds([known]).seconds(job, None)
    assert seconds is not None
    recipe = record.trained.recipe
    per_episode = (recipe.train_way or 5) * ((recipe.train_shot or 1) + (recipe.train_query or 0))
    assert seconds == pytest.approx(100 * job.images() / (recipe.train_episodes * per_episode))
    elsewhere = msgspec.structs.replace(known, hardware=Hardware(name="another"))
    assert Speeds([elsewhere]).seconds(job, None) is None
