"""What tells two folders of one name apart: the pictures themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from episodes.datasets.folder.listing import ClassFiles, Listing
from episodes.errors import DataError
from episodes.files import sha256_of, write_atomically
from episodes.progress import Progress, silent
from episodes.spec import SPLITS, Split


def content_digest(
    listing: Listing, divided: Mapping[Split, ClassFiles], rule: str, cache: Path, progress: Progress = silent
) -> str:
    """SHA-256 over the classes of every split and the bytes of their pictures, in order: the same in every place.

    Reads every file once; what was found is kept in ``cache`` until a file changes.
    """
    kept = cache / f"content-v1-{rule}-{listing.fingerprint}.txt"
    with suppress(OSError):
        if len(found := kept.read_text(encoding="utf-8")) == 64:
            return found
    sha, done, total = hashlib.sha256(), 0, sum(len(files) for part in divided.values() for files in part.values())
    with ThreadPoolExecutor() as pool:
        for split in SPLITS:
            for name, files in sorted(divided.get(split, {}).items()):
                sha.update(f"{split}\n{name}\n".encode(errors="surrogateescape"))
                sha.update("\n".join(pool.map(_digest, map(listing.path, files))).encode())
                done += len(files)
                progress("reading every image once", done, total)
    with suppress(OSError, DataError):  # then the next start reads again
        write_atomically(kept, sha.hexdigest().encode())
    return sha.hexdigest()


def _digest(path: Path) -> str:
    try:
        return sha256_of(path) if path.is_file() else "missing"
    except OSError as error:
        return str(error.strerror)
