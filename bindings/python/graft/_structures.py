"""The C interface's structs and enumerations, as Include/graft/*.h lays them out.

One class a struct, fields in the header's order; a test compares every size and offset with what
the C compiler says.
"""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    sizeof,
)
from enum import IntEnum

MAX_RANK = 8
NO_TENSOR = c_size_t(-1).value


class DType(IntEnum):
    """graft_dtype: the type of an array's elements."""

    FLOAT32 = 0
    FLOAT64 = 1
    FLOAT16 = 2
    BFLOAT16 = 3
    INT64 = 4


class Split(IntEnum):
    """graft_split: which part of a data set."""

    TRAIN = 0
    TEST = 1


class Role(IntEnum):
    """graft_role: the part that a tensor plays in a graft."""

    LAYER = 0
    FOLLOWS = 1
    HALF = 2
    LEAVE = 3


class Rule(IntEnum):
    """graft_rule: why a tensor plays its part."""

    CONVOLUTION = 0
    LINEAR = 1
    CLASSIFIER = 2
    ORDER = 3
    NO_LAYER = 4
    INTEGER = 5
    GIVEN = 6


class Source(IntEnum):
    """graft_source: where a network's graft comes from."""

    RING = 0
    MEAN = 1
    OTHERS = 2
    EXPONENTIAL = 3
    GIVEN = 4
    INTERNAL = 5
    NOISE = 6


class Weighting(IntEnum):
    """graft_weighting: how much of its own weights a layer keeps."""

    ENTROPY = 0
    CONSTANT = 1
    FILTER_ENTROPY = 2
    L1 = 3
    FILTER = 4


class Shortcut(IntEnum):
    """graft_shortcut: how a residual block changes the number of channels."""

    A = 0
    B = 1


class ImagenetModel(IntEnum):
    """graft_imagenet_model: a network for images of ImageNet's size."""

    RESNET18 = 0
    RESNET34 = 1
    RESNET50 = 2
    RESNET101 = 3
    RESNET152 = 4
    RESNEXT50_32X4D = 5
    RESNEXT101_32X8D = 6
    WIDE_RESNET50_2 = 7
    MOBILENET_V2 = 8
    DENSENET121 = 9
    DENSENET169 = 10
    DENSENET201 = 11
    DENSENET161 = 12


class Pooling(IntEnum):
    """graft_pooling: how a pooling layer summarises its window."""

    MAX = 0
    AVERAGE = 1


class OperationKind(IntEnum):
    """graft_operation_kind: what an operation of a network does."""

    INPUT = 0
    CONVOLUTION = 1
    BATCH_NORM = 2
    RELU = 3
    SUM = 4
    SHORTCUT = 5
    POOL = 6
    GLOBAL_POOL = 7
    LINEAR = 8
    CONCATENATION = 9
    DROPOUT = 10


class Mode(IntEnum):
    """graft_mode: which statistics batch norm uses."""

    EVALUATION = 0
    TRAINING = 1


class Schedule(IntEnum):
    """graft_schedule: how the learning rate goes over the epochs."""

    CONSTANT = 0
    STEP = 1
    COSINE = 2


class Precision(IntEnum):
    """graft_precision: what training multiplies in."""

    FLOAT32 = 0
    BFLOAT16 = 1


class Teaching(IntEnum):
    """graft_teaching: who teaches, besides given teachers."""

    GIVEN = 0
    PREDECESSOR = 1
    OTHERS = 2


class Moment(IntEnum):
    """graft_moment: before or after an epoch's graft."""

    BEFORE = 0
    AFTER = 1


class Phase(IntEnum):
    """graft_phase: what a trainer is doing."""

    TRAINING = 0
    EVALUATION = 1
    GRAFT = 2
    EPOCH = 3
    EVALUATED = 4


class Sized(Structure):
    """A struct that begins with its own size, which is set on construction."""

    def __init__(self, **fields: object) -> None:
        super().__init__(struct_size=sizeof(type(self)), **fields)


class Tensor(Sized):
    """graft_tensor"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("data", c_void_p),
        ("dtype", c_uint32),
        ("rank", c_int32),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
    ]


class InformationOptions(Sized):
    """graft_information_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("bins", c_int64),
        ("compatibility", c_int32),
        ("filter_axis", c_int32),
        ("threads", c_int32),
    ]


class DistillationOptions(Sized):
    """graft_distillation_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("temperature", c_double),
        ("label_weight", c_double),
        ("distillation_weight", c_double),
        ("threads", c_int32),
        ("label_smoothing", c_double),
    ]


class PlanEntry(Sized):
    """graft_plan_entry"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("role", c_uint32),
        ("rule", c_uint32),
        ("feeder", c_size_t),
        ("filter_axis", c_int32),
        ("scale", c_size_t),
        ("input_scale", c_size_t),
    ]


class GraftOptions(Sized):
    """graft_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("source", c_uint32),
        ("weighting", c_uint32),
        ("a", c_double),
        ("c", c_double),
        ("constant", c_double),
        ("bins", c_int64),
        ("threshold", c_double),
        ("compatibility", c_int32),
        ("dry_run", c_int32),
        ("threads", c_int32),
        ("start", c_int64),
        ("every", c_int64),
        ("stop", c_int64),
        ("step", c_int64),
        ("sources", POINTER(c_int64)),
        ("source_count", c_size_t),
        ("keep_zeros", c_int32),
        ("noise", c_double),
        ("seed", c_uint64),
    ]


class LayerReport(Sized):
    """graft_layer_report"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("name", c_char_p),
        ("tensor", c_size_t),
        ("source", c_size_t),
        ("alpha", c_double),
        ("entropy_before", c_double),
        ("entropy_after", c_double),
        ("filters", c_size_t),
        ("invalid_before", c_size_t),
        ("invalid_after", c_size_t),
        ("norm_before", c_double),
        ("norm_after", c_double),
        ("unmoved", c_size_t),
    ]


class DatasetInfo(Sized):
    """graft_dataset_info"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("count", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("classes", c_int64),
    ]


class ResnetOptions(Sized):
    """graft_resnet_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("depth", c_int64),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("base_filters", c_int64),
        ("shortcut", c_uint32),
        ("negative_slope", c_double),
        ("seed", c_uint64),
    ]


class MobilenetOptions(Sized):
    """graft_mobilenet_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("seed", c_uint64),
    ]


class VggOptions(Sized):
    """graft_vgg_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("depth", c_int64),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("seed", c_uint64),
    ]


class WideResnetOptions(Sized):
    """graft_wide_resnet_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("depth", c_int64),
        ("widen", c_int64),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("seed", c_uint64),
        ("dropout", c_double),
    ]


class ResnextOptions(Sized):
    """graft_resnext_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("depth", c_int64),
        ("cardinality", c_int64),
        ("base_width", c_int64),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("seed", c_uint64),
    ]


class DensenetOptions(Sized):
    """graft_densenet_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("depth", c_int64),
        ("growth", c_int64),
        ("base_filters", c_int64),
        ("bottleneck", c_int32),
        ("reduction", c_double),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("dropout", c_double),
        ("seed", c_uint64),
    ]


class ImagenetOptions(Sized):
    """graft_imagenet_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("model", c_uint32),
        ("classes", c_int64),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("dropout", c_double),
        ("seed", c_uint64),
    ]


class ConvolutionOptions(Sized):
    """graft_convolution_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("filters", c_int64),
        ("kernel_height", c_int64),
        ("kernel_width", c_int64),
        ("stride_height", c_int64),
        ("stride_width", c_int64),
        ("padding_height", c_int64),
        ("padding_width", c_int64),
        ("dilation_height", c_int64),
        ("dilation_width", c_int64),
        ("groups", c_int64),
        ("bias", c_int32),
    ]


class Operation(Sized):
    """graft_operation"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("kind", c_uint32),
        ("name", c_char_p),
        ("inputs", POINTER(c_int32)),
        ("input_count", c_size_t),
        ("channels", c_int64),
        ("height", c_int64),
        ("width", c_int64),
        ("first_tensor", c_size_t),
        ("tensor_count", c_size_t),
        ("kernel_height", c_int64),
        ("kernel_width", c_int64),
        ("stride_height", c_int64),
        ("stride_width", c_int64),
        ("padding_height", c_int64),
        ("padding_width", c_int64),
        ("dilation_height", c_int64),
        ("dilation_width", c_int64),
        ("groups", c_int64),
        ("pooling", c_uint32),
        ("first_channel", c_int64),
        ("epsilon", c_double),
        ("momentum", c_double),
        ("negative_slope", c_double),
        ("ceiling", c_double),
        ("probability", c_double),
    ]


class PredictorOptions(Sized):
    """graft_predictor_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("value", c_int32),
        ("fold", c_int32),
        ("threads", c_int32),
    ]


class SgdOptions(Sized):
    """graft_sgd_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("learning_rate", c_double),
        ("momentum", c_double),
        ("weight_decay", c_double),
        ("nesterov", c_int32),
        ("decay_weights_only", c_int32),
        ("clip_norm", c_double),
    ]


class Augmentation(Sized):
    """graft_augmentation"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("crop_padding", c_int64),
        ("flip", c_int32),
        ("erasing", c_double),
        ("erasing_area_low", c_double),
        ("erasing_area_high", c_double),
        ("erasing_ratio_low", c_double),
        ("erasing_ratio_high", c_double),
        ("mixup", c_double),
        ("cutmix", c_double),
        ("mixing", c_double),
    ]


class TrainerOptions(Sized):
    """graft_trainer_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("epochs", c_int64),
        ("batch_size", c_int64),
        ("threads", c_int32),
        ("momentum", c_double),
        ("weight_decay", c_double),
        ("nesterov", c_int32),
        ("schedule", c_uint32),
        ("step_epochs", c_int64),
        ("step_factor", c_double),
        ("warmup_epochs", c_int64),
        ("crop_padding", c_int64),
        ("flip", c_int32),
        ("grafting", c_int32),
        ("teaching", c_uint32),
        ("evaluate", c_uint32),
        ("save", c_uint32),
        ("save_every", c_int64),
        ("directory", c_char_p),
        ("decay_weights_only", c_int32),
        ("clip_norm", c_double),
        ("augmentation", POINTER(Augmentation)),
        ("ema_decay", c_double),
        ("ema_every", c_int64),
        ("evaluate_ema", c_int32),
        ("evaluate_steps", c_int64),
        ("precision", c_uint32),
    ]


class MemberOptions(Sized):
    """graft_member_options"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("seed", c_uint64),
        ("learning_rate", c_double),
        ("weight_decay", c_double),
        ("decay_weights_only", c_int32),
        ("label_smoothing", c_double),
        ("augmentation", POINTER(Augmentation)),
    ]


class Progress(Sized):
    """graft_progress"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("phase", c_uint32),
        ("epoch", c_int64),
        ("epochs", c_int64),
        ("step", c_int64),
        ("steps", c_int64),
        ("loss", c_double),
        ("images_per_second", c_double),
        ("seconds", c_double),
        ("seconds_left", c_double),
    ]


class EpochRecord(Sized):
    """graft_epoch_record"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("epoch", c_int64),
        ("learning_rate", c_double),
        ("train_loss", c_double),
        ("train_accuracy", c_double),
        ("test_loss", c_double),
        ("test_accuracy", c_double),
        ("evaluated", c_uint32),
        ("grafted", c_int32),
        ("seconds", c_double),
        ("train_top5", c_double),
        ("test_top5", c_double),
        ("ema_loss", c_double),
        ("ema_accuracy", c_double),
        ("ema_top5", c_double),
        ("gradient_norm", c_double),
        ("clipped", c_double),
    ]


class StepRecord(Sized):
    """graft_step_record"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("epoch", c_int64),
        ("step", c_int64),
        ("train_loss", c_double),
        ("test_loss", c_double),
        ("test_accuracy", c_double),
        ("test_top5", c_double),
        ("ema_loss", c_double),
        ("ema_accuracy", c_double),
        ("ema_top5", c_double),
    ]


class Evaluation(Sized):
    """graft_evaluation"""

    _fields_ = [
        ("struct_size", c_size_t),
        ("loss", c_double),
        ("accuracy", c_double),
        ("top5", c_double),
    ]


#: graft_callback
Callback = CFUNCTYPE(c_int32, POINTER(Progress), c_void_p)

#: Name in the headers of every struct above.
STRUCTS: dict[str, type[Sized]] = {
    "graft_tensor": Tensor,
    "graft_information_options": InformationOptions,
    "graft_distillation_options": DistillationOptions,
    "graft_plan_entry": PlanEntry,
    "graft_options": GraftOptions,
    "graft_layer_report": LayerReport,
    "graft_dataset_info": DatasetInfo,
    "graft_resnet_options": ResnetOptions,
    "graft_mobilenet_options": MobilenetOptions,
    "graft_vgg_options": VggOptions,
    "graft_wide_resnet_options": WideResnetOptions,
    "graft_resnext_options": ResnextOptions,
    "graft_densenet_options": DensenetOptions,
    "graft_imagenet_options": ImagenetOptions,
    "graft_convolution_options": ConvolutionOptions,
    "graft_operation": Operation,
    "graft_predictor_options": PredictorOptions,
    "graft_sgd_options": SgdOptions,
    "graft_augmentation": Augmentation,
    "graft_trainer_options": TrainerOptions,
    "graft_member_options": MemberOptions,
    "graft_progress": Progress,
    "graft_epoch_record": EpochRecord,
    "graft_step_record": StepRecord,
    "graft_evaluation": Evaluation,
}

#: Name in the headers of every enumeration above, and the prefix of its values.
ENUMERATIONS: dict[str, tuple[type[IntEnum], str]] = {
    "graft_dtype": (DType, "GRAFT_"),
    "graft_split": (Split, "GRAFT_SPLIT_"),
    "graft_role": (Role, "GRAFT_ROLE_"),
    "graft_rule": (Rule, "GRAFT_RULE_"),
    "graft_source": (Source, "GRAFT_SOURCE_"),
    "graft_weighting": (Weighting, "GRAFT_WEIGHTING_"),
    "graft_shortcut": (Shortcut, "GRAFT_SHORTCUT_"),
    "graft_imagenet_model": (ImagenetModel, "GRAFT_IMAGENET_"),
    "graft_pooling": (Pooling, "GRAFT_POOLING_"),
    "graft_operation_kind": (OperationKind, "GRAFT_OPERATION_"),
    "graft_mode": (Mode, "GRAFT_"),
    "graft_schedule": (Schedule, "GRAFT_SCHEDULE_"),
    "graft_precision": (Precision, "GRAFT_PRECISION_"),
    "graft_teaching": (Teaching, "GRAFT_TEACHING_"),
    "graft_moment": (Moment, "GRAFT_"),
    "graft_phase": (Phase, "GRAFT_PHASE_"),
}
