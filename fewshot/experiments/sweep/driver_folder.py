"""What of a sweep without a shared disk writes at the driver. No PyTorch: its process is there at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from episodes.files import write_atomically


class DriverFolder:
    """An actor on the driver's machine: the only one who writes into its folder."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def write(self, files: Mapping[str, bytes | None]) -> None:
        """These files as they are now; None: there is no such file any more."""
        for name, content in files.items():
            if content is None:
                (self.out / name).unlink(missing_ok=True)
            else:
                write_atomically(self.out / name, content)

    def read(self, folder: str) -> dict[str, bytes]:
        """All files of a folder, those that are being written apart."""
        found = (path for path in (self.out / folder).glob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(self.out)): path.read_bytes() for path in found}
