"""How `make docs` builds the site. Its root is the checkout, so that a link works in the repository and on the site."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import myst_nb.core.render

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

project = "fewshot-bench"
author = copyright = "the authors of fewshot-bench"
root_doc = "docs/index"
include_patterns = ["docs/**.md", "results/*.md", "CONTRIBUTING.md", "CHANGELOG.md"]
exclude_patterns = [".*", "build", "dist", "runs", "data", "tests", "fewshot", "episodes", "*.egg-info"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "generated",
    "formulas",
    "tables",
    "folds",
]

html_theme = "furo"
html_title = "fewshot-bench"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["static/index.html"]
html_use_index = html_domain_indices = False  # the menu and the search find what an index would list
html_show_sphinx = html_show_copyright = html_copy_source = False

smartquotes_action = "qe"  # the dashes of --model stay two

html_math_renderer = "drawn"  # by formulas.py: MathJax would be fetched from a server
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
copybutton_exclude = ".linenos, .gp, .go"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "member-order": "bysource", "exclude-members": "set_score_request"}

# Each notebook is executed in an empty folder of its own, without a network, on images that are drawn for this build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 1800  # seconds of a cell, on a machine that has other work
nb_execution_raise_on_error = True
nb_merge_streams = True


def joined(outputs: list[Any]) -> list[Any]:
    """Pieces of one stream behind each other, as they were printed: myst-nb puts a line break between them."""
    kept: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        if (name := output.get("name")) in streams:
            streams[name]["text"] += output["text"]
            continue
        kept.append(output)
        if name:
            streams[name] = output
    return kept


myst_nb.core.render.coalesce_streams = joined
INSTALLED = ROOT / "build" / "site-packages"  # what tutorial 6 installs
shutil.rmtree(INSTALLED, ignore_errors=True)
INSTALLED.mkdir(parents=True)
os.environ |= {
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "docs" / "howto"), str(INSTALLED)]),
    "PIP_TARGET": str(INSTALLED),
    "FEWSHOT_DATA": str(ROOT / "build" / "site-data"),
    "COLUMNS": "88",  # so many characters fit beside the menu
    "NO_COLOR": "1",
    "MATPLOTLIBRC": str(ROOT / "docs" / "matplotlibrc"),
    "HF_HUB_OFFLINE": "1",
}
