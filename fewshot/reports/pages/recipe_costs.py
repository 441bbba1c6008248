"""What the fast recipes save: accuracy and images of each model's fast recipe beside those of its paper's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.records.published import COMPARABLE_PIXELS, Published, target_of
from fewshot.records.record import RunRecord
from fewshot.reports.documents import Block, Heading, Paragraph, Table, Value, markdown
from fewshot.reports.pages.training_styles import images_seen
from fewshot.training.recipes import find_recipe

PAGE = "recipes.md"
_INTRODUCTION = (
    "Each model's fast recipe beside the recipe of its paper, by the images that go through the encoder in training "
    "(every image as often as it passes). Ours is the record of today's fast recipe, by the model's own rule, or where "
    "there is none yet the most accurate one of an older fast recipe; where no paper gives a whole recipe there is no "
    "length to hold it against. Generated from the records in `runs/` by `make leaderboard`; do not edit."
)
_WITHIN = "within intervals"


@dataclass(frozen=True)
class Cost:
    """The best fast training of a model in one cell, and how long the paper's would be."""

    record: RunRecord
    published: Published | None
    images: int
    paper_images: int | None  # None: no paper gives a whole recipe

    @property
    def reached(self) -> str:
        """Whether the published number is reached."""
        if self.published is None:
            return ""
        gap = 100 * self.record.accuracy - self.published.accuracy
        if gap >= 0:
            return f"yes, {gap:+.2f}"
        intervals = 100 * self.record.ci95 + (self.published.ci95 or 0.0)
        return f"{_WITHIN if -gap <= intervals else 'no'}, {gap:+.2f}"


def costs(records: Iterable[RunRecord]) -> list[Cost]:
    """A cost for each model and cell of the papers' images that has a whole fast training; in the order of names."""
    best: dict[tuple[str, str], RunRecord] = {}
    for record in records:
        key = (record.model, record.protocol)
        if _counts(record) and (key not in best or _worth(record) > _worth(best[key])):
            best[key] = record
    found = []
    for (model, _), record in sorted(best.items(), key=_order):
        images = images_seen(record)
        if images:
            found.append(Cost(record, target_of(record), images, _images_of_paper(model, record)))
    return found


def _counts(record: RunRecord) -> bool:
    config = record.config
    plain = not record.readout and not config.get("damage") and "trained_as" not in config
    on_episodes = bool(config["recipe"].get("train_way"))
    known = record.pixels_way_shot[0] in COMPARABLE_PIXELS and "/runs@" not in record.protocol
    return plain and on_episodes and known and record.recipe == "fast" and not record.shortened


def _worth(record: RunRecord) -> tuple[bool, float]:
    """Today's fast recipe before older ones, and of several such records (of other options) the most accurate."""
    pixels, way, shot = record.pixels_way_shot
    today, then = find_recipe("fast", COMPARABLE_PIXELS[pixels], shot, record.model, way), record.config["recipe"]
    names = ("train_way", "train_query", "train_episodes", "learning_rate", "turns", "optimizer", "augment")
    return all(then.get(name) == getattr(today, name) for name in names), record.accuracy


def _order(item: tuple[tuple[str, str], RunRecord]) -> tuple[str, str, int, int]:
    (model, protocol), record = item
    pixels, way, shot = record.pixels_way_shot
    return pixels, model, way, shot if "@" in protocol else 0


def _images_of_paper(model: str, record: RunRecord) -> int | None:
    pixels, way, shot = record.pixels_way_shot
    try:
        recipe = find_recipe("paper", COMPARABLE_PIXELS[pixels], shot, model, way)
    except UserError:
        return None
    whole = {
        "train_way": recipe.train_way or way,
        "train_shot": recipe.train_shot or shot,
        "train_query": recipe.train_query,
        "train_episodes": recipe.train_episodes,
    }
    tested = record.config["recipe"]  # of unlabeled images Ren et al. train with as many as they test with
    whole |= {name: tested.get(name) for name in ("unlabeled", "distractors")}
    return images_seen(replace(record, config=record.config | {"recipe": whole}))


def page_text(records: Iterable[RunRecord]) -> str:
    """The page as Markdown; empty where there is nothing to show."""
    found = costs(records)
    if not found:
        return ""
    blocks: list[Block] = [
        Heading(1, "What the fast recipes save"),
        Paragraph(_INTRODUCTION),
        Paragraph(_summary(found)),
    ]
    columns = (
        *("model", "protocol", "ours", "published", "reached", "training"),
        *("minutes", "images", "images of the paper's recipe", "share"),
    )
    rows = tuple(tuple(Value(text) for text in _row(cost)) for cost in found)
    blocks.append(Table(columns, rows, frozenset((*columns[2:4], *columns[6:]))))
    return markdown(blocks) + "\n"


def _row(cost: Cost) -> tuple[str, ...]:
    record, recipe, paper = cost.record, cost.record.config["recipe"], cost.paper_images
    optimizer = str(recipe.get("optimizer") or "adam").title()
    seconds = record.seconds.get("training", 0.0)
    return (
        record.model,
        record.protocol,
        record.percent(),
        "" if cost.published is None else f"{cost.published.accuracy:.2f}",
        cost.reached,
        f"{recipe['train_way']}-way {recipe['train_shot']}-shot, {optimizer}, {recipe['train_episodes']:,} episodes",
        f"{seconds / 60:.1f}",
        f"{cost.images:,}",
        "" if paper is None else f"{paper:,}",
        "" if paper is None else f"{100 * cost.images / paper:.1f} %",
    )


def _summary(found: Sequence[Cost]) -> str:
    held = [cost for cost in found if cost.published is not None]
    reached = [cost for cost in held if not cost.reached.startswith("no")]
    shares = [cost.images / cost.paper_images for cost in found if cost.paper_images]
    text = f"Of {len(held)} cells with a published number {len(reached)} reach it or lie within the intervals."
    if shares:
        short = sum(share <= 1 / 3 for share in shares)
        text += f" Of {len(shares)} cells whose paper gives a recipe, {short} take a third of its images or less."
    return text


def write_recipe_costs(records: Sequence[RunRecord], results: Path) -> list[Path]:
    """Write the page into ``results``; nothing where there is nothing to show."""
    text = page_text(records)
    if not text:
        return []
    write_atomically(results / PAGE, text.encode())
    return [results / PAGE]


def check_recipe_costs(records: Sequence[RunRecord], results: Path) -> None:
    """Raise UserError when the page does not say what the records say."""
    text, path = page_text(records), results / PAGE
    if text and (not path.is_file() or path.read_bytes() != text.encode()):
        raise UserError(f"{path} is not what the records in {results / 'runs'} say: run `make leaderboard`")
