"""The command that measures speed, on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fewshot.cli.options import data_option, json_option


@click.command(short_help="Measure speed and memory on the spot.")
@click.option("--quick", is_flag=True, help="Fewer repetitions.")
@click.option(
    "--model",
    help="Instead: a training step, and seconds and memory of 10,000 test episodes, of this method, or of `all` "
    "[default: proto].",
)
@click.option("--time-to-accuracy", is_flag=True, help="Instead: train the whole recipe, once per seed, and test it.")
@click.option("--dataset", default="omniglot", show_default=True, help="With --time-to-accuracy: the images.")
@click.option("--way", type=click.IntRange(2), default=5, show_default=True, help="With --time-to-accuracy: classes.")
@click.option("--shot", type=click.IntRange(1), default=1, show_default=True, help="With it: support images per class.")
@click.option("--recipe", default="fast", show_default=True, help="With --time-to-accuracy: fast, paper or smoke.")
@click.option("--target", type=click.FloatRange(0, 100), help="With it: percent to reach [default: the published].")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="With it: number of trainings.")
@click.option("--episodes", type=click.IntRange(2), default=10_000, show_default=True, help="With it: of the test.")
@click.option("--scaling", is_flag=True, help="Instead: cost of an episode against classes, images, way, shot, number.")
@click.option("--large-file", type=click.FloatRange(0.1), metavar="GB",
              help="Instead: train from an image file of so many gigabytes, made for it and removed.")  # fmt: skip
@click.option("--write", is_flag=True, help="Write what was measured, and the page about speed, into --docs.")
@click.option("--docs", type=click.Path(path_type=Path), default=Path("docs"), show_default=True,
              help="Folder of speed.md, speed.json and scaling.json.")  # fmt: skip
@data_option
@json_option
def bench(**choices: Any) -> None:
    """Measure on the spot: episodes/s, training images/s, seconds for 10,000 test episodes, start-up, memory.

    Beside us: plain PyTorch, and easyfsl and learn2learn where they are installed, on the same work.

    With --time-to-accuracy: wall time of the whole recipe of --model from nothing, test accuracy and target. With
    --scaling: what an episode costs with up to a million classes and ten million images. With --large-file 50: a
    training from 50 GB of images, on a machine with less memory than that.
    """
    from fewshot.cli.bench_commands import bench_command

    bench_command(**choices)
