/* One network a process: rank r grafts from rank r - 1, and the first from the last.
 *
 *   mpirun -n 3 ./ring                 grafts, and prints a line a rank
 *   mpirun -n 3 ./ring 1               the same with a NaN among the weights of rank 1: nobody
 * grafts mpirun -n 3 ./ring -1 5 FOLDER     waits 5 seconds for the others, not 60, and keeps every
 * network in FOLDER
 *
 * A rank holds its own network and the one that it receives, whatever the number of ranks. All or
 * none: everybody tries without writing, all agree, and only then everybody writes.
 *
 * Where a rank dies, stops or is cut off, each other has an error in bounded time, and its network
 * is the one from before the graft or the one after it. MPI itself promises neither: a blocking
 * call waits for ever for a process that has stopped, and what follows the death of one is up to
 * the implementation (mpirun of Open MPI ends all others at once, unless --enable-recovery is
 * given). So nothing here blocks: every call has a request, every request a deadline. */
#define _POSIX_C_SOURCE 200809L
#include <graft.h>
#include <math.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { conv_size = 8 * 3 * 3 * 3, norm_size = 8, linear_size = 4 * 8 };

typedef struct network {
  float conv[conv_size], norm[norm_size], linear[linear_size];
} network;

/* Stands for training: uniform numbers to the power 2 rank + 1, and a filter that died. */
static void train(network *net, int rank) {
  float *parts[] = {net->conv, net->norm, net->linear};
  const int sizes[] = {conv_size, norm_size, linear_size};
  uint32_t state = (uint32_t)rank + 1;
  for (int part = 0; part < 3; ++part) {
    for (int i = 0; i < sizes[part]; ++i) {
      state = state * 1664525u + 1013904223u;
      double uniform = state / 2147483648.0 - 1, value = uniform;
      for (int power = 0; power < rank; ++power) value *= uniform * uniform;
      parts[part][i] = (float)value;
    }
  }
  for (int i = 0; i < 27; ++i) net->conv[rank % 8 * 27 + i] *= 0.001f;
}

/* What a graft comes to besides a graft_status: another rank has not answered. */
enum { lost = -1 };

/* Waits for requests until a moment of MPI_Wtime's; 0 where that came first, or one of them failed.
 * MPI is then of no further use: who has not answered may do so at any time, and a collective call
 * cannot be taken back. */
static int finished(MPI_Request *requests, int count, double deadline) {
  const struct timespec pause = {0, 1000000};
  for (;;) {
    int done = 0;
    if (MPI_Testall(count, requests, &done, MPI_STATUSES_IGNORE) != MPI_SUCCESS) return 0;
    if (done) return 1;
    if (MPI_Wtime() > deadline) return 0;
    nanosleep(&pause, NULL);
  }
}

/* The worst status of all ranks, the same on every rank; or `lost`. */
static int agree(graft_status mine, double deadline) {
  static int given, worst; /* MPI may write here after the deadline */
  given = mine;
  MPI_Request request;
  if (MPI_Iallreduce(&given, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD, &request) !=
          MPI_SUCCESS ||
      !finished(&request, 1, deadline))
    return lost;
  return worst;
}

/* Grafts this rank's network from its predecessor's; `own` changes on all ranks or on none, but
 * where a rank is lost while the others agree: some of them may have changed then. `alpha` receives
 * the share that the first layer kept. Takes no longer than `patience` seconds, and the work
 * itself. */
static int graft_ring(network *own, int rank, int ranks, double patience, double *alpha) {
  static network received; /* MPI may write here after the deadline */
  const int size = (int)(sizeof *own / sizeof(float));
  double deadline = MPI_Wtime() + patience;
  MPI_Request requests[2];
  if (MPI_Irecv(&received, size, MPI_FLOAT, (rank + ranks - 1) % ranks, 0, MPI_COMM_WORLD,
                &requests[0]) != MPI_SUCCESS ||
      MPI_Isend(own, size, MPI_FLOAT, (rank + 1) % ranks, 0, MPI_COMM_WORLD, &requests[1]) !=
          MPI_SUCCESS ||
      !finished(requests, 2, deadline))
    return lost;

  const int64_t conv[] = {8, 3, 3, 3}, norm[] = {8}, linear[] = {4, 8};
  network *both[] = {own, &received};
  graft_tensor tensors[2][3];
  for (int k = 0; k < 2; ++k) {
    tensors[k][0] =
        (graft_tensor){sizeof(graft_tensor), "conv", both[k]->conv, GRAFT_FLOAT32, 4, conv, NULL};
    tensors[k][1] =
        (graft_tensor){sizeof(graft_tensor), "norm", both[k]->norm, GRAFT_FLOAT32, 1, norm, NULL};
    tensors[k][2] = (graft_tensor){
        sizeof(graft_tensor), "linear", both[k]->linear, GRAFT_FLOAT32, 2, linear, NULL};
  }
  /* Of two networks each takes from the other; what `received` becomes is of no interest. */
  const graft_tensor *networks[] = {tensors[0], tensors[1]};

  graft_options options;
  graft_options_init(&options, sizeof options);
  options.dry_run = 1; /* all checks, and no weight is written */
  graft_report *report = NULL;
  graft_layer_report layer = {.struct_size = sizeof layer};
  graft_status mine = graft_apply(NULL, networks, sizeof(graft_tensor), 3, 2, &options, &report);
  if (mine == GRAFT_OK) mine = graft_report_layer(report, 0, 0, &layer);
  if (mine != GRAFT_OK) fprintf(stderr, "rank %d: %s\n", rank, graft_last_error());
  graft_report_destroy(report);
  int worst = agree(mine, deadline);
  if (worst != GRAFT_OK) return worst;

  options.dry_run = 0;
  mine = graft_apply(NULL, networks, sizeof(graft_tensor), 3, 2, &options, NULL);
  if (mine != GRAFT_OK) {
    /* Tried a moment ago: what is left is a lack of memory. The others may have written. */
    fprintf(stderr, "rank %d: %s\n", rank, graft_last_error());
    return lost;
  }
  *alpha = layer.alpha;
  return GRAFT_OK;
}

/* Writes the network beside and renames: a process that is killed leaves the file that was there,
 * or all of the new one. */
static void keep(const network *own, int rank, const char *folder) {
  char path[4096], beside[4096];
  int length = snprintf(path, sizeof path, "%s/network-%d.bin", folder, rank);
  int other = snprintf(beside, sizeof beside, "%s/network-%d.new", folder, rank);
  if (length < 0 || other < 0 || length >= (int)sizeof path || other >= (int)sizeof beside) {
    fprintf(stderr, "rank %d: the folder's name is too long\n", rank);
    return;
  }
  FILE *file = fopen(beside, "wb");
  int written = file != NULL && fwrite(own, sizeof *own, 1, file) == 1;
  if (file != NULL && fclose(file) != 0) written = 0;
  if (!written || rename(beside, path) != 0) {
    perror(path);
    remove(beside);
  }
}

int main(int count, char **arguments) {
  int rank, ranks;
  MPI_Init(&count, &arguments);
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  double patience = count > 2 ? atof(arguments[2]) : 60;
  const char *folder = count > 3 ? arguments[3] : NULL;

  static network own;
  train(&own, rank);
  if (count > 1 && atoi(arguments[1]) == rank) own.linear[0] = NAN;
  if (folder != NULL) keep(&own, rank, folder);

  double alpha = 1;
  int status = graft_ring(&own, rank, ranks, patience, &alpha);
  if (folder != NULL) keep(&own, rank, folder);
  double sum = 0;
  for (int i = 0; i < conv_size; ++i) sum += own.conv[i];
  printf("rank %d  %s  alpha %.6f  last weight %.8f  sum of conv %.8f\n", rank,
         status == lost ? "LOST" : graft_status_name((graft_status)status), alpha,
         (double)own.linear[linear_size - 1], sum);
  fflush(stdout);

  /* MPI_Finalize waits for everybody: only where everybody is there. */
  MPI_Request barrier;
  if (status == lost || MPI_Ibarrier(MPI_COMM_WORLD, &barrier) != MPI_SUCCESS ||
      !finished(&barrier, 1, MPI_Wtime() + patience)) {
    fprintf(stderr, "rank %d: another rank has not answered within %g seconds\n", rank, patience);
    /* Whoever began later gives up later: MPI_Abort ends them too. */
    const struct timespec pause = {(time_t)patience, 0};
    nanosleep(&pause, NULL);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return status == GRAFT_OK ? 0 : 1;
}
