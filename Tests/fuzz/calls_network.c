/* Random calls: building networks, and running them. */
#include "calls.h"

static graft_value value(const handles *with, int of, bytes *in) {
  return (graft_value)number(in, with->values[of] > 0 ? with->values[of] + 1 : 2);
}

/* What the whole network holds for one image, or -1 where that is more than a target should take
 * its time for. */
static int64_t work(const graft_network *network) {
  int64_t sum = 0;
  for (size_t i = 0; i < graft_network_operation_count(network); ++i) {
    graft_operation operation = {.struct_size = sizeof operation};
    MUST(DONE(graft_network_operation(network, i, &operation)));
    MUST(operation.name != NULL && operation.channels > 0);
    int64_t each = operation.kernel_height > 0 ? operation.kernel_height * operation.kernel_width : 1;
    sum += operation.channels * operation.height * operation.width * each;
  }
  return sum < 1 << 16 ? sum : -1;
}

static void build_ready(handles *with, int to, bytes *in) {
  graft_network *made = NULL;
  int kind = (int)below(in, 2);
  int64_t classes = positive(in, 4), side = positive(in, 10), filters = positive(in, 4);
  if (kind == 0) {
    graft_resnet_options options;
    graft_resnet_options_init(&options, sizeof options);
    options.depth = 8, options.classes = classes, options.base_filters = filters;
    options.height = options.width = side, options.shortcut = (graft_shortcut)below(in, 3);
    DONE(graft_network_resnet(&options, &made));
  } else {
    graft_densenet_options options;
    graft_densenet_options_init(&options, sizeof options);
    options.depth = 10, options.classes = classes, options.growth = filters;
    options.height = options.width = side, options.dropout = real(in);
    DONE(graft_network_densenet(&options, &made));
  }
  if (made == NULL) return;
  graft_network_destroy(with->network[to]);
  with->network[to] = made;
  with->values[to] = (graft_value)graft_network_operation_count(made);
}

static void convolve(graft_network *network, const char *name, graft_value from, bytes *in,
                     graft_value *out) {
  graft_convolution_options options;
  graft_convolution_options_init(&options, sizeof options);
  options.filters = number(in, 20);
  options.kernel_height = number(in, 5), options.kernel_width = number(in, 5);
  options.stride_height = number(in, 4), options.stride_width = number(in, 4);
  options.padding_height = number(in, 4), options.padding_width = number(in, 4);
  options.dilation_height = 1 + number(in, 2) % 2, options.dilation_width = 1 + number(in, 2) % 2;
  options.groups = 1 + number(in, 4) % 4;
  options.bias = (int32_t)number(in, 2);
  DONE(graft_network_convolution(network, name, from, &options, out));
}

void call_network(handles *with, bytes *in) {
  int which = (int)below(in, 16), of = slot(in);
  graft_network *network = with->network[of];
  graft_value out = -7;
  char name[8] = {'a', (char)('a' + with->values[of] % 26), (char)('a' + with->values[of] / 26 % 26)};
  switch (which) {
    case 0: {
      graft_network *made = NULL;
      if (!DONE(graft_network_create(positive(in, 7), positive(in, 9), positive(in, 9), &made)))
        return;
      graft_network_destroy(network);
      with->network[of] = made, with->values[of] = 1;
      return;
    }
    case 1: convolve(network, name, value(with, of, in), in, &out); break;
    case 2:
      DONE(graft_network_batch_norm(network, name, value(with, of, in), real(in), real(in), &out));
      break;
    case 3: DONE(graft_network_relu(network, value(with, of, in), real(in), &out)); break;
    case 4: DONE(graft_network_clipped_relu(network, value(with, of, in), real(in), &out)); break;
    case 5: {
      graft_value a = value(with, of, in);
      DONE(graft_network_sum(network, a, value(with, of, in), &out));
      break;
    }
    case 6: {
      graft_value from[4];
      for (int i = 0; i < 4; ++i) from[i] = value(with, of, in);
      DONE(graft_network_concatenation(network, from, (size_t)below(in, 5), &out));
      break;
    }
    case 7:
      DONE(graft_network_shortcut(network, value(with, of, in), number(in, 4), number(in, 24), &out));
      break;
    case 8: DONE(graft_network_global_pool(network, value(with, of, in), &out)); break;
    case 9:
      DONE(graft_network_linear(network, name, value(with, of, in), number(in, 9),
                                (int32_t)number(in, 2), &out));
      break;
    case 10:
      DONE(graft_network_pool(network, value(with, of, in), (graft_pooling)below(in, 3),
                              number(in, 5), number(in, 4), number(in, 3), &out));
      break;
    case 11: DONE(graft_network_finish(network, value(with, of, in), byte(in))); return;
    case 12: build_ready(with, of, in); return;
    case 13: DONE(graft_network_dropout(network, value(with, of, in), real(in), &out)); break;
    case 14:
      DONE(graft_network_label(network, value(with, of, in), name));
      DONE(graft_network_find(network, name, &out));
      DONE(graft_network_output(network, &out));
      DONE(graft_network_penultimate(network, &out));
      return;
    default:
      DONE(graft_network_copy(network, with->network[slot(in)]));
      DONE(graft_network_set_threads(network, (int32_t)number(in, 4)));
      DONE(graft_network_set_precision(network, (graft_precision)below(in, 3)));
      DONE(graft_network_set_dropout(network, byte(in), byte(in)));
      DONE(graft_network_set_timing(network, (int32_t)number(in, 2)));
      return;
  }
  if (out >= 0) {
    MUST(out == with->values[of]);
    with->values[of] = out + 1;
  }
}

/* ---- passes ---- */

static void read_tensors(graft_network *network) {
  for (size_t i = 0; i <= graft_network_tensor_count(network); ++i) {
    graft_tensor tensor = {.struct_size = sizeof tensor};
    int there = DONE(graft_network_tensor(network, i, &tensor));
    MUST(!there || i < graft_network_tensor_count(network)); /* none before it is finished */
    DONE(graft_network_gradient(network, i, &tensor));
  }
  for (size_t i = 0; i <= graft_network_operation_count(network); ++i) {
    double forward = -1, backward = -1;
    int told = DONE(graft_network_operation_time(network, i, &forward, &backward));
    MUST(told ? forward >= 0 && backward >= 0 : forward == -1 && backward == -1);
    MUST(!told || i < graft_network_operation_count(network));
  }
}

static void optimise(handles *with, int of, bytes *in) {
  if (with->sgd[of] == NULL || byte(in) % 8 == 0) {
    graft_sgd_options options;
    graft_sgd_options_init(&options, sizeof options);
    options.learning_rate = real(in) / 10, options.momentum = real(in) / 2.5;
    options.weight_decay = real(in) / 100, options.nesterov = (int32_t)number(in, 2);
    options.clip_norm = real(in), options.decay_weights_only = (int32_t)number(in, 2);
    graft_sgd *made = NULL;
    if (!DONE(graft_sgd_create(with->network[slot(in)], &options, &made))) return;
    graft_sgd_destroy(with->sgd[of]);
    with->sgd[of] = made;
  }
  double norm;
  graft_tensor momentum = {.struct_size = sizeof momentum};
  DONE(graft_sgd_step(with->sgd[of]));
  DONE(graft_sgd_gradient_norm(with->sgd[of], &norm));
  DONE(graft_sgd_set_learning_rate(with->sgd[of], real(in)));
  DONE(graft_sgd_momentum(with->sgd[of], byte(in) % 8, &momentum));
}

void call_pass(handles *with, bytes *in) {
  int which = (int)below(in, 8), of = slot(in);
  graft_network *network = with->network[of];
  if (work(network) < 0) return;
  graft_operation input = {.struct_size = sizeof input, .channels = 1, .height = 1, .width = 1};
  int live = DONE(graft_network_operation(network, 0, &input));
  MUST(live == (graft_network_operation_count(network) > 0)); /* none that has ended */
  int64_t images = 1 + below(in, 3);
  int64_t shape[] = {images, input.channels, input.height, input.width}, each[3] = {1, 1, 1};
  graft_value at = (graft_value)below(in, 8);
  int finished = DONE(graft_network_output_shape(network, each));
  if (which >= 4 && which < 6) {
    graft_operation node = {.struct_size = sizeof node};
    if (DONE(graft_network_operation(network, (size_t)at, &node)))
      each[0] = node.channels, each[1] = node.height, each[2] = node.width;
  }
  int64_t out_shape[] = {images, each[0], each[1], each[2]};
  if (byte(in) % 32 == 31) out_shape[byte(in) % 4] += 1; /* a shape that does not fit */
  array from = make_array(in, GRAFT_FLOAT32, 4, shape);
  array to = make_array(in, GRAFT_FLOAT32, 4, out_shape);
  graft_tensor *images_in = tensor_of(&from, 1), *output = tensor_of(&to, 1);
  switch (which) {
    case 0: DONE(graft_network_forward(network, GRAFT_TRAINING, images_in, output)); break;
    case 1:
      DONE(graft_network_backward(network, output, byte(in) % 2 ? images_in : NULL));
      read_tensors(network);
      break;
    case 2: DONE(graft_network_forward(network, GRAFT_EVALUATION, images_in, output)); break;
    case 3: DONE(graft_network_infer(network, images_in, output)); break;
    case 4: DONE(graft_network_features(network, at, images_in, output)); break;
    case 5: {
      graft_predictor_options options;
      graft_predictor_options_init(&options, sizeof options);
      options.value = at, options.fold = (int32_t)number(in, 2);
      options.threads = (int32_t)number(in, 3);
      graft_predictor *made = NULL;
      int made_one = byte(in) % 4 == 3 ? DONE(graft_predictor_take(network, &options, &made))
                                       : DONE(graft_predictor_create(network, &options, &made));
      if (made_one) {
        graft_predictor_destroy(with->predictor[of]);
        with->predictor[of] = made;
      }
      if (with->predictor[of] != NULL && DONE(graft_predictor_output_shape(with->predictor[of], each)))
        DONE(graft_predictor_run(with->predictor[of], images_in, output));
      break;
    }
    case 6: optimise(with, of, in); break;
    default: {
      char path[128];
      strcpy(path, write_file("network", "", 0));
      if (DONE(graft_network_save(network, path)) && finished) {
        uint64_t before = fingerprint(network);
        MUST(DONE(graft_network_load(network, path)));
        MUST(fingerprint(network) == before);
      }
      DONE(graft_network_load(with->network[slot(in)], path));
    }
  }
  end_array(&from), end_array(&to);
}
