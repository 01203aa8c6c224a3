/* Winograd's way for many channels (winograd_plan.h), for vectors of LANES floats. Included by
 * tiles_*.c after convolution_backward_tiles.h.
 *
 * A tile's squares are transformed first, all sixteen positions of them. Then position by position
 * the weights of some filters are walked once, while the position's squares stay in the cache. */

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

/* Products of one position for the part's filters, over channels that are cut where sums elsewhere
 * are. */
static void winograd_position_products(const float *in, int64_t step, int64_t channels,
                                       int64_t squares, const float *weights, int64_t filters,
                                       const winograd_part *part, float *out, int64_t out_step) {
  int64_t pieces = gk_ceil_div(channels, TERMS);
  int64_t some = gk_ceil_div(gk_ceil_div(channels, pieces), 16) * 16;
  for (int64_t lane = part->first; lane < part->end; lane += GK_PANEL) {
    int64_t width = gk_panel_width(lane, filters), lanes = gk_min(width, SUBPANEL);
    for (int64_t sub = 0; sub < width; sub += lanes)
      for (int64_t c = 0; c < channels; c += some) {
        winograd_walk walk = {step, gk_min(some, channels - c), width, out_step, c > 0};
        winograd_multiply(&walk, in + c, squares, weights + lane * channels + c * width + sub,
                          lanes, out + lane - part->first + sub);
      }
  }
}

/* From the part's transformed squares to pixels. squares: [position][square][channels + 16]. */
static void winograd_wide_products(const gk_convolution *s, const winograd_part *part,
                                   int64_t channels, const float *weights, int64_t filters,
                                   const float *bias, int accumulate, const float *squares,
                                   float *products, float *out) {
  const gk_winograd_tiling *t = &part->tiling;
  int64_t most = gk_winograd_squares(t), step = channels + 16;
  int64_t position = gk_winograd_position(most, step);
  int64_t made = gk_winograd_filters(filters) + 16, product = gk_winograd_position(most, made);
  int64_t live = part->images * part->rows * t->across, out_row = s->width * filters;
  for (int64_t p = 0; p < GK_POSITIONS; ++p)
    winograd_position_products(squares + p * position, step, channels, live,
                               weights + p * filters * channels, filters, part,
                               products + p * product, made);
  for (int64_t i = 0; i < part->images; ++i)
    for (int64_t r = 0; r < part->rows; ++r) {
      int64_t y = 2 * (part->row + r);
      winograd_write(products + (i * part->rows + r) * t->across * made, product, made, t->across,
                     part->end - part->first, bias != NULL ? bias + part->first : NULL, accumulate,
                     y + 1 < s->height, s->width % 2 == 0,
                     out + ((part->image + i) * s->height + y) * out_row + part->first, out_row,
                     filters);
    }
}

static void winograd_forward_tile(void *context, int64_t tile, int worker) {
  const gk_forward_job *job = context;
  const gk_convolution *s = job->shape;
  winograd_part part = winograd_part_at(s, s->filters, tile);
  const gk_winograd_tiling *t = &part.tiling;
  int64_t channels = s->channels, most = gk_winograd_squares(t);
  int64_t position = gk_winograd_position(most, channels + 16);
  int64_t made = gk_winograd_filters(s->filters) + 16, row = gk_in_width(s) * channels;
  float *squares = job->scratch + worker * job->scratch_stride;
  float *products = squares + GK_POSITIONS * position;
  float *copied = products + GK_POSITIONS * gk_winograd_position(most, made);
  for (int64_t i = 0; i < part.images; ++i) {
    copy_rows(copied, NULL, s, &job->in, part.image + i, 0, 2 * part.row - 1, 2 * part.rows + 2);
    for (int64_t r = 0; r < part.rows; ++r)
      winograd_read(copied + 2 * r * row, row, channels, channels, t->across,
                    squares + (i * part.rows + r) * t->across * (channels + 16), channels + 16,
                    position);
  }
  winograd_wide_products(s, &part, channels, job->packed, s->filters, job->bias, 0, squares,
                         products, job->out);
  for (int64_t i = part.image; job->statistics != NULL && i < part.image + part.images; ++i) {
    int64_t first = 2 * part.row, rows = gk_min(2 * part.rows, s->height - first);
    float *statistics =
        job->statistics + (i * t->bands + part.row / t->rows) * 2 * s->filters + part.first;
    moments(job->out + (i * s->height + first) * s->width * s->filters + part.first,
            rows * s->width, part.end - part.first, s->filters, statistics,
            statistics + s->filters);
  }
}

static void winograd_input_tile(void *context, int64_t tile, int worker) {
  const gk_backward_job *job = context;
  const gk_convolution *s = job->shape;
  winograd_part part = winograd_part_at(s, s->channels, tile);
  const gk_winograd_tiling *t = &part.tiling;
  int64_t filters = s->filters, most = gk_winograd_squares(t);
  int64_t position = gk_winograd_position(most, filters + 16);
  int64_t made = gk_winograd_filters(s->channels) + 16;
  int64_t row = (job->halo_left + s->out_width + job->halo_right) * filters;
  float *squares = job->scratch + worker * job->scratch_stride;
  float *products = squares + GK_POSITIONS * position;
  float *copied = products + GK_POSITIONS * gk_winograd_position(most, made);
  for (int64_t i = 0; i < part.images; ++i) {
    copy_gradient(copied, NULL, job, part.image + i, 0, 2 * part.row - 1, 2 * part.rows + 2);
    for (int64_t r = 0; r < part.rows; ++r)
      winograd_read(copied + 2 * r * row, row, filters, filters, t->across,
                    squares + (i * part.rows + r) * t->across * (filters + 16), filters + 16,
                    position);
  }
  winograd_wide_products(s, &part, filters, job->packed, s->channels, NULL, job->accumulate,
                         squares, products, job->input_gradient);
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
