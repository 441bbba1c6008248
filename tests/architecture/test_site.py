"""What the site is made of: formulas that can be drawn, one palette, words that the program says."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

import fewshot
from fewshot.cli.classify import UNKNOWN
from fewshot.models.encoders import ENCODERS
from fewshot.models.losses import LOSSES
from fewshot.models.methods import METHODS
from fewshot.models.readouts import READOUTS
from fewshot.reports.colors import GRID, INK, MUTED, SERIES
from structure import MODULES

pytest.importorskip("sphinx", reason="the site needs sphinx: pip install fewshot-bench[docs]")
DOCS = Path(__file__).parents[2] / "docs"
FORMULAS = runpy.run_path(str(DOCS / "formulas.py"))
DRAWN = FORMULAS["drawn"]
COMMANDS = runpy.run_path(str(DOCS / "commands.py"))


def entries() -> dict[str, Any]:
    """Every method with a rule of its own, every loss, every read-out of this project."""
    losses = {*LOSSES}
    found: dict[str, Any] = {f"method {name}": METHODS.get(name) for name in METHODS if name not in losses}
    found |= {f"loss {name}": LOSSES.get(name) for name in LOSSES}
    found |= {f"read-out {name}": READOUTS.get(name) for name in READOUTS}
    return {name: entry for name, entry in found.items() if entry.__module__.startswith("fewshot.")}


@pytest.mark.parametrize("name", entries())
def test_every_method_has_a_formula_of_its_own_and_a_source(name: str) -> None:
    entry = entries()[name]
    assert "formula" in vars(entry), "none that it inherits"
    assert entry.source
    svg = DRAWN(entry.formula, "block")
    assert re.search(r'<path fill="currentColor" d="M[-MLQCZ\d ]{500,}"/></svg>$', svg)
    assert "\n" not in svg


def test_the_formulas_of_the_pages_can_be_drawn() -> None:
    found = re.findall(r"\$([^$\n]+)\$", (DOCS / "reference" / "methods.md").read_text(encoding="utf-8"))
    assert len(found) > 10
    assert all("<svg" in DRAWN(tex, "inline") for tex in found)


def test_equations_behind_each_other_may_stand_below_each_other() -> None:
    page = FORMULAS["parts"](r"a=b,\quad c=d")
    assert re.findall('aria-label="(.*?)"', page) == ["a=b,", " c=d"]


def test_what_is_no_formula_fails() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        DRAWN(r"\nosuch{x}", "block")


def test_a_formula_sits_on_the_line_of_its_text() -> None:
    def below(tex: str) -> float:
        return float(re.findall(r"vertical-align:(-?[\d.]+)em", DRAWN(tex, "inline"))[0])

    assert below("x") > below("y") > below(r"\frac{x}{y}")


def test_a_value_of_a_wide_table_knows_its_column_and_numbers_stay_whole() -> None:
    carded = runpy.run_path(str(DOCS / "tables.py"))["carded"]

    def table(*heads: str) -> str:
        cells = "".join(f"<th>{head}</th>" for head in heads)
        return f"<table><thead><tr>{cells}</tr></thead><tbody><tr><td>proto</td><td>98.86 ± 0.05 ± 0.20 (1–2)</td>" + (
            "<td></td>" * (len(heads) - 2) + "</tr></tbody></table>"
        )

    wide = carded(table("model", "5-way 1-shot", "published", "gap"))
    assert wide.startswith('<table class="cards">')
    assert '<td class="long" data-label="5-way 1-shot">98.86\u00a0±\u00a00.05 ±\u00a00.20 <span' in wide
    assert wide.count("data-label") == 2, "none where nothing stands"
    assert "data-label" not in carded(table("model", "5-way 1-shot", "gap"))
    ragged = table("model", "5-way 1-shot", "published", "gap").replace("<td></td>", '<td colspan="2"></td>', 1)
    assert "data-label" not in carded(ragged.replace("<td></td>", "")), "a cell over two columns"


@pytest.mark.parametrize("name", COMMANDS["visible"]())
def test_the_page_of_a_command_has_each_of_its_options_once_and_whole_pieces_of_code(name: str) -> None:
    command = COMMANDS["visible"]()[name]
    lines = [*COMMANDS["described"](command), *COMMANDS["usage"](name, command), *COMMANDS["folds"](command)]
    written = [line.removeprefix(".. option:: ") for line in lines if line.startswith(".. option:: ")]
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert sorted(written) == sorted(map(COMMANDS["signature"], options))
    assert not [line for line in lines if line.count("``") % 2 or "`" in line.replace("``", "")]


def test_what_holds_without_an_option_is_said_and_a_choice_named() -> None:
    (option,) = (option for option in COMMANDS["visible"]()["run"].params if option.name == "way")
    assert COMMANDS["help_of"](option) == "Classes of a test episode. [default: 5]"
    (option,) = (option for option in COMMANDS["visible"]()["sweep"].params if option.name == "executor")
    assert COMMANDS["signature"](option) == "--executor <local|ray|slurm>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("such as --distance cosine, is", "such as ``--distance cosine``, is"),
        ("--model proto,matching --way 5,20 --seed 0-2.", "``--model proto,matching`` ``--way 5,20`` ``--seed 0-2``."),
        ("for --encoder timm:NAME or", "for ``--encoder timm:NAME`` or"),
        ("With --precision auto; --readout all.", "With ``--precision auto``; ``--readout all``."),
        ("With --readout the embeddings", "With ``--readout`` the embeddings"),
        ("--jobs or --executor say so", "``--jobs`` or ``--executor`` say so"),
        ("as `fewshot run --way 20` does", "as ``fewshot run --way 20`` does"),
    ],
)
def test_an_option_and_its_value_are_one_piece_of_code(text: str, expected: str) -> None:
    assert COMMANDS["code"](text) == expected


def test_a_default_that_can_be_typed_is_code() -> None:
    options = [option for option in COMMANDS["visible"]()["run"].params if isinstance(option, click.Option)]
    found = {option.name: COMMANDS["described_option"](option) for option in options}
    assert found["way"] == "Classes of a test episode. [default: ``5``]"
    assert found["train_way"].endswith("[default: the recipe's].")


@pytest.fixture
def lines_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """The lines of a generated page."""
    monkeypatch.syspath_prepend(str(DOCS))
    pages = runpy.run_path(str(DOCS / "generated.py"))
    return lambda page: [line for text in pages[page]() for line in text.split("\n")]


def test_every_method_loss_read_out_and_encoder_has_a_link_on_top_and_folds_its_details(
    lines_of: Callable[[str], list[str]],
) -> None:
    lines = lines_of("methods")
    headings = [line for line, below in pairwise(lines) if line and below == "~" * len(line)]
    assert headings == [
        *(name for name in METHODS if name not in {*LOSSES}),
        *(name for registry in (LOSSES, READOUTS, ENCODERS) for name in registry),
    ]
    anchors = re.findall(r"`([\w-]+) <#([\w-]+)>`__", "\n".join(lines))
    assert [name for name, _ in anchors] == headings
    assert len({anchor for _, anchor in anchors}) == len(headings), "relation is a method and an encoder"
    assert ".. _encoders relation:" in lines
    folds = [line.strip().partition(">")[0] for line in lines if "details>" in line]
    assert folds == ["<details", "</details"] * len(headings)


def test_every_public_name_of_python_has_a_link_on_top(lines_of: Callable[[str], list[str]]) -> None:
    lines = lines_of("api")
    links = re.findall(r":py:obj:`~(fewshot\.\w+)`", "\n".join(lines))
    described = [line.rpartition(" ")[2] for line in lines if line.startswith(".. auto")]
    assert links == described
    assert {*described} == {f"fewshot.{name}" for name in fewshot.__all__}


def test_a_name_of_python_shows_a_sentence_and_folds_the_rest_with_every_anchor() -> None:
    folded = runpy.run_path(str(DOCS / "folds.py"))["folded"]
    member = (
        '<dl class="py method"><dt id="f.A.fit"><span class="descname">fit</span></dt><dd><p>m</p><p>n</p></dd></dl>'
    )
    found = folded(f'<dl class="py class"><dt id="f.A">A</dt><dd><p>First.</p><p>More.</p>{member}</dd></dl>')
    assert found == (
        '<dl class="py class"><dt id="f.A">A</dt><dd><p>First.</p><details><summary>Details, <code>fit</code></summary>'
        f"<p>More.</p>{member}</details></dd></dl>"
    )
    example = '<dl class="py function"><dt>g</dt><dd><p>First.</p><div class="doctest"><pre>g()</pre></div></dd></dl>'
    assert "<p>First.</p><details><summary>Example</summary><div" in folded(example)
    alone = '<dl class="py function"><dt>g</dt><dd><p>First.</p></dd></dl>'
    assert folded(alone) == alone


def test_what_a_command_does_is_a_part_of_its_own() -> None:
    told = runpy.run_path(str(DOCS / "tables.py"))["told"]
    line = '<span class="go">fewshot run   # train</span>\n'
    parts = '<span class="go">fewshot run</span><span class="gap">   </span><span class="told"># train\n</span>'
    assert told(line + line) == parts + parts
    assert told('<span class="go">fewshot show # 1</span>\n').count("span") == 2, "one space: a part of the command"


def test_notebooks_have_the_colors_of_the_report() -> None:
    settings = (DOCS / "matplotlibrc").read_text(encoding="utf-8")
    assert re.findall(r'"([0-9a-f]{6})"', settings) == [color.removeprefix("#") for color in SERIES]
    assert {*re.findall(r": ([0-9a-f]{6})$", settings, re.MULTILINE)} == {
        c.removeprefix("#") for c in (INK, MUTED, GRID)
    }


def test_no_color_is_typed_but_in_the_palette() -> None:
    typed = re.compile(r"""["']#[0-9a-fA-F]{3,8}["']|tab10|tab:\w+""")
    found = {name: typed.findall(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
    assert {name for name, colors in found.items() if colors} == {"fewshot.reports.colors"}


def test_the_tutorial_asks_for_the_word_that_predict_writes() -> None:
    assert f'== "{UNKNOWN}"' in (DOCS / "tutorials" / "4-photos.md").read_text(encoding="utf-8")
