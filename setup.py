"""What pyproject.toml cannot say: the published records go into the wheel, and README.md as other pages can show it."""

import gzip
import json
import re
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithRecords(build_py):
    """fewshot/records/record.py reads the file where there is no folder results/runs."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # a checkout has the records themselves
        records = [json.loads(path.read_bytes()) for path in sorted(Path("results/runs").glob("*.json"))]
        lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records]
        target = Path(self.build_lib, "fewshot", "records", "published_data", "records.jsonl.gz")
        target.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))


def front_page() -> str:
    """README.md for a page that lies elsewhere: links lead to the repository; without its address a link is its words.

    The address is ``Repository`` under [project.urls] of pyproject.toml.
    """
    text = Path("README.md").read_text(encoding="utf-8")
    address = tomllib.loads(Path("pyproject.toml").read_text())["project"].get("urls", {}).get("Repository")
    link = r"(!?)\[([^\]]*)\]\((?![a-z]+:)([^)]+)\)"
    if address is None:
        return re.sub(link, lambda found: f"*{found[2]}*" if found[1] else found[2], text)
    where = {"": f"{address}/blob/HEAD/", "!": f"{address}/raw/HEAD/"}
    return re.sub(link, lambda found: f"{found[1]}[{found[2]}]({where[found[1]]}{found[3]})", text)


setup(
    cmdclass={"build_py": BuildWithRecords},
    long_description=front_page(),
    long_description_content_type="text/markdown",
)
