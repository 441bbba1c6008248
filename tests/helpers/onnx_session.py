"""A classifier beside the ONNX file that was exported from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from fewshot.evaluation.classifier.model import load_classifier, photos_of


def same_in_onnx(classifier: Path, exported: Path, photos: Path) -> dict[str, str]:
    """Hold probabilities, and which photos are known, of a few photos to each other; what the ONNX file says of itself.

    Raises AssertionError where they differ, or where weights lie in a second file.
    """
    assert not exported.with_name(f"{exported.name}.data").exists()
    session = onnxruntime.InferenceSession(str(exported), providers=["CPUExecutionProvider"])
    saved = load_classifier(classifier)
    images = photos_of(photos, saved.image_shape).images[:5]
    found = session.run(["probabilities", "known"], {"images": images.numpy()})
    for ours, theirs in zip(saved.predict(images), found, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-4)
    about: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return about
