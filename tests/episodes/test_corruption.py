"""The corruption experiment of Fort 2017: a share of the images loses its detail."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from command_line import SMOKE, checkpoint_of, isolated, record_in
from episodes.datasets.corruption import Corrupted, corrupted, corrupted_rows, corrupted_share
from episodes.datasets.folder.dataset import Folder
from episodes.datasets.omniglot.dataset import Omniglot
from episodes.types import DataError
from photo_builders import plain_photos
from toy_classes import FewStrokes


def test_a_share_of_the_images_is_down_sampled_and_the_others_are_untouched() -> None:
    whole, half = FewStrokes().load("train"), Corrupted(FewStrokes(), 0.5).load("train")
    hurt = corrupted_rows(len(whole.images), 0.5)
    assert abs(len(hurt) / len(whole.images) - 0.5) < 0.1
    spared = torch.ones(len(whole.images), dtype=torch.bool)
    spared[hurt] = False
    assert half.images[spared].equal(whole.images[spared])
    assert (half.images[hurt] != whole.images[hurt]).flatten(1).any(1).all()


def test_a_corrupted_image_is_known_by_its_block_means_alone() -> None:
    """A 28x28 image keeps 7x7 numbers: equal block means give equal corrupted images."""
    whole, all_hurt = FewStrokes().load("train"), Corrupted(FewStrokes(), 1.0).load("train")
    mean = whole.images[0].float().unfold(1, 4, 4).unfold(2, 4, 4).mean((-1, -2))
    spread = torch.nn.functional.interpolate(mean[None], (28, 28), mode="bilinear", align_corners=False)[0]
    assert all_hurt.images[0].equal(spread.round().to(torch.uint8))


def test_a_larger_share_corrupts_the_same_images_and_more() -> None:
    few, many = (set(corrupted_rows(500, share).tolist()) for share in (0.25, 0.75))
    assert few < many
    assert set(corrupted_rows(500, 1.0).tolist()) == set(range(500))


def test_the_share_stands_in_the_name_of_the_protocol_and_in_the_fingerprint() -> None:
    dataset = Corrupted(FewStrokes(), 0.75)
    assert dataset.protocol_name == f"{FewStrokes().protocol_name}-damaged-75"
    assert dataset.load("test").fingerprint != FewStrokes().load("test").fingerprint


def test_all_else_is_said_of_the_data_set_that_is_damaged(tmp_path: Path) -> None:
    photos = Folder(plain_photos(tmp_path / "photos", 2), "test-only", image_size=32)
    assert Corrupted(photos, 0.5).files("test") == photos.files("test") != []
    omniglot = Omniglot(tmp_path, "lake")
    hurt = Corrupted(omniglot, 0.5)
    assert 105 in hurt.sizes
    assert hurt.at_size(105).protocol_name == "omniglot-lake-105-damaged-50"
    assert (hurt.downloadable, hurt.how_to_get()) == (True, omniglot.how_to_get())


def test_no_share_leaves_the_data_set_as_it_is() -> None:
    dataset = FewStrokes()
    assert corrupted(dataset, None) is corrupted(dataset, 0.0) is dataset
    assert (corrupted_share(dataset), corrupted_share(corrupted(dataset, 0.5))) == (0.0, 0.5)
    with pytest.raises(DataError, match="between 0 and 1"):
        Corrupted(dataset, 1.5)


def test_a_training_on_corrupted_images_is_tested_so_and_otherwise(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with isolated(capsys, monkeypatch, tmp_path) as fewshot:
        whole = record_in(fewshot(*SMOKE))
        hurt = record_in(fewshot(*SMOKE, "--damage", "0.75"))
        assert checkpoint_of(whole) != checkpoint_of(hurt)
        assert (hurt.trained.corruption, hurt.test.corruption) == (0.75, 0.75)
        test = ("evaluate", checkpoint_of(hurt), "--episodes", "20", "--query", "5")
        assert record_in(fewshot(*test)).correct == hurt.correct
        repaired = record_in(fewshot(*test, "--damage", "0"))
        assert (repaired.trained.corruption, repaired.test.corruption) == (0.75, 0.0)
        assert repaired.protocol == whole.protocol
        assert repaired.episodes_digest == whole.episodes_digest
