"""Random command lines and damaged files: whatever is typed and whatever is read, the end is a line and no traceback.

Every start has a seed of its own, which is printed: FUZZ_SEED=... repeats it. FUZZ_SECONDS=... goes on for longer, and
ends at FUZZ_TRIES=... of each kind at the latest; WITHOUT_TYPE_CHECKS=1 makes a try three times as quick.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import numpy as np
import pytest

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from episodes.datasets.omniglot.dataset import Omniglot
from episodes.errors import DataError, Interrupted
from fewshot.cli import bench, progress
from fewshot.cli.main import cli
from fewshot.experiments import center_loss_demo, evaluate, run
from fewshot.experiments.sweep.workers import Workers
from photo_builders import save_classes, write_csv
from toy_classes import FewStrokes

# Of both kinds together the seconds, of each the tries.
SECONDS, TRIES = float(os.environ.get("FUZZ_SECONDS", "20")), int(os.environ.get("FUZZ_TRIES", 10**9))
ENDINGS = {0, 1, 2, 130}
NUMBERS = ["0", "1", "2", "5", "-1", "20", "1e400", "nan", "3.4e38", "99999999999", str(2**64), "1,5", "5,,1", "0x10"]
WORDS = [
    *("", "strokes", "omniglot", "miniimagenet", "folder", "photos", "list.csv", "proto", "untrained", "matching"),
    *("all", "own", "svm", "none", "auto", "cpu", "fp32", "fast", "smoke", "paper", "runs", "lake", "test", "train"),
    *("mine.npz", "cache.pkl", "record.json", "checkpoint.safetensors", "nothing", ".", "..", "a/b", "-", "--", "--x"),
    *("\x1b[31m", "ü", "\udcff", "a" * 300, "a\nb", "%s", "{}", "[bold]", "snell2017-table1", "x.svg", "x.png"),
]
LONG = {"report", "doctor"}  # seconds each: seldom


def no_network(*_: Any, **__: Any) -> NoReturn:
    """In the place of looking for 32,460 drawings, and for a server."""
    raise DataError("omniglot cannot be fetched")


def enough(*_: Any, **__: Any) -> NoReturn:
    """In the place of what would take minutes."""
    raise Interrupted("this far is enough")


@pytest.fixture
def shop(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> Fewshot:
    """The command line among files of every kind; nothing is trained, measured or drawn for long."""
    record = record_in(fewshot(*SMOKE))
    shutil.copy(checkpoint_of(record), "checkpoint.safetensors")
    shutil.copy(next(Path("runs/records").glob("*.json")), "record.json")
    save_classes(Path("photos"), {f"{part}/{part}{c}": 3 for part in ("train", "test") for c in range(3)})
    write_csv(
        Path("list.csv"), ["filename,label", *(f"photos/test/test{c}/0{n}.png,c{c}" for c in (0, 1) for n in (0, 1))]
    )
    images = FewStrokes().load("test")
    np.savez_compressed("mine.npz", embeddings=np.random.default_rng(0).normal(size=(len(images.images), 3)))
    pixels = np.zeros((4, 84, 84, 3), np.uint8)
    Path("cache.pkl").write_bytes(pickle.dumps({"image_data": pixels, "class_dict": {"n01": [0, 1], "n02": [2, 3]}}, 2))
    assert fewshot("data", "export", "list.csv", "--size", "9").status == 0
    shutil.copy(next(Path("data/cache").glob("folder-list*test*.json")), "cached.json")
    heavy: list[tuple[Any, str]] = [
        *((run, name) for name in ("train", "measure")),
        *((evaluate, name) for name in ("measure", "measure_external")),
        *((progress, "carry_out"), (bench, "_measured"), (center_loss_demo, "train_plane")),
        (Workers, "engine"),  # the processes of a sweep would know nothing of what is replaced here
    ]
    for module, name in heavy:
        monkeypatch.setattr(module, name, enough)
    monkeypatch.setattr(Omniglot, "download", no_network)
    return fewshot


def typed(dice: random.Random) -> list[str]:
    """A command line: mostly a command there is, with options that it has, and values that may fit."""
    name = dice.choice(sorted(cli.commands))
    if name in LONG and dice.random() < 0.95:
        name = "run"
    words = [name]
    for parameter in dice.sample(cli.commands[name].params, k=min(len(cli.commands[name].params), dice.randrange(5))):
        value = dice.choice(NUMBERS if dice.random() < 0.5 else WORDS)
        if isinstance(parameter, click.Option):
            flag = [dice.choice(parameter.opts)]
            words += flag if parameter.is_flag else [*flag, value]
        else:
            words.append(dice.choice(WORDS))
    if dice.random() < 0.1:
        words.insert(dice.randrange(len(words) + 1), dice.choice([*WORDS, *NUMBERS, "--help", "-h", "--way=3"]))
    return words


COMMANDS: dict[str, list[list[str]]] = {
    "record.json": [
        ["compare", "damaged", "record.json"],
        ["leaderboard", "--out", "others"],
        ["verify", "damaged"],
        ["reproduce", "snell2017-table1", "--out", "others"],
        ["publish", "damaged"],
    ],
    "checkpoint.safetensors": [
        ["evaluate", "damaged", "--dataset", "strokes"],
        [*SMOKE, "--init", "damaged"],
    ],
    "mine.npz": [["evaluate", "--embeddings", "damaged", "--name", "m", "--trained-on", "x", "--dataset", "strokes"]],
    "list.csv": [["data", "check", "damaged.csv"], ["data", "export", "damaged.csv", "--size", "8"]],
    "cache.pkl": [["data", "check", "miniimagenet", "--data", "pickled"]],
    "photos/test/test0/00.png": [["data", "check", "photos"]],
    "cached.json": [["data", "export", "list.csv", "--size", "9"]],
}


def damaged(content: bytes, dice: random.Random, name: str) -> bytes:
    """Some bytes changed, cut off or put in; in a record mostly a value changed for another."""
    if name == "record.json" and dice.random() < 0.7:
        return changed_value(content, dice)
    changed = bytearray(content)
    for _ in range(dice.choice([1, 1, 2, 8])):
        place = dice.randrange(len(changed) + 1) if dice.random() < 0.6 else dice.randrange(min(200, len(changed)) + 1)
        match dice.randrange(4):
            case 0:
                del changed[place : place + dice.choice([1, 4, 100, 10**6])]
            case 1:
                changed[place:place] = dice.randbytes(dice.choice([1, 4, 40]))
            case _:
                changed[place : place + 1] = dice.choice([b"\0", b"\xff", b"9", b"\n", dice.randbytes(1)])
    return bytes(changed)


def changed_value(content: bytes, dice: random.Random) -> bytes:
    stored: Any = json.loads(content)
    stored.pop("digest", None)  # as of an older record
    inner: Any = stored
    while True:
        key = dice.choice(list(inner) if isinstance(inner, dict) else range(len(inner)))
        if not isinstance(inner[key], dict | list) or not inner[key] or dice.random() < 0.2:
            break
        inner = inner[key]
    inner[key] = dice.choice(
        [None, "", "x/y", -1, 0, 1e308, 2**70, [], {}, True, "a" * 999, "a|b", ["q"], float("nan")]
    )
    return json.dumps(stored).encode()


def read_damaged(dice: random.Random, whole: dict[str, bytes]) -> list[str]:
    """Put a damaged file in place; the command that reads it."""
    name = dice.choice(sorted(COMMANDS))
    content = damaged(whole[name], dice, name)
    places = ["damaged", "damaged.csv", "others/records/r.json", "pickled/miniimagenet/mini-imagenet-cache-train.pkl"]
    if name.endswith(".png"):
        places = [name]
    elif name == "cached.json":
        places = [next(str(path) for path in Path("data/cache").glob("folder-list*test*.json"))]
    for place in places:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_bytes(content)
    return dice.choice(COMMANDS[name])


@pytest.mark.parametrize("kind", ["command lines", "damaged files"])
def test_no_traceback_whatever_is_typed_and_whatever_is_read(
    shop: Fewshot, record_property: Callable[..., None], kind: str
) -> None:
    seed = int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(10**9)))
    whole = {name: Path(name).read_bytes() for name in COMMANDS}
    tries, endings, found = 0, Counter[int](), list[str]()
    begin = time.monotonic()
    while time.monotonic() < begin + SECONDS / 2 and tries < TRIES and len(found) < 5:
        dice = random.Random(f"{seed} {tries}")
        words = typed(dice) if kind == "command lines" else read_damaged(dice, whole)
        tries += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                outcome = shop(*words)
        except Exception as error:
            found.append(f"try {tries}, {words}: {type(error).__name__}: {error}")
            continue
        endings[outcome.status] += 1
        said = outcome.err or (outcome.status == 1 and outcome.out)  # a verdict that is no is an answer
        if outcome.status not in ENDINGS or "Traceback" in outcome.err or (outcome.status and not said):
            found.append(f"try {tries}, {words}: status {outcome.status}, {outcome.err[-300:]}")
    seconds = time.monotonic() - begin
    said = f"FUZZ_SEED={seed}: {tries} {kind} in {seconds:.0f} s, by status {dict(endings)}"
    record_property("fuzz", said)
    print(said)
    assert found == [], said
    assert tries > min(SECONDS / 4, TRIES - 1), said
