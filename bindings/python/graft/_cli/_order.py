"""The order of a file's tensors, from which the plan is made.

The package `safetensors` sorts by name, and a sorted file does not tell which layer feeds which
norm. Names decide nothing here: such a file is grafted only in an order that the user gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._errors import FileError, InvalidArgumentError
from ._files import Weights, read


def in_order(weights: Weights, order: str | None) -> dict[str, Any]:
    """The file's tensors in the order that their network runs in.

    Parameters
    ----------
    order
        A text file with a name a line; or a .pt file, whose state dict has it; "stored" for the
        file's own order; None to take that where it can be trusted.
    """
    tensors = weights.tensors
    if order is None:
        if weights.sorted_by_name and _matters(tensors):
            raise InvalidArgumentError(
                f"{weights.path}: its tensors are sorted by name, which does not tell what follows "
                "what. Give --order FILE with a name a line as in model.state_dict() (or a .pt of "
                "such a network), or --order stored to take the file's order all the same")
        return tensors
    if order == "stored":
        return tensors
    names = _names(Path(order))
    missing = [name for name in tensors if name not in set(names)]
    if missing:
        raise InvalidArgumentError(f"{order} lacks {missing[0]!r}, which {weights.path} has")
    return {name: tensors[name] for name in names if name in tensors}


def _names(path: Path) -> Sequence[str]:
    if path.suffix in (".pt", ".pth", ".safetensors"):
        return list(read(path).tensors)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"{path} cannot be read: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _matters(tensors: dict[str, Any]) -> bool:
    """Whether another order could give another plan: unless every tensor is a layer of one kind."""
    ranks = [len(array.shape) for array in tensors.values()]
    return not (all(rank >= 3 for rank in ranks) or all(rank == 2 for rank in ranks))
