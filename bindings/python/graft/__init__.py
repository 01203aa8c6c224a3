"""Graft: filter grafting for neural networks (arXiv 2004.12311).

It makes a network more accurate and costs nothing more to run. `graft` grafts networks that you
train yourself, in place, one line an epoch; `Network` and `Trainer` are an engine of its own for
those who have none.
"""

from typing import TYPE_CHECKING as _TYPE_CHECKING, Any as _Any

from ._architectures import (
    densenet,
    imagenet,
    mobilenet_v2,
    resnet,
    resnext,
    vgg,
    wide_resnet,
)
from ._augmentation import Augmentation
from ._data import Dataset, MixedBatch
from ._errors import (
    CancelledError,
    FileError,
    FormatError,
    GraftError,
    InternalError,
    InvalidArgumentError,
    InvalidStateError,
    NotFiniteError,
    OutOfMemoryError,
    ShapeMismatchError,
    UnsupportedError,
)
from ._evaluation import Evaluation, evaluate
from ._history import EpochRecord, History, StepRecord
from ._library import instructions
from ._method import (
    blend,
    coefficient,
    distillation_loss,
    entropy,
    filter_entropies,
    filter_norms,
    graft,
    histogram,
    invalid_filters,
    is_due,
)
from ._network import Network, Value
from ._operations import Operation
from ._plan import Plan
from ._predictor import Predictor
from ._progress import Progress, ProgressBar
from ._report import Report
from ._settings import Distillation, Grafting
from ._sgd import SGD
from ._trainer import Trainer
from ._version import __version__

if _TYPE_CHECKING:
    from ._csv_log import CSVLog
    from ._image_folder import ImageFolder
    from ._page import report
    from ._record import EpochTable, Recorder, Recording, TensorBoard

__all__ = [
    "Augmentation", "CancelledError", "Dataset", "Distillation", "EpochRecord", "Evaluation",
    "FileError", "FormatError", "GraftError", "Grafting", "History", "InternalError",
    "InvalidArgumentError", "InvalidStateError", "MixedBatch", "Network", "NotFiniteError",
    "Operation", "OutOfMemoryError", "Plan", "Predictor", "Progress", "ProgressBar", "Report",
    "SGD", "ShapeMismatchError", "StepRecord", "Trainer", "UnsupportedError", "Value",
    "__version__", "blend", "coefficient", "densenet", "distillation_loss", "entropy", "evaluate",
    "filter_entropies", "filter_norms", "graft", "histogram", "imagenet", "instructions",
    "invalid_filters", "is_due", "mobilenet_v2", "resnet", "resnext", "vgg", "wide_resnet",
]

#: Imported when first asked for: `import graft` stays quick.
_LATER = {"CSVLog": "_csv_log", "EpochTable": "_record", "ImageFolder": "_image_folder",
          "Recorder": "_record", "Recording": "_record", "TensorBoard": "_record",
          "report": "_page"}
__all__ += list(_LATER)


def __getattr__(name: str) -> _Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    globals()[name] = getattr(import_module(f".{_LATER[name]}", __name__), name)
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
