"""Records -> tables. Every number in README.md and leaderboard.md comes through here; none is typed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes.errors import UserError
from fewshot.papers import Published, published_target
from fewshot.records import RunRecord, read_records

START, END = "<!-- leaderboard: generated from results/runs by `make leaderboard` -->", "<!-- leaderboard ends -->"
_COLUMNS = ((5, 1), (5, 5), (20, 1), (20, 5))
_GROUPS = (
    ("inductive", "each query is classified alone"),
    ("transductive", "queries of an episode see each other: not comparable with inductive rows"),
    ("semi-supervised", "unlabeled images are used: not comparable with inductive rows"),
)


@dataclass(frozen=True)
class Row:
    """The records of one model, recipe and seed on the episodes of one data set."""

    label: str
    records: dict[tuple[int, int], RunRecord]  # by (way, shot)

    @property
    def order(self) -> tuple[int, float, str]:
        """Complete rows first, then by mean accuracy, then by name."""
        accuracies = [record.accuracy for record in self.records.values()]
        return -len(accuracies), -sum(accuracies) / len(accuracies), self.label


def render(records: Iterable[RunRecord]) -> str:
    """All tables as Markdown. Smoke tests are left out; shortened trainings stand apart and are not ranked."""
    kept = [record for record in records if record.recipe != "smoke"]
    full, shortened = [r for r in kept if not r.shortened], [r for r in kept if r.shortened]
    blocks = []
    for settings in sorted({_settings(record) for record in full}):
        for group, meaning in _GROUPS:
            chosen = [record for record in full if (_settings(record), _group(record)) == (settings, group)]
            if chosen:
                blocks.append(f"**{settings[0]}**, {settings[1]}; {group}: {meaning}\n\n{_table(chosen)}")
    for settings in sorted({_settings(record) for record in shortened}):
        short = [record for record in shortened if _settings(record) == settings]
        blocks.append(f"**{settings[0]}**, {settings[1]}; shortened trainings, not ranked\n\n{_table(short)}")
    return "\n\n".join(blocks) if blocks else "No records yet: `fewshot run` makes one."


def _settings(record: RunRecord) -> tuple[str, str]:
    pixels, _, rest = record.protocol.partition("/")
    queries, _, version = rest.partition("/")[2].partition("@")
    return pixels, f"{queries}@{version}, {record.num_episodes:,} episodes a cell (episode seed {record.episode_seed})"


def _group(record: RunRecord) -> str:
    if record.uses_unlabeled:
        return "semi-supervised"
    return "transductive" if record.transductive else "inductive"


def _label(record: RunRecord) -> str:
    options = " ".join(f"{name}={value}" for name, value in sorted(record.config["model_options"].items()))
    recipe = record.config["recipe"]
    training = f"batches of {recipe['batch_size']}" if "batch_size" in recipe else f"{recipe['train_way']}-way"
    if record.shortened:
        training += f", only {recipe['train_episodes']:,} episodes"
    encoder = record.config["encoder"]
    return f"{record.model}{' ' + options if options else ''} | {encoder} | {record.recipe}: {training} | {record.seed}"


def _table(records: Sequence[RunRecord]) -> str:
    by_label: dict[str, dict[tuple[int, int], RunRecord]] = {}
    for record in records:
        by_label.setdefault(_label(record), {})[record.config["way"], record.config["shot"]] = record
    rows = sorted((Row(label, cells) for label, cells in by_label.items()), key=lambda row: row.order)
    columns = [column for column in _COLUMNS if any(column in row.records for row in rows)]
    columns += sorted({cell for row in rows for cell in row.records} - set(_COLUMNS))
    heads = [f"{way}-way {shot}-shot" for way, shot in columns]
    lines = [
        f"| model | encoder | recipe | seed | {' | '.join(heads)} |",
        f"|---|---|---|---|{'---:|' * len(columns)}",
    ]
    for row in rows:
        cells = [row.records[column].percent() if column in row.records else "" for column in columns]
        lines.append(f"| {row.label} | {' | '.join(cells)} |")
    lines += _published_lines(rows, columns)
    return "\n".join(lines)


def _published_lines(rows: Sequence[Row], columns: Sequence[tuple[int, int]]) -> list[str]:
    """A line with the papers' numbers for each model of the table that has any."""
    any_record = next(iter(rows[0].records.values()))
    pixels, distractors = any_record.pixels_way_shot[0], any_record.has_distractors
    lines = []
    for model in sorted({record.model for row in rows for record in row.records.values()}):
        targets = [published_target(model, pixels, way, shot, distractors=distractors) for way, shot in columns]
        found = next((target for target in targets if target), None)
        if found:
            cells = " | ".join(_published_cell(target) for target in targets)
            lines.append(
                f"| *{model}, published: {found.source}, {found.table}* | {found.backbone} | paper | | {cells} |"
            )
    return lines


def _published_cell(target: Published | None) -> str:
    if target is None:
        return ""
    interval = f" ± {target.ci95:.2f}" if target.ci95 is not None else ""
    return f"*{target.accuracy:.2f}{interval} %*"


def _documents(results: Path) -> dict[Path, str]:
    """What leaderboard.md and README.md must say, by path. README.md is left alone where it has no place for it."""
    table = render(read_records([results / "runs"]))
    head = "# Leaderboard\n\nGenerated from the records in `runs/` by `make leaderboard`; do not edit.\n\n"
    documents = {results / "leaderboard.md": f"{head}{table}\n"}
    readme = results.parent / "README.md"
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        before, start, rest = text.partition(START)
        _, end, after = rest.partition(END)
        if start and end:
            documents[readme] = f"{before}{START}\n\n{table}\n\n{END}{after}"
    return documents


def write_files(results: Path) -> list[Path]:
    """Write leaderboard.md and the table of README.md; the paths written."""
    documents = _documents(results)
    for path, text in documents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(documents)


def check_files(results: Path) -> None:
    """Raise UserError when a file does not say what the records say."""
    for path, text in _documents(results).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise UserError(f"{path} is not what the records in {results / 'runs'} say: run `make leaderboard`")
