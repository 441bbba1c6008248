"""What the fast recipes save: accuracy and images of each model's fast recipe beside those of its paper's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from episodes.errors import UserError
from episodes.registry import UnknownNameError
from fewshot.records.published import COMPARABLE_PIXELS, Published, target_of, verdict
from fewshot.records.record import RunRecord
from fewshot.records.rows import Entry, entries_by_cell
from fewshot.reports.frame import of_todays_recipe
from fewshot.reports.names import protocol_words
from fewshot.reports.pages.base import Content, Page
from fewshot.reports.rendering import render, table_of
from fewshot.training.recipes import find_recipe, images_encoded

_WITHIN = "within intervals"


@dataclass(frozen=True)
class RecipeCost:
    """The best fast training of a model in one cell, the mean over its seeds, and how long the paper's would be."""

    row: Entry
    published: Published | None
    images: int
    paper_images: int | None  # None: no paper gives a whole recipe

    @property
    def record(self) -> RunRecord:
        """That of the first seed: what it says of the training, all say."""
        return self.row.first

    @property
    def reached(self) -> str:
        """Whether the published number is reached."""
        if self.published is None:
            return ""
        gap = 100 * self.row.interval.mean - self.published.accuracy
        if (word := verdict(gap, 0, self.published)) in ("number not checked", "not comparable"):
            return f"{word}, {gap:+.2f}"
        if gap >= 0:
            return f"yes, {gap:+.2f}"
        intervals = 100 * self.row.interval.half_width + (self.published.ci95 or 0.0)
        return f"{_WITHIN if -gap <= intervals else 'no'}, {gap:+.2f}"


def costs(records: Iterable[RunRecord]) -> list[RecipeCost]:
    """A cost for each model and cell of the papers' images that has a whole fast training; in the order of names."""
    best: dict[tuple[str, str], Entry] = {}
    for row in (row for rows in entries_by_cell(filter(_counts, records)).values() for row in rows):
        key = (row.first.model, row.first.protocol)
        if key not in best or _worth(row) > _worth(best[key]):
            best[key] = row
    found = []
    for (model, _), row in sorted(best.items(), key=_order):
        images = images_seen(row.first)
        if images:
            found.append(RecipeCost(row, target_of(row.first), images, _images_of_paper(model, row.first)))
    return found


def _counts(record: RunRecord) -> bool:
    trained = record.trained
    usual = not (record.readout or trained.corruption or record.test.dirichlet)
    plain = usual and trained.trained_as is None
    on_episodes = trained.recipe.train_way is not None
    known = record.pixels_way_shot[0] in COMPARABLE_PIXELS and not record.protocol_name.published_as
    return plain and on_episodes and known and record.recipe == "fast" and not record.shortened


def _worth(row: Entry) -> tuple[bool, float]:
    """Today's fast recipe before older ones, and of several such rows (of other options) the best on val."""
    return of_todays_recipe(row.first), row.first.history.val_accuracy or 0.0


def _order(item: tuple[tuple[str, str], Entry]) -> tuple[str, str, int, int]:
    (model, protocol), row = item
    pixels, way, shot = row.first.pixels_way_shot
    return pixels, model, way, shot if "@" in protocol else 0


def _images_of_paper(model: str, record: RunRecord) -> int | None:
    pixels, way, shot = record.pixels_way_shot
    try:
        recipe = find_recipe("paper", COMPARABLE_PIXELS[pixels], shot, model, way)
    except UserError:
        return None
    whole = replace(  # of unlabeled images Ren et al. train with as many as they test with
        record.trained.recipe,
        train_way=recipe.train_way or way,
        train_shot=recipe.train_shot or shot,
        train_query=recipe.train_query,
        train_episodes=recipe.train_episodes,
        batch_size=None,
    )
    return images_seen(replace(record, trained=replace(record.trained, recipe=whole)))


def images_seen(record: RunRecord) -> int | None:
    """Images that went through the encoder in training, each view and each pass counted; None if unknown."""
    trained = record.trained
    recipe = replace(trained.recipe, train_shot=trained.recipe.train_shot or record.test.shot)
    rule = trained.trained_as or trained
    if not recipe.train_episodes:
        return 0
    if not (recipe.batch_size or recipe.train_way):
        return None
    try:
        return recipe.train_episodes * images_encoded(recipe, rule.model, rule.model_options)
    except UnknownNameError:  # of a package that is not installed here
        return None


def _row(cost: RecipeCost) -> dict[str, str]:
    record, recipe, paper = cost.record, cost.record.trained.recipe, cost.paper_images
    optimizer = (recipe.optimizer or "adam").title()
    return {
        "model": record.model,
        "test": protocol_words(record.protocol_name),
        "ours": cost.row.interval.percent(),
        "published": "" if cost.published is None else f"{cost.published.accuracy:.2f}",
        "reached": cost.reached,
        "training": f"{recipe.train_way}-way {recipe.train_shot}-shot, {optimizer}, {recipe.train_episodes:,} episodes",
        "minutes": f"{cost.row.train_seconds / 60:.1f}",
        "images": f"{cost.images:,}",
        "images of the paper's recipe": "" if paper is None else f"{paper:,}",
        "share": "" if paper is None else f"{100 * cost.images / paper:.1f} %",
    }


def _render(records: Iterable[RunRecord]) -> dict[str, Content]:
    found = costs(records)
    if not found:
        return {}
    held = [cost for cost in found if cost.published is not None and not cost.published.difference]
    shares = [cost.images / cost.paper_images for cost in found if cost.paper_images]
    text = render(
        "recipes.md",
        table=table_of(map(_row, found)),
        num_published=len(held),
        num_reached=sum(not cost.reached.startswith("no") for cost in held),
        num_recipes=len(shares),
        num_short=sum(share <= 1 / 3 for share in shares),
    )
    return {"recipes.md": text}


PAGE = Page("recipe costs", _render)
