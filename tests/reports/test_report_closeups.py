from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from command_line import Fewshot
from episodes.errors import UserError
from fewshot.experiments.run import run
from fewshot.records.record import read_records
from fewshot.reports.html.gallery import episodes_to_look_at, read_closeups
from fewshot.reports.html.gallery_episodes import project
from fewshot.reports.html.page import all_figures, render
from fewshot.reports.html.row_names import cells_of
from report_records import a_record
from toy_classes import QUICK, FewStrokes
from toy_runs import CONFIG


def train(model: str = "proto") -> None:
    """Some seconds of training that count as a full one, and their record."""
    recipe = replace(QUICK, name="fast", train_episodes=10)
    run(replace(CONFIG, model=model, recipe=recipe, way=5, query=15), FewStrokes(), Path("runs"))


def test_closeups_show_what_the_record_counted(fewshot: Fewshot) -> None:
    train("proto")
    train("matching")
    outcome = fewshot("report", "--closeups", "--plots", "plots")
    assert outcome.status == 0, outcome.err
    records, closeups = read_records([Path("runs/records")]), read_closeups(Path("runs/closeups.json"))
    (cell,) = cells_of(records)
    assert [closeup.kind for closeup in closeups] == ["typical", "hard", "hard", "hard", "hard"]
    for closeup in closeups:
        assert len(closeup.views) == 2
        for entry in cell.entries:
            view = closeup.view_of(entry)
            assert view is not None
            right = sum(map(int.__eq__, closeup.labels, view.predicted))
            assert right == entry.record.counts[closeup.index]
    keys = {figure.key for figure in all_figures(records, closeups)}
    assert {key.split("-")[0] for key in keys} >= {"embeddings", "hardest"}
    assert render(records, closeups) == Path("runs/report.html").read_text()
    assert len(list(Path("plots").glob("hardest-*.png"))) == 4


def test_what_was_not_looked_at_is_said() -> None:
    page = render([a_record("proto")])
    assert "not shown for proto" in page
    assert "fewshot report --closeups" in page


def test_closeups_of_other_episodes_are_not_drawn(fewshot: Fewshot) -> None:
    train()
    assert fewshot("report", "--closeups").status == 0
    closeups = read_closeups(Path("runs/closeups.json"))
    drawn = {figure.key.split("-")[0] for figure in all_figures([a_record()], closeups)}
    assert not drawn & {"embeddings", "hardest"}


def test_without_weights_there_is_nothing_to_look_at(fewshot: Fewshot) -> None:
    assert "nothing to look at" in fewshot("report", "--closeups").error


def test_a_damaged_file_of_closeups_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "closeups.json").write_text('{"closeups": [{"views": [1]}]}')
    with pytest.raises(UserError, match="does not hold closeups"):
        read_closeups(tmp_path / "closeups.json")
    assert read_closeups(tmp_path / "none.json") == []


def test_the_hardest_episodes_are_those_with_most_mistakes_over_all_models() -> None:
    accuracies = np.ones((2, 50))
    accuracies[0, 7], accuracies[1, 9], accuracies[:, 30] = 0.2, 0.3, 0.1
    chosen = episodes_to_look_at(accuracies)
    assert [index for kind, index in chosen if kind == "hard"][:3] == [30, 7, 9]


def test_the_projection_keeps_the_distances_in_a_plane() -> None:
    flat = torch.randn(30, 2, generator=torch.Generator().manual_seed(0))
    turned = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0][:2]
    places, share = project(flat @ turned)
    assert share == pytest.approx(1)
    drawn = torch.tensor(places).double()
    assert drawn.min() >= 0
    assert drawn.max() <= 1000
    distances, seen = torch.cdist(flat, flat).double(), torch.cdist(drawn, drawn)
    assert torch.allclose(seen / seen.max(), distances / distances.max(), atol=0.005)
