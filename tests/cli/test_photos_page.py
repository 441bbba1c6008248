"""docs/howto/photos.md, word for word: from a folder of photos to a CSV of predictions and an ONNX file."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from command_line import Fewshot
from onnx_session import same_in_onnx

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "photos.md").read_text(encoding="utf-8").partition("## Other encoders")[0]


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_command_of_the_page_works_offline_in_under_two_minutes(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the page is said to work offline")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    start, printed = time.process_time(), ""
    for line in (line for block in blocks("console") for line in block.splitlines()):
        verb, *words = shlex.split(line)
        if verb == "python":
            runpy.run_path(str(ROOT / words[0]))["main"](*words[1:])
        elif verb == "fewshot":
            outcome = fewshot(*words)
            assert outcome.status == 0, f"{line}: {outcome.err}"
            printed += outcome.out
        else:
            assert line == "pip install '.[photos]'"
    assert len(blocks("console")) == 7
    assert "advice: fewshot fit photos -o my.safetensors" in printed
    assert "accuracy to expect: " in printed
    with Path("predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    right = [row["class"] == Path(row["file"]).parent.name for row in rows]
    assert len(rows) == 24
    assert sum(right) >= 12  # chance is 2
    about = same_in_onnx(Path("my.safetensors"), Path("my.onnx"), Path("new"))
    assert about["image_size"] == "224"
    assert json.loads(about["classes"]) == sorted(path.name for path in Path("photos").iterdir())
    assert "Most confused pairs" in Path("runs/report.html").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    for python in blocks("python"):
        exec(compile(python, "docs/howto/photos.md", "exec"), names)
    assert "striped-star" in capsys.readouterr().out
    assert time.process_time() - start < 120
