/* Loaded before the MPI library: rank LOSE_RANK sends itself the signal LOSE_SIGNAL at the moment
 * LOSE_MOMENT of examples/mpi/ring.c. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <graft.h>
#include <mpi.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void at(const char *moment) {
  int rank;
  const char *asked = getenv("LOSE_MOMENT");
  if (asked == NULL || strcmp(asked, moment) != 0) return;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank == atoi(getenv("LOSE_RANK"))) kill(getpid(), atoi(getenv("LOSE_SIGNAL")));
}

int MPI_Irecv(void *buffer, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm,
              MPI_Request *request) {
  at("start");
  return PMPI_Irecv(buffer, count, type, source, tag, comm, request);
}

int MPI_Isend(const void *buffer, int count, MPI_Datatype type, int target, int tag, MPI_Comm comm,
              MPI_Request *request) {
  at("before it sends");
  int result = PMPI_Isend(buffer, count, type, target, tag, comm, request);
  at("when it has sent");
  return result;
}

int MPI_Iallreduce(const void *from, void *to, int count, MPI_Datatype type, MPI_Op op,
                   MPI_Comm comm, MPI_Request *request) {
  at("before it agrees");
  int result = PMPI_Iallreduce(from, to, count, type, op, comm, request);
  at("while all agree");
  return result;
}

/* The second graft of the program is the one that writes. */
graft_status graft_apply(const graft_plan *plan, const graft_tensor *const *networks, size_t stride,
                         size_t tensor_count, size_t network_count, const graft_options *options,
                         graft_report **report) {
  graft_status (*apply)(const graft_plan *, const graft_tensor *const *, size_t, size_t, size_t,
                        const graft_options *, graft_report **);
  *(void **)&apply = dlsym(RTLD_NEXT, "graft_apply");
  if (!options->dry_run) at("before it writes");
  return apply(plan, networks, stride, tensor_count, network_count, options, report);
}

int MPI_Ibarrier(MPI_Comm comm, MPI_Request *request) {
  at("at the end");
  return PMPI_Ibarrier(comm, request);
}
