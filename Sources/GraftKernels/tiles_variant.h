/* All loops and the table of them, TILES. Included once for each instruction set by tiles_*.c,
 * which say LANES, SUBPANEL and TILES; no include guard on purpose. */

#define UNROLL _Pragma("clang loop unroll(full)")

#include "vectors.h"
/* Products that are added up one after the other. A longer sum is made of several of these, which
 * keeps its rounding error as small as other libraries'. */
#define TERMS 512

#include "bfloat16_tiles.h"
#include "view_tiles.h"
#include "moments_tiles.h"
#include "winograd_tiles.h"
#include "winograd_pack_tiles.h"
#include "weight_tiles.h"
#include "narrow_tiles.h"
#include "convolution_tiles.h"
#include "winograd_backward_tiles.h"
#include "convolution_backward_tiles.h"
#include "winograd_wide_tiles.h"
#include "across_tiles.h"
#include "flat_tiles.h"
#include "depthwise_tiles.h"
#include "grouped_tiles.h"
#include "elementwise_tiles.h"
#include "concatenation_tiles.h"
#include "dropout_tiles.h"
#include "pooling_tiles.h"

const gk_tiles TILES = {
    .convolution_forward = convolution_forward_tile,
    .convolution_backward = convolution_backward_tile,
    .winograd_forward = winograd_forward_tile,
    .winograd_input = winograd_input_tile,
    .winograd_wait = winograd_wait_tile,
    .winograd_weights = winograd_weights_tile,
    .winograd_pack = winograd_pack_tile,
    .winograd_unpack = winograd_unpack_tile,
    .across_forward = across_forward_tile,
    .across_input = across_input_tile,
    .apart_pack = apart_pack_tile,
    .apart_weights = apart_weights_tile,
    .flat_forward = flat_forward_tile,
    .flat_input = flat_input_tile,
    .depthwise_forward = depthwise_forward_tile,
    .depthwise_backward = depthwise_backward_tile,
    .sum = sum_tile,
    .rectify = rectify_tile,
    .apply = apply_tile,
    .moments = moments_tile,
    .reduce = reduce_tile,
    .sgd = sgd_tile,
    .concatenate = concatenate_tile,
    .split = split_tile,
    .dropout = dropout_tile,
    .dropout_backward = dropout_backward_tile,
    .pool = pool_tile,
    .pool_backward = pool_backward_tile,
    .global_pool = global_tile,
    .global_pool_backward = global_backward_tile,
    .shortcut = shortcut_tile,
    .shortcut_backward = shortcut_backward_tile,
    .grouped_forward = grouped_forward_tile,
    .grouped_backward = grouped_backward_tile,
};
