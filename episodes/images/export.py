"""Images of a split as one file that any program can read: what a user embeds with a model of his own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from episodes.errors import DataError
from episodes.files import put_in_place, scratch_file
from episodes.types import ImageSet


def export_images(image_set: ImageSet, protocol_name: str, path: Path, files: Sequence[str] = ()) -> None:
    """Write a NumPy archive (.npz): what ``images`` holds in row i is image i of every episode.

    Arrays: ``images`` uint8 (num_images, channels, height, width), ``class_ids`` int64 (num_images,), ``class_names``
    (num_classes,), and the texts ``fingerprint`` (SHA-256 of the pixels), ``pixels`` (the start of the protocol's
    name) and ``part`` (train, val or test). ``files`` names the file of each image, so that who embeds the originals
    knows their order; it is empty where images are no files of their own. Raises DataError where it cannot be written.
    """
    try:
        with scratch_file(path) as scratch:
            with scratch.open("wb") as file:
                np.savez(
                    file,
                    images=image_set.images.numpy(),
                    class_ids=image_set.class_ids.numpy(),
                    class_names=np.asarray(image_set.class_names, dtype=np.str_),
                    fingerprint=np.asarray(image_set.pixels_digest),
                    pixels=np.asarray(protocol_name),
                    part=np.asarray(image_set.split),
                    files=np.asarray(files, dtype=np.str_),
                )
            put_in_place(scratch, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error
