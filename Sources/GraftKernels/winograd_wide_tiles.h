/* Winograd's way for many channels (winograd_plan.h), for vectors of LANES floats. Included by
 * tiles_*.c after convolution_backward_tiles.h.
 *
 * A tile's squares are transformed first, all sixteen positions of them. Then panel by panel the
 * weights of some filters become the positions', and are multiplied by all squares. */

/* ---- forward, and the input's gradient ----------------------------------------------------- */

/* What a tile computes, of a batch that is cut by gk_winograd_tile. */
typedef struct winograd_part {
  gk_winograd_tiling tiling;
  int64_t image, images, row, rows; /* of squares */
  int64_t first, end;               /* filters */
} winograd_part;

static winograd_part winograd_part_at(const gk_convolution *s, int64_t filters, int64_t tile) {
  winograd_part part = {.tiling = gk_winograd_tile(s)};
  int64_t many = gk_winograd_filters(filters), parts = gk_ceil_div(filters, many);
  int64_t place = tile / parts;
  part.first = tile % parts * many;
  part.end = gk_min(filters, part.first + many);
  part.image = place / part.tiling.bands * part.tiling.images;
  part.images = gk_min(part.tiling.images, s->n - part.image);
  part.row = place % part.tiling.bands * part.tiling.rows;
  part.rows = gk_min(part.tiling.rows, part.tiling.down - part.row);
  return part;
}

/* From three taps of a panel the weights of the middle positions of their row. from: the first
 * tap's, tap floats to the next; to: [2][channel][lane]. */
static void winograd_outer_weights(const float *from, int64_t tap, int64_t count, float *to) {
  for (int64_t i = 0; i < count; i += LANES) {
    vf a = load(from + i), b = load(from + tap + i), c = load(from + 2 * tap + i);
    WINOGRAD_MIDDLE(a, b, c, plus, minus)
    store(to + i, plus), store(to + count + i, minus);
  }
}

/* From all nine taps the weights of the eight positions of the two middle rows. */
static void winograd_inner_weights(const float *from, int64_t tap, int64_t count, float *to) {
  for (int64_t i = 0; i < count; i += LANES) {
    vf rows[2][3];
    UNROLL for (int j = 0; j < 3; ++j) {
      const float *at = from + j * tap + i;
      vf a = load(at), b = load(at + 3 * tap), c = load(at + 6 * tap);
      WINOGRAD_MIDDLE(a, b, c, plus, minus)
      rows[0][j] = plus, rows[1][j] = minus;
    }
    UNROLL for (int r = 0; r < 2; ++r) {
      float *at = to + 4 * r * count + i;
      WINOGRAD_MIDDLE(rows[r][0], rows[r][1], rows[r][2], plus, minus)
      store(at, rows[r][0]), store(at + 3 * count, rows[r][2]);
      store(at + count, plus), store(at + 2 * count, minus);
    }
  }
}

/* What the products of a part walk over, and where they lie in a worker's scratch memory. */
typedef struct winograd_products {
  int64_t channels, filters; /* that the packed weights take and make */
  int64_t count;             /* squares of the part */
  int64_t step, position;    /* of the transformed squares, as winograd_read's */
  int64_t made, product;     /* of the products likewise */
  float *squares, *products;
  float *weights; /* a panel's, at some positions */
  float *copied;  /* rows of an image */
} winograd_products;

static winograd_products winograd_products_at(const winograd_part *part, int64_t channels,
                                              int64_t filters, float *scratch) {
  const gk_winograd_tiling *t = &part->tiling;
  int64_t most = gk_winograd_squares(t), made = gk_winograd_filters(filters) + 16;
  winograd_products p = {.channels = channels,
                         .filters = filters,
                         .count = part->images * part->rows * t->across,
                         .step = channels + 16,
                         .position = gk_winograd_position(most, channels + 16),
                         .made = made,
                         .product = gk_winograd_position(most, made),
                         .squares = scratch};
  p.products = p.squares + GK_POSITIONS * p.position;
  p.weights = p.products + GK_POSITIONS * p.product;
  p.copied = p.weights + GK_WINOGRAD_MADE;
  return p;
}

/* Transforms image i of the part, whose rows have been copied. */
static void winograd_squares(const winograd_products *p, const winograd_part *part, int64_t i,
                             int64_t row) {
  int64_t across = part->tiling.across;
  for (int64_t r = 0; r < part->rows; ++r)
    winograd_read(p->copied + 2 * r * row, row, p->channels, p->channels, across,
                  p->squares + (i * part->rows + r) * across * p->step, p->step, p->position);
}

/* One position's products for a panel; weights: the position's, of these channels. */
static void winograd_panel(const winograd_products *p, int64_t position, const float *in,
                           int64_t channels, int more, const float *weights, int64_t width,
                           float *out) {
  int64_t lanes = gk_min(width, SUBPANEL);
  winograd_walk walk = {p->step, channels, width, p->made, more};
  for (int64_t sub = 0; sub < width; sub += lanes)
    winograd_multiply(&walk, in + position * p->position, p->count, weights + sub, lanes,
                      out + position * p->product + sub);
}

/* All positions' products for the part's filters. The weights' positions are made of a panel's nine
 * taps as they are needed, for a piece of the channels: so they stay in the cache, and memory has
 * nine numbers of a kernel and not sixteen. */
static void winograd_wide_multiply(const winograd_products *p, const winograd_part *part,
                                   const float *weights) {
  float *room = p->weights;
  int64_t pieces = gk_ceil_div(p->channels, GK_WINOGRAD_PIECE);
  int64_t most = gk_ceil_div(gk_ceil_div(p->channels, pieces), 16) * 16;
  for (int64_t c = 0; c < p->channels; c += most) {
    int64_t some = gk_min(most, p->channels - c);
    const float *in = p->squares + c;
    for (int rows = 0; rows < 3; ++rows) /* the first of the positions, the inner two, the last */
      for (int64_t lane = part->first; lane < part->end; lane += GK_PANEL) {
        int64_t width = gk_panel_width(lane, p->filters), tap = p->channels * width;
        const float *taps = weights + lane * p->channels * 9 + c * width;
        float *out = p->products + lane - part->first;
        if (rows == 1) {
          winograd_inner_weights(taps, tap, some * width, room);
          for (int64_t i = 0; i < 8; ++i)
            winograd_panel(p, 4 + i, in, some, c > 0, room + i * some * width, width, out);
          continue;
        }
        int64_t first = rows == 0 ? 0 : 12;
        taps += rows == 0 ? 0 : 6 * tap;
        winograd_outer_weights(taps, tap, some * width, room);
        winograd_panel(p, first, in, some, c > 0, taps, width, out);
        winograd_panel(p, first + 1, in, some, c > 0, room, width, out);
        winograd_panel(p, first + 2, in, some, c > 0, room + some * width, width, out);
        winograd_panel(p, first + 3, in, some, c > 0, taps + 2 * tap, width, out);
      }
  }
}

/* From the part's transformed squares to pixels. */
static void winograd_wide_products(const gk_convolution *s, const winograd_products *p,
                                   const winograd_part *part, const float *weights,
                                   const float *bias, int accumulate, float *out) {
  int64_t across = part->tiling.across, filters = p->filters, out_row = s->width * filters;
  winograd_wide_multiply(p, part, weights);
  for (int64_t i = 0; i < part->images; ++i)
    for (int64_t r = 0; r < part->rows; ++r) {
      int64_t y = 2 * (part->row + r);
      winograd_write(p->products + (i * part->rows + r) * across * p->made, p->product, p->made,
                     across, part->end - part->first, bias != NULL ? bias + part->first : NULL,
                     accumulate, y + 1 < s->height, s->width % 2 == 0,
                     out + ((part->image + i) * s->height + y) * out_row + part->first, out_row,
                     filters);
    }
}

static void winograd_forward_tile(void *context, int64_t tile, int worker) {
  const gk_forward_job *job = context;
  const gk_convolution *s = job->shape;
  winograd_part part = winograd_part_at(s, s->filters, tile);
  winograd_products p = winograd_products_at(&part, s->channels, s->filters,
                                             job->scratch + worker * job->scratch_stride);
  for (int64_t i = 0; i < part.images; ++i) {
    copy_rows(p.copied, NULL, s, &job->in, part.image + i, 0, 2 * part.row - 1, 2 * part.rows + 2);
    winograd_squares(&p, &part, i, gk_in_width(s) * s->channels);
  }
  winograd_wide_products(s, &p, &part, job->packed, job->bias, 0, job->out);
  for (int64_t i = part.image; job->statistics != NULL && i < part.image + part.images; ++i) {
    int64_t first = 2 * part.row, rows = gk_min(2 * part.rows, s->height - first);
    int64_t band = i * part.tiling.bands + part.row / part.tiling.rows;
    float *statistics = job->statistics + band * 2 * s->filters + part.first;
    moments(job->out + (i * s->height + first) * s->width * s->filters + part.first,
            rows * s->width, part.end - part.first, s->filters, statistics,
            statistics + s->filters);
  }
}

static void winograd_input_tile(void *context, int64_t tile, int worker) {
  const gk_backward_job *job = context;
  const gk_convolution *s = job->shape;
  winograd_part part = winograd_part_at(s, s->channels, tile);
  winograd_products p = winograd_products_at(&part, s->filters, s->channels,
                                             job->scratch + worker * job->scratch_stride);
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * s->filters;
  for (int64_t i = 0; i < part.images; ++i) {
    copy_gradient(p.copied, NULL, job, part.image + i, 0, 2 * part.row - 1, 2 * part.rows + 2);
    winograd_squares(&p, &part, i, row);
  }
  winograd_wide_products(s, &p, &part, job->packed, NULL, job->accumulate, job->input_gradient);
}

/* ---- the weights' gradient ------------------------------------------------------------------
 *
 * Images wait in groups, transformed: the input as [position][block of channels][square][channel],
 * the output's gradient as [position][panel][square][lane]. */

/* Transforms an image of the group: its input, or its output's gradient. */
static void winograd_wait_tile(void *context, int64_t tile, int worker) {
  const gk_winograd_job *wait = context;
  const gk_backward_job *job = wait->backward;
  const gk_convolution *s = job->shape;
  int64_t down = gk_ceil_div(s->height, 2), across = gk_ceil_div(s->width, 2);
  int64_t squares = wait->images * down * across, at = tile / 2 * down * across;
  int64_t image = wait->image + tile / 2, channels = s->channels, filters = s->filters;
  float *copied = job->scratch + worker * job->scratch_stride;
  if (tile % 2 == 0) {
    int64_t row = gk_in_width(s) * channels, position = gk_winograd_position(squares, channels);
    for (int64_t y = 0, some; y < down; y += some) {
      some = gk_min(wait->rows, down - y);
      copy_rows(copied, NULL, s, &job->in, image, 0, 2 * y - 1, 2 * some + 2);
      for (int64_t c = 0; c < channels; c += GK_WINOGRAD_CHANNELS) {
        int64_t block = gk_min(GK_WINOGRAD_CHANNELS, channels - c);
        for (int64_t r = 0; r < some; ++r)
          winograd_read(copied + 2 * r * row + c, row, channels, block, across,
                        wait->x + squares * c + (at + (y + r) * across) * block, block, position);
      }
    }
    return;
  }
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * filters;
  int64_t position = gk_winograd_position(squares, filters);
  for (int64_t y = 0, some; y < down; y += some) {
    some = gk_min(wait->rows, down - y);
    copy_gradient(copied, NULL, job, image, 0, 2 * y, 2 * some);
    for (int64_t f = 0; f < filters; f += GK_PANEL) {
      int64_t width = gk_panel_width(f, filters);
      for (int64_t r = 0; r < some; ++r)
        winograd_read_gradient(
            copied + 2 * r * row + job->halo_left * filters + f, row, filters, width, across,
            wait->d + squares * f + (at + (y + r) * across) * width, width, position);
    }
  }
}

/* Adds the group's products at one position for a block of channels and all filters. */
static void winograd_weights_tile(void *context, int64_t tile, int worker) {
  const gk_winograd_job *wait = context;
  const gk_backward_job *job = wait->backward;
  const gk_convolution *s = job->shape;
  (void)worker;
  int64_t blocks = gk_ceil_div(s->channels, GK_WINOGRAD_CHANNELS);
  int64_t p = tile / blocks, c = tile % blocks * GK_WINOGRAD_CHANNELS;
  int64_t block = gk_min(GK_WINOGRAD_CHANNELS, s->channels - c);
  int64_t squares = wait->images * gk_ceil_div(s->height, 2) * gk_ceil_div(s->width, 2);
  const float *x = wait->x + p * gk_winograd_position(squares, s->channels) + squares * c;
  const float *d = wait->d + p * gk_winograd_position(squares, s->filters);
  for (int64_t lane = 0; lane < s->filters; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, s->filters), lanes = gk_min(width, SUBPANEL);
    weight_pixels pixels = {1, 0, 0, 1, 0, 0, squares, block, width, wait->image == 0};
    for (int64_t sub = 0; sub < width; sub += lanes)
      winograd_weights(&pixels, x, d + squares * lane + sub, block, lanes,
                       job->partial + (p * s->filters + lane) * s->channels + c * width + sub,
                       width);
  }
  /* The position whose transform adds up a square's four gradients has the bias's. */
  if (p != 5 || c != 0 || job->bias_gradient == NULL) return;
  for (int64_t lane = 0; lane < s->filters; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, s->filters);
    for (int64_t i = 0; i < width; ++i) {
      float sum = wait->image == 0 ? 0 : job->bias_gradient[lane + i];
      for (int64_t t = 0; t < squares; ++t) sum += d[squares * lane + t * width + i];
      job->bias_gradient[lane + i] = sum;
    }
  }
}
