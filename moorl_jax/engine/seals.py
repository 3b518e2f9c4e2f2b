"""Seals: the checksums of a directory's files, in a file among them, so that what was written whole is read whole.

`sha256sum --check SHA256SUMS` reads it as well.
"""

import hashlib
import io
from pathlib import Path

SEAL = "SHA256SUMS"


def seal(directory: Path) -> None:
    """Write down the checksums of all files in and below a directory."""
    lines = [f"{checksum}  {path}\n" for path, checksum in checksums(directory).items()]
    (directory / SEAL).write_text("".join(lines), encoding="utf-8")


def sealed(directory: Path) -> dict[str, str]:
    """Return the checksums that were written down, by path; none where there is no seal that can be read."""
    try:
        lines = (directory / SEAL).read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except OSError:
        return {}
    return {path: checksum for checksum, _, path in (line.partition("  ") for line in lines)}


def checksums(directory: Path) -> dict[str, str]:
    """Return the checksums of all files in and below a directory as they are now, by path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path != directory / SEAL)
    found = {}
    for path in files:
        with path.open("rb") as file:
            found[path.relative_to(directory).as_posix()] = checksum(file)
    return found


def checksum(file: io.BufferedIOBase) -> str:
    """Return the sha256 of what an open file holds, which may be more than memory does."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def changed(directory: Path, folder: str, written: dict[str, str]) -> str:
    """Return what of a folder in a directory is not as its checksums say; nothing if all is, or nothing is there."""
    before = {path: checksum for path, checksum in written.items() if path.startswith(f"{folder}/")}
    now = {f"{folder}/{path}": checksum for path, checksum in checksums(directory / folder).items()}
    return fault(before, now) if before or now else ""


def fault(written: dict[str, str], now: dict[str, str]) -> str:
    """Return what of some files is not as it was written, given their checksums then and now; nothing if all is."""
    if not written:
        return f"there is no {SEAL} of it"
    different = [path for path in written | now if written.get(path) != now.get(path)]
    return f"{different[0]} is not as it was written" if different else ""
