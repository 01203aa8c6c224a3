/* Structs with a struct_size, of any length and with anything in their fields: what fills them
 * writes no further than it may, what reads them reads no further, and says what is wrong.
 *
 * Input: a byte that says which struct, one for its length, one for the length that it claims; then
 * changes to it, two bytes each: which word or half word, and what that becomes. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

static graft_dataset *data;
static graft_network *network; /* of 3 classes, for 1 x 4 x 4 */

static void prepare(void) {
  static const int64_t shape[] = {3, 1, 4, 4}, labels[] = {0, 1, 2};
  uint8_t pixels[3 * 16];
  graft_value at = 0;
  for (int i = 0; i < 3 * 16; ++i) pixels[i] = (uint8_t)(i * 5);
  MUST(DONE(graft_dataset_bytes(pixels, shape, NULL, labels, 3, &data)));
  MUST(DONE(graft_network_create(1, 4, 4, &network)));
  MUST(DONE(graft_network_linear(network, "l", at, 3, 1, &at)));
  MUST(DONE(graft_network_finish(network, at, 0)));
}

/* ---- what the structs are handed to; each says whether that took them ---- */

/* Makes a thing and ends it. */
#define MAKES(type, call)       \
  graft_##type *made = NULL;    \
  int done = DONE(call);        \
  MUST((made != NULL) == done); \
  graft_##type##_destroy(made); \
  return done

static int use_resnet(const void *of) { MAKES(network, graft_network_resnet(of, &made)); }
static int use_wide_resnet(const void *of) { MAKES(network, graft_network_wide_resnet(of, &made)); }
static int use_resnext(const void *of) { MAKES(network, graft_network_resnext(of, &made)); }
static int use_densenet(const void *of) { MAKES(network, graft_network_densenet(of, &made)); }
static int use_vgg(const void *of) { MAKES(network, graft_network_vgg(of, &made)); }
static int use_mobilenet(const void *of) { MAKES(network, graft_network_mobilenet(of, &made)); }
static int use_imagenet(const void *of) { MAKES(network, graft_network_imagenet(of, &made)); }
static int use_sgd(const void *of) { MAKES(sgd, graft_sgd_create(network, of, &made)); }
static int use_predictor(const void *of) {
  MAKES(predictor, graft_predictor_create(network, of, &made));
}
static int use_trainer(const void *of) {
  MAKES(trainer, graft_trainer_create(of, NULL, NULL, data, data, &made));
}

static int use_convolution(const void *of) {
  graft_network *made = NULL;
  graft_value at = -1;
  MUST(DONE(graft_network_create(4, 40, 40, &made)));
  int done = DONE(graft_network_convolution(made, "c", 0, of, &at));
  MUST(at == (done ? 1 : -1));
  graft_network_destroy(made);
  return done;
}

static int use_member(const void *of) {
  graft_trainer *trainer = NULL;
  MUST(DONE(graft_trainer_create(NULL, NULL, NULL, data, NULL, &trainer)));
  int done = DONE(graft_trainer_add(trainer, network, of));
  graft_trainer_destroy(trainer);
  return done;
}

static graft_tensor floats(float *memory, const int64_t shape[2]) {
  for (int i = 0; i < 12; ++i) memory[i] = (float)(i % 5) - 2;
  return (graft_tensor){sizeof(graft_tensor), "w", memory, GRAFT_FLOAT32, 2, shape, NULL};
}

static int use_graft(const void *of) {
  static const int64_t shape[] = {4, 3};
  float memory[2][12];
  graft_tensor a = floats(memory[0], shape), b = floats(memory[1], shape);
  const graft_tensor *both[] = {&a, &b};
  int32_t due;
  memory[1][3] = 0.25f;
  DONE(graft_is_due(of, 3, &due));
  MAKES(report, graft_apply(NULL, both, sizeof a, 1, 2, of, &made));
}

static int use_information(const void *of) {
  static const int64_t shape[] = {4, 3};
  float memory[12];
  double entropy;
  graft_tensor weights = floats(memory, shape);
  return DONE(graft_entropy(&weights, of, &entropy));
}

static int use_distillation(const void *of) {
  static const int64_t shape[] = {4, 3}, labels[] = {0, 1, 2, 1};
  float memory[3][12];
  graft_tensor student = floats(memory[0], shape), teacher = floats(memory[1], shape);
  graft_tensor gradient = floats(memory[2], shape);
  const graft_tensor *teachers[] = {&teacher};
  double loss;
  return DONE(graft_distillation_loss(&student, teachers, 1, labels, of, &loss, &gradient));
}

static int use_augmentation(const void *of) {
  float images[3 * 16];
  int64_t shape[] = {3, 1, 4, 4}, labels[3];
  size_t count;
  graft_tensor to = {sizeof to, "images", images, GRAFT_FLOAT32, 4, shape, NULL};
  return DONE(graft_dataset_augmented_batch(data, of, 1, 1, 0, 3, &to, labels, NULL, NULL, &count));
}

/* ---- the structs ---- */

typedef struct kind {
  size_t size;
  void (*init)(void *, size_t);
  int (*use)(const void *);
  /* Where its networks stay small: fields by their place, an int64_t each. */
  struct {
    size_t at;
    int64_t is;
  } small[4];
  size_t channels; /* of a kind that is always large, and takes its time: see below */
  size_t pointers[2];
} kind;

#define INIT(name) \
  static void init_##name(void *to, size_t size) { graft_##name##_init(to, size); }
INIT(resnet_options)
INIT(wide_resnet_options)
INIT(resnext_options)
INIT(densenet_options)
INIT(vgg_options)
INIT(mobilenet_options)
INIT(imagenet_options)
INIT(convolution_options)
INIT(sgd_options)
INIT(predictor_options)
INIT(trainer_options)
INIT(member_options)
INIT(options)
INIT(information_options)
INIT(distillation_options)
INIT(augmentation)

#define KIND(name) sizeof(graft_##name), init_##name
#define AT(name, field) offsetof(graft_##name, field)

static const kind kinds[] = {
    {KIND(resnet_options), use_resnet,
     .small = {{AT(resnet_options, depth), 8}, {AT(resnet_options, base_filters), 2}}},
    {KIND(wide_resnet_options), use_wide_resnet,
     .small = {{AT(wide_resnet_options, depth), 10}, {AT(wide_resnet_options, widen), 1}}},
    {KIND(resnext_options), use_resnext,
     .small = {{AT(resnext_options, depth), 11},
               {AT(resnext_options, cardinality), 2},
               {AT(resnext_options, base_width), 2}}},
    {KIND(densenet_options), use_densenet,
     .small = {{AT(densenet_options, depth), 10}, {AT(densenet_options, growth), 2}}},
    {KIND(vgg_options), use_vgg, .channels = AT(vgg_options, channels)},
    {KIND(mobilenet_options), use_mobilenet, .channels = AT(mobilenet_options, channels)},
    {KIND(imagenet_options), use_imagenet, .channels = AT(imagenet_options, channels)},
    {KIND(convolution_options), use_convolution, .small = {{AT(convolution_options, filters), 4}}},
    {KIND(sgd_options), use_sgd},
    {KIND(predictor_options), use_predictor},
    {KIND(trainer_options), use_trainer,
     .pointers = {AT(trainer_options, directory), AT(trainer_options, augmentation)}},
    {KIND(member_options), use_member, .pointers = {AT(member_options, augmentation)}},
    {KIND(options), use_graft, .pointers = {AT(options, sources)}},
    {KIND(information_options), use_information},
    {KIND(distillation_options), use_distillation},
    {KIND(augmentation), use_augmentation},
};

/* What a word or half word becomes: mostly small, else what no caller should say. */
static void change(uint8_t *at, uint8_t choice) {
  static const int64_t odd[] = {-1,        INT64_MAX, INT64_MIN,    INT32_MAX, INT32_MIN,
                                1LL << 32, 1LL << 40, -(1LL << 33), 65537,     1000001};
  static const double real[] = {NAN, INFINITY, -INFINITY, 1e308, 5e-324, -0.0, -1, 1e-30};
  int64_t whole = choice % 24;
  double number = choice % 32 / 31.0;
  switch (choice / 32) {
    case 0:
      memcpy(at, &whole, 4);
      break; /* half a word */
    case 1:
      memcpy(at, &whole, 8);
      break;
    case 2:
      memcpy(at, &odd[choice % 10], 4);
      break;
    case 3:
      memcpy(at, &odd[choice % 10], 8);
      break;
    case 4:
      memcpy(at, &real[choice % 8], 8);
      break;
    case 5:
      number *= 20; /* fallthrough */
    default:
      memcpy(at, &number, 8);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
  if (data == NULL) prepare();
  bytes in = {input, input + size};
  const kind *of = &kinds[below(&in, sizeof kinds / sizeof *kinds)];
  size_t length = byte(&in), claimed = byte(&in);
  length = length < 128 ? of->size : (length - 128) * 2; /* an older struct, or a newer one */
  uint8_t *options = malloc(length > 0 ? length : 1);
  memset(options, 0xa5, length);
  of->init(options, length);
  size_t written = length < sizeof(size_t) ? 0 : length < of->size ? length : of->size;
  for (size_t i = written; i < length; ++i) MUST(options[i] == 0xa5);
  if (length < sizeof(size_t)) {
    free(options);
    return 0;
  }
  MUST(memcmp(options, &written, sizeof written) == 0);
  for (int i = 0; i < 4; ++i)
    if (of->small[i].at != 0 && of->small[i].at + 8 <= length)
      memcpy(options + of->small[i].at, &of->small[i].is, 8);
  while (left(&in) > 0) {
    size_t at = 8 + (size_t)byte(&in) * 4, pointer = 0;
    uint8_t choice = byte(&in);
    for (int i = 0; i < 2; ++i)
      pointer |= of->pointers[i] != 0 && at + 8 > of->pointers[i] && at < of->pointers[i] + 8;
    if (!pointer && at + 8 <= length) change(options + at, choice);
  }
  if (claimed > 0) memcpy(options, &(size_t){claimed * 2 < length ? claimed * 2 : 1 << 20}, 8);
  /* A struct without the fields that keep a network small, or of a large kind, is tried twice; from
   * then on it asks for a network that there cannot be. */
  static int large;
  size_t told;
  memcpy(&told, options, sizeof told);
  int short_of = 0;
  for (int i = 0; i < 4; ++i)
    short_of |= of->small[i].at != 0 && of->small[i].at + 8 > told && of->use != use_convolution;
  if (of->channels != 0 || short_of) {
    if (large >= 2 && (of->channels == 0 || of->channels + 8 > told)) told = 0;
    if (large >= 2 && told != 0) memset(options + of->channels, 0, 8);
    if (told != 0) large += of->use(options);
  } else {
    of->use(options);
  }
  free(options);
  return 0;
}

/* Each struct as it is, as it was before its last field came, and with one of a later version. */
void write_seeds(void) {
  for (uint8_t i = 0; i < sizeof kinds / sizeof *kinds; ++i) {
    uint8_t last = (uint8_t)(kinds[i].size / 2 - 4),
            seeds[][7] = {{i, 0, 0, 0, 34, 2, 36},
                          {i, 0, last, 1, 40, 3, 130},
                          {i, (uint8_t)(128 + last + 8), 0, 4, 70}};
    for (int k = 0; k < 3; ++k) {
      char name[] = {(char)('a' + i), (char)('0' + k), '\0'};
      write_seed(name, seeds[k], sizeof *seeds);
    }
  }
}
