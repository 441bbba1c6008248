from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

import fewshot as fs
from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from episodes.datasets.base import dataset_class
from episodes.errors import EpisodeError, UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation.evaluate import embed_all
from fewshot.evaluation.knownness import RULES
from fewshot.evaluation.open_set import separation
from fewshot.models.factory import load_trained
from fewshot.records.open_set import read_open_set
from fewshot.records.schema import RecordError
from fewshot.reports.pages.open_set import open_set_files
from photo_builders import gray_squares
from toy_classes import FewStrokes, toy_set

IMAGES = toy_set(8, 6)
RELATION = (*SMOKE, "--model", "relation")


def table(spread: float) -> torch.Tensor:
    """Embeddings of which a class is a direction of its own."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.eye(8)[IMAGES.class_ids] * 5 + 1
    return directions + spread * torch.randn(len(directions), 8, generator=generator)


def test_classes_of_their_own_direction_are_told_apart_and_noise_is_not() -> None:
    shape: dict[str, Any] = {"way": 3, "shot": 2, "query": 3, "unknown": 2, "episodes": 40}
    clear = fs.evaluate_open_set(table(0.01), IMAGES, **shape)
    assert list(clear["rule"]) == list(RULES)
    near = clear.set_index("rule")
    for rule in ("max-cosine", "energy", "prototype-distance", "nearest-cosine"):
        assert near.loc[rule, "auroc"] == 1
        assert near.loc[rule, "fpr95"] == 0
    noise = fs.evaluate_open_set(torch.randn(48, 8, generator=torch.Generator().manual_seed(1)), IMAGES, **shape)
    assert ((noise["auroc"] - 0.5).abs() < 4 * noise["auroc_ci95"]).all()
    assert (noise["fpr95"] > 0.7).all()


def test_a_row_is_the_mean_over_episodes_of_scikit_learns_auroc() -> None:
    rows = table(3.0)
    found = fs.evaluate_open_set(rows, IMAGES, way=3, shot=2, query=3, unknown=2, episodes=5, rules=["max-cosine"])
    sampler = EpisodeSampler(IMAGES, EpisodeSpec(5, 2, 3), 0)
    aurocs = []
    for number in range(5):
        episode = sampler[number]
        means = torch.nn.functional.normalize(rows)[episode.support[0, :3]].mean(1)
        cosines = torch.nn.functional.cosine_similarity(rows[episode.query[0]][:, None], means[None], dim=-1)
        aurocs.append(roc_auc_score(episode.labels[0] < 3, cosines.amax(1)))
    assert found["auroc"][0] == pytest.approx(np.mean(aurocs))
    assert found["auroc_ci95"][0] == pytest.approx(stats.t.ppf(0.975, 4) * np.std(aurocs, ddof=1) / 5**0.5)


def test_fpr95_is_read_off_the_curve() -> None:
    generator = np.random.default_rng(0)
    known = np.arange(400) < 200
    scores = generator.standard_normal(400) + 1.5 * known
    false, true, _ = roc_curve(known, scores)
    assert separation(scores, known)[1] == pytest.approx(false[np.argmax(true >= 0.95)], abs=0.011)
    few = separation(np.append(np.arange(20.0), 0.5), np.arange(21) < 20)
    assert few[1] == 1, "at most 5 % of the known are rejected: of 20 not the lowest"


def test_any_table_of_these_images_is_taken_and_no_other() -> None:
    shape: dict[str, Any] = {"way": 3, "shot": 2, "query": 3, "unknown": 2, "episodes": 5}
    expected = fs.evaluate_open_set(table(1.0), IMAGES, **shape)
    assert fs.evaluate_open_set(table(1.0).numpy(), IMAGES, **shape).equals(expected)
    for rows in (table(1.0)[:-1], torch.cat([table(1.0)] * 2), table(1.0)[:, :, None]):
        with pytest.raises(UserError, match=r"table must be \(48, dim\)"):
            fs.evaluate_open_set(rows, IMAGES, **shape)
    for wrong in ({"unknown": 0}, {"unknown": -1}, {"episodes": 0}, {"way": 0}):
        with pytest.raises(EpisodeError, match="must be 1 or more"):
            fs.evaluate_open_set(table(1.0), IMAGES, **shape | wrong)


def test_an_unknown_rule_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"unknown rule 'enrgy'\. Did you mean 'energy'"):
        fs.evaluate_open_set(table(1.0), IMAGES, way=3, shot=2, query=3, unknown=2, rules=["enrgy"])


def test_a_checkpoint_is_measured_at_the_command_line(fewshot: Fewshot) -> None:
    checkpoint = checkpoint_of(record_in(fewshot(*SMOKE)))
    words = ("open-set", checkpoint, "--part", "val", "--way", "3", "--unknown", "2", "--episodes", "20")
    outcome = fewshot(*words)
    assert outcome.status == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["rule", *RULES]
    found = json.loads(fewshot(*words, "--json").out)
    trained = load_trained(checkpoint, torch.device("cpu"))
    images = FewStrokes().load("val")
    rows = embed_all(trained.method, images.images, "fp32")
    expected = fs.evaluate_open_set(rows, images, way=3, unknown=2, episodes=20)
    assert [row["auroc"] for row in found["rules"]] == pytest.approx(list(expected["auroc"]), abs=0.02)
    assert "compares feature maps" in fewshot("open-set", checkpoint_of(record_in(fewshot(*RELATION)))).error


def test_a_record_is_written_read_and_shown_in_a_page(fewshot: Fewshot, tmp_path: Path) -> None:
    checkpoint = checkpoint_of(record_in(fewshot(*SMOKE)))
    path = tmp_path / "results" / "open-set" / "a.json"
    words = ("open-set", checkpoint, "--way", "3", "--unknown", "2", "--episodes", "20", "--seed", "4")
    printed = fewshot(*words, "--record", path)
    assert printed.status == 0, printed.err
    (record,) = read_open_set(path.parent)
    assert record.protocol == f"{FewStrokes().protocol_name}/3w5s/q15unknown2@open-set-v1"
    assert (record.part, record.seed, record.trained.model) == ("test", 4, "proto")
    again = EpisodeSampler(FewStrokes().load("test"), EpisodeSpec(5, 5, 15), 4)
    assert record.episodes_digest == again.digest(20)
    page = open_set_files([record])["open-set.md"]
    assert isinstance(page, str)
    assert all(f"| {rule.rule} |" in page for rule in record.rules)
    numbers = [line.split()[1:4] for line in printed.out.splitlines()[1:]]
    assert all(" ".join(number) in page for number in numbers)
    assert page.count("**") == 2 * sum(
        rule.auroc == max(found.auroc for found in record.rules) for rule in record.rules
    )
    assert open_set_files([]) == {}
    path.write_text("{}")
    with pytest.raises(RecordError, match=r"a\.json is no record of the open-set protocol"):
        read_open_set(path.parent)
    assert "records are of the test classes" in fewshot(*words, "--part", "val", "--record", path).error


@pytest.mark.real_data
def test_committed_records_are_of_todays_episodes_and_of_committed_weights(real_data_root: Path) -> None:
    results = Path(__file__).parents[2] / "results"
    records = read_open_set(results / "open-set")
    assert len(records) == 4
    for record in records:
        assert (results.parent / record.trained.checkpoint).is_file()
        name, class_split, _ = record.dataset_id.split("-")
        images = dataset_class(name)(real_data_root, class_split).load("test")
        sampler = EpisodeSampler(
            images, EpisodeSpec(record.way + record.unknown, record.shot, record.query), record.seed
        )
        assert sampler.digest(record.episodes) == record.episodes_digest


def test_the_command_in_a_record_of_ones_own_folder_repeats_it(fewshot: Fewshot) -> None:
    ours = gray_squares(Path("our own"), 20)
    run = ("run", "--dataset", ours, "--recipe", "smoke", "--way", "2", "--query", "2", "--episodes", "20")
    checkpoint = checkpoint_of(record_in(fewshot(*run, "--size", "16")))
    shape = ("--way", "2", "--unknown", "2", "--shot", "2", "--query", "2", "--episodes", "20")
    first, second = Path("first.json"), Path("second.json")
    assert fewshot("open-set", checkpoint, "--dataset", ours, *shape, "--record", first).status == 0
    _, *words = shlex.split(json.loads(first.read_text())["command"])
    assert fewshot(*words, "--record", second).status == 0
    assert json.loads(second.read_text())["rules"] == json.loads(first.read_text())["rules"]
