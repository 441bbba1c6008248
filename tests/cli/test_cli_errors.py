"""Everything that goes wrong at the command line is told in one line, with what is valid and what to do."""

from __future__ import annotations

import errno
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from command_line import SMOKE, Fewshot, Outcome, checkpoint_of, record_in
from fewshot.experiments import run as experiment
from fewshot.training.checkpoints import sole_trainer

WRONG_WORDS = [
    (("run", "--optimizer", "nesterv"), "unknown optimizer 'nesterv'. Did you mean 'nesterov'"),
    (("run", "--augment", "photoo"), "unknown augmentation 'photoo'. Did you mean 'photo'"),
    (("rnu",), r"unknown command 'rnu'\. Did you mean 'run'\? Valid: bench, .* show"),
    (("run", "--model", "porto"), r"unknown model 'porto'\. Did you mean 'proto'\? Valid: .*matching"),
    (("run", "--encoder", "conv5"), r"unknown encoder 'conv5'\. Did you mean 'conv4'\? Valid: "),
    (("run", "--recipe", "fats"), r"unknown recipe 'fats'\. Did you mean 'fast'\? Valid: fast, paper, smoke"),
    (("run", "--device", "cdua"), r"unknown device 'cdua'\. Did you mean 'cuda'\? Valid: auto, cpu, cuda"),
    (("run", "--readout", "svn"), r"unknown read-out 'svn'\. Did you mean 'svm'\? Valid: alpha-tim, .*svm"),
    (("run", "--model", "relation", "--readout", "svm"), r"relation compares feature maps .* leave out --readout"),
    (("evaluate", "model.safetensors", "--readout", "all,svn"), r"unknown read-out 'svn'\. Did you mean 'svm'"),
    (("evaluate", "model.safetensors", "--way", "5,1"), r"'--way': 1 is not in the range x>=2"),
    (("evaluate", "model.safetensors", "--shot", "1;5"), r"'--shot': '1;5' is not a valid integer"),
    (("run", "--precision", "pf32"), r"unknown precision 'pf32'\. Did you mean 'fp32'\? Valid: auto, bf16, fp32"),
    (("run", "--modle", "proto"), r"unknown option --modle\. Did you mean --model\?"),
    (("run", "--wya", "5"), r"unknown option --wya\. Did you mean --way\?"),
    (("run", "--distanse", "cosine"), r"unknown option of model proto '--distanse'\. Did you mean '--distance'\?"),
    (
        ("run", "--distance", "cosin"),
        r"unknown value of --distance 'cosin'\. Did you mean 'cosine'\? Valid: cosine, eu",
    ),
    (("run", "--model", "matching", "--scale", "big"), r"--scale of model matching takes float, not 'big'"),
    (("run", "--width", "many"), r"--width of encoder conv4 takes int, not 'many'"),
    (("run", "stray"), r"'stray' belongs to no option"),
    (("leaderboard", "--results", "nowhere"), r"--results nowhere: there are no records in nowhere/runs"),
    (("compare", "proto", "matching", "--results", "nowhere"), r"--results nowhere: there are no records in"),
    (("reproduce", "snell2017-table1", "--results", "nowhere"), r"--results nowhere: there are no records in"),
    (("run", "--way", "1"), r"'--way': 1 is not in the range x>=2.*fewshot run --help"),
    (("run", "--way", "five"), r"'--way': 'five' is not a valid integer"),
    (("run", "--shot", "0"), r"'--shot': 0 is not in the range x>=1"),
    (("run", "--query", "0"), r"'--query'"),
    (("run", "--episodes", "1"), r"'--episodes': 1 is not in the range x>=2"),
    (("run", "--seed", "-1"), r"'--seed': -1 is not in the range"),
    (("run", "--seed", str(2**64)), r"'--seed': 18446744073709551616 is not in the range"),
    (("run", "--episode-seed", str(2**64)), r"'--episode-seed'"),
    (("run", "--learning-rate", "0"), r"'--learning-rate': 0(\.0)? is not in the range x>0"),
    (("run", "--labeled-share", "1"), r"'--labeled-share'"),
    (("run", "--way"), r"'--way' requires an argument"),
    (("evaluate",), r"Missing argument 'CHECKPOINT'.*fewshot evaluate --help"),
    (("evaluate", "model.safetensors", "--wya", "5"), r"unknown option --wya.*--way.*fewshot evaluate --help"),
    (("evaluate", "nothing.safetensors"), r"there is no checkpoint nothing\.safetensors: `fewshot run` writes one"),
    (("list", "modles"), r"'modles'\. Did you mean 'models'\? Valid: datasets, encoders, models, protocols, readouts"),
    (("list",), r"Missing argument '\[models\|datasets\|protocols\|encoders\|readouts\]'"),
    (("data", "gte", "omniglot"), r"unknown action 'gte'\. Did you mean 'get'\? Valid: check, export, get, path"),
    (("data", "path", "omniglto"), r"unknown data set 'omniglto'\. Did you mean 'omniglot'\?"),
    (("data", "get", "strokse"), r"unknown data set 'strokse'\. Did you mean 'strokes'\?"),
    (("show", "strokse"), r"unknown data set 'strokse'\. Did you mean 'strokes'\?"),
    (("show", "strokes", "--part", "tset"), r"unknown part 'tset'\. Did you mean 'test'\? Valid: test, train, val"),
    (("run", "--dataset", "omniglto"), r"unknown data set 'omniglto'\. Did you mean 'omniglot'\? Valid: "),
    (("run", "--dataset", "./no-such-folder"), r"there is no folder or CSV file \./no-such-folder"),
    (("run", "--dataset", ""), r"an empty word stands behind '--dataset': is a variable of a script not set"),
    (("show", "strokes", "--data="), r"an empty word stands behind '--data='"),
    (("run", "--dataset", "folder"), r"give the folder \(or CSV file\) itself"),
    (
        ("run", "--dataset", "omniglot", "--split", "vinyls"),
        r"'vinyls'\. Did you mean 'vinyals'\? Valid: lake, vinyals",
    ),
    (("run", "--split", "lkae"), r"unknown omniglot split 'lkae'\. Did you mean 'lake'\?"),
]
WRONG_FOR_STROKES = [
    (("--way", "13"), r"13-way needs 13 classes and strokes-standard-28-c50 test has 12: choose a way of 12 or less"),
    (("--query", "20"), r"1 shot \+ 20 query needs 21 images of each class; class .* lower shot or query"),
    (("--train-way", "33"), r"33-way needs 33 classes and strokes-standard-28-c50 train has 32"),
    (("--train-query", "20"), r"1 shot \+ 20 query needs .* train has 20: .*--train-shot, --train-query\)"),
    (("--unlabeled", "3"), r"model proto makes no use of unlabeled images"),
    (("--split", "lake"), r"unknown strokes split 'lake'.* Valid: standard"),
    (("--model", "matching", "--recipe", "paper"), r"no paper gives a whole recipe for matching .* use --recipe fast"),
    (("--learning-rate", "1e30"), r"no longer .*number.*try a lower --learning-rate"),
]


def words_of(value: object) -> str:
    return " ".join(value) if isinstance(value, tuple) else ""


def last_line(outcome: Outcome) -> str:
    assert outcome.status == 2, outcome.err
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    return outcome.err.splitlines()[-1]


@pytest.mark.parametrize(("words", "message"), WRONG_WORDS, ids=words_of)
def test_a_wrong_word_is_answered_in_one_line_with_the_valid_ones(
    fewshot: Fewshot, words: tuple[str, ...], message: str
) -> None:
    assert re.search(message, fewshot(*words).error)


@pytest.mark.parametrize(("words", "message"), WRONG_FOR_STROKES, ids=words_of)
def test_a_number_that_does_not_fit_the_data_is_answered_in_one_line(
    fewshot: Fewshot, words: tuple[str, ...], message: str
) -> None:
    assert re.search(message, fewshot(*SMOKE, *words).error)


@pytest.mark.parametrize("words", [words for words, _ in WRONG_WORDS if words[0] == "run" and "--dataset" not in words])
def test_words_are_checked_before_any_data_are_looked_for(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Nobody wants to wait for a download to be told of a slip of the keyboard."""
    if "--split" in words:
        pytest.skip("what splits there are, the data set knows")

    def look(*_: Any, **__: Any) -> None:
        pytest.fail("it looked for the data first")

    monkeypatch.setattr(experiment, "open_dataset", look)
    assert fewshot(*words).status == 2


def test_a_gpu_that_is_not_there_is_told_in_one_line(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "use --device cpu or auto" in fewshot(*SMOKE, "--device", "cuda").error


@pytest.mark.parametrize("kind", ["pickle", "torch", "garbage", "folder"])
def test_what_is_no_checkpoint_is_refused_in_one_line(fewshot: Fewshot, kind: str) -> None:
    path = Path("model.pt")
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"model": "proto"}))
    elif kind == "torch":
        torch.save({"weight": torch.zeros(3)}, path)
    elif kind == "garbage":
        path.write_bytes(os.urandom(500))
    else:
        path.mkdir()
    assert re.search(r"checkpoint", fewshot("evaluate", path).error)
    said = fewshot(*SMOKE, "--init", path).error
    assert "--fresh" not in said if kind in ("pickle", "torch") else "checkpoint" in said


def test_an_explicit_omniglot_never_falls_back(fewshot: Fewshot) -> None:
    outcome = fewshot("run", "--dataset", "omniglot", "--recipe", "smoke")
    assert re.search(r"^fewshot: .*(connect|reach|refused|fetch)", last_line(outcome), re.IGNORECASE)
    assert len(outcome.err.splitlines()) <= 2  # one before it says that a download begins
    assert "strokes" not in outcome.err
    assert not Path("runs").exists()


def test_a_split_of_omniglot_never_falls_back_either(fewshot: Fewshot) -> None:
    outcome = fewshot("run", "--split", "lake", "--recipe", "smoke")
    assert last_line(outcome).startswith("fewshot: ")
    assert "strokes" not in outcome.err


def test_two_runs_of_one_training_at_once_are_refused_in_one_line(fewshot: Fewshot) -> None:
    folder = checkpoint_of(record_in(fewshot(*SMOKE))).parent
    (folder / "checkpoint.safetensors").unlink()
    with sole_trainer(folder):
        assert re.search(rf"already running \(process {os.getpid()}, ", fewshot(*SMOKE).error)


def test_without_records_a_model_that_there_is_not_is_named_all_the_same(fewshot: Fewshot) -> None:
    Path("results/runs").mkdir(parents=True)
    said = fewshot("compare", "porto+simpleshot", "matching").error
    assert re.search(r"holds no records: .*; unknown model 'porto'\. Did you mean 'proto'\? Valid: anil, ", said)
    assert "unknown" not in fewshot("compare", "proto", "matching").error


def test_a_full_disk_is_told_in_one_line(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert re.search(r"cannot write .*No space left on device.*Make room", fewshot(*SMOKE).error)


def test_an_output_folder_that_is_a_file_is_told_in_one_line(fewshot: Fewshot) -> None:
    Path("runs").write_text("in the way")
    outcome = fewshot(*SMOKE)
    assert outcome.status in (1, 2)
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1
    assert "runs" in outcome.err


def test_ctrl_c_outside_of_training_ends_with_130_and_no_traceback(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "run_readouts", interrupt)
    outcome = fewshot(*SMOKE)
    assert outcome.status == 130
    assert outcome.err.split() == ["fewshot:", "stopped"]


@pytest.mark.parametrize("number", ["nan", "inf", "1e400"])
def test_what_is_no_finite_number_is_no_value_of_an_option(fewshot: Fewshot, number: str) -> None:
    assert f"{number} is no finite number" in fewshot("run", "--learning-rate", number).error


def test_a_plan_of_bytes_is_no_toml(fewshot: Fewshot) -> None:
    Path("plan.toml").write_bytes(b"\x80\x02}")
    assert "plan.toml is no TOML" in fewshot("sweep", "plan.toml").error
