"""The command line, in process: what is asked, what is printed where, and one line for everything that goes wrong."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from toy_classes import FewStrokes

from episodes.datasets import DATASETS
from episodes.datasets.strokes import Strokes
from fewshot import commands, training
from fewshot.checkpoints import load_tensors, sole_trainer
from fewshot.cli import cli, main
from fewshot.encoders import ENCODERS
from fewshot.methods import METHODS
from fewshot.protocols import standard_protocols
from fewshot.records import RunRecord, read_record

SMOKE = ("run", "--dataset", "strokes", "--recipe", "smoke", "--width", "8", "--episodes", "20", "--query", "5")


@dataclass(frozen=True)
class Outcome:
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line on standard error of a command that failed."""
        assert self.status == 2
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("fewshot: ")
        return line


class Fewshot:
    """Calls the command line as the console script does, in a folder of its own."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *words: str | Path) -> Outcome:
        self.capsys.readouterr()
        status: Any = 0
        try:
            main([str(word) for word in words])
        except SystemExit as stop:
            status = stop.code
        captured = self.capsys.readouterr()
        return Outcome(status or 0, captured.out, captured.err)


@pytest.fixture
def fewshot(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Fewshot]:
    """The command line in an empty folder, with few strokes, an empty data folder and no network."""
    with socket.socket() as closed:  # bound and never listening: a connection is refused at once
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("FEWSHOT_OMNIGLOT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("FEWSHOT_DATA", str(tmp_path / "data"))
        monkeypatch.delenv("FEWSHOT_CACHE", raising=False)
        monkeypatch.setitem(DATASETS._entries, "strokes", FewStrokes)
        monkeypatch.setattr(commands, "keep_freed_memory", lambda: True)  # it would last beyond the test
        monkeypatch.chdir(tmp_path)
        yield Fewshot(capsys)


def record_in(outcome: Outcome) -> RunRecord:
    """The record whose path a command printed."""
    assert outcome.status == 0, outcome.err
    (path,) = re.findall(r"^record +(.+)$", outcome.out, re.MULTILINE)
    return read_record(Path(path))


def checkpoint_of(record: RunRecord) -> Path:
    return Path(record.config["checkpoint"])


def test_a_run_prints_the_accuracy_and_where_checkpoint_and_record_lie(fewshot: Fewshot) -> None:
    outcome = fewshot(*SMOKE)
    record = record_in(outcome)
    lines = dict(line.split(None, 1) for line in outcome.out.splitlines())
    assert lines["accuracy"] == f"{100 * record.accuracy:.2f} ± {100 * record.ci95:.2f} %  over 20 episodes"
    assert lines["model"].startswith("proto, smoke recipe, seed 0")
    assert "SMOKE TEST, not a result" in lines["model"]
    assert lines["protocol"] == record.protocol == "strokes-standard-28-c50/5w1s/q5@v1"
    assert lines["published"] == "no paper gives a number for this protocol"
    assert "1.96" in lines["interval"]
    assert Path(lines["checkpoint"]).is_file()
    assert Path(lines["checkpoint"]).is_relative_to("runs")
    assert Path(lines["record"]).is_relative_to("runs")
    assert "val " in outcome.err
    assert "loss " in outcome.err
    assert "\x1b" not in outcome.out  # no colors where nobody looks


def test_json_is_alone_on_standard_output_and_is_the_record(fewshot: Fewshot) -> None:
    outcome = fewshot(*SMOKE, "--json")
    assert outcome.status == 0
    content = json.loads(outcome.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    (path,) = Path("runs/records").glob("*.json")
    assert content == json.loads(path.read_text(encoding="utf-8")) == asdict(read_record(path))


def test_the_same_command_finds_the_finished_training(fewshot: Fewshot) -> None:
    first, again = fewshot(*SMOKE), fewshot(*SMOKE)
    assert "already trained" in again.err
    assert "training" not in again.err.replace("already trained", "")
    assert again.out == first.out
    anew = fewshot(*SMOKE, "--fresh")
    assert "already trained" not in anew.err
    assert anew.out == first.out


def test_every_option_of_run_reaches_the_record(fewshot: Fewshot) -> None:
    recipe = {
        "--train-way": 4,
        "--train-shot": 2,
        "--train-query": 3,
        "--train-episodes": 7,
        "--learning-rate": 0.005,
        "--labeled-share": 0.5,
        "--unlabeled": 2,
        "--distractors": 1,
    }
    test = {"--way": 3, "--shot": 1, "--query": 4, "--episodes": 11, "--episode-seed": 8, "--seed": 9}
    words = [str(word) for pair in (recipe | test).items() for word in pair]
    more = ("--model", "cluster-proto", "--initial-radius", "50", "--precision", "fp32", "--device", "cpu")
    record = record_in(
        fewshot(*SMOKE, *words, *more, "--out", "elsewhere", "--encoder", "conv4", "--split", "standard")
    )
    for flag, value in recipe.items():
        assert record.config["recipe"][flag[2:].replace("-", "_")] == value, flag
    assert record.protocol == "strokes-standard-28-c50/3w1s/q4u2d1@v1"
    assert (record.num_episodes, record.episode_seed, record.seed) == (11, 8, 9)
    assert (record.model, record.recipe, record.shortened) == ("cluster-proto", "smoke", True)
    assert record.config["model_options"] == {"initial_radius": 50}
    assert record.config["encoder_options"] == {"width": 8}
    assert record.config["precision"] == "fp32"
    assert checkpoint_of(record).is_relative_to("elsewhere")


def test_a_shortened_training_is_called_one(fewshot: Fewshot) -> None:
    outcome = fewshot(*SMOKE, "--train-episodes", "5")
    assert "SHORTENED training" in outcome.out
    assert record_in(outcome).shortened
    longer = fewshot(*SMOKE, "--train-episodes", "25")
    assert "SHORTENED" not in longer.out


def test_a_checkpoint_is_tested_again(fewshot: Fewshot) -> None:
    trained = record_in(fewshot(*SMOKE, "--shot", "2"))
    path = checkpoint_of(trained)
    short = ("--episodes", "20", "--query", "5")
    again = record_in(fewshot("evaluate", path, *short))
    assert again.protocol == "strokes-standard-28-c50/5w2s/q5@v1"  # 5-way, and the shot it was trained for
    assert again.correct == trained.correct
    harder = record_in(fewshot("evaluate", path, "--way", "10", "--shot", "1", *short))
    assert harder.protocol == "strokes-standard-28-c50/10w1s/q5@v1"
    assert harder.accuracy < trained.accuracy
    content = json.loads(fewshot("evaluate", path, "--episode-seed", "3", *short, "--json").out)
    assert content["episode_seed"] == 3
    assert content["correct"] != again.correct


WRONG_WORDS = [
    (("rnu",), r"unknown command 'rnu'\. Did you mean 'run'\? Valid: bench, .* show"),
    (("run", "--model", "porto"), r"unknown model 'porto'\. Did you mean 'proto'\? Valid: .*matching"),
    (("run", "--encoder", "conv5"), r"unknown encoder 'conv5'\. Did you mean 'conv4'\? Valid: "),
    (("run", "--recipe", "fats"), r"unknown recipe 'fats'\. Did you mean 'fast'\? Valid: fast, paper, smoke"),
    (("run", "--device", "cdua"), r"unknown device 'cdua'\. Did you mean 'cuda'\? Valid: auto, cpu, cuda"),
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
    (("evaluate", "model.safetensors", "--wya", "5"), r"No such option:? '?--wya'?.*--way"),
    (("evaluate", "nothing.safetensors"), r"there is no checkpoint nothing\.safetensors: `fewshot run` writes one"),
    (("list", "modles"), r"'modles'\. Did you mean 'models'\? Valid: datasets, encoders, models, protocols"),
    (("list",), r"Missing argument '\[models\|datasets\|protocols\|encoders\]'"),
    (("data", "gte", "omniglot"), r"unknown action 'gte'\. Did you mean 'get'\? Valid: check, get, path"),
    (("data", "path", "omniglto"), r"unknown data set 'omniglto'\. Did you mean 'omniglot'\?"),
    (("data", "get", "strokse"), r"unknown data set 'strokse'\. Did you mean 'strokes'\?"),
    (("show", "strokse"), r"unknown data set 'strokse'\. Did you mean 'strokes'\?"),
    (("show", "strokes", "--part", "tset"), r"unknown part 'tset'\. Did you mean 'test'\? Valid: test, train, val"),
    (("run", "--dataset", "omniglto"), r"unknown data set 'omniglto'\. Did you mean 'omniglot'\? Valid: "),
    (("run", "--dataset", "./no-such-folder"), r"there is no folder or CSV file \./no-such-folder"),
    (("run", "--dataset", "folder"), r"give the folder \(or CSV file\) itself"),
    (
        ("run", "--dataset", "omniglot", "--split", "vinyls"),
        r"'vinyls'\. Did you mean 'vinyals'\? Valid: lake, vinyals",
    ),
    (("run", "--split", "lkae"), r"unknown omniglot split 'lkae'\. Did you mean 'lake'\?"),
]
WRONG_FOR_STROKES = [
    (("--way", "13"), r"13-way needs 13 classes and strokes test has 12: choose a way of 12 or less"),
    (("--query", "20"), r"1 shot \+ 20 query needs 21 images of each class; class .* lower shot or query"),
    (("--train-way", "33"), r"33-way needs 33 classes and strokes train has 32"),
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

    monkeypatch.setattr(commands, "open_dataset", look)
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


def test_bare_fewshot_and_help_print_the_same_help(fewshot: Fewshot) -> None:
    bare, helped = fewshot(), fewshot("--help")
    assert bare == helped == fewshot("-h")
    assert bare.status == 0
    assert bare.err == ""
    assert all(command in bare.out for command in cli.commands)
    assert "..." not in bare.out.partition("Commands:")[2]  # every command's line is whole


@pytest.mark.parametrize("command", sorted(cli.commands))
def test_the_help_of_every_command_is_whole(fewshot: Fewshot, command: str) -> None:
    outcome = fewshot(command, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"Usage: fewshot {command} ")
    assert max(map(len, outcome.out.splitlines())) <= 110
    assert "TODO" not in outcome.out
    options = [parameter for parameter in cli.commands[command].params if isinstance(parameter, click.Option)]
    for option in options:
        assert option.help, f"{option.opts[0]} says nothing of itself"
        assert option.opts[0] in outcome.out
    assert (cli.commands[command].help or "").strip().endswith((".", "`"))


def test_the_version_is_that_of_the_package(fewshot: Fewshot) -> None:
    assert re.fullmatch(r"fewshot \d+\.\d+\.\d+\n", fewshot("--version").out)


def test_lists_name_everything_there_is(fewshot: Fewshot) -> None:
    models = fewshot("list", "models").out
    assert all(re.search(rf"^{re.escape(name)} ", models, re.MULTILINE) for name in METHODS)
    assert "--distance euclidean|cosine (default euclidean)" in models
    encoders = fewshot("list", "encoders").out
    assert all(re.search(rf"^{re.escape(name)} ", encoders, re.MULTILINE) for name in ENCODERS)
    datasets = fewshot("list", "datasets").out
    assert all(re.search(rf"^{re.escape(name)} ", datasets, re.MULTILINE) for name in DATASETS)
    assert "vinyals, lake" in datasets
    assert re.search(r"^omniglot .* no *$", datasets, re.MULTILINE)
    assert re.search(r"^strokes .* yes *$", datasets, re.MULTILINE)


def test_the_list_of_protocols_puts_the_published_number_beside_each(fewshot: Fewshot) -> None:
    lines = {line.split()[0]: line for line in fewshot("list", "protocols").out.splitlines() if "@v" in line}
    assert lines.keys() == {protocol.name for protocol in standard_protocols()}
    assert "98.80 %" in lines["omniglot-vinyals-28/5w1s/q15@v1"]
    assert "49.42 ± 0.78 %" in lines["miniimagenet-ravi-84/5w1s/q15@v1"]
    assert "Snell" in lines["omniglot-vinyals-28/20w5s/q15@v1"]
    assert "%" not in lines["strokes-standard-28/5w1s/q15@v1"]


def test_without_omniglot_and_network_strokes_are_used_and_that_is_said_everywhere(fewshot: Fewshot) -> None:
    words = [word for word in SMOKE if word not in ("--dataset", "strokes")]
    outcome = fewshot(*words)
    record = record_in(outcome)
    assert record.protocol.startswith("strokes-")
    for text in (outcome.err, outcome.out, *record.notes):
        assert "uses the embedded strokes" in " ".join(text.split())
        assert "not Omniglot's" in " ".join(text.split())
    assert len(record.notes) == 1
    assert "\n" not in record.notes[0]


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


def test_brackets_in_a_path_are_printed_as_they_are(fewshot: Fewshot) -> None:
    """A terminal library may take [bold] for a command of its own, and trip over [/x]."""
    for _ in range(2):
        outcome = fewshot(*SMOKE, "--out", "runs[bold][/x]")
        assert checkpoint_of(record_in(outcome)).is_relative_to("runs[bold][/x]")
    assert "runs[bold][/x]" in outcome.err


def test_two_runs_of_one_training_at_once_are_refused_in_one_line(fewshot: Fewshot) -> None:
    folder = checkpoint_of(record_in(fewshot(*SMOKE))).parent
    (folder / "checkpoint.safetensors").unlink()
    with sole_trainer(folder):
        assert re.search(rf"already running \(process {os.getpid()}, ", fewshot(*SMOKE).error)


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

    monkeypatch.setattr(commands, "run", interrupt)
    outcome = fewshot(*SMOKE)
    assert outcome.status == 130
    assert outcome.err.split() == ["fewshot:", "stopped"]


@pytest.mark.timeout(900)
def test_ctrl_c_in_training_ends_with_130_and_the_same_command_goes_on_to_the_same_bits(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process and a real SIGINT, as soon as there is a first state on the disk."""
    words = [*SMOKE, "--train-episodes", "120"]
    code = (
        "import sys; from toy_classes import FewStrokes; from episodes.datasets import DATASETS\n"
        "from fewshot import training; from fewshot.cli import main\n"
        "DATASETS._entries['strokes'] = FewStrokes; training._SECONDS_BETWEEN_STATES = -1.0\n"
        "main(sys.argv[1:])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", code, *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        patience = time.monotonic() + 250
        while not [*Path().glob("runs/checkpoints/*/state.safetensors")] and time.monotonic() < patience:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=250)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    stopped = re.fullmatch(
        r"fewshot: stopped after training episode (\d+); the same command goes on from there", err.splitlines()[-1]
    )
    assert stopped, err
    (state,) = Path().glob("runs/checkpoints/*/state.safetensors")
    assert load_tensors(state)[1]["episode"] == int(stopped[1]) < 120
    seen: list[int] = []
    plain_step = training.train_step

    def counting_step(*arguments: Any) -> torch.Tensor:
        seen.append(1)
        return plain_step(*arguments)

    monkeypatch.setattr(training, "train_step", counting_step)
    resumed = record_in(fewshot(*words))
    assert len(seen) == 120 - int(stopped[1])
    undisturbed = record_in(fewshot(*words, "--out", "undisturbed"))
    found, expected = (load_tensors(checkpoint_of(record))[0] for record in (resumed, undisturbed))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert resumed.correct == undisturbed.correct


def test_data_says_where_a_set_lies_and_whether_it_is_whole(fewshot: Fewshot, tmp_path: Path) -> None:
    assert fewshot("data", "path", "omniglot").out.strip() == str(tmp_path / "data" / "omniglot-py")
    assert fewshot("data", "path", "omniglot", "--data", "/elsewhere").out.strip() == "/elsewhere/omniglot-py"
    checked = fewshot("data", "check", "strokes")
    assert (checked.status, checked.out) == (0, "strokes: everything is in order\n")
    got = fewshot("data", "get", "strokes")
    assert got.status == 0
    assert "drawn by the program itself" in got.err


def test_show_draws_an_episode_into_a_picture(fewshot: Fewshot) -> None:
    outcome = fewshot("show", "strokes", "--way", "3", "--picture", "episode.png")
    assert outcome.status == 0, outcome.err
    assert "episode.png" in outcome.out
    assert Path("episode.png").read_bytes().startswith(b"\x89PNG")


def test_a_smoke_test_stands_in_no_table_and_a_shortened_training_is_not_ranked(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_in(fewshot(*SMOKE))
    assert fewshot("leaderboard").out.startswith("No records yet")
    monkeypatch.setitem(DATASETS._entries, "strokes", Strokes)  # 20-way validation needs more than a few characters
    fast = ("--recipe", "fast", "--train-episodes", "3", "--train-way", "5")
    record = record_in(fewshot(*SMOKE, *fast))
    table = fewshot("leaderboard").out
    assert "not ranked" in table
    assert record.percent() in table
