from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Fewshot
from episodes.types import EpisodeError
from fewshot.experiments.center_loss_demo import few_classes
from toy_classes import toy_set


def test_few_classes_keep_their_images() -> None:
    image_set = toy_set(8, 6)
    few = few_classes(image_set, 3)
    assert few.class_names == ("class0", "class4", "class7")
    rows = np.concatenate([np.arange(6), np.arange(24, 30), np.arange(42, 48)])
    assert (few.images == image_set.images[rows]).all()
    with pytest.raises(EpisodeError, match="there are 8 training classes"):
        few_classes(image_set, 9)


def test_a_larger_weight_draws_the_embeddings_together(fewshot: Fewshot) -> None:
    words = ("--dataset", "strokes", "--classes", "4", "--steps", "15", "--picture", "drawn.png")
    done = fewshot("centers", "0", "10", *words)
    assert done.status == 0, done.err
    loose, tight = (float(number) for number in re.findall(r"embeddings ([\d.]+)", done.out))
    assert tight < 0.7 * loose
    with Image.open(Path("drawn.png")) as picture:
        assert picture.width > 2 * picture.height * 0.8
