/* One network a process: rank r grafts from rank r - 1, and the first from the last.
 *
 *   mpirun -n 3 ./ring        grafts, and prints a line a rank
 *   mpirun -n 3 ./ring 1      the same with a NaN among the weights of rank 1: nobody grafts
 *
 * A rank holds its own network and the one that it receives, whatever the number of ranks. All or
 * none: everybody tries without writing, all agree, and only then everybody writes. */
#include <graft.h>
#include <math.h>
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

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

/* The worst status of all ranks: the same on every rank. */
static int agree(graft_status mine) {
  int worst = mine;
  MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
  return worst;
}

/* Grafts this rank's network from its predecessor's; `own` changes on all ranks or on none.
 * `alpha` receives the share that the first layer kept. */
static int graft_ring(network *own, int rank, int ranks, double *alpha) {
  network received;
  MPI_Sendrecv(own, (int)(sizeof *own / sizeof(float)), MPI_FLOAT, (rank + 1) % ranks, 0, &received,
               (int)(sizeof received / sizeof(float)), MPI_FLOAT, (rank + ranks - 1) % ranks, 0,
               MPI_COMM_WORLD, MPI_STATUS_IGNORE);

  const int64_t conv[] = {8, 3, 3, 3}, norm[] = {8}, linear[] = {4, 8};
  network *both[] = {own, &received};
  graft_tensor tensors[2][3];
  for (int k = 0; k < 2; ++k) {
    tensors[k][0] = (graft_tensor){sizeof(graft_tensor), "conv", both[k]->conv, GRAFT_FLOAT32, 4,
                                   conv, NULL};
    tensors[k][1] = (graft_tensor){sizeof(graft_tensor), "norm", both[k]->norm, GRAFT_FLOAT32, 1,
                                   norm, NULL};
    tensors[k][2] = (graft_tensor){sizeof(graft_tensor), "linear", both[k]->linear, GRAFT_FLOAT32,
                                   2, linear, NULL};
  }
  /* Of two networks each takes from the other; what `received` becomes is of no interest. */
  const graft_tensor *networks[] = {tensors[0], tensors[1]};

  graft_options options;
  graft_options_init(&options, sizeof options);
  options.dry_run = 1; /* all checks, and no weight is written */
  graft_report *report = NULL;
  graft_layer_report layer = {.struct_size = sizeof layer};
  graft_status mine =
      graft_apply(NULL, networks, sizeof(graft_tensor), 3, 2, &options, &report);
  if (mine == GRAFT_OK) mine = graft_report_layer(report, 0, 0, &layer);
  if (mine != GRAFT_OK) fprintf(stderr, "rank %d: %s\n", rank, graft_last_error());
  graft_report_destroy(report);
  int worst = agree(mine);
  if (worst != GRAFT_OK) return worst;

  options.dry_run = 0;
  mine = graft_apply(NULL, networks, sizeof(graft_tensor), 3, 2, &options, NULL);
  if (mine != GRAFT_OK) {
    /* Tried a moment ago: what is left is a lack of memory. The others may have written. */
    fprintf(stderr, "rank %d: %s\n", rank, graft_last_error());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  *alpha = layer.alpha;
  return GRAFT_OK;
}

int main(int count, char **arguments) {
  int rank, ranks;
  MPI_Init(&count, &arguments);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);

  network own;
  train(&own, rank);
  if (count > 1 && atoi(arguments[1]) == rank) own.linear[0] = NAN;

  double alpha = 1;
  int status = graft_ring(&own, rank, ranks, &alpha);
  double sum = 0;
  for (int i = 0; i < conv_size; ++i) sum += own.conv[i];
  printf("rank %d  %s  alpha %.6f  last weight %.8f  sum of conv %.8f\n", rank,
         graft_status_name(status), alpha, (double)own.linear[linear_size - 1], sum);

  MPI_Finalize();
  return status == GRAFT_OK ? 0 : 1;
}
