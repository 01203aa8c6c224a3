"""PyTorch's own files, read with `weights_only=True`: tensors and plain containers, no code."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .._errors import FormatError, UnsupportedError
from ._files import Weights, content

_INSIDE = ("state_dict", "model_state_dict", "model")


class TorchFile(Weights):
    """A state dict, or a checkpoint with one under "state_dict", "model_state_dict" or "model"."""

    def __init__(self, path: Path) -> None:
        try:
            import torch
        except ImportError:
            raise UnsupportedError(
                f"{path}: reading it needs PyTorch (pip install torch)") from None
        self.path = path
        self.opaque = {}
        data = io.BytesIO(content(path))
        try:
            self._checkpoint = torch.load(data, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises of all kinds
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FormatError(
                f"{path} is not a file of plain tensors (it is read with weights_only=True): "
                f"{first}") from error
        self.tensors = dict(self._state(self._checkpoint, torch))

    def _state(self, checkpoint: Any, torch: Any) -> Mapping[str, Any]:
        candidates = [checkpoint]
        if isinstance(checkpoint, Mapping):
            candidates += [checkpoint[key] for key in _INSIDE if key in checkpoint]
        for one in candidates:
            if isinstance(one, Mapping) and one and all(
                    isinstance(name, str) and isinstance(tensor, torch.Tensor)
                    for name, tensor in one.items()):
                return one
        raise FormatError(
            f"{self.path} holds no mapping of name -> tensor, neither at its top nor under "
            + ", ".join(map(repr, _INSIDE)))

    def write(self, file: BinaryIO) -> None:
        import torch

        torch.save(self._checkpoint, file)
