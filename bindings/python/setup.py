"""Builds the wheel: libgraft.so goes inside the package, built first where it must be.

Everything else is in pyproject.toml.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.errors import SetupError

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "build" / "libgraft.so"
RUNTIME = "libomp.so.5"


def built_library() -> Path:
    """The library of this source tree, built first if it is not there."""
    if not LIBRARY.is_file():
        if not (ROOT / "Package.swift").is_file():
            raise SetupError("filtergraft is built from its source tree: clone the repository")
        subprocess.run(["make", "build"], cwd=ROOT, check=True)
    return LIBRARY


def openmp_runtime(library: Path) -> Path:
    """LLVM's OpenMP runtime that the library runs with here; it goes into the wheel too."""
    listed = subprocess.run(["ldd", library], check=True, capture_output=True, text=True).stdout
    found = re.search(rf"{re.escape(RUNTIME)} => (\S+) \(", listed)
    if found is None:
        raise SetupError(f"{RUNTIME}, which {library} needs, is not installed")
    return Path(found.group(1))


class BuildWithLibrary(build_py):
    """Copies the libraries beside the modules."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)  # modules of earlier versions
        super().run()
        library = built_library()
        folder = Path(self.build_lib) / "graft"
        if self.editable_mode:  # the source tree's own build is found from there
            return
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(library, folder / "libgraft.so")
        shutil.copy2(openmp_runtime(library), folder / RUNTIME)


class LibraryDistribution(Distribution):
    """One with machine code, though no extension module: its files go where such files go."""

    def has_ext_modules(self) -> bool:
        return True


class PlatformWheel(bdist_wheel):
    """Any Python 3, this platform: the library is called through ctypes."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


setup(
    distclass=LibraryDistribution,
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel})
