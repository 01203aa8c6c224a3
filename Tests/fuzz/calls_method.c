/* Random calls: information, plans, grafts, distillation, on arrays and on networks' tensors. */
#include "calls.h"

static void inform(bytes *in) {
  array of = any_array(in);
  graft_tensor *weights = tensor_of(&of, 1);
  graft_information_options options;
  graft_information_options_init(&options, sizeof options);
  options.bins = number(in, 20), options.compatibility = (int32_t)number(in, 2);
  options.filter_axis = (int32_t)number(in, 3), options.threads = (int32_t)number(in, 3);
  double entropy = -7;
  if (DONE(graft_entropy(weights, &options, &entropy))) {
    double most = (double)options.bins; /* or as many as there are elements */
    int64_t elements = 1;
    for (int axis = 0; axis < of.is.rank; ++axis) elements *= of.shape[axis];
    if ((double)elements < most) most = (double)elements;
    /* The published code's shares do not add up to 1. */
    double lost = options.compatibility ? exp(-1) : 0;
    MUST(entropy >= 0 && entropy <= log(fmax(most, 1)) + lost + 1e-9);
  } else {
    MUST(entropy == -7);
  }
  int64_t filters = 0;
  if (options.filter_axis >= 0 && options.filter_axis < of.is.rank)
    filters = of.shape[options.filter_axis];
  double *each = calloc((size_t)filters + 1, sizeof *each);
  uint8_t *mask = calloc((size_t)filters + 1, 1);
  DONE(graft_filter_entropies(weights, &options, each, (size_t)filters));
  DONE(graft_filter_norms(weights, &options, each, (size_t)filters));
  DONE(graft_invalid_filters(weights, real(in), &options, mask, (size_t)filters));
  free(each), free(mask);
  int64_t bins = options.bins > 0 && options.bins < 100 ? options.bins : 0;
  int64_t *counts = calloc((size_t)bins + 1, sizeof *counts);
  DONE(graft_histogram(weights, &options, counts, (size_t)bins));
  free(counts);
  double alpha = -7;
  if (DONE(graft_coefficient(real(in), real(in), real(in), real(in), (int32_t)number(in, 2), &alpha)))
    MUST(alpha >= 0 && alpha <= 1);
  array other = make_array(in, of.is.dtype, of.is.rank, of.shape);
  DONE(graft_blend(weights, tensor_of(&other, 1), real(in), (int32_t)number(in, 3)));
  end_array(&of), end_array(&other);
}

static graft_options operator_of(bytes *in, int64_t *sources) {
  graft_options options;
  graft_options_init(&options, sizeof options);
  options.source = (graft_source)below(in, 8), options.weighting = (graft_weighting)below(in, 6);
  options.a = real(in) / 2, options.c = real(in) * 100, options.constant = real(in) / 2;
  options.bins = number(in, 12), options.threshold = real(in) * 4;
  options.compatibility = (int32_t)number(in, 2), options.dry_run = (int32_t)number(in, 2);
  options.threads = (int32_t)number(in, 3), options.step = number(in, 5);
  options.keep_zeros = (int32_t)number(in, 2), options.noise = real(in) / 2;
  for (int i = 0; i < 4; ++i) sources[i] = number(in, 3);
  options.sources = sources, options.source_count = (size_t)below(in, 5);
  return options;
}

static void keep(handles *with, graft_report *made, bytes *in) {
  int to = slot(in);
  graft_report_destroy(with->report[to]);
  with->report[to] = made;
}

/* Grafts up to four networks of a few arrays each. */
static void graft_arrays(handles *with, bytes *in) {
  enum { most = 4 };
  array held[most][most];
  graft_tensor described[most][most];
  const graft_tensor *networks[most];
  int count = 1 + (int)below(in, most), tensors = 1 + (int)below(in, most);
  bytes shapes = *in;
  for (int k = 0; k < count; ++k) {
    *in = shapes; /* alike, but for the numbers */
    for (int t = 0; t < tensors; ++t) {
      held[k][t] = any_array(in);
      described[k][t] = *tensor_of(&held[k][t], 1);
      uint16_t *first = held[k][t].is.data;
      if (held[k][t].is.dtype != GRAFT_INT64 && held[k][t].shape[0] > 0 && held[k][t].is.rank > 0)
        *first = (uint16_t)(*first + k);
    }
    networks[k] = described[k];
  }
  int64_t sources[4];
  graft_options options = operator_of(in, sources);
  graft_plan *plan = byte(in) % 2 ? with->plan[slot(in)] : NULL;
  if (byte(in) % 16 == 15) described[count - 1][0] = described[0][0]; /* shared memory */
  graft_report *report = NULL;
  if (DONE(graft_apply(plan, networks, sizeof **described, (size_t)tensors, (size_t)count, &options,
                       &report)))
    keep(with, report, in);
  else
    MUST(report == NULL);
  if (byte(in) % 2) {
    graft_plan *made = NULL;
    if (DONE(graft_plan_create(described[0], sizeof **described, (size_t)tensors, &made))) {
      int to = slot(in);
      graft_plan_destroy(with->plan[to]);
      with->plan[to] = made;
    }
  }
  for (int k = 0; k < count; ++k)
    for (int t = 0; t < tensors; ++t) end_array(&held[k][t]);
}

/* Grafts networks of the engine by the plan of the first. */
static void graft_networks(handles *with, bytes *in) {
  enum { most = 160 };
  static graft_tensor described[slots][most];
  const graft_tensor *networks[slots];
  int count = 1 + (int)below(in, slots);
  size_t tensors = graft_network_tensor_count(with->network[0]);
  if (tensors == 0 || tensors > most) return;
  for (int k = 0; k < count; ++k) {
    if (graft_network_tensor_count(with->network[k]) != tensors) return;
    for (size_t t = 0; t < tensors; ++t) {
      described[k][t].struct_size = sizeof **described;
      if (!DONE(graft_network_tensor(with->network[k], t, &described[k][t]))) return;
    }
    networks[k] = described[k];
  }
  int64_t sources[4];
  graft_options options = operator_of(in, sources);
  graft_plan *plan = NULL;
  graft_report *report = NULL;
  DONE(graft_network_plan(with->network[0], &plan));
  if (DONE(graft_apply(plan, networks, sizeof **described, tensors, (size_t)count, &options, &report)))
    keep(with, report, in);
  graft_plan_destroy(plan);
}

static void edit_plan(handles *with, bytes *in) {
  graft_plan *plan = with->plan[slot(in)];
  size_t index = (size_t)number(in, 6);
  graft_plan_entry entry = {.struct_size = sizeof entry};
  DONE(graft_plan_set(plan, index, (graft_role)below(in, 5), (size_t)number(in, 6),
                      (int32_t)number(in, 3)));
  DONE(graft_plan_set_scales(plan, index, (size_t)number(in, 6), (size_t)number(in, 6)));
  int there = DONE(graft_plan_get(plan, index, &entry));
  MUST(there == (index < graft_plan_count(plan)));
}

static void read_report(handles *with, bytes *in) {
  graft_report *report = with->report[slot(in)];
  graft_layer_report row = {.struct_size = sizeof row};
  size_t layers = graft_report_layer_count(report), networks = graft_report_network_count(report);
  for (size_t layer = 0; layer <= layers; ++layer)
    for (size_t k = 0; k <= networks; ++k) {
      int there = DONE(graft_report_layer(report, layer, k, &row));
      MUST(there == (layer < layers && k < networks));
      MUST(!there || (row.source < networks && row.invalid_after <= row.filters));
    }
}

static void distil(bytes *in) {
  int64_t shape[] = {below(in, 5), below(in, 7)}, labels[4];
  graft_dtype type = (graft_dtype)below(in, 3);
  array logits[4];
  const graft_tensor *teachers[3];
  for (int i = 0; i < 4; ++i) {
    logits[i] = make_array(in, type, 2, shape);
    labels[i] = number(in, 6);
  }
  for (int i = 0; i < 3; ++i) teachers[i] = tensor_of(&logits[i], 1);
  graft_distillation_options options;
  graft_distillation_options_init(&options, sizeof options);
  options.temperature = real(in), options.label_weight = real(in);
  options.distillation_weight = real(in), options.label_smoothing = real(in) / 2;
  options.threads = (int32_t)number(in, 3);
  double loss = -7;
  graft_tensor *student = tensor_of(&logits[3], 1);
  int done = DONE(graft_distillation_loss(student, teachers, (size_t)below(in, 4), labels, &options,
                                          &loss, byte(in) % 2 ? student : NULL));
  if (!done) MUST(loss == -7);
  else MUST(!isnan(loss));
  for (int i = 0; i < 4; ++i) end_array(&logits[i]);
}

void call_method(handles *with, bytes *in) {
  switch (below(in, 7)) {
    case 0: inform(in); break;
    case 1: graft_arrays(with, in); break;
    case 2: graft_networks(with, in); break;
    case 3: edit_plan(with, in); break;
    case 4: read_report(with, in); break;
    case 5: distil(in); break;
    default: {
      int64_t sources[4];
      int32_t due;
      graft_options options = operator_of(in, sources);
      options.start = number(in, 4), options.every = number(in, 4), options.stop = number(in, 9);
      DONE(graft_is_due(&options, number(in, 12), &due));
    }
  }
}
