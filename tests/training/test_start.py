"""What a command loads before it begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_line import SMOKE, Fewshot
from photo_builders import plain_photos
from toy_checkpoint import color_checkpoint

COMMAND = """
import sys
from command_line import use_few_strokes
from fewshot.cli.main import main
use_few_strokes()
try:
    main(sys.argv[1:])
finally:
    print(*sorted({"torch", "torch._dynamo", "scipy.stats", "sklearn", "pandas"} & sys.modules.keys()))
"""


def loaded(folder: Path, *words: str | Path) -> str:
    """Which of the packages that take longest to load are there at the end of a command."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        env={"PYTHONPATH": ":".join(sys.path), "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_training_waits_for_no_package_that_it_does_not_need(tmp_path: Path) -> None:
    """PyTorch's compiler and scipy.stats together take longer to load than PyTorch."""
    assert loaded(tmp_path, *SMOKE, "--train-episodes", "5", "--out", tmp_path) == "torch"


def test_a_prediction_waits_for_no_package_that_fitting_alone_needs(fewshot: Fewshot, tmp_path: Path) -> None:
    photos, checkpoint = plain_photos(tmp_path / "photos", 3), color_checkpoint(tmp_path / "a.safetensors")
    assert fewshot("fit", photos, "-o", tmp_path / "my.safetensors", "--encoder", checkpoint).status == 0
    assert loaded(tmp_path, "predict", tmp_path / "my.safetensors", photos) == "torch"
