/* 16 host threads, each with handles of its own, that graft, train, save, load and predict at once,
 * and share nothing but one data set; each comes to the very bytes that its work gave alone.
 *
 *     threads FOLDER ROUNDS     prints "16 threads" or what was wrong
 *
 * Meant to be compiled with a sanitizer, and linked to a library that was (run.py).
 */
#define _GNU_SOURCE
#include <graft.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 16, KINDS = 4 };

static const char *folder;
static const graft_dataset *shared; /* as its header allows */
static int wrong;

#define MUST(condition)                                                                     \
  do {                                                                                      \
    if (!(condition)) {                                                                     \
      printf("line %d: %s does not hold (%s)\n", __LINE__, #condition, graft_last_error()); \
      exit(1);                                                                              \
    }                                                                                       \
  } while (0)
#define DO(call) MUST((call) == GRAFT_OK)

static uint64_t mix(uint64_t hash, const void *data, size_t size) {
  for (size_t i = 0; i < size; ++i)
    hash = (hash ^ ((const uint8_t *)data)[i]) * 1099511628211u; /* FNV-1a */
  return hash;
}

static uint64_t mix_network(uint64_t hash, graft_network *network) {
  for (size_t index = 0; index < graft_network_tensor_count(network); ++index) {
    graft_tensor tensor = {.struct_size = sizeof tensor};
    DO(graft_network_tensor(network, index, &tensor));
    size_t size = tensor.dtype == GRAFT_INT64 ? 8 : 4;
    for (int axis = 0; axis < tensor.rank; ++axis) size *= (size_t)tensor.shape[axis];
    hash = mix(hash, tensor.data, size);
  }
  return hash;
}

/* ---- the kinds of work ---- */

static uint64_t graft_arrays(int index) {
  enum { networks = 3, filters = 40, each = 16 * 9 };
  static const int64_t shape[] = {filters, 16, 3, 3};
  float *weights[networks];
  graft_tensor tensors[networks];
  const graft_tensor *all[networks];
  unsigned state = (unsigned)index + 1;
  for (int k = 0; k < networks; ++k) {
    weights[k] = malloc(sizeof(float) * filters * each);
    for (int i = 0; i < filters * each; ++i) {
      state = state * 1664525u + 1013904223u;
      weights[k][i] = (float)(state / 2147483648.0 - 1);
    }
    tensors[k] = (graft_tensor){sizeof *tensors, "conv", weights[k], GRAFT_FLOAT32, 4, shape, NULL};
    all[k] = &tensors[k];
  }
  graft_options options;
  graft_options_init(&options, sizeof options);
  options.threads = 2;
  graft_report *report;
  DO(graft_apply(NULL, all, sizeof *tensors, 1, networks, &options, &report));
  graft_report_destroy(report);
  options.bins = 0; /* every thread has a last error of its own */
  MUST(graft_apply(NULL, all, sizeof *tensors, 1, networks, &options, NULL) ==
       GRAFT_INVALID_ARGUMENT);
  MUST(strstr(graft_last_error(), "bins") != NULL);
  uint64_t hash = 14695981039346656037u;
  for (int k = 0; k < networks; ++k) {
    hash = mix(hash, weights[k], sizeof(float) * filters * each);
    free(weights[k]);
  }
  return hash;
}

static graft_network *densenet(int seed) {
  graft_densenet_options options;
  graft_network *network;
  graft_densenet_options_init(&options, sizeof options);
  options.depth = 10, options.growth = 4, options.height = options.width = 8, options.classes = 4;
  options.dropout = 0.1, options.seed = (uint64_t)seed;
  DO(graft_network_densenet(&options, &network));
  return network;
}

static graft_network *resnet(int seed) {
  graft_resnet_options options;
  graft_network *network;
  graft_resnet_options_init(&options, sizeof options);
  options.depth = 8, options.base_filters = 4, options.height = options.width = 8;
  options.classes = 4, options.shortcut = GRAFT_SHORTCUT_B, options.seed = (uint64_t)seed;
  DO(graft_network_resnet(&options, &network));
  return network;
}

/* Three networks that teach and graft each other: with as many threads, each on its own. */
static graft_trainer *trainer(int index, graft_network *networks[3], int threads) {
  graft_trainer_options options;
  graft_trainer *made;
  graft_trainer_options_init(&options, sizeof options);
  options.epochs = 2, options.batch_size = 8, options.threads = threads, options.grafting = 1;
  options.teaching = GRAFT_TEACHING_OTHERS, options.crop_padding = 1, options.ema_decay = 0.9;
  options.evaluate_ema = 1, options.clip_norm = 1;
  DO(graft_trainer_create(&options, NULL, NULL, shared, shared, &made));
  for (int k = 0; k < 3; ++k) {
    graft_member_options member;
    graft_member_options_init(&member, sizeof member);
    member.learning_rate = 0.05, member.seed = (uint64_t)(index + k);
    networks[k] = resnet(index + k);
    DO(graft_trainer_add(made, networks[k], &member));
  }
  return made;
}

static int32_t after_four(const graft_progress *progress, void *calls) {
  (void)progress;
  return --*(int *)calls == 0;
}

/* Interrupted, saved, and loaded into another trainer, which ends the run. */
static uint64_t train(int index) {
  graft_network *first[3], *second[3];
  char path[512];
  snprintf(path, sizeof path, "%s/run-%d", folder, index);
  graft_trainer *begun = trainer(index, first, 3);
  int calls = 4;
  MUST(graft_trainer_run(begun, after_four, &calls) == GRAFT_CANCELLED);
  DO(graft_trainer_save(begun, path));
  graft_trainer_destroy(begun);
  graft_trainer *resumed = trainer(index + 9, second, 3);
  if (graft_trainer_load(resumed, path) == GRAFT_OK) MUST(!"another seed's run is refused");
  graft_trainer_destroy(resumed);
  for (int k = 0; k < 3; ++k) graft_network_destroy(second[k]);
  resumed = trainer(index, second, 2);
  DO(graft_trainer_load(resumed, path));
  DO(graft_trainer_run(resumed, NULL, NULL));
  uint64_t hash = 14695981039346656037u;
  for (int k = 0; k < 3; ++k) hash = mix_network(hash, second[k]);
  graft_trainer_destroy(resumed);
  for (int k = 0; k < 3; ++k) graft_network_destroy(first[k]), graft_network_destroy(second[k]);
  return hash;
}

/* To a file, back, and through every way of predicting. */
static uint64_t predict(int index) {
  graft_network *saved = densenet(index), *loaded = densenet(index + 1);
  char path[512];
  snprintf(path, sizeof path, "%s/network-%d", folder, index);
  DO(graft_network_save(saved, path));
  DO(graft_network_load(loaded, path));
  float images[8 * 3 * 64], output[8 * 4];
  int64_t shape[] = {8, 3, 8, 8}, out[] = {8, 4}, which[8];
  for (int i = 0; i < 8; ++i) which[i] = (index + i) % 24;
  graft_tensor from = {sizeof from, "images", images, GRAFT_FLOAT32, 4, shape, NULL};
  graft_tensor to = {sizeof to, "output", output, GRAFT_FLOAT32, 2, out, NULL};
  DO(graft_dataset_read(shared, which, 8, &from, NULL));
  DO(graft_network_set_threads(loaded, 2));
  uint64_t hash = mix_network(14695981039346656037u, loaded);
  DO(graft_network_forward(loaded, GRAFT_EVALUATION, &from, &to));
  hash = mix(hash, output, sizeof output);
  DO(graft_network_infer(loaded, &from, &to));
  hash = mix(hash, output, sizeof output);
  graft_predictor_options options;
  graft_predictor *predictor;
  graft_predictor_options_init(&options, sizeof options);
  options.threads = 2;
  DO(graft_predictor_create(loaded, &options, &predictor));
  graft_network_destroy(loaded);
  DO(graft_predictor_run(predictor, &from, &to));
  hash = mix(hash, output, sizeof output);
  graft_predictor_destroy(predictor), graft_network_destroy(saved);
  return hash;
}

/* A loop of one's own: every layer on two threads. */
static uint64_t step(int index) {
  graft_network *network = densenet(index);
  float images[8 * 3 * 64], output[8 * 4], gradient[8 * 4];
  int64_t shape[] = {8, 3, 8, 8}, out[] = {8, 4}, labels[8];
  size_t count;
  graft_tensor from = {sizeof from, "images", images, GRAFT_FLOAT32, 4, shape, NULL};
  graft_tensor to = {sizeof to, "output", output, GRAFT_FLOAT32, 2, out, NULL};
  graft_tensor back = {sizeof back, "gradient", gradient, GRAFT_FLOAT32, 2, out, NULL};
  graft_distillation_options distillation;
  graft_sgd *optimiser;
  graft_distillation_options_init(&distillation, sizeof distillation);
  distillation.threads = 2;
  DO(graft_network_set_threads(network, 2));
  DO(graft_sgd_create(network, NULL, &optimiser));
  for (int batch = 0; batch < 2; ++batch) {
    double loss;
    DO(graft_dataset_batch(shared, (uint64_t)index, 1, batch, 8, 1, 1, &from, labels, &count));
    DO(graft_network_forward(network, GRAFT_TRAINING, &from, &to));
    DO(graft_distillation_loss(&to, NULL, 0, labels, &distillation, &loss, &back));
    DO(graft_network_backward(network, &back, NULL));
    DO(graft_sgd_step(optimiser));
  }
  uint64_t hash = mix_network(14695981039346656037u, network);
  graft_sgd_destroy(optimiser), graft_network_destroy(network);
  return hash;
}

static uint64_t (*const kinds[KINDS])(int) = {graft_arrays, train, predict, step};

/* ---- at once ---- */

static uint64_t alone[THREADS];
static int rounds;
static pthread_barrier_t start;

static void *work(void *number) {
  int index = (int)(intptr_t)number;
  pthread_barrier_wait(&start);
  for (int round = 0; round < rounds; ++round)
    if (kinds[index % KINDS](index) != alone[index])
      __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
  return NULL;
}

static void all_at_once(void) {
  pthread_t threads[THREADS];
  MUST(pthread_barrier_init(&start, NULL, THREADS) == 0);
  for (int i = 0; i < THREADS; ++i)
    MUST(pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i) == 0);
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
  pthread_barrier_destroy(&start);
}

int main(int count, char **arguments) {
  if (count != 3) return 2;
  folder = arguments[1], rounds = atoi(arguments[2]);
  uint8_t pixels[24 * 3 * 64];
  int64_t shape[] = {24, 3, 8, 8}, labels[24];
  for (size_t i = 0; i < sizeof pixels; ++i) pixels[i] = (uint8_t)(i * i * 31 >> 4);
  for (int i = 0; i < 24; ++i) labels[i] = i % 4;
  graft_dataset *data;
  DO(graft_dataset_bytes(pixels, shape, NULL, labels, 4, &data));
  shared = data;
  for (int i = 0; i < THREADS; ++i) alone[i] = kinds[i % KINDS](i);
  all_at_once();
  graft_dataset_destroy(data);
  if (wrong == 0)
    printf("%d threads\n", THREADS);
  else
    printf("%d results are not what they were alone\n", wrong);
  return wrong != 0;
}
