from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import fewshot as fs
from episodes.errors import UserError
from fewshot.evaluation.classifier.heads import HEADS
from fewshot.evaluation.classifier.model import load_classifier
from fewshot.evaluation.classifier.onnx import export_onnx
from labeled_embeddings import embeddings
from toy_checkpoint import color_checkpoint
from toy_classes import COLOR, toy_set


@parametrize_with_checks([fs.Classifier(encoder=None, readout=readout) for readout in HEADS])  # type: ignore[untyped-decorator]
def test_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    return str(color_checkpoint(tmp_path / "a.safetensors"))


def test_images_of_every_kind_are_classified_alike(tmp_path: Path, checkpoint: str) -> None:
    images = toy_set(3, 6, COLOR)
    arrays = [image.permute(1, 2, 0).numpy() for image in images.images]
    pictures = [Image.fromarray(array) for array in arrays]
    paths = [tmp_path / f"{number}.png" for number in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    labels = [images.class_names[label] for label in images.class_ids]
    classifier = fs.Classifier(checkpoint, "cosine").fit(paths, labels)
    assert classifier.score(paths, labels) == 1
    assert classifier.expected_.accuracy > 0.9
    expected = classifier.predict_proba(paths)
    assert expected.shape == (18, 3)
    np.testing.assert_allclose(expected.sum(1), 1)
    for kind in (images.images, arrays, pictures, np.stack(arrays)):
        assert np.array_equal(classifier.predict_proba(kind), expected)
    strange = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, *COLOR), dtype=np.uint8))
    assert classifier.known(strange).max() < classifier.known(paths).min()


def test_a_saved_classifier_predicts_the_same(tmp_path: Path, checkpoint: str) -> None:
    images = toy_set(3, 6, COLOR)
    classifier = fs.Classifier(checkpoint, "svm").fit(images.images, images.class_ids)
    classifier.save(tmp_path / "my.safetensors")
    saved = load_classifier(tmp_path / "my.safetensors")
    probabilities, known = saved.predict(images.images)
    np.testing.assert_allclose(probabilities.numpy(), classifier.predict_proba(images.images), atol=1e-5)
    np.testing.assert_allclose(known.numpy(), classifier.known(images.images), atol=1e-5)
    assert saved.class_names == ("0", "1", "2")


def test_it_is_cloned_and_searched_as_others_are() -> None:
    rows, labels = embeddings([9, 9, 9])
    search = GridSearchCV(fs.Classifier(encoder=None), {"readout": ["svm", "cosine"]}, cv=3).fit(rows, labels)
    assert search.best_score_ > 0.5
    copied = clone(fs.Classifier("lite0", "svm", folds=3))
    assert copied.get_params() == {
        "encoder": "lite0",
        "readout": "svm",
        "weights": None,
        "encoder_data": None,
        "folds": 3,
    }


def test_what_is_no_image_or_has_no_weights_is_named(checkpoint: str, tmp_path: Path) -> None:
    images = toy_set(2, 2, COLOR).images
    for wrong, message in (
        (["nowhere.png", "b.png"], "nowhere.png is no image"),
        ([3, 4], "image 0 is no image"),
        ([], "there are no images"),
        (images[:1], "1 images and 2 labels"),
    ):
        with pytest.raises(UserError, match=message):
            fs.Classifier(checkpoint).fit(wrong, [0, 1])
    with pytest.raises(UserError, match="encoder conv4 has random weights"):
        fs.Classifier("conv4").fit(images, [0, 0, 1, 1])
    rows, labels = embeddings([3, 3])
    with pytest.raises(UserError, match="does not know how to make them"):
        fs.Classifier(encoder=None).fit(rows, labels).save(tmp_path / "x.safetensors")


def test_an_export_takes_activations_out_of_place_which_is_faster_and_puts_them_back(
    tmp_path: Path, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript", reason="needs onnxscript: pip install fewshot-bench[photos]")
    images = toy_set(3, 6, COLOR)
    labels = [images.class_names[label] for label in images.class_ids]
    fs.Classifier(checkpoint, "cosine").fit(images.images, labels).save(tmp_path / "my.safetensors")
    saved = load_classifier(tmp_path / "my.safetensors")
    activation = torch.nn.ReLU6(inplace=True)
    saved.network.add_module("activation", activation)
    seen = []

    def noted(*_: Any, **__: Any) -> None:
        seen.append(activation.inplace)
        raise UserError("far enough")

    monkeypatch.setattr(torch.onnx, "export", noted)
    with pytest.raises(UserError, match="far enough"):
        export_onnx(saved, tmp_path / "my.onnx")
    assert (seen, activation.inplace) == ([False], True)


@pytest.mark.parametrize("readout", HEADS)
def test_an_answer_does_not_depend_on_what_else_is_asked_at_once(readout: str) -> None:
    rows, labels = embeddings([40] * 3, dim=333)
    classifier = fs.Classifier(encoder=None, readout=readout).fit(rows, labels)
    for answers in (classifier.predict_proba, classifier.known):
        alone = np.concatenate([answers(rows[at : at + 1]) for at in range(len(rows))])
        np.testing.assert_allclose(answers(rows), alone, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("readout", HEADS)
@pytest.mark.parametrize("scale", [1e-30, 1e30, 1e39])
def test_the_scale_of_embeddings_changes_no_answer(readout: str, scale: float) -> None:
    found, labels = embeddings([10] * 3, dim=8)
    rows = found.double().numpy()
    plain, other = (fs.Classifier(encoder=None, readout=readout).fit(rows * by, labels) for by in (1.0, scale))
    assert other.expected_.accuracy == plain.expected_.accuracy > 0.5
    np.testing.assert_allclose(other.predict_proba(rows * scale), plain.predict_proba(rows), atol=1e-4)


def test_prototypes_far_from_zero_are_those_at_zero() -> None:
    """In single precision, 1e9 and 1e9 + 10 are one number."""
    found, labels = embeddings([10] * 3, dim=8)
    rows = found.double().numpy()
    near, far = (fs.Classifier(encoder=None, readout="prototype").fit(rows + by, labels) for by in (0.0, 1e9))
    assert (far.predict(rows + 1e9) == near.predict(rows)).all()
    assert far.expected_.accuracy == near.expected_.accuracy


@pytest.mark.parametrize("folds", [0, 1, -1, 2.5, "x", None])
def test_fewer_than_two_folds_hold_nothing_out_and_are_refused(folds: Any) -> None:
    rows, labels = embeddings([4] * 3, dim=8)
    with pytest.raises(UserError, match="folds must be a whole number of 2 or more"):
        fs.Classifier(encoder=None, folds=folds).fit(rows, labels)
