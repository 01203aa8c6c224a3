"""One OpenMP runtime of LLVM's family in a process.

libgraft needs LLVM's runtime under its soname, libomp.so.5. Intel's (libiomp5.so, which PyPI's
intel-openmp and mkl bring) and LLVM's under other file names are the same code, and the second of
them that a process starts ends it ("OMP: Error #15"). So where there is one already, libgraft is
made to use it: an empty library with the soname libomp.so.5 and that runtime as its one dependency
is loaded first, and the loader then finds both the name and the functions. Nothing is made global,
so that nobody else's functions change; GNU's runtime (libgomp) is another family and may stay.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
import sys
from pathlib import Path

SONAME = "libomp.so.5"
# libiomp5.so, libomp.so, libomp5.so, and what packagers of wheels make of them.
_FAMILY = re.compile(r"lib(?:iomp5|omp5?)(?:-\w+)?\.so(?:\.\d+)*")
_BITS_64, _LITTLE_ENDIAN = 2, 1


def _is_loaded(name: str) -> bool:
    try:
        ctypes.CDLL(name, mode=ctypes.RTLD_LOCAL | os.RTLD_NOLOAD)
    except OSError:
        return False
    return True


def _loaded_runtime() -> Path | None:
    """The runtime of LLVM's family that this process has mapped, under whatever name."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    for path in dict.fromkeys(re.findall(r"(/\S.*)$", maps, re.MULTILINE)):
        if _FAMILY.fullmatch(path.rpartition("/")[2]) and _is_loaded(path):
            if hasattr(ctypes.CDLL(path, mode=os.RTLD_NOLOAD), "__kmpc_fork_call"):
                return Path(path)
    return None


def _installed_runtime() -> Path | None:
    """Intel's runtime in this Python's environment: what else is installed there would load it
    later, beside another that had been started by then."""
    path = Path(sys.prefix, "lib", "libiomp5.so")
    return path if path.is_file() else None


def alias(header: bytes, soname: str, needed: str) -> bytes:
    """An ELF file without code: a name for another library.

    Parameters
    ----------
    header
        The first 20 bytes of a library for this machine.
    soname
        The name that it answers to.
    needed
        The library that it stands for: a path.
    """
    strings = b"\0" + soname.encode() + b"\0" + os.fsencode(needed) + b"\0"
    header_size, segment_size, symbol_size = 64, 56, 24
    symbols = header_size + 3 * segment_size
    table = symbols + symbol_size  # a hash table of the one empty symbol
    dynamic = table + 16
    entries = [
        (1, 2 + len(soname.encode())),  # DT_NEEDED
        (14, 1),  # DT_SONAME
        (4, table), (6, symbols), (11, symbol_size),  # DT_HASH, DT_SYMTAB, DT_SYMENT
        (5, 0), (10, len(strings)), (0, 0)]  # DT_STRTAB, DT_STRSZ, DT_NULL
    text = dynamic + 16 * len(entries)
    entries[5] = (5, text)
    size = text + len(strings)

    def segment(kind: int, flags: int, start: int, length: int, align: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, flags, start, start, start, length, length, align)

    (machine,) = struct.unpack_from("<H", header, 18)
    return b"".join([
        header[:16],
        struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, header_size, 0, 0, header_size,
                    segment_size, 3, 64, 0, 0),
        segment(1, 6, 0, size, 0x10000),  # PT_LOAD; writable, for the loader's own notes
        segment(2, 6, dynamic, 16 * len(entries), 8),  # PT_DYNAMIC
        segment(0x6474E551, 6, 0, 0, 16),  # PT_GNU_STACK: not executable
        bytes(symbol_size), struct.pack("<4I", 1, 1, 0, 0),
        *(struct.pack("<QQ", *entry) for entry in entries), strings])


def settle(library: Path) -> None:
    """Make `library`, loaded next, take the runtime that is there, if there is one.

    Parameters
    ----------
    library
        libgraft, not loaded yet.
    """
    if not sys.platform.startswith("linux") or _is_loaded(SONAME):
        return  # that very name is what the library asks for
    loaded = _loaded_runtime()
    runtime = loaded or _installed_runtime()
    if runtime is None:
        return
    with open(library, "rb") as file:
        header = file.read(20)
    if header[:6] != b"\x7fELF" + bytes([_BITS_64, _LITTLE_ENDIAN]):
        return
    descriptor = os.memfd_create(SONAME)
    try:
        os.write(descriptor, alias(header, SONAME, str(runtime)))
        # Not /proc/self: the loader remembers the path, and others may do the same.
        ctypes.CDLL(f"/proc/{os.getpid()}/fd/{descriptor}", mode=ctypes.RTLD_LOCAL)
    except OSError as error:
        if loaded is None:
            return  # what is installed there is of no use, to anybody
        raise ImportError(f"{runtime} cannot stand for {SONAME}: {error}") from error
    finally:
        os.close(descriptor)
