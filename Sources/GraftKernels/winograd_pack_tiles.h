/* Weights of a 3 x 3 kernel to Winograd's sixteen positions, and their gradient back, for vectors
 * of LANES floats; a tile is a panel. Included by tiles_*.c after winograd_tiles.h. */

/* The two middle ones of the four numbers that a row of three becomes: G of a, b and c is a,
 * (a + b + c) / 2, (a - b + c) / 2, c. */
#define WINOGRAD_MIDDLE(a, b, c, plus, minus) \
  vf plus = 0.5f * ((a + c) + b), minus = 0.5f * ((a + c) - b);

/* G g G'. g: [tap][lane], to: [position][lane], `step` floats from one to the next of either. */
static void winograd_transform(const float *g, float *to, int64_t lanes, int64_t step,
                               int64_t position) {
  for (int64_t l = 0; l < lanes; l += LANES) {
    vf rows[4][3];
    UNROLL for (int j = 0; j < 3; ++j) {
      vf a = load(g + j * step + l), b = load(g + (3 + j) * step + l);
      vf c = load(g + (6 + j) * step + l);
      WINOGRAD_MIDDLE(a, b, c, plus, minus)
      rows[0][j] = a, rows[1][j] = plus, rows[2][j] = minus, rows[3][j] = c;
    }
    UNROLL for (int i = 0; i < 4; ++i) {
      WINOGRAD_MIDDLE(rows[i][0], rows[i][1], rows[i][2], plus, minus)
      float *at = to + 4 * i * position + l;
      store(at, rows[i][0]), store(at + 3 * position, rows[i][2]);
      store(at + position, plus), store(at + 2 * position, minus);
    }
  }
}

static void winograd_pack_tile(void *context, int64_t tile, int worker) {
  const gk_winograd_weights_job *job = context;
  (void)worker;
  int64_t lane = tile * GK_PANEL, width = gk_panel_width(lane, job->out);
  for (int64_t c = 0; c < job->in; ++c) {
    float g[9][GK_PANEL];
    const float *from = job->from + lane * job->out_stride + c * job->in_stride;
    for (int64_t l = 0; l < width; ++l, from += job->out_stride)
      UNROLL for (int t = 0; t < 9; ++t) g[t][l] = from[job->flipped ? 8 - t : t];
    winograd_transform(g[0], job->to + lane * job->in + c * width, width, GK_PANEL,
                       job->out * job->in);
  }
}

/* Channels whose sums are joined at once. */
#define WINOGRAD_TOGETHER 8

/* Adds up the chunks' sums of a panel and writes its filters' gradients, filters x channels x 9. */
static void winograd_unpack_tile(void *context, int64_t tile, int worker) {
  const gk_winograd_weights_job *job = context;
  (void)worker;
  int64_t lane = tile * GK_PANEL, width = gk_panel_width(lane, job->out);
  for (int64_t c = 0; c < job->in; c += WINOGRAD_TOGETHER) { /* channels are a multiple of 16 */
    float sums[GK_POSITIONS][WINOGRAD_TOGETHER * GK_PANEL];
    int64_t count = WINOGRAD_TOGETHER * width;
    for (int64_t p = 0; p < GK_POSITIONS; ++p) {
      const float *from = job->from + (p * job->out + lane) * job->in + c * width;
      memcpy(sums[p], from, (size_t)count * sizeof(float));
      for (int64_t chunk = 1; chunk < job->chunks; ++chunk)
        for (int64_t l = 0; l < count; ++l) sums[p][l] += from[chunk * job->stride + l];
    }
    float made[9][WINOGRAD_TOGETHER * GK_PANEL];
    for (int64_t l = 0; l < count; l += LANES) {
      vf rows[3][4];
      UNROLL for (int j = 0; j < 4; ++j) {
        vf a = load(sums[j] + l), b = 0.5f * load(sums[4 + j] + l);
        vf d = 0.5f * load(sums[8 + j] + l), e = load(sums[12 + j] + l);
        rows[0][j] = a + (b + d), rows[1][j] = b - d, rows[2][j] = e + (b + d);
      }
      UNROLL for (int i = 0; i < 3; ++i) {
        vf b = 0.5f * rows[i][1], d = 0.5f * rows[i][2];
        store(made[3 * i] + l, rows[i][0] + (b + d));
        store(made[3 * i + 1] + l, b - d);
        store(made[3 * i + 2] + l, rows[i][3] + (b + d));
      }
    }
    for (int64_t l = 0; l < width; ++l) {
      float *to = job->to + (lane + l) * job->out_stride + c * job->in_stride;
      for (int64_t k = 0; k < WINOGRAD_TOGETHER; ++k, to += 9)
        UNROLL for (int t = 0; t < 9; ++t) to[t] = made[t][k * width + l];
    }
  }
}
