from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from episodes.datasets.base import dataset_class
from episodes.datasets.strokes import dataset as strokes_module
from episodes.datasets.strokes.dataset import Strokes, split_classes
from episodes.datasets.strokes.drawing import draw
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import SPLITS, DataError, ImageSet, Split, gather

TRAIN_DIGEST = "cfacd6b8a8645dffc8bac6c2d5870f0fbf573162b1b467c46156943b77bb4add"


@pytest.fixture(scope="module")
def default_sets() -> dict[Split, ImageSet]:
    return {split: Strokes().load(split) for split in SPLITS}


def pixel_accuracy(image_set: ImageSet, way: int) -> float:
    """One-shot accuracy of the nearest support image, by squared distance of pixels."""
    pixels = image_set.images.flatten(1).float() / 255
    episodes = EpisodeSampler(image_set, EpisodeSpec(way, 1, 2), seed=0).batch(0, 300)
    support, query = gather(pixels, episodes.support[:, :, 0]), gather(pixels, episodes.query)
    nearest = torch.cdist(query, support).argmin(dim=2)
    return float((nearest == episodes.labels).float().mean())


def test_default_pixels_are_the_same_on_every_machine(default_sets: dict[Split, ImageSet]) -> None:
    images = default_sets["train"].images
    assert hashlib.sha256(images.numpy().tobytes()).hexdigest() == TRAIN_DIGEST
    assert default_sets["train"].fingerprint == TRAIN_DIGEST


def test_sets_have_the_shape_and_counts_they_promise(default_sets: dict[Split, ImageSet]) -> None:
    assert dataset_class("strokes") is Strokes
    assert [default_sets[split].num_classes for split in SPLITS] == [640, 120, 240]
    for image_set in default_sets.values():
        assert image_set.images.dtype == torch.uint8
        assert image_set.image_shape == Strokes().image_shape == (1, 28, 28)
        assert set(image_set.class_sizes) == {20}
        assert len(set(image_set.class_names)) == image_set.num_classes


def test_splits_share_no_class_and_leave_none_out(default_sets: dict[Split, ImageSet]) -> None:
    names = [name for split in SPLITS for name in default_sets[split].class_names]
    assert sorted(names) == [f"character{index:04d}" for index in range(1000)]


def test_more_classes_or_drawers_change_no_image_and_no_split(default_sets: dict[Split, ImageSet]) -> None:
    for split in SPLITS:
        few = Strokes(num_classes=60, drawers=3).load(split)
        usual = default_sets[split]
        assert few.class_names == usual.class_names[: few.num_classes]
        rows = few.num_classes * 20
        assert torch.equal(few.images.reshape(-1, 3, 784), usual.images[:rows].reshape(-1, 20, 784)[:, :3])


def test_an_image_is_the_same_whatever_is_drawn_with_it() -> None:
    classes, drawers = np.repeat(np.arange(40), 5), np.tile(np.arange(5), 40)
    together = draw(3, classes, drawers)
    order = np.argsort(np.arange(200) * 73 % 200)
    assert np.array_equal(draw(3, classes[order], drawers[order]), together[order])
    pieces = [draw(3, classes[first : first + 7], drawers[first : first + 7]) for first in range(0, 200, 7)]
    assert np.array_equal(np.concatenate(pieces), together)


def test_the_number_of_images_drawn_at_once_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = Strokes(num_classes=50, seed=5).load("val")
    monkeypatch.setattr(strokes_module, "_IMAGES_AT_ONCE", 33)
    assert Strokes(num_classes=50, seed=5).load("val").fingerprint == usual.fingerprint


def test_another_seed_draws_other_characters() -> None:
    sets = [Strokes(num_classes=25, seed=seed).load("train") for seed in (0, 1, 2**40)]
    assert len({image_set.fingerprint for image_set in sets}) == 3


def test_every_image_differs_and_holds_ink_on_white_paper(default_sets: dict[Split, ImageSet]) -> None:
    images = torch.cat([default_sets[split].images for split in SPLITS]).flatten(1)
    assert len({image.tobytes() for image in images.numpy()}) == len(images) == 20_000
    assert images.max(dim=1).values.min() > 150
    inked = (images > 127).float().mean(dim=1)
    assert inked.min() > 0.01
    assert inked.max() < 0.5
    grays = ((images > 0) & (images < 255)).float().mean()  # anti-aliased: the edge of a stroke is gray
    assert 0.05 < grays < 0.4


def test_nobody_writes_over_the_edge_of_the_paper(default_sets: dict[Split, ImageSet]) -> None:
    images = default_sets["test"].images
    edge = torch.cat((images[..., 0, :], images[..., -1, :], images[..., :, 0], images[..., :, -1]), dim=-1)
    assert ((edge > 200).any(dim=-1)).float().mean() < 0.02


def test_drawers_keep_their_habits(default_sets: dict[Split, ImageSet]) -> None:
    images = default_sets["train"].images.float().reshape(640, 20, -1)
    ink = images.mean(dim=2)  # (class, drawer): a broad pen leaves more of it
    drawers, within = ink.mean(dim=0), (ink - ink.mean(dim=1, keepdim=True)).std(dim=0)
    assert drawers.std() > 2 * (within / 640**0.5).max()
    assert drawers.max() > 1.3 * drawers.min()


def test_pixels_alone_recognize_some_characters_but_far_from_all(default_sets: dict[Split, ImageSet]) -> None:
    assert 0.40 < pixel_accuracy(default_sets["test"], way=5) < 0.65
    assert 0.15 < pixel_accuracy(default_sets["test"], way=20) < 0.45


def test_strokes_are_always_there_and_whole() -> None:
    dataset = Strokes()
    assert dataset.is_present()
    assert dataset.location() is None
    assert dataset.check() == []


def test_check_reports_pixels_of_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(strokes_module.GOLDEN_DIGESTS, "val", "0" * 64)
    problems = Strokes().check()
    assert len(problems) == 1
    assert "strokes val" in problems[0]


def test_protocol_name_says_what_differs_from_the_default() -> None:
    assert Strokes().protocol_name == "strokes-standard-28"
    assert Strokes(num_classes=500, drawers=10, seed=3).protocol_name == "strokes-standard-28-c500-d10-s3"


def test_progress_ends_at_the_number_of_classes() -> None:
    seen: list[tuple[int, int]] = []
    Strokes(num_classes=200).load("train", lambda what, done, total: seen.append((done, total)))
    assert seen[-1] == (128, 128)
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_classes": 24}, "25 classes or more"),
        ({"drawers": 1}, "2 drawers or more"),
        ({"seed": -1}, "from 0 to"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(wrong: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Strokes(**wrong)  # type: ignore[arg-type]


def test_unknown_class_split_names_the_valid_one() -> None:
    with pytest.raises(DataError, match="standard"):
        Strokes(class_split="vinyals")


def test_smallest_set_has_classes_in_every_split() -> None:
    assert [len(split_classes(split, 25)) for split in SPLITS] == [16, 3, 6]
