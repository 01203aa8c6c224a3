/* A trainer's checkpoint: a trainer that refuses one is as it was; one that takes it goes on with it
 * to the end, tells of it, and saves it so that another trainer can load it.
 *
 * Input: the manifest's text; then any number of parts, each "\n--\n", a byte that says which of
 * the other files it is, and that file as `safetensors` of fuzz.h takes it. Files that the input
 * leaves out are those of an unspoilt checkpoint. The harness puts all checksums right, unless the
 * manifest is no JSON. */
#define _GNU_SOURCE
#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "fuzz.h"

enum { networks = 2, files = 5 };

static const char *const names[files] = {
    "network-0.safetensors", "network-1.safetensors", "ema-0.safetensors", "ema-1.safetensors",
    "trainer.safetensors"};

/* A trainer of two small networks with all that a checkpoint may hold. */
typedef struct run {
  graft_network *network[networks];
  graft_trainer *trainer;
} run;

static graft_dataset *data_set(void) {
  uint8_t pixels[5 * 8];
  for (int i = 0; i < 5 * 8; ++i) pixels[i] = (uint8_t)(i * 53);
  int64_t shape[] = {5, 2, 2, 2}, labels[] = {0, 1, 1, 0, 1};
  graft_dataset *made;
  MUST(DONE(graft_dataset_bytes(pixels, shape, NULL, labels, 2, &made)));
  return made;
}

static graft_network *network(uint64_t seed) {
  graft_network *made;
  graft_convolution_options options;
  graft_convolution_options_init(&options, sizeof options);
  options.filters = 2, options.kernel_height = options.kernel_width = 1;
  graft_value at = 0;
  MUST(DONE(graft_network_create(2, 2, 2, &made)));
  MUST(DONE(graft_network_convolution(made, "c", at, &options, &at)));
  MUST(DONE(graft_network_batch_norm(made, "n", at, 1e-5, 0.1, &at)));
  MUST(DONE(graft_network_global_pool(made, at, &at)));
  MUST(DONE(graft_network_linear(made, "l", at, 2, 0, &at)));
  MUST(DONE(graft_network_finish(made, at, seed)));
  return made;
}

static run make_run(void) {
  run made;
  graft_dataset *data = data_set();
  graft_trainer_options options;
  graft_trainer_options_init(&options, sizeof options);
  options.epochs = 3, options.batch_size = 2, options.threads = 1, options.grafting = 1;
  options.step_epochs = 1, options.crop_padding = 1, options.ema_decay = 0.5;
  options.evaluate_ema = 1, options.evaluate_steps = 2, options.clip_norm = 0.5;
  options.save_every = 0;
  MUST(DONE(graft_trainer_create(&options, NULL, NULL, data, data, &made.trainer)));
  graft_dataset_destroy(data);
  for (int k = 0; k < networks; ++k) {
    graft_member_options own;
    graft_member_options_init(&own, sizeof own);
    own.seed = (uint64_t)k, own.learning_rate = 0.05;
    made.network[k] = network((uint64_t)k + 1);
    MUST(DONE(graft_trainer_add(made.trainer, made.network[k], &own)));
  }
  return made;
}

/* Tells everything of a run. */
static void tell(const run *of) {
  int64_t done = graft_trainer_epochs_done(of->trainer);
  MUST(done >= 0 && done <= 3);
  for (int64_t epoch = 0; epoch <= done + 1; ++epoch) {
    graft_report *report;
    if (DONE(graft_trainer_graft_report(of->trainer, epoch, &report))) {
      for (size_t layer = 0; layer < graft_report_layer_count(report); ++layer)
        for (size_t k = 0; k < networks; ++k) {
          graft_layer_report row = {.struct_size = sizeof row};
          MUST(DONE(graft_report_layer(report, layer, k, &row)));
          MUST(row.source < networks && row.name != NULL);
        }
      graft_report_destroy(report);
    }
    for (size_t k = 0; k < networks; ++k) {
      graft_epoch_record record = {.struct_size = sizeof record};
      int told = DONE(graft_trainer_record(of->trainer, epoch, k, &record));
      MUST(told == (epoch >= 1 && epoch <= done));
    }
  }
  size_t steps = graft_trainer_step_record_count(of->trainer);
  for (size_t index = 0; index < steps; ++index)
    for (size_t k = 0; k < networks; ++k) {
      graft_step_record record = {.struct_size = sizeof record};
      MUST(DONE(graft_trainer_step_record(of->trainer, index, k, &record)));
    }
}

/* ---- writing the directory ---- */

static const uint8_t *unspoilt[files];
static size_t unspoilt_size[files];

static json_object *checksum(const void *data, size_t size) {
  return json_object_new_int64((int64_t)crc32_z(0, data, size));
}

/* The manifest with its checksums put right; NULL where it is no JSON object. */
static json_object *repaired(bytes text, json_object *sums) {
  struct json_tokener *tokener = json_tokener_new_ex(64);
  json_object *root = json_tokener_parse_ex(tokener, (const char *)text.at, (int)left(&text));
  json_tokener_free(tokener);
  if (!json_object_is_type(root, json_type_object)) {
    json_object_put(root);
    return NULL;
  }
  json_object *listed;
  if (json_object_object_get_ex(root, "files", &listed) &&
      json_object_is_type(listed, json_type_object)) {
    for (int file = 0; file < files; ++file) {
      json_object *sum = json_object_object_get(sums, names[file]);
      json_object_object_add(listed, names[file], json_object_get(sum));
    }
  }
  json_object_object_del(root, "checksum");
  size_t length;
  const char *plain = json_object_to_json_string_length(
      root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
  json_object_object_add(root, "checksum", checksum(plain, length));
  return root;
}

static void write_checkpoint(const uint8_t *data, size_t size) {
  bytes in = {data, data + size};
  bytes text = until(&in, "\n--\n");
  const uint8_t *content[files];
  uint8_t *own[files] = {NULL};
  size_t length[files];
  for (int file = 0; file < files; ++file)
    content[file] = unspoilt[file], length[file] = unspoilt_size[file];
  while (left(&in) > 0) {
    bytes part = until(&in, "\n--\n");
    int file = (int)below(&part, files);
    free(own[file]);
    content[file] = own[file] = safetensors(&part, &length[file]);
  }
  json_object *sums = json_object_new_object();
  for (int file = 0; file < files; ++file) {
    char name[64];
    snprintf(name, sizeof name, "run/%s", names[file]);
    write_file(name, content[file], length[file]);
    json_object_object_add(sums, names[file], checksum(content[file], length[file]));
    free(own[file]);
  }
  json_object *root = repaired(text, sums);
  if (root == NULL) {
    write_file("run/manifest.json", text.at, left(&text));
  } else {
    const char *all = json_object_to_json_string_ext(
        root, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    write_file("run/manifest.json", all, strlen(all));
  }
  json_object_put(root), json_object_put(sums);
}

/* ---- the target ---- */

static char directory[128], again[128];

static int32_t stop_after(const graft_progress *progress, void *calls) {
  (void)progress;
  return --*(int *)calls < 0;
}

/* Saves a run as it stands, once `calls` more steps are done. */
static void save_after(const run *of, int calls, const char *to) {
  graft_status status = graft_trainer_run(of->trainer, stop_after, &calls);
  MUST(status == GRAFT_OK || status == GRAFT_CANCELLED);
  MUST(DONE(graft_trainer_save(of->trainer, to)));
}

static void prepare(void) {
  if (unspoilt[0] != NULL) return;
  snprintf(directory, sizeof directory, "%s/run", folder());
  snprintf(again, sizeof again, "%s/again", folder());
  run of = make_run();
  save_after(&of, 8, directory);
  for (int file = 0; file < files; ++file) {
    char name[64];
    snprintf(name, sizeof name, "run/%s", names[file]);
    unspoilt[file] = read_file(name, &unspoilt_size[file]);
  }
  graft_trainer_destroy(of.trainer);
  for (int k = 0; k < networks; ++k) graft_network_destroy(of.network[k]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static run subject, other;
  if (subject.trainer == NULL) {
    prepare();
    subject = make_run(), other = make_run();
  }
  write_checkpoint(data, size);
  uint64_t before[networks];
  int64_t done = graft_trainer_epochs_done(subject.trainer);
  for (int k = 0; k < networks; ++k) before[k] = fingerprint(subject.network[k]);
  if (!DONE(graft_trainer_load(subject.trainer, directory))) {
    for (int k = 0; k < networks; ++k) MUST(before[k] == fingerprint(subject.network[k]));
    MUST(graft_trainer_epochs_done(subject.trainer) == done);
    return 0;
  }
  tell(&subject);
  MUST(DONE(graft_trainer_save(subject.trainer, again)));
  MUST(DONE(graft_trainer_load(other.trainer, again)));
  for (int k = 0; k < networks; ++k)
    MUST(fingerprint(subject.network[k]) == fingerprint(other.network[k]));
  int calls = 40;
  if (DONE(graft_trainer_run(subject.trainer, stop_after, &calls))) {
    MUST(graft_trainer_epochs_done(subject.trainer) == 3);
    tell(&subject);
    MUST(DONE(graft_trainer_save(subject.trainer, again)));
  }
  return 0;
}

/* A run at several points, with one of its other files each. */
void write_seeds(void) {
  prepare();
  for (int calls = 0; calls < 22; calls += 3) {
    run of = make_run();
    save_after(&of, calls, directory);
    size_t length, size;
    uint8_t *manifest = read_file("run/manifest.json", &length);
    char name[64];
    int which = calls / 3 % files;
    snprintf(name, sizeof name, "run/%s", names[which]);
    uint8_t *file = read_file(name, &size), *seed = malloc(length + size + 8);
    uint64_t header;
    memcpy(&header, file, 8);
    memcpy(seed, manifest, length);
    uint8_t *to = seed + length;
    memcpy(to, "\n--\n", 4), to[4] = (uint8_t)which, to[5] = ' ', to += 6;
    memcpy(to, file + 8, header), to += header;
    *to++ = 0;
    memcpy(to, file + 8 + header, size - 8 - header), to += size - 8 - header;
    snprintf(name, sizeof name, "run-%d", calls);
    write_seed(name, seed, (size_t)(to - seed));
    free(manifest), free(file), free(seed);
    graft_trainer_destroy(of.trainer);
    for (int k = 0; k < networks; ++k) graft_network_destroy(of.network[k]);
  }
}
