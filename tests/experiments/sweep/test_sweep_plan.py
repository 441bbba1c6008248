"""From a file to the runs of a sweep."""

from __future__ import annotations

import re
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from command_line import use_few_strokes
from episodes.errors import UserError
from fewshot.experiments.config import EvaluateConfig, RunConfig
from fewshot.experiments.paper_plan import fill
from fewshot.experiments.sweep.executors import Processes
from fewshot.experiments.sweep.jobs import Place, chains_of
from fewshot.experiments.sweep.plan import changed_jobs, choices_of, jobs_of, jobs_of_cells, read_plan
from fewshot.experiments.sweep.survey import survey
from fewshot.experiments.sweep.workers import Workers
from fewshot.records.paper_tables import paper_table
from forked import FORKED

FILE = """
dataset = "strokes"
recipe = "smoke"
seed = "0-1,7"

[[cell]]
model = ["proto", "matching"]
shot = [1, 5]

[[cell]]
model = "matching"
scale = [1, 100.0]
train-way = 10
seed = 3

[[cell]]
model = "proto"
seed = 0
test = [{ as = "soft-kmeans-proto", unlabeled = 2, way = [5, 20], shot = [1] }]
"""


def test_every_combination_of_every_block_is_a_run_once(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(FILE)
    jobs = jobs_of(read_plan(tmp_path / "sweep.toml"))
    assert len(jobs) == 2 * 2 * 3 + 2
    first = RunConfig(dataset="strokes", recipe="smoke")
    assert jobs[0].config == first
    assert jobs[4].config == replace(first, shot=5, seed=1)
    (test,) = jobs[0].tests  # the last block's run stands in the first one, too
    assert test == EvaluateConfig(as_model="soft-kmeans-proto", unlabeled=2, way=(5, 20), shot=(1,))
    scaled = jobs[-1].config
    assert (scaled.model_options, scaled.train_way, scaled.seed) == ({"scale": 100.0}, 10, 3)
    names = [job.name for job in jobs]
    assert names[:2] == ["proto 5-way 1-shot, seed 0", "proto 5-way 1-shot, seed 1"]
    assert names[-1] == "matching 5-way 1-shot, seed 3, train-way 10, scale 100.0"
    assert len({*names}) == len(names)


def test_what_is_typed_stands_in_the_place_of_what_a_file_says(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(FILE)
    typed = choices_of({"model": "proto,relation", "seed": "4-5", "way": "20"})
    jobs = jobs_of(read_plan(tmp_path / "sweep.toml")[:1], typed)
    assert {(job.config.model, job.config.seed, job.config.way) for job in jobs} == {
        (model, seed, 20) for model in ("proto", "relation") for seed in (4, 5)
    }


def test_the_runs_of_a_table_with_other_seeds() -> None:
    jobs = jobs_of_cells(fill(paper_table("snell2017-table1"), []))
    assert len(jobs) == 8
    seeds = changed_jobs(jobs, choices_of({"seed": "1-2", "recipe": "paper"}))
    assert len(seeds) == 16
    assert {job.config.recipe for job in seeds} == {"paper"}
    assert seeds[1].name == f"{jobs[0].name}, seed 2"
    with pytest.raises(UserError, match="unknown setting 'sead'"):
        changed_jobs(jobs, {"sead": "1"})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("sead = 1", "unknown setting 'sead'. Did you mean 'seed'?"),
        ("model = 'porto'", "Did you mean 'proto'?"),
        ("way = 1", "way = 1: it lies outside of 2 to inf"),
        ("labeled-share = 1.0", "it lies outside of 0 to 1"),
        ("shot = [1, 'many']", "shot = 'many': Expected `int`"),
        ("model = 'proto'\nscale = 3", "unknown option of model proto '--scale'"),
        ("model = 'proto'\nbatch-size = 8", "leave out --batch-size"),
        ("cell = 3", "write [[cell]] with two brackets"),
        ("cell = [1, 2]", "write [[cell]] with two brackets"),
        ("test = { shot = [5] }", "write tests as a list, such as test = [{ shot = [5] }]"),
        ("test = [5]", "write tests as a list"),
        ("test = 'x'", "write tests as a list"),
        ("model = []", "model is an empty list"),
        ("learning-rate = []", "learning_rate is an empty list"),
        ("way = [", "is no TOML"),
        ("test = [{ az = 'proto' }]", "unknown setting of a test 'az'"),
    ],
)
def test_what_there_is_not_is_refused_before_any_run(tmp_path: Path, text: str, answer: str) -> None:
    (tmp_path / "sweep.toml").write_text(text)
    with pytest.raises(UserError, match=re.escape(answer)):
        survey_of(tmp_path)


def survey_of(folder: Path) -> None:
    """Everything that happens before a run."""
    jobs = jobs_of(read_plan(folder / "sweep.toml"), {"dataset": "strokes"})
    for one in survey(jobs, Place(folder), []):
        if one.why:
            raise UserError(one.why)


def planned(folder: Path) -> tuple[int, int, float]:
    """Chains of 10,000 runs, how many of these are to be trained, and the seconds that it took to say so."""
    use_few_strokes()
    start = time.process_time()
    block = {"dataset": "strokes", "recipe": "smoke", "model": ["proto", "matching"], "way": [5, 6], "shot": [1, 5]}
    jobs = jobs_of([block | {"seed": "0-1249"}])
    found = survey(jobs, Place(folder), [])
    to_train = sum(one.state == "to train" for one in found)
    return len(chains_of(jobs)), to_train, time.process_time() - start


def test_10_000_runs_are_planned_in_10_seconds(tmp_path: Path) -> None:
    """In a process of its own, whose calls nobody checks."""
    with ProcessPoolExecutor(1, mp_context=FORKED) as pool:
        chains, to_train, seconds = pool.submit(planned, tmp_path).result(timeout=250)
    assert chains == to_train == 10_000
    assert seconds < 10


def test_a_span_without_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(UserError, match="0-99999999999 are more than 1,000,000 runs"):
        jobs_of([{"model": "proto", "seed": "0-99999999999"}])


def test_there_are_no_more_processes_than_runs(tmp_path: Path) -> None:
    job = jobs_of([{"model": "proto", "dataset": "strokes"}])
    engine, _ = Workers(jobs=99_999_999_999).engine(job, Place(tmp_path))
    assert isinstance(engine, Processes)
    assert engine._count == 1
