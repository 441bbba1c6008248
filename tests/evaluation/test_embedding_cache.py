"""Tables of embeddings on disk: found again by what made them, never by a name, and within bounds."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fewshot.evaluation import embedding_cache as embeddings
from fewshot.evaluation import evaluate
from fewshot.evaluation.embedding_cache import Embeddings, code_digest, keep, mean_of, read_kept, weights_digest
from fewshot.evaluation.evaluate import embed_all
from fewshot.models.methods import Method
from toy_classes import FewStrokes, toy_method
from toy_runs import Listener, changed_pixels

IMAGES = FewStrokes().load("test")
KEY = {"weights": "these"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images were embedded, each time."""
    found: list[int] = []

    def counted(method: Method, images: torch.Tensor, *rest: object) -> torch.Tensor:
        found.append(len(images))
        return embed_all(method, images, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluate, "embed_all", counted)
    return found


def embeddings_of(method: Method, folder: Path | None, listener: Listener | None = None) -> Embeddings:
    return Embeddings(method, FewStrokes(), "fp32", listener or Listener(), folder)


def test_a_table_is_made_once_and_found_by_the_next_process(tmp_path: Path, calls: list[int]) -> None:
    method = toy_method()
    table = embeddings_of(method, tmp_path).table(IMAGES)
    torch.testing.assert_close(table, embed_all(method, IMAGES.images, "fp32"))
    assert torch.equal(embeddings_of(method, tmp_path).table(IMAGES), table)
    assert calls == [len(IMAGES.images)]


def test_without_a_folder_a_table_is_kept_in_memory_alone(tmp_path: Path, calls: list[int]) -> None:
    source = embeddings_of(toy_method(), None)
    assert source.table(IMAGES) is source.table(IMAGES)
    assert calls == [len(IMAGES.images)]
    assert [*tmp_path.iterdir()] == []


def test_the_mean_is_that_of_all_training_images(tmp_path: Path) -> None:
    method, train_set = toy_method(), FewStrokes().load("train")
    expected = embed_all(method, train_set.images, "fp32").double().mean(0)
    torch.testing.assert_close(embeddings_of(method, tmp_path).train_mean(), expected)
    torch.testing.assert_close(mean_of(torch.eye(4)), torch.full((4,), 0.25, dtype=torch.float64))


def test_other_weights_other_pixels_and_another_precision_never_find_it(tmp_path: Path, calls: list[int]) -> None:
    method = toy_method()
    embeddings_of(method, tmp_path).table(IMAGES)
    embeddings_of(toy_method(seed=1), tmp_path).table(IMAGES)
    embeddings_of(method, tmp_path).table(changed_pixels("test"))
    Embeddings(method, FewStrokes(), "bf16", Listener(), tmp_path).table(IMAGES)
    with torch.no_grad():
        next(method.parameters()).add_(1e-3)
    embeddings_of(method, tmp_path).table(IMAGES)
    assert len(calls) == 5
    assert len([*tmp_path.glob("*.safetensors")]) == 5


def test_a_table_of_some_rows_is_not_found_for_others(tmp_path: Path, calls: list[int]) -> None:
    method, rows = toy_method(), np.array([3, 7, 11])
    some = Embeddings(method, FewStrokes(), "fp32", Listener(), tmp_path, rows).table(IMAGES)
    assert torch.equal(Embeddings(method, FewStrokes(), "fp32", Listener(), tmp_path, rows).table(IMAGES), some)
    assert torch.equal(some[: 4 + 1], some[[3, 3, 3, 3, 7]])
    whole = embeddings_of(method, tmp_path).table(IMAGES)
    torch.testing.assert_close(some[rows], whole[rows])
    assert calls == [3, len(IMAGES.images)]


def test_the_digests_tell_weights_and_code_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    method, other = toy_method(), toy_method("matching")
    assert weights_digest(method) == weights_digest(toy_method())
    assert weights_digest(method) != weights_digest(toy_method(seed=1))
    assert code_digest(method) == code_digest(toy_method(seed=1))
    assert code_digest(method) != code_digest(other)
    assert code_digest(method) != code_digest(toy_method(width=16))
    monkeypatch.setattr(
        "fewshot.evaluation.embedding_cache.inspect.getsourcefile", lambda kind: str(tmp_path / "edited.py")
    )
    digests = set()
    for code in ("a = 1", "a = 2"):
        (tmp_path / "edited.py").write_text(code)
        digests.add(code_digest(method))
    assert len(digests) == 2


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign key"])
def test_what_is_damaged_is_made_anew(tmp_path: Path, calls: list[int], damage: str) -> None:
    method = toy_method()
    expected = embeddings_of(method, tmp_path).table(IMAGES)
    (path,) = tmp_path.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-100])
    elif damage == "flipped":
        content[-5] ^= 64
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        keep(path, torch.zeros_like(expected), KEY)
    assert torch.equal(embeddings_of(method, tmp_path).table(IMAGES), expected)
    assert len(calls) == 2
    assert torch.equal(embeddings_of(method, tmp_path).table(IMAGES), expected)
    assert len(calls) == 2


def test_a_full_folder_gives_up_what_was_not_used_for_longest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = torch.zeros(1000)
    monkeypatch.setattr(embeddings, "MOST_BYTES", 10_000)  # room for two
    for age, name in enumerate(("a", "b")):
        keep(tmp_path / f"{name}.safetensors", table, KEY)
        os.utime(tmp_path / f"{name}.safetensors", (age, age))
    assert read_kept(tmp_path / "a.safetensors", KEY) is not None  # used again
    keep(tmp_path / "c.safetensors", table, KEY)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c"]
    keep(tmp_path / "large.safetensors", torch.zeros(10_001), KEY)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "c"]


def test_a_folder_that_cannot_be_written_is_said_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("a file")
    listener, method = Listener(), toy_method()
    table = embeddings_of(method, tmp_path / "in the way" / "embeddings", listener).table(IMAGES)
    assert len(table) == len(IMAGES.images)
    assert any("not kept for the next time" in text for text in listener.said)


def test_what_has_no_source_file_is_never_found_again(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network typed in at a prompt may be another one tomorrow, under the same name and with the same weights."""
    method = toy_method()
    assert code_digest(method)
    monkeypatch.setattr(type(method), "__module__", "typed_at_a_prompt")
    assert code_digest(method) is None
    for _ in range(2):
        embeddings_of(method, tmp_path).table(IMAGES)
    assert len(calls) == 2
    assert not [*tmp_path.iterdir()]
