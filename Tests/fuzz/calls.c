/* Random sequences of calls on random shapes: each gives a status that it may give, says why where
 * it fails, and stays within the memory that it was given (the sanitizers watch). A handle that has
 * ended, or is of another kind, is told from a live one. Two bytes say what is called next; what
 * follows are its arguments (calls_*.c). */
#include "calls.h"

/* One kind's handle in another's place. */
static void confuse(const handles *with, bytes *in) {
  int of = slot(in), kind = (int)below(in, 7);
  void *all[] = {with->network[of], with->data[of],   with->trainer[of],  with->plan[of],
                 with->report[of],  with->sgd[of],    with->predictor[of]};
  void *other = all[kind];
  graft_dataset_info info = {.struct_size = sizeof info};
  graft_layer_report row = {.struct_size = sizeof row};
  graft_plan_entry entry = {.struct_size = sizeof entry};
  int64_t shape[3];
  if (kind != 0) MUST(graft_network_output_shape(other, shape) == GRAFT_INVALID_ARGUMENT);
  if (kind != 1) MUST(graft_dataset_get_info(other, &info) == GRAFT_INVALID_ARGUMENT);
  if (kind != 2) MUST(graft_trainer_run(other, NULL, NULL) == GRAFT_INVALID_ARGUMENT);
  if (kind != 3) MUST(graft_plan_get(other, 0, &entry) == GRAFT_INVALID_ARGUMENT);
  if (kind != 4) MUST(graft_report_layer(other, 0, 0, &row) == GRAFT_INVALID_ARGUMENT);
  if (kind != 5) MUST(graft_sgd_step(other) == GRAFT_INVALID_ARGUMENT);
  if (kind != 6) MUST(graft_predictor_output_shape(other, shape) == GRAFT_INVALID_ARGUMENT);
}

static void destroy(handles *with, bytes *in) {
  int which = slot(in), chosen = (int)below(in, 8);
  if (chosen == 7) return confuse(with, in);
  int kept = byte(in) % 4 == 3; /* and then used further, as no caller should */
#define END(kind, name)                        \
  do {                                         \
    graft_##kind##_destroy(with->name[which]); \
    if (!kept) with->name[which] = NULL;       \
  } while (0)
  switch (chosen) {
    case 0: END(network, network); break;
    case 1: END(dataset, data); break;
    case 2: END(trainer, trainer); break;
    case 3: END(plan, plan); break;
    case 4: END(report, report); break;
    case 5: END(sgd, sgd); break;
    default: END(predictor, predictor);
  }
#undef END
}

/* Ends everything, in one of two orders: a handle may outlive what it was made from. */
static void end(handles *with, int backwards) {
  for (int i = 0; i < 7 * slots; ++i) {
    uint8_t choice[] = {(uint8_t)(i % slots), (uint8_t)(backwards ? 6 - i / slots : i / slots)};
    bytes in = {choice, choice + 2};
    destroy(with, &in);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  setenv("OMP_NUM_THREADS", "1", 0); /* where nobody asks for more: small work, many processes */
  bytes in = {data, data + size};
  handles with = {0};
  int backwards = byte(&in) & 1;
  for (int calls = 0; calls < 100 && left(&in) > 0; ++calls) {
    switch (below(&in, 16)) {
      case 0 ... 5: call_network(&with, &in); break;
      case 6 ... 8: call_pass(&with, &in); break;
      case 9 ... 10: call_data(&with, &in); break;
      case 11 ... 12: call_trainer(&with, &in); break;
      case 13 ... 14: call_method(&with, &in); break;
      default: destroy(&with, &in);
    }
  }
  end(&with, backwards);
  return 0;
}

/* Sequences that reach far, for the fuzzer to change. */
void write_seeds(void) {
  static const uint8_t layers[] = {
      0,                                            /* ends in this order */
      0, 0,  0, 2, 5, 5,                            /* network 0 takes 3 x 6 x 6 */
      0, 1,  0, 0, 4, 3, 3, 1, 1, 1, 1, 0, 0, 0, 1, /* 4 filters of 3 x 3 */
      0, 2,  0, 1, 1, 10,                           /* batch norm */
      0, 3,  0, 2, 0,                               /* rectifier */
      0, 10, 0, 3, 0, 2, 2, 0,                      /* maximum of 2 x 2 */
      0, 8,  0, 4,                                  /* global pool */
      0, 9,  0, 5, 3, 1,                            /* linear */
      0, 11, 0, 6, 1,                               /* finished */
      6, 0,  0, 2, 0, 0, 0, 1, 0, 2,                /* forward in training */
      6, 1,  0, 2, 0, 0, 0, 1, 0, 2, 1,             /* backward */
      6, 6,  0, 2, 0, 0, 0, 1, 0, 2, 0,             /* an optimiser's step */
      6, 5,  0, 2, 5, 0, 0, 1, 0, 2, 1, 1,          /* a predictor */
      6, 7,  0, 2, 0, 0, 0, 1, 0, 2, 0,             /* saved and loaded */
      13, 2, 0, 0, 0};                              /* a graft of itself */
  write_seed("layers", layers, sizeof layers);
  static const uint8_t run[] = {
      1,                                                     /* ends the other way round */
      0,  12, 0, 0, 2, 7, 1, 0,                              /* two small ResNets */
      0,  12, 1, 0, 2, 7, 1, 0,                              /* for 3 classes */
      9,  0,  0, 5, 2, 7, 7, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 9, /* 5 images */
      11, 0,  0, 1, 2, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0,         /* a trainer that grafts */
      11, 1,  0, 20, 1, 0, 0,                                /* and both networks in it */
      11, 1,  0, 20, 2, 0, 1,
      11, 3,  0, 1, 0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 4,      /* runs until it is stopped */
      11, 5,  0, 1, 1,                                       /* saves */
      11, 3,  0, 8,                                          /* to the end */
      11, 4,  0, 1, 0, 0, 1, 0,                              /* tells of epoch 1 */
      13, 4,  0,
      11, 5,  0, 1, 0,                                       /* loads */
      11, 6,  0, 0, 2, 2};                                   /* evaluates */
  write_seed("run", run, sizeof run);
  static const uint8_t arrays[] = {
      0,  13, 1, 2, 1, 4, 1, 5, 3, 2, 2, 0, 1, 1, 1, 5, 0, 7, 0, 0, 80, 5, 50, 9, 10, 0, 0, 1, 0,
      0,  90, 0, 0, 0, 0, 0, 0, 0, 1, 1, 13, 3, 0, 0, 0, 0, 0, 0, 0, 13, 4, 0, 13, 5, 4, 5, 0, 0,
      9,  1,  0, 9, 2, 0, 9, 3, 0, 9, 0, 100, 100, 100, 0, 1, 2, 1, 13, 0, 4, 1, 5, 3, 2, 2, 0, 7,
      10, 0,  0, 1};
  write_seed("arrays", arrays, sizeof arrays);
}
