"""What a training loads before it begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_line import SMOKE

TRAINING = """
import sys
from command_line import use_few_strokes
from fewshot.cli.main import main
use_few_strokes()
try:
    main(sys.argv[1:])
finally:
    print(*sorted({"torch", "torch._dynamo", "scipy.stats", "sklearn", "pandas"} & sys.modules.keys()))
"""


def test_a_training_waits_for_no_package_that_it_does_not_need(tmp_path: Path) -> None:
    """PyTorch's compiler and scipy.stats together take longer to load than PyTorch."""
    words = [*SMOKE, "--train-episodes", "5", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, *words],
        env={"PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "torch"
