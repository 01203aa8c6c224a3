"""The tables, put together: FUNCTIONS, and STRUCTS for the options that callers fill."""

from __future__ import annotations

from typing import Any

from ..kinds import Kind
from . import (
    architectures,
    augmentation,
    dataset,
    distillation,
    grafting,
    information,
    network,
    operations,
    optimiser,
    predictor,
    status,
    trainer,
)

HEADERS = (status, information, grafting, distillation, augmentation, dataset, network,
           architectures, operations, optimiser, predictor, trainer)

FUNCTIONS: dict[str, Any] = {}
STRUCTS: dict[str, dict[str, Kind]] = {}
for _header in HEADERS:
    FUNCTIONS |= _header.FUNCTIONS
    STRUCTS |= getattr(_header, "STRUCTS", {})

#: Structs that the library fills, whose struct_size alone is the caller's, and graft_tensor, whose
#: fields `kinds.Tensor` has the rows of.
FILLED = {"graft_plan_entry", "graft_layer_report", "graft_dataset_info", "graft_operation",
          "graft_progress", "graft_epoch_record", "graft_step_record", "graft_evaluation",
          "graft_tensor"}
