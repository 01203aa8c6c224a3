"""The C interface's functions: what each takes and returns, as Include/graft/*.h declares them."""

from __future__ import annotations

from ctypes import POINTER, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t
from ctypes import c_uint8, c_uint32, c_uint64, c_void_p

from typing import Any

from . import _structures as s

_status = c_int
_handle = c_void_p
_handle_out = POINTER(c_void_p)
_tensor = POINTER(s.Tensor)
_tensors = POINTER(_tensor)
_value = c_int32
_value_out = POINTER(c_int32)
_doubles = POINTER(c_double)
_integers = POINTER(c_int64)
_information = POINTER(s.InformationOptions)


def _init(options: type[s.Sized]) -> tuple[Any, list[Any]]:
    return None, [POINTER(options), c_size_t]


#: Name -> (type of the result, types of the arguments).
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    # version.h, status.h
    "graft_version": (c_int, []),
    "graft_version_string": (c_char_p, []),
    "graft_instructions": (c_char_p, []),
    "graft_status_name": (c_char_p, [c_int]),
    "graft_last_error": (c_char_p, []),
    # information.h
    "graft_information_options_init": _init(s.InformationOptions),
    "graft_entropy": (_status, [_tensor, _information, _doubles]),
    "graft_filter_entropies": (_status, [_tensor, _information, _doubles, c_size_t]),
    "graft_histogram": (_status, [_tensor, _information, _integers, c_size_t]),
    "graft_filter_norms": (_status, [_tensor, _information, _doubles, c_size_t]),
    "graft_invalid_filters": (
        _status, [_tensor, c_double, _information, POINTER(c_uint8), c_size_t]),
    "graft_coefficient": (_status, [c_double, c_double, c_double, c_double, c_int32, _doubles]),
    "graft_blend": (_status, [_tensor, _tensor, c_double, c_int32]),
    # grafting.h
    "graft_plan_create": (_status, [_tensor, c_size_t, c_size_t, _handle_out]),
    "graft_plan_destroy": (None, [_handle]),
    "graft_plan_count": (c_size_t, [_handle]),
    "graft_plan_get": (_status, [_handle, c_size_t, POINTER(s.PlanEntry)]),
    "graft_plan_set": (_status, [_handle, c_size_t, c_uint32, c_size_t, c_int32]),
    "graft_plan_set_scales": (_status, [_handle, c_size_t, c_size_t, c_size_t]),
    "graft_options_init": _init(s.GraftOptions),
    "graft_is_due": (_status, [POINTER(s.GraftOptions), c_int64, POINTER(c_int32)]),
    "graft_apply": (
        _status,
        [_handle, _tensors, c_size_t, c_size_t, c_size_t, POINTER(s.GraftOptions), _handle_out]),
    "graft_report_destroy": (None, [_handle]),
    "graft_report_layer_count": (c_size_t, [_handle]),
    "graft_report_network_count": (c_size_t, [_handle]),
    "graft_report_layer": (_status, [_handle, c_size_t, c_size_t, POINTER(s.LayerReport)]),
    # distillation.h
    "graft_distillation_options_init": _init(s.DistillationOptions),
    "graft_distillation_loss": (
        _status,
        [_tensor, _tensors, c_size_t, _integers, POINTER(s.DistillationOptions), _doubles,
         _tensor]),
    # dataset.h
    "graft_dataset_cifar": (_status, [c_char_p, c_uint32, _handle_out]),
    "graft_dataset_idx": (_status, [c_char_p, c_char_p, _handle_out]),
    "graft_dataset_arrays": (_status, [_tensor, _integers, c_int64, _handle_out]),
    "graft_dataset_bytes": (
        _status, [POINTER(c_uint8), _integers, _integers, _integers, c_int64, _handle_out]),
    "graft_dataset_blank": (
        _status, [_integers, _integers, c_int64, POINTER(POINTER(c_uint8)), _handle_out]),
    "graft_dataset_destroy": (None, [_handle]),
    "graft_dataset_get_info": (_status, [_handle, POINTER(s.DatasetInfo)]),
    "graft_dataset_statistics": (_status, [_handle, _doubles, _doubles, c_size_t]),
    "graft_dataset_normalise": (_status, [_handle, _doubles, _doubles, c_size_t, _handle_out]),
    "graft_dataset_read": (_status, [_handle, _integers, c_size_t, _tensor, _integers]),
    "graft_dataset_batch": (
        _status,
        [_handle, c_uint64, c_int64, c_int64, c_int64, c_int64, c_int32, _tensor, _integers,
         POINTER(c_size_t)]),
    "graft_dataset_augmented_batch": (
        _status,
        [_handle, POINTER(s.Augmentation), c_uint64, c_int64, c_int64, c_int64, _tensor, _integers,
         _integers, _doubles, POINTER(c_size_t)]),
    # augmentation.h
    "graft_augmentation_init": _init(s.Augmentation),
    # network.h
    "graft_resnet_options_init": _init(s.ResnetOptions),
    "graft_network_resnet": (_status, [POINTER(s.ResnetOptions), _handle_out]),
    "graft_mobilenet_options_init": _init(s.MobilenetOptions),
    "graft_network_mobilenet": (_status, [POINTER(s.MobilenetOptions), _handle_out]),
    "graft_vgg_options_init": _init(s.VggOptions),
    "graft_network_vgg": (_status, [POINTER(s.VggOptions), _handle_out]),
    "graft_wide_resnet_options_init": _init(s.WideResnetOptions),
    "graft_network_wide_resnet": (_status, [POINTER(s.WideResnetOptions), _handle_out]),
    "graft_resnext_options_init": _init(s.ResnextOptions),
    "graft_network_resnext": (_status, [POINTER(s.ResnextOptions), _handle_out]),
    "graft_densenet_options_init": _init(s.DensenetOptions),
    "graft_network_densenet": (_status, [POINTER(s.DensenetOptions), _handle_out]),
    "graft_imagenet_options_init": _init(s.ImagenetOptions),
    "graft_network_imagenet": (_status, [POINTER(s.ImagenetOptions), _handle_out]),
    "graft_network_create": (_status, [c_int64, c_int64, c_int64, _handle_out]),
    "graft_network_destroy": (None, [_handle]),
    "graft_convolution_options_init": _init(s.ConvolutionOptions),
    "graft_network_convolution": (
        _status, [_handle, c_char_p, _value, POINTER(s.ConvolutionOptions), _value_out]),
    "graft_network_batch_norm": (
        _status, [_handle, c_char_p, _value, c_double, c_double, _value_out]),
    "graft_network_relu": (_status, [_handle, _value, c_double, _value_out]),
    "graft_network_clipped_relu": (_status, [_handle, _value, c_double, _value_out]),
    "graft_network_concatenation": (_status, [_handle, _value_out, c_size_t, _value_out]),
    "graft_network_dropout": (_status, [_handle, _value, c_double, _value_out]),
    "graft_network_sum": (_status, [_handle, _value, _value, _value_out]),
    "graft_network_shortcut": (_status, [_handle, _value, c_int64, c_int64, _value_out]),
    "graft_network_pool": (
        _status, [_handle, _value, c_uint32, c_int64, c_int64, c_int64, _value_out]),
    "graft_network_global_pool": (_status, [_handle, _value, _value_out]),
    "graft_network_linear": (
        _status, [_handle, c_char_p, _value, c_int64, c_int32, _value_out]),
    "graft_network_finish": (_status, [_handle, _value, c_uint64]),
    "graft_network_tensor_count": (c_size_t, [_handle]),
    "graft_network_tensor": (_status, [_handle, c_size_t, _tensor]),
    "graft_network_gradient": (_status, [_handle, c_size_t, _tensor]),
    "graft_network_copy": (_status, [_handle, _handle]),
    "graft_network_save": (_status, [_handle, c_char_p]),
    "graft_network_load": (_status, [_handle, c_char_p]),
    "graft_network_set_threads": (_status, [_handle, c_int32]),
    "graft_network_set_precision": (_status, [_handle, c_uint32]),
    "graft_network_set_dropout": (_status, [_handle, c_uint64, c_uint64]),
    "graft_network_output_shape": (_status, [_handle, _integers]),
    "graft_network_forward": (_status, [_handle, c_uint32, _tensor, _tensor]),
    "graft_network_infer": (_status, [_handle, _tensor, _tensor]),
    "graft_network_backward": (_status, [_handle, _tensor, _tensor]),
    # operations.h
    "graft_network_operation_count": (c_size_t, [_handle]),
    "graft_network_operation": (_status, [_handle, c_size_t, POINTER(s.Operation)]),
    "graft_network_set_timing": (_status, [_handle, c_int32]),
    "graft_network_operation_time": (
        _status, [_handle, c_size_t, POINTER(c_double), POINTER(c_double)]),
    "graft_network_output": (_status, [_handle, _value_out]),
    "graft_network_label": (_status, [_handle, _value, c_char_p]),
    "graft_network_find": (_status, [_handle, c_char_p, _value_out]),
    "graft_network_penultimate": (_status, [_handle, _value_out]),
    "graft_network_features": (_status, [_handle, _value, _tensor, _tensor]),
    "graft_network_plan": (_status, [_handle, _handle_out]),
    # predictor.h
    "graft_predictor_options_init": _init(s.PredictorOptions),
    "graft_predictor_create": (_status, [_handle, POINTER(s.PredictorOptions), _handle_out]),
    "graft_predictor_take": (_status, [_handle, POINTER(s.PredictorOptions), _handle_out]),
    "graft_predictor_destroy": (None, [_handle]),
    "graft_predictor_output_shape": (_status, [_handle, _integers]),
    "graft_predictor_run": (_status, [_handle, _tensor, _tensor]),
    # network.h: optimiser
    "graft_sgd_options_init": _init(s.SgdOptions),
    "graft_sgd_create": (_status, [_handle, POINTER(s.SgdOptions), _handle_out]),
    "graft_sgd_destroy": (None, [_handle]),
    "graft_sgd_set_learning_rate": (_status, [_handle, c_double]),
    "graft_sgd_step": (_status, [_handle]),
    "graft_sgd_gradient_norm": (_status, [_handle, POINTER(c_double)]),
    "graft_sgd_momentum": (_status, [_handle, c_size_t, _tensor]),
    # trainer.h
    "graft_trainer_options_init": _init(s.TrainerOptions),
    "graft_trainer_create": (
        _status,
        [POINTER(s.TrainerOptions), POINTER(s.GraftOptions), POINTER(s.DistillationOptions),
         _handle, _handle, _handle_out]),
    "graft_trainer_destroy": (None, [_handle]),
    "graft_member_options_init": _init(s.MemberOptions),
    "graft_trainer_add": (_status, [_handle, _handle, POINTER(s.MemberOptions)]),
    "graft_trainer_add_teacher": (_status, [_handle, _handle]),
    "graft_trainer_run": (_status, [_handle, s.Callback, c_void_p]),
    "graft_trainer_epochs_done": (c_int64, [_handle]),
    "graft_trainer_record": (_status, [_handle, c_int64, c_size_t, POINTER(s.EpochRecord)]),
    "graft_trainer_step_record_count": (c_size_t, [_handle]),
    "graft_trainer_step_record": (
        _status, [_handle, c_size_t, c_size_t, POINTER(s.StepRecord)]),
    "graft_trainer_gradient_norm": (_status, [_handle, c_size_t, POINTER(c_double)]),
    "graft_trainer_ema": (_status, [_handle, c_size_t, _handle]),
    "graft_trainer_graft_report": (_status, [_handle, c_int64, _handle_out]),
    "graft_network_evaluate": (_status, [_handle, _handle, c_int64, POINTER(s.Evaluation)]),
    "graft_evaluate": (_status, [_handle, _handle, c_int64, _doubles, _doubles]),
    "graft_trainer_save": (_status, [_handle, c_char_p]),
    "graft_trainer_load": (_status, [_handle, c_char_p]),
}
