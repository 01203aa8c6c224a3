"""What made a run: the command, versions, and whatever else decides its result."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import datetime, timezone
from typing import Any

from .._library import instructions
from .._version import __version__

#: Packages whose version matters where they are loaded.
_PACKAGES = ("numpy", "torch", "torchvision", "lightning", "keras", "jax", "tensorflow", "timm")
#: Variables that change results or speed. (Where the library lies does not.)
_VARIABLES = ("GRAFT_INSTRUCTIONS", "OPENBLAS_CORETYPE", "OMP_NUM_THREADS",
              "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "PYTHONHASHSEED",
              "KERAS_BACKEND")


def session(command: str | None = None) -> dict[str, Any]:
    """This process as text and numbers.

    Parameters
    ----------
    command
        What repeats the run; by default this process's own command line.
    """
    versions = {"graft": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            versions[name] = str(version)
    found = {
        "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command_line() if command is None else command,
        "versions": versions,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores, {instructions()} loops",
        "system": platform.platform(terse=True),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch_seed"] = torch.initial_seed()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            found["accelerator"] = torch.cuda.get_device_name()
    return found


def command_line() -> str:
    """What was typed to start this process, or "" where nothing was (a notebook, an embedding)."""
    words = list(getattr(sys, "orig_argv", []))
    if len(words) < 2 or any("ipykernel" in word for word in words) or "-c" in words[1:2]:
        return ""
    words[0] = os.path.basename(words[0])
    given = [f"{name}={shlex.quote(os.environ[name])}" for name in _VARIABLES
             if name in os.environ]
    return " ".join([*given, shlex.join(words)])
