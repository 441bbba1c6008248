from __future__ import annotations

import os
from pathlib import Path

import pytest

from episodes.files import cache_root, data_root


def test_data_lie_where_the_user_says_or_the_environment_or_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEWSHOT_DATA", raising=False)
    usual = data_root()
    assert usual.is_absolute()
    assert usual.name == "fewshot"
    monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path / "environment"))
    assert data_root() == tmp_path / "environment"
    assert data_root(tmp_path / "chosen") == tmp_path / "chosen"
    assert data_root("~/images") == Path.home() / "images"
    monkeypatch.chdir(tmp_path)
    assert data_root("images") == tmp_path / "images"


def test_arrays_lie_beside_the_data_unless_told_otherwise_or_the_data_are_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEWSHOT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users-cache"))
    assert cache_root(tmp_path) == tmp_path / "cache"
    assert cache_root(tmp_path / "not there yet") == tmp_path / "not there yet" / "cache"
    monkeypatch.setattr(os, "access", lambda path, mode: not (Path(path) == tmp_path and mode == os.W_OK))
    fallback = cache_root(tmp_path)
    assert tmp_path / "cache" != fallback
    assert "fewshot" in fallback.parts
    monkeypatch.setenv("FEWSHOT_CACHE", str(tmp_path / "elsewhere"))
    assert cache_root(tmp_path) == tmp_path / "elsewhere"
