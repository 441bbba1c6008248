"""The command line, in process: what is asked, what is printed where, what is left on the disk."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch

from command_line import FEW_STROKES, SMOKE, Fewshot, checkpoint_of, draw_trainings, record_in
from episodes.datasets.cards import DATASETS
from episodes.datasets.omniglot.dataset import Omniglot
from episodes.datasets.strokes.card import CARD
from episodes.errors import UserError
from fewshot.cli.main import cli
from fewshot.models.encoders.base import ENCODERS
from fewshot.models.methods import METHODS
from fewshot.models.tensor_files import load_tensors
from fewshot.records.protocols import standard_protocols
from fewshot.records.record import read_record, record_bytes
from fewshot.training import loop as training
from fewshot.training.step import train_step


def test_a_run_prints_the_accuracy_and_where_checkpoint_and_record_lie(fewshot: Fewshot) -> None:
    outcome = fewshot(*SMOKE)
    record = record_in(outcome)
    lines = dict(line.split(None, 1) for line in outcome.out.splitlines())
    assert lines["accuracy"] == f"{100 * record.accuracy:.2f} ± {100 * record.ci95:.2f} %  over 20 episodes"
    assert lines["model"].startswith("proto, smoke recipe, seed 0")
    assert "SMOKE TEST, not a result" in lines["model"]
    assert lines["protocol"] == record.protocol == "strokes-standard-28-c50/5w1s/q5@v1"
    assert lines["published"] == "no paper gives a number for this protocol"
    assert "Student's t with n - 1 df" in lines["interval"]
    assert Path(lines["checkpoint"]).is_file()
    assert Path(lines["checkpoint"]).is_relative_to("runs")
    assert Path(lines["record"]).is_relative_to("runs")
    assert "val " in outcome.err
    assert "loss " in outcome.err
    assert "\x1b" not in outcome.out  # no colors where nobody looks


def test_a_smoke_test_has_few_test_episodes_and_embeds_what_they_draw(fewshot: Fewshot) -> None:
    words = [*SMOKE[: SMOKE.index("--episodes")], "--query", "5"]
    outcome = fewshot(*words)
    record = record_in(outcome)
    assert record.num_episodes == 200
    assert "over 200 episodes" in outcome.out
    assert "--episodes" not in record.command
    assert record_in(fewshot("evaluate", checkpoint_of(record), "--query", "5")).num_episodes == 200
    assert record_in(fewshot(*words, "--episodes", "300")).num_episodes == 300


def test_json_is_alone_on_standard_output_and_is_the_record(fewshot: Fewshot) -> None:
    outcome = fewshot(*SMOKE, "--json")
    assert outcome.status == 0
    content = json.loads(outcome.out, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    (path,) = Path("runs/records").glob("*.json")
    predictions = content.pop("predictions")
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored == json.loads(record_bytes(read_record(path)))
    assert stored.pop("digest"), "of the file alone"
    assert content == stored
    confusion = np.array(predictions["confusion"])
    assert confusion.sum() == 20 * 25  # episodes of 5 classes with 5 queries each
    assert confusion.diagonal().sum() / confusion.sum() == pytest.approx(content["accuracy"])
    assert predictions["per_class"] == pytest.approx(list(confusion.diagonal() / confusion.sum(1)))
    first, second, count = predictions["most_confused"][0]
    places = [predictions["classes"].index(name) for name in (first, second)]
    assert count == confusion[places[0], places[1]] + confusion[places[1], places[0]]
    assert count == np.triu(confusion + confusion.T, 1).max()
    assert 0 <= predictions["calibration"]["expected_error"] <= 1
    assert sum(queries for queries, _, _ in predictions["calibration"]["bins"]) == 500


def test_the_same_command_finds_the_finished_training(fewshot: Fewshot) -> None:
    first, again = fewshot(*SMOKE), fewshot(*SMOKE)
    assert "already trained" in again.err
    assert "training" not in again.err.replace("already trained", "")
    assert again.out == first.out
    anew = fewshot(*SMOKE, "--fresh")
    assert "already trained" not in anew.err
    assert anew.out == first.out


def test_the_course_of_a_training_is_drawn_beside_its_checkpoint_and_not_again(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_trainings(monkeypatch)
    picture = checkpoint_of(record_in(fewshot(*SMOKE))).with_name("training.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    picture.write_text("as it was")
    fewshot(*SMOKE)
    assert picture.read_text() == "as it was"


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
    test = {"--way": 3, "--shot": 1, "--query": 4, "--episodes": 11, "--episode-seed": 8, "--seed": 9, "--dirichlet": 2}
    words = [str(word) for pair in (recipe | test).items() for word in pair]
    more = ("--model", "cluster-proto", "--initial-radius", "50", "--precision", "fp32", "--device", "cpu")
    record = record_in(
        fewshot(*SMOKE, *words, *more, "--out", "elsewhere", "--encoder", "conv4", "--split", "standard")
    )
    for flag, value in recipe.items():
        assert getattr(record.trained.recipe, flag[2:].replace("-", "_")) == value, flag
    assert record.protocol == "strokes-standard-28-c50/3w1s/q4dirichlet2u2d1@v1"
    assert (record.num_episodes, record.episode_seed, record.seed) == (11, 8, 9)
    assert (record.model, record.recipe, record.shortened) == ("cluster-proto", "smoke", True)
    assert record.trained.model_options == {"initial_radius": 50}
    assert record.trained.encoder_options == {"width": 8}
    assert record.trained.precision == "fp32"
    assert checkpoint_of(record).is_relative_to("elsewhere")


def test_a_shortened_training_is_called_one(fewshot: Fewshot) -> None:
    outcome = fewshot(*SMOKE, "--train-episodes", "5")
    assert "SHORTENED training" in outcome.out
    assert record_in(outcome).shortened
    longer = fewshot(*SMOKE, "--train-episodes", "25")
    assert "SHORTENED" not in longer.out


def test_no_test_prints_the_accuracy_on_val_and_reads_no_test_class(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_trainings(monkeypatch)
    words = [word for word in SMOKE if word not in ("--episodes", "20", "--query", "5")]
    monkeypatch.setitem(DATASETS._entries, "strokes", replace(FEW_STROKES, dataset="toy_classes:NoTest"))
    outcome = fewshot(*words, "--no-test")
    assert outcome.status == 0, outcome.err
    lines = dict(line.split(maxsplit=1) for line in outcome.out.splitlines())
    log = json.loads(Path(lines["log"]).read_text(encoding="utf-8"))
    assert log.pop("digest"), "of the file alone"
    assert lines["validation"].startswith(f"{100 * log['history']['val_accuracy']:.2f} ± ")
    assert Path(lines["checkpoint"]).is_file()
    assert Path(lines["training"]).is_file()
    assert not Path("runs", "records").exists()
    assert json.loads(fewshot(*words, "--no-test", "--json").out) == log
    assert "leave out --note" in fewshot(*words, "--no-test", "--note", "tried").error
    assert "nothing is tested: leave out --query, --episodes" in fewshot(*SMOKE, "--no-test").error


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


def test_the_name_of_older_records_for_hausdorff_still_runs(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object) -> None:
        raise UserError("no network")

    monkeypatch.setattr(Omniglot, "download", no_network)
    outcome = fewshot("hausdorff", "--data", "nowhere")
    assert (outcome.status, outcome.err.splitlines()[-1]) == (2, "fewshot: no network")


def test_bare_fewshot_and_help_print_the_same_help(fewshot: Fewshot) -> None:
    bare, helped = fewshot(), fewshot("--help")
    assert bare == helped == fewshot("-h")
    assert bare.status == 0
    assert bare.err == ""
    assert all(name in bare.out for name, command in cli.commands.items() if not command.hidden)
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
    assert re.search(r"^omniglot .*\(not here\)$", datasets, re.MULTILINE)
    assert re.search(r"^strokes .*\(here\)$", datasets, re.MULTILINE)


def test_the_list_of_protocols_puts_the_published_number_beside_each(fewshot: Fewshot) -> None:
    lines = {line.split()[0]: line for line in fewshot("list", "protocols").out.splitlines() if "@v" in line}
    assert lines.keys() == {str(protocol) for protocol in standard_protocols()}
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


def test_brackets_in_a_path_are_printed_as_they_are(fewshot: Fewshot) -> None:
    """A terminal library may take [bold] for a command of its own, and trip over [/x]."""
    for _ in range(2):
        outcome = fewshot(*SMOKE, "--out", "runs[bold][/x]")
        assert checkpoint_of(record_in(outcome)).is_relative_to("runs[bold][/x]")
    assert "runs[bold][/x]" in outcome.err


@pytest.mark.timeout(900)
def test_ctrl_c_in_training_ends_with_130_and_the_same_command_goes_on_to_the_same_bits(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real process and a real SIGINT, as soon as there is a first state on the disk."""
    words = [*SMOKE, "--train-episodes", "120"]
    code = (
        "import sys; from command_line import use_few_strokes\n"
        "from fewshot import training; from fewshot.cli.main import main\n"
        "use_few_strokes(); training._SECONDS_BETWEEN_STATES = -1.0\n"
        "main(sys.argv[1:])"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path])}
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
        r"fewshot: stopped after training episode (\d+); the same command goes on from there .*", err.splitlines()[-1]
    )
    assert stopped, err
    (state,) = Path().glob("runs/checkpoints/*/state.safetensors")
    assert load_tensors(state)[1]["episode"] == int(stopped[1]) < 120
    seen: list[int] = []
    plain_step = train_step

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
    monkeypatch.setitem(DATASETS._entries, "strokes", CARD)  # 20-way validation needs more than a few characters
    fast = ("--recipe", "fast", "--train-episodes", "3", "--train-way", "5")
    record = record_in(fewshot(*SMOKE, *fast))
    table = fewshot("leaderboard").out
    assert "Not ranked: shortened training" in table
    assert f"{100 * record.accuracy:.2f} ±" in table
