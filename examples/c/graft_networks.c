/* Grafts three networks of one's own, from C.
 *
 *   make build
 *   cc -std=c99 -IInclude examples/c/graft_networks.c -Lbuild -lgraft -Wl,-rpath,"$PWD/build" \
 *     -o build/graft_networks && build/graft_networks
 */
#include <graft.h>
#include <stdio.h>

enum { NETWORKS = 3, TENSORS = 3, CONV = 8 * 3 * 3 * 3, NORM = 8, LINEAR = 4 * 8 };

/* A network's weights: wherever the program keeps them, Graft works on them in place. */
typedef struct network {
  float conv[CONV], norm[NORM], linear[LINEAR];
} network;

/* Stands for training: uniform numbers to the power 2k + 1, and a filter that died. */
static void train(network *net, int k) {
  float *parts[] = {net->conv, net->norm, net->linear};
  const int sizes[] = {CONV, NORM, LINEAR};
  unsigned state = (unsigned)k + 1;
  for (int p = 0; p < TENSORS; ++p) {
    for (int i = 0; i < sizes[p]; ++i) {
      state = (state * 1664525u + 1013904223u) & 0xFFFFFFFFu;
      double uniform = state / 2147483648.0 - 1, value = uniform;
      for (int power = 0; power < k; ++power) value *= uniform * uniform;
      parts[p][i] = (float)value;
    }
  }
  for (int i = 0; i < 27; ++i) net->conv[k * 27 + i] *= 0.001f;
}

int main(void) {
  static network nets[NETWORKS];
  static const int64_t conv[] = {8, 3, 3, 3}, norm[] = {8}, linear[] = {4, 8};
  graft_tensor tensors[NETWORKS][TENSORS];
  const graft_tensor *networks[NETWORKS];
  for (int k = 0; k < NETWORKS; ++k) {
    train(&nets[k], k);
    const size_t size = sizeof(graft_tensor);
    tensors[k][0] = (graft_tensor){size, "conv", nets[k].conv, GRAFT_FLOAT32, 4, conv, NULL};
    tensors[k][1] = (graft_tensor){size, "norm", nets[k].norm, GRAFT_FLOAT32, 1, norm, NULL};
    tensors[k][2] = (graft_tensor){size, "linear", nets[k].linear, GRAFT_FLOAT32, 2, linear, NULL};
    networks[k] = tensors[k];
  }

  graft_options options;
  graft_options_init(&options, sizeof options); /* the paper's */
  graft_report *report = NULL;
  graft_status status = graft_apply(NULL, networks, sizeof(graft_tensor), TENSORS, NETWORKS,
                                    &options, &report);
  if (status != GRAFT_OK) {
    fprintf(stderr, "%s: %s\n", graft_status_name(status), graft_last_error());
    return 1;
  }

  printf("layer  network  from   alpha  entropy   after  invalid  after  last weight\n");
  for (size_t layer = 0; layer < graft_report_layer_count(report); ++layer) {
    for (size_t k = 0; k < NETWORKS; ++k) {
      graft_layer_report row = {.struct_size = sizeof row};
      if (graft_report_layer(report, layer, k, &row) != GRAFT_OK) return 1;
      printf("%-5s  %7zu  %4zu  %.4f  %7.4f  %6.4f  %7zu  %5zu  %11.6f\n", row.name, k, row.source,
             row.alpha, row.entropy_before, row.entropy_after, row.invalid_before,
             row.invalid_after, nets[k].linear[LINEAR - 1]);
    }
  }
  graft_report_destroy(report);
  return 0;
}
