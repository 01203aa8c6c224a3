/* Random sequences of calls on random shapes: each gives a status that it may give, says why where
 * it fails, and stays within the memory that it was given (the sanitizers watch). Two bytes say
 * what is called next; what follows are its arguments (calls_*.c). */
#include "calls.h"

static void destroy(handles *with, bytes *in) {
  int which = slot(in);
#define END(kind, name)                    \
  do {                                     \
    graft_##kind##_destroy(with->name[which]); \
    with->name[which] = NULL;              \
  } while (0)
  switch (below(in, 7)) {
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

/* Sequences that reach far: a network of one's own, trained, grafted and described. */
void write_seeds(void) {
  static const uint8_t small[] = {
      /* a network of one conv, norm, rectifier, pool, linear; finished; run, then backward */
      0, 0, 0, 0, 2, 5, 5,            /* create 0: 3 x 6 x 6 */
      0, 1, 0, 0, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0, 1, /* a convolution */
      0, 2, 0, 1, 1, 10,              /* batch norm */
      0, 3, 0, 2, 0,                  /* rectifier */
      0, 8, 0, 3,                     /* global pool */
      0, 9, 0, 4, 3, 1,               /* linear */
      0, 11, 0, 5, 1,                 /* finish */
      6, 0, 0, 2, 1, 1, 1,            /* forward */
      6, 1, 0, 1, 1};                 /* backward */
  write_seed("network", small, sizeof small);
  static const uint8_t ready[] = {0, 0, 12, 0, 0, 1, 2, 2, 1, 0, 12, 1, 0, 1, 2, 2, 1, 9, 0, 0, 5, 2, 7, 7, 1, 3,
                                  11, 0, 0, 2, 2, 1, 0, 0, 0, 0, 11, 1, 0, 0, 1, 11, 1, 0, 1, 2,
                                  11, 3, 0, 200, 11, 4, 0, 1, 0};
  write_seed("ready", ready, sizeof ready);
}
