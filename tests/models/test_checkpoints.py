"""Files of weights: what goes in comes out, whatever else is given is refused in one line, and nothing is executed."""

from __future__ import annotations

import errno
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from fewshot.models.factory import load_trained, read_trained
from fewshot.models.tensor_files import CheckpointError, carries_digest, load_tensors, save_tensors
from fewshot.training.checkpoints import BusyError, sole_trainer
from toy_classes import toy_method

CPU = torch.device("cpu")


class Explosive:
    """Pickled, it is code that creates a file when loaded."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.witness),)


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    message = str(error.value)
    assert message
    assert "\n" not in message
    return message


def saved_method(path: Path, **changed: Any) -> Path:
    """A checkpoint as `fewshot run` writes it, with some of its metadata changed; None leaves an entry out."""
    metadata = {
        "model": "proto",
        "model_options": {},
        "encoder": "conv4",
        "encoder_options": {"width": 8},
        "image_shape": [1, 28, 28],
        "seed": 0,
    } | changed
    kept = {name: value for name, value in metadata.items() if value is not None}
    save_tensors(path, toy_method().state_dict(), kept)
    return path


def test_tensors_and_metadata_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {
        "float": torch.randn(3, 4),
        "double": torch.randn(2, dtype=torch.float64),
        "half": torch.randn(2).bfloat16(),
        "step": torch.tensor(7.0),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "requires grad": torch.nn.Parameter(torch.randn(2)),
    }
    metadata = {"seed": 3, "history": [{"accuracy": 0.1 + 0.2}], "name": "Größe ± 1", "nothing": None}
    save_tensors(tmp_path / "file.safetensors", tensors, metadata)
    found, found_metadata = load_tensors(tmp_path / "file.safetensors")
    assert found_metadata == metadata
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_any_flipped_bit_of_data_or_header_is_one_clear_line_or_changes_nothing(tmp_path: Path) -> None:
    path = saved_method(tmp_path / "checkpoint.safetensors")
    whole, (tensors, metadata) = path.read_bytes(), load_tensors(path)
    generator = np.random.default_rng(0)
    header = 8 + int.from_bytes(whole[:8], "little")
    places = [*generator.integers(0, header, 150), *generator.integers(header, len(whole), 50)]
    refused = 0
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(generator.integers(8))
        path.write_bytes(damaged)
        found: Any = None
        try:
            found = load_tensors(path)
        except CheckpointError as error:
            if place >= header:  # the numbers
                assert "is damaged: its content is not that of its digest" in str(error)  # noqa: PT017 - of some alone
        if found is None:
            refused += 1
        else:  # blanks behind the header, or how one sign is written
            assert found[1] == metadata
            assert all(torch.equal(found[0][name], tensor) for name, tensor in tensors.items())
            assert place < header
    assert refused > 190


def test_a_file_older_than_digests_is_read_and_known_to_be_unchecked(tmp_path: Path) -> None:
    new, old = saved_method(tmp_path / "new.safetensors"), tmp_path / "old.safetensors"
    tensors, metadata = load_tensors(new)
    safetensors.torch.save_file(tensors, old, {"fewshot": json.dumps(metadata)})
    assert load_tensors(old)[1] == metadata
    assert (carries_digest(new), carries_digest(old)) == (True, False)


@pytest.mark.parametrize(
    "borrows", [3, ["itself.safetensors", 5, ""], ["../out.safetensors", [], ""], ["itself.safetensors", ["a"], "0"]]
)
def test_a_file_that_claims_to_have_its_weights_elsewhere_is_refused(tmp_path: Path, borrows: object) -> None:
    path = saved_method(tmp_path / "itself.safetensors", borrows=borrows)
    with pytest.raises(CheckpointError, match=r"damaged|holds others now") as error:
        load_tensors(path)
    one_line(error)


def test_a_pickle_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    """torch.save writes pickles, bare or in a zip file; both are given as a checkpoint."""
    for save in (lambda content, path: path.write_bytes(pickle.dumps(content)), torch.save):
        witness, path = tmp_path / "witness", tmp_path / "model.pt"
        save(Explosive(witness), path)
        for load in (load_tensors, read_trained, lambda path: load_trained(path, CPU)):
            with pytest.raises(CheckpointError) as error:
                load(path)
            assert "holds weights as torch.save writes them" in one_line(error)
        assert not witness.exists()


def test_garbage_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    good = saved_method(tmp_path / "good.safetensors").read_bytes()
    header = json.dumps({"t": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    for content in (
        b"",
        b"{}",
        os.urandom(1000),
        b"\xff" * 100,
        good[:-1],
        good[: len(good) // 2],
        good[:20],
        len(header).to_bytes(8, "little") + header,
        b"<!DOCTYPE html><html>404</html>",
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="not a checkpoint of fewshot, or is damaged") as error:
            load_tensors(path)
        assert str(path) in one_line(error)


@pytest.mark.parametrize(
    "metadata", [None, {}, {"fewshot": "no json"}, {"fewshot": "[1, 2]"}, {"fewshot": "null"}, {"other": "{}"}]
)
def test_safetensors_of_somebody_else_are_refused_in_one_line(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "theirs.safetensors"
    safetensors.torch.save_file({"weight": torch.zeros(2)}, path, metadata)
    for load in (read_trained, lambda path: load_trained(path, CPU)):
        with pytest.raises(CheckpointError) as error:
            load(path)
        assert "theirs.safetensors" in one_line(error)


@pytest.mark.parametrize("is_folder", [True, False])
def test_an_absent_file_is_said_to_be_absent(tmp_path: Path, is_folder: bool) -> None:
    path = tmp_path / "checkpoint.safetensors"
    if is_folder:
        path.mkdir()
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*fewshot run"):
        load_tensors(path)


def test_a_trained_method_comes_back_with_its_weights(tmp_path: Path) -> None:
    path = saved_method(tmp_path / "checkpoint.safetensors", seed=5)
    trained = load_trained(path, CPU)
    assert trained.checkpoint == path
    assert read_trained(path)[1]["seed"] == 5
    assert type(trained.method) is type(toy_method())
    for name, tensor in toy_method(seed=0).state_dict().items():
        assert torch.equal(trained.method.state_dict()[name], tensor)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "porto"},
        {"encoder": None},
        {"image_shape": None},
        {"image_shape": 28},
        {"model_options": ["cosine"]},
        {"image_shape": [3, 84, 84], "encoder_options": {}},
        {"encoder_options": {"width": 9}},
        {"encoder_options": {"depth": 9}},
        {"model_options": {"distance": "manhattan"}},
    ],
    ids=str,
)
def test_metadata_that_do_not_fit_the_weights_are_refused_in_one_line(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = saved_method(tmp_path / "checkpoint.safetensors", **changed)
    with pytest.raises(ValueError) as error:  # noqa: PT011 - a user error of any kind, in one line
        load_trained(path, CPU)
    assert type(error.value).__module__.startswith(("fewshot", "episodes"))
    one_line(error)


def test_a_training_state_is_no_trained_method(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"weights.encoder.mean": torch.zeros(1)}, {"episode": 3})
    with pytest.raises(CheckpointError, match=r"pass a checkpoint\.safetensors"):
        read_trained(path)
    with pytest.raises(CheckpointError, match=r"pass a checkpoint\.safetensors"):
        load_trained(path, CPU)


@pytest.mark.parametrize("at", ["write_bytes", "replace"])
def test_a_full_disk_is_told_in_one_line_and_leaves_the_former_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"weight": torch.ones(3)}, {"episode": 1})

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, at, fail)
        with pytest.raises(
            CheckpointError, match="No space left on device; what was saved before is untouched"
        ) as error:
            save_tensors(path, {"weight": torch.zeros(3)}, {"episode": 2})
    one_line(error)
    tensors, metadata = load_tensors(path)
    assert metadata == {"episode": 1}
    assert torch.equal(tensors["weight"], torch.ones(3))
    assert [*tmp_path.iterdir()] == [path]


def test_a_folder_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="cannot write") as error:
        save_tensors(tmp_path / "file" / "state.safetensors", {"weight": torch.zeros(1)}, {})
    one_line(error)


def test_a_second_trainer_in_a_folder_is_told_who_is_there(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fewshot.training.checkpoints import sole_trainer\n"
        "with sole_trainer(Path(sys.argv[1])): print('holding', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "holding\n"
        with pytest.raises(BusyError, match=f"already running .process {other.pid}, ") as error, sole_trainer(tmp_path):
            pass
        one_line(error)
        with sole_trainer(tmp_path / "another"):
            pass
        other.kill()
    with sole_trainer(tmp_path):  # the lock died with the process
        pass


def test_the_folder_is_free_again_afterwards_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), sole_trainer(tmp_path):
        raise KeyError
    with sole_trainer(tmp_path):
        pass


def test_halves_of_files_that_a_killed_process_left_are_swept_away(tmp_path: Path) -> None:
    (tmp_path / ".partial-abc").write_bytes(b"half")
    (tmp_path / "state.safetensors").write_bytes(b"whole")
    with sole_trainer(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "state.safetensors"]
