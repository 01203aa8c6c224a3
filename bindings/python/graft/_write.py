"""Files that appear whole: written beside their places, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from ._errors import FileError


def write_all(targets: Sequence[tuple[Path, Callable[[BinaryIO], object]]]) -> None:
    """Write files that appear whole: all are written beside their places first, then renamed.

    Raises
    ------
    FileError
        Before the first rename nothing has changed.
    """
    written: list[tuple[str, Path]] = []
    try:
        for path, write in targets:
            handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
            written.append((name, path))
            with os.fdopen(handle, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
        while written:
            os.replace(*written[0])
            written.pop(0)
        for folder in {path.parent for path, _ in targets}:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise FileError(f"{error.filename2 or targets[0][0]} cannot be written: "
                        f"{error.strerror or error}") from error
    finally:
        for name, _ in written:
            Path(name).unlink(missing_ok=True)
