"""Tables for a paper: what they hold, and that TeX takes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from command_line import Fewshot
from fewshot.models.catalog import models, readouts
from fewshot.records.record import write_record
from fewshot.reports.latex import latex
from fewshot.reports.rendering import Bold, Section, number_cell, number_format, table_of
from records import changed, measured

DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\usepackage{siunitx} \sisetup{separate-uncertainty, detect-weight}
\begin{document}
%s
\end{document}
"""


@pytest.fixture
def printed(fewshot: Fewshot) -> dict[str, str]:
    """The tables of the three commands, of a few records."""
    names = ("proto", "relation", "matching", "siamese")
    for number, (name, shot) in enumerate((name, shot) for name in names for shot in (1, 5)):
        few = measured(name, 3 * number, shot=shot)
        record = changed(few, counts=np.tile(few.counts, 3))  # 600: what a paper's table takes
        write_record(record, Path(f"results/runs/{number}.json"))
    commands = ("leaderboard", "compare proto relation matching", "reproduce snell2017-table1")
    return {words.split()[0]: fewshot(*words.split(), "--latex").out for words in commands}


def test_every_command_prints_booktabs_with_plain_names_and_columns_of_siunitx(printed: dict[str, str]) -> None:
    for command, text in printed.items():
        assert text.count(r"\toprule") == text.count(r"\bottomrule") >= 1, command
        assert "Prototypical Networks" in text
        assert "S[table-format=2.2" in text
        assert re.search(r"\d\d\.\d\d \\pm \d\.\d\d", text), command


def test_what_the_paired_test_does_not_put_below_the_best_is_bold(printed: dict[str, str]) -> None:
    rows = {line.split(" & ")[0]: line for line in printed["leaderboard"].splitlines() if " & " in line}
    assert r"\bfseries" in rows["Siamese network"]
    assert r"\bfseries" not in rows["Prototypical Networks"]
    assert r"\bfseries" in printed["compare"]
    assert r"\bfseries" in printed["reproduce"]


def test_numbers_and_names_are_written_for_tex() -> None:
    assert number_cell(Bold("98.92 ± 0.05")) == r"\bfseries 98.92 \pm 0.05"
    assert number_cell("a_b") == r"{a\_b}"
    assert number_cell("") == ""
    assert number_format(["98.92 ± 0.05", "8.10 ± 10.02", ""]) == "2.2(4)"
    assert number_format(["+0.06 ± 0.03"]) == "+1.2(1)"
    table = table_of([{"Method": r"50 % & \x{_^~#$} ± é", "way": "1.00"}])
    assert r"50 \% \& \textbackslash{}x\{\_\textasciicircum{}\textasciitilde{}\#\$\} $\pm$ é" in latex(
        [Section("a_b", table=table, numbers=frozenset(["way"]))]
    )


def test_every_method_has_a_short_name_of_its_own_for_tables() -> None:
    for listed in (models(), readouts()):
        names = [found.paper_name for found in listed]
        assert len(set(names)) == len(names)
        assert max(map(len, names)) <= 36


@pytest.mark.skipif(not shutil.which("pdflatex") or not shutil.which("kpsewhich"), reason="needs a TeX")
def test_tex_compiles_all_of_it(printed: dict[str, str], tmp_path: Path) -> None:
    found = subprocess.run(["kpsewhich", "siunitx.sty"], capture_output=True, check=False)
    if found.returncode:
        pytest.skip("needs siunitx: texlive-science")
    odd = Section("50 % & a_b", table=table_of([{"Method": r"\x{_^~#$} ±", "way": "1.00"}]), numbers=frozenset(["way"]))
    text = "\n".join([*printed.values(), latex([odd])])
    (tmp_path / "tables.tex").write_text(DOCUMENT % text, encoding="utf-8")
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
