/** @file
 * What training does to images at random: crops, mirror images, erased parts, mixtures of two.
 */
#ifndef GRAFT_AUGMENTATION_H
#define GRAFT_AUGMENTATION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * In the order in which it is done. All is drawn from (seed, epoch, image) alone, each part from
 * numbers of its own: at any batch size and number of threads an image is cropped, mirrored and
 * erased alike. Fill with graft_augmentation_init, then change fields.
 */
typedef struct graft_augmentation {
  size_t struct_size;
  /** Zero padding of the random crop, in pixels, 0 (none) to 4096. Default 4. The zeros are those
   * before normalisation: a pixel of the padding shows as (0 - mean) / deviation. */
  int64_t crop_padding;
  /** 1 (default) mirrors half of the images left to right. */
  int32_t flip;
  /** The share of the images of which a rectangle is erased (random erasing, arXiv 1708.04896; the
   * distribution is that of torchvision's RandomErasing), 0 to 1. Default 0. What is erased shows
   * as 0, after normalisation. */
  double erasing;
  /** The erased share of the image, drawn between these, 0 to 1. Default 0.02 and 0.33. */
  double erasing_area_low;
  double erasing_area_high;
  /** Its height over its width, drawn between the logarithms of these, above 0. Default 0.3 and
   * 3.3. */
  double erasing_ratio_low;
  double erasing_ratio_high;
  /** Mixup (arXiv 1710.09412): an image becomes share x + (1 - share) x', x' the next of its batch,
   * the share drawn for every image from Beta(mixup, mixup). 0 (default, off) to 1000000. */
  double mixup;
  /** CutMix (arXiv 1905.04899): a rectangle of x' is laid over x, 1 - l of its area, l drawn from
   * Beta(cutmix, cutmix), about a pixel drawn anywhere, cut off where it leaves the image; the
   * share is what then remains of x. 0 (default, off) to 1000000. With both, an image gets one of
   * them, equally often. */
  double cutmix;
  /** The share of the images that are mixed at all, 0 to 1. Default 1. */
  double mixing;
} graft_augmentation;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_augmentation_init(graft_augmentation *options, size_t size);

#ifdef __cplusplus
}
#endif
#endif
