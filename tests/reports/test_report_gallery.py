from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from command_line import Fewshot
from episodes.errors import UserError
from fewshot.evaluation.embedding_cache import Embeddings
from fewshot.records.record import RunRecord, read_records
from fewshot.reports.html import class_results, page
from fewshot.reports.html.figures import Figure
from fewshot.reports.html.gallery import Gallery, episodes_to_look_at, read_gallery, write_gallery
from fewshot.reports.html.page import all_figures, render
from fewshot.reports.html.row_names import boards_of
from fewshot.reports.plots.embedding_map import project
from photo_builders import plain_photos
from report_records import a_record
from toy_classes import QUICK, FewStrokes
from toy_runs import CONFIG, run


def train(model: str = "proto") -> None:
    """Some seconds of training that count as a full one, and their record."""
    recipe = replace(QUICK, name="fast", train_episodes=10)
    run(replace(CONFIG, model=model, recipe=recipe, way=5, query=15), FewStrokes(), Path("runs"))


def closeups_alone(records: list[RunRecord], seen: Gallery) -> list[Figure]:
    """The figures that are drawn of closeups; as files the others are looked at elsewhere."""
    kinds = ("embeddings", "hardest", "class-accuracy", "calibration", "confusions", "map")
    return [figure for figure in all_figures(records, seen) if figure.key.startswith(kinds)]


@pytest.fixture
def plain_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """By principal components: t-SNE takes seconds, and one test of its map is enough."""
    monkeypatch.setattr(class_results, "tsne", lambda table, _: project(table)[0])


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page is written without its pictures: the closeups alone are looked at."""
    monkeypatch.setattr(page, "inline_svg", lambda *_: "")


@pytest.mark.usefixtures("plain_map")
def test_closeups_show_what_the_record_counted(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    train("proto")
    train("matching")
    monkeypatch.setattr(page, "all_figures", closeups_alone)
    outcome = fewshot("report", "--closeups", "--plots", "plots")
    assert outcome.status == 0, outcome.err
    records, gallery = read_records([Path("runs/records")]), read_gallery(Path("runs/closeups.json"))
    (board,) = boards_of(records)
    assert [episode.kind for episode in gallery.episodes] == ["typical", "hard", "hard", "hard", "hard"]
    for episode in gallery.episodes:
        assert len(episode.views) == 2
        for row in board.rows:
            view = episode.view_of(row)
            assert view is not None
            assert sum(map(int.__eq__, episode.labels, view.predicted)) == row.first.counts[episode.index]
    keys = {path.stem.rpartition("-strokes")[0] for path in Path("plots").glob("*.png")}
    assert keys >= {"embeddings-1", "embeddings-2", "hardest-4", "class-accuracy", "calibration", "confusions", "map-1"}
    assert render(records, gallery) == Path("runs/report.html").read_text()
    assert len(list(Path("plots").glob("hardest-*.png"))) == 4
    best, (classes,) = board.rows[0].first, gallery.classes
    queries = sum(number for _, _, number in classes.calibration)
    assert queries == best.num_episodes * best.num_queries
    right = sum(accuracy * number for _, accuracy, number in classes.calibration)
    assert right == pytest.approx(best.counts.sum(), abs=1e-3 * queries)  # embedded in other batches: bf16 rounds
    assert all(0 < pair.wrong <= pair.queries and len(pair.names) == 2 for pair in classes.confused)
    assert 1 - classes.hardest[0].wrong / classes.hardest[0].queries == pytest.approx(min(classes.accuracies), abs=1e-4)


def test_closeups_show_ones_own_photos_in_color(fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = plain_photos(Path("photos"), 6)
    words = ("run", "--dataset", photos, "--encoder", "lite0", "--readout", "own,svm")
    assert fewshot(*words, "--shot", "3", "--query", "2", "--episodes", "50").status == 0
    with monkeypatch.context() as patch:
        patch.setattr(page, "inline_svg", lambda *_: "")  # the pictures are drawn below
        assert fewshot("report").status == 0
    assert "draws your images" in Path("runs/report.html").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(Embeddings, "_embed", None)  # the run has left its embeddings: none is made again
        assert fewshot("report", "--closeups").status == 0
    gallery, text = read_gallery(Path("runs/closeups.json")), Path("runs/report.html").read_text()
    (classes,), (drawn,) = gallery.classes, gallery.maps
    assert classes.photos
    assert sum(map(sum, classes.confusion)) == 50 * 6
    assert classes.names == drawn.names == ("blue", "green", "red")
    assert len(drawn.places) == 18
    assert text.count('class="photos"') == 6
    assert "draws your images" not in text
    (photos / "red" / "00.png").unlink()
    outcome = fewshot("report", "--closeups")
    assert "are not those of the records; left out" in outcome.err
    assert outcome.status == 2


@pytest.mark.usefixtures("undrawn", "plain_map")
def test_closeups_of_photos_that_were_damaged_for_the_test_are_of_damaged_ones(fewshot: Fewshot) -> None:
    photos = plain_photos(Path("photos"), 6)
    words = ("run", "--dataset", photos, "--encoder", "lite0", "--readout", "svm", "--damage", "0.5")
    assert fewshot(*words, "--shot", "3", "--query", "2", "--episodes", "50").status == 0
    outcome = fewshot("report", "--closeups")
    assert "left out" not in outcome.err
    (board,) = boards_of(read_records([Path("runs/records")]))
    (classes,) = read_gallery(Path("runs/closeups.json")).classes
    right = sum(line[number] for number, line in enumerate(classes.confusion))
    assert right == pytest.approx(sum(board.rows[0].first.counts), abs=3)
    assert board.dataset == "Your images in photos, 50 % of the images corrupted"


def test_what_was_not_looked_at_is_said() -> None:
    text = render([a_record("proto")])
    assert "not shown for Prototypical Networks" in text
    assert "fewshot report --closeups" in text
    photos = render([a_record("proto", pixels="miniimagenet-ravi-84"), a_record(pixels="miniimagenet-ravi-84", seed=1)])
    assert photos.count("miniImageNet: not shown, its images may not be passed on") == 1
    assert "fewshot report --closeups</code> needs" not in photos


@pytest.mark.usefixtures("undrawn", "plain_map")
def test_closeups_of_other_episodes_are_not_drawn(fewshot: Fewshot) -> None:
    train()
    assert fewshot("report", "--closeups").status == 0
    gallery = read_gallery(Path("runs/closeups.json"))
    drawn = {figure.key.split("-")[0] for figure in all_figures([a_record()], gallery)}
    assert not drawn & {"embeddings", "hardest", "calibration"}


def test_without_weights_there_is_nothing_to_look_at(fewshot: Fewshot) -> None:
    assert "nothing to look at" in fewshot("report", "--closeups").error


@pytest.mark.parametrize("content", ['{"schema": 1, "closeups": []}', '{"schema": 2, "episodes": [{"kind": 1}]}', "{"])
def test_a_damaged_or_older_file_of_closeups_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "closeups.json").write_text(content)
    with pytest.raises(UserError, match="does not hold closeups"):
        read_gallery(tmp_path / "closeups.json")
    assert read_gallery(tmp_path / "none.json") == Gallery()
    assert read_gallery(write_gallery(Gallery(), tmp_path / "empty.json")) == Gallery()


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
