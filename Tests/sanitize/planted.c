/* Programs that are wrong on purpose, and one that is not: what the sanitizers say of them shows
 * that they see into the library, and that nothing which quiets them hides a defect of ours.
 *
 *     planted overrun   an array is described as one element longer than it is
 *     planted leak      memory is never freed, under the library's frames (a handle that is never
 * ended is no leak to see: the table of handles leads to it) planted handle    two threads use one
 * handle at once planted tiles     tiles of gk_parallel_for add to one number planted nothing tiles
 * of gk_parallel_for write numbers of their own, the caller reads them
 *
 * Built and run by run.py. The last three are linked to parallel.c itself, for its tiles.
 */
#define _GNU_SOURCE
#include <graft.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void overrun(void) {
  float *weights = malloc(31 * sizeof *weights);
  for (int i = 0; i < 31; ++i) weights[i] = (float)i;
  int64_t shape[] = {4, 8};
  graft_tensor tensor = {sizeof tensor, "w", weights, GRAFT_FLOAT32, 2, shape, NULL};
  double entropy;
  graft_entropy(&tensor, NULL, &entropy);
  free(weights);
}

static graft_network *network(void) {
  graft_resnet_options options;
  graft_network *made = NULL;
  graft_resnet_options_init(&options, sizeof options);
  options.depth = 8, options.height = options.width = 8;
  if (graft_network_resnet(&options, &made) != GRAFT_OK) exit(2);
  return made;
}

static int32_t lose(const graft_progress *progress, void *user_data) {
  (void)progress, (void)user_data;
  volatile char *lost = malloc(1000);
  if (lost != NULL) lost[0] = 1;
  return 1;
}

static void leak(void) {
  static const int64_t shape[] = {2, 3, 8, 8}, labels[] = {0, 1};
  static const uint8_t pixels[2 * 3 * 64];
  graft_dataset *data = NULL;
  graft_trainer *trainer = NULL;
  graft_network *trained = network();
  if (graft_dataset_bytes(pixels, shape, NULL, labels, 10, &data) != GRAFT_OK ||
      graft_trainer_create(NULL, NULL, NULL, data, NULL, &trainer) != GRAFT_OK ||
      graft_trainer_add(trainer, trained, NULL) != GRAFT_OK ||
      graft_trainer_run(trainer, lose, NULL) != GRAFT_CANCELLED)
    exit(2);
  graft_trainer_destroy(trainer), graft_network_destroy(trained), graft_dataset_destroy(data);
}

static void *set_threads(void *of) {
  for (int i = 1; i < 100; ++i) graft_network_set_threads(of, i);
  return NULL;
}

static void share_a_handle(void) {
  pthread_t other;
  graft_network *shared = network();
  if (pthread_create(&other, NULL, set_threads, shared) != 0) exit(2);
  set_threads(shared);
  pthread_join(other, NULL);
  graft_network_destroy(shared);
}

#ifdef PLANTED_TILES
#include "graft_parallel.h"

/* Long enough for more than one worker to get some. */
static void wait(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

static void add(void *context, int64_t tile, int worker) {
  (void)worker;
  wait();
  *(double *)context += (double)tile;
}

static void fill(void *context, int64_t tile, int worker) {
  (void)worker;
  wait();
  ((double *)context)[tile] = (double)tile;
}

static void run_tiles(int racing) {
  enum { tiles = 40 };
  double numbers[tiles] = {0}, sum = 0;
  for (int round = 0; round < 3; ++round) {
    gk_parallel_for(4, tiles, racing ? add : fill, numbers);
    for (int i = 0; i < tiles; ++i) sum += numbers[i];
  }
  if (sum < 0) puts("never");
}

#else

static void run_tiles(int racing) {
  (void)racing;
  exit(2);
}

#endif

int main(int count, char **arguments) {
  if (count != 2) return 2;
  if (strcmp(arguments[1], "overrun") == 0)
    overrun();
  else if (strcmp(arguments[1], "leak") == 0)
    leak();
  else if (strcmp(arguments[1], "handle") == 0)
    share_a_handle();
  else
    run_tiles(strcmp(arguments[1], "tiles") == 0);
  return 0;
}
