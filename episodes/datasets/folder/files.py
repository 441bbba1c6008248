"""The files below a user's folder: every one is a picture to read, or left out for a reason that can be told."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from episodes.images.decoding import PICTURE_SUFFIXES, Problem

LeftOut = Mapping[str, list[str]]
"""Reason -> names of files and folders, relative to the user's folder."""

_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")
_HEADS_OF_PPM = tuple(b"P" + digit + blank for digit in (b"1", b"2", b"3", b"4", b"5", b"6") for blank in (b"\n", b" "))


class Walk:
    """Looks through folders below ``root`` and remembers what it left out."""

    def __init__(self, root: Path) -> None:
        self.root, self._real = root, os.path.realpath(root)
        self.left_out: defaultdict[str, list[str]] = defaultdict(list)

    def subfolders(self, folder: str = "") -> list[str]:
        """Names of the folders in ``folder``, sorted; hidden ones and links back into the tree are left out."""
        found = []
        for entry in self._entries(folder):
            if self._is_hidden(folder, entry.name) or not entry.is_dir():
                continue
            if entry.is_symlink() and self._leads_back(entry.path):
                self.left_out["link back into the folder"].append(_below(folder, entry.name))
            else:
                found.append(entry.name)
        return found

    def loose(self, folder: str = "") -> None:
        """Leave out the files that lie in ``folder`` itself, where only class folders are looked for."""
        for entry in self._entries(folder):
            if not entry.name.startswith(".") and not entry.is_dir():
                reason = self._not_a_picture(entry) or "in no class folder"
                self.left_out[reason].append(_below(folder, entry.name))

    def pictures(self, folder: str) -> list[str]:
        """Every picture in ``folder`` and the folders in it, relative to the root, sorted."""
        found, waiting = [], [folder]
        while waiting:
            here = waiting.pop()
            for entry in self._entries(here):
                name = _below(here, entry.name)
                if self._is_hidden(here, entry.name):
                    continue
                if entry.is_dir():
                    if entry.is_symlink():
                        self.left_out["link to a folder, below a class"].append(name)
                    else:
                        waiting.append(name)
                elif reason := self._not_a_picture(entry):
                    self.left_out[reason].append(name)
                else:
                    found.append(name)
        return sorted(found)

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        with os.scandir(self.root / folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)

    def _is_hidden(self, folder: str, name: str) -> bool:
        hidden = name.startswith(".") or name == "__MACOSX"
        if hidden and _below(folder, name) not in self.left_out["hidden"]:
            self.left_out["hidden"].append(_below(folder, name))
        return hidden

    def _leads_back(self, path: str) -> bool:
        """Whether a link leads to the root, to a folder around it, or to one in it."""
        real = os.path.realpath(path)
        return os.path.commonpath([real, self._real]) in (real, self._real)

    @staticmethod
    def _not_a_picture(entry: os.DirEntry[str]) -> str:
        """Why a file is left out; empty where it is read."""
        if not entry.is_file():
            return "broken link" if entry.is_symlink() and not Path(entry.path).exists() else "no regular file"
        ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a Path takes five times as long
        if ending in PICTURE_SUFFIXES:
            return ""
        if ending:
            return f"{ending} is no picture that is read"
        with open(entry.path, "rb") as file:  # noqa: PTH123
            head = file.read(8)
        return "" if head.startswith(_HEADS + _HEADS_OF_PPM) else "without an ending, and no picture"


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def left_out_lines(left_out: LeftOut) -> list[Problem]:
    """A line for each reason: how many files, and the names of the first few."""
    told = sorted((reason, names) for reason, names in left_out.items() if names)
    return [Problem(f"{len(names)} left out ({reason})", names) for reason, names in told]


def left_out_sentence(left_out: LeftOut) -> str:
    """All of it but hidden files in one sentence; empty where nothing was left out."""
    told = {reason: names for reason, names in left_out.items() if names and reason != "hidden"}
    if not told:
        return ""
    parts = ", ".join(f"{len(names)} {reason}" for reason, names in sorted(told.items()))
    total, example = sum(map(len, told.values())), next(iter(sorted(told.items())))[1][0]
    return f"{total} files were left out: {parts}, e.g. {example} (`fewshot data check` lists them)."
