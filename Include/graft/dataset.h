/** @file
 * Data sets of labelled images: the CIFAR binary files, IDX files (MNIST and its relatives), and
 * arrays that the caller holds.
 */
#ifndef GRAFT_DATASET_H
#define GRAFT_DATASET_H

#include "augmentation.h"
#include "status.h"
#include "tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Labelled images, immutable once made: any number of threads and trainers may use one. */
typedef struct graft_dataset graft_dataset;

/** Which part of a data set. */
typedef enum graft_split { GRAFT_SPLIT_TRAIN = 0, GRAFT_SPLIT_TEST = 1 } graft_split;

/**
 * Reads CIFAR-10 (data_batch_1.bin to data_batch_5.bin, test_batch.bin) or CIFAR-100 (train.bin,
 * test.bin) binary files; which of the two is seen from the file names in the directory.
 * CIFAR-100 gives the 100 fine classes. Images are 3 x 32 x 32 bytes.
 *
 * @return GRAFT_IO where a file is missing, GRAFT_FORMAT where a file's length is not a whole
 *         number of records or a label is out of range; GRAFT_INVALID_ARGUMENT where the directory
 *         holds files of both.
 */
graft_status graft_dataset_cifar(const char *directory, graft_split split,
                                 graft_dataset **dataset);

/**
 * Reads a pair of IDX files of unsigned bytes, plain or gzip-compressed (seen from the content):
 * images of 3 dimensions (N x H x W) or 4 (N x H x W x C), labels of 1. The number of classes is
 * the highest label + 1.
 *
 * @return GRAFT_IO; GRAFT_FORMAT, naming the file, where one is truncated, corrupt or no IDX file;
 *         GRAFT_UNSUPPORTED for elements of another type; GRAFT_SHAPE_MISMATCH where the files'
 *         counts differ.
 */
graft_status graft_dataset_idx(const char *images_path, const char *labels_path,
                               graft_dataset **dataset);

/**
 * Makes a data set from the caller's arrays, copied once.
 *
 * @param images N x C x H x W, GRAFT_FLOAT32, finite, any strides; N at least 1, the others 1 to
 *        32768. Values are used as they are unless normalised with graft_dataset_normalise.
 * @param labels N class numbers, 0 to classes - 1.
 * @param classes 1 to 65536.
 */
graft_status graft_dataset_arrays(const graft_tensor *images, const int64_t *labels,
                                  int64_t classes, graft_dataset **dataset);

/**
 * The same from bytes: N x C x H x W, any strides in elements; read as value / 255.
 *
 * @param shape 4 dimensions. @param strides 4 strides, each >= 0, or NULL for row-major.
 */
graft_status graft_dataset_bytes(const uint8_t *images, const int64_t shape[4],
                                 const int64_t *strides, const int64_t *labels, int64_t classes,
                                 graft_dataset **dataset);

/**
 * Makes a data set of bytes for the caller to fill, so that decoded images need not be copied:
 * write them to *pixels, which the library owns, N x H x W x C without gaps (channels last,
 * whatever the order of `shape`). They are zeros at first, and must be written before anything else
 * uses the data set, and not after. Any number of threads may write.
 *
 * @param shape N, C, H, W. @param labels N class numbers, 0 to classes - 1; copied.
 * @param pixels receives the place, valid until the data set is destroyed.
 */
graft_status graft_dataset_blank(const int64_t shape[4], const int64_t *labels, int64_t classes,
                                 uint8_t **pixels, graft_dataset **dataset);

/** Ends a data set. NULL is allowed. A trainer that holds it keeps it alive for itself. */
void graft_dataset_destroy(graft_dataset *dataset);

/** What a data set holds. */
typedef struct graft_dataset_info {
  size_t struct_size;
  int64_t count;
  int64_t channels;
  int64_t height;
  int64_t width;
  int64_t classes;
} graft_dataset_info;

/** Tells what a data set holds. `info->struct_size` is set by the caller. */
graft_status graft_dataset_get_info(const graft_dataset *dataset, graft_dataset_info *info);

/**
 * Mean and standard deviation (divided by N, not N - 1) of every channel, over all images, as the
 * data set shows them: from 0 to 1 for bytes, and after graft_dataset_normalise as normalised.
 *
 * @param count must be the number of channels.
 */
graft_status graft_dataset_statistics(const graft_dataset *dataset, double *mean,
                                      double *deviation, size_t count);

/**
 * Makes a data set that shows the same images as (x - mean) / deviation per channel; the images
 * are shared, not copied, and live as long as one of the data sets. Give the test set the
 * statistics of the training set.
 *
 * @param deviation > 0.
 */
graft_status graft_dataset_normalise(const graft_dataset *dataset, const double *mean,
                                     const double *deviation, size_t count,
                                     graft_dataset **normalised);

/**
 * Copies images out, without augmentation.
 *
 * @param indices `count` image numbers.
 * @param images receives count x C x H x W, GRAFT_FLOAT32, any strides; its first dimension is at
 *        least count. NULL if not wanted.
 * @param labels receives `count` labels; NULL if not wanted.
 */
graft_status graft_dataset_read(const graft_dataset *dataset, const int64_t *indices,
                                size_t count, const graft_tensor *images, int64_t *labels);

/**
 * The batch that a trainer would see: the same seed gives the same batches, on any machine.
 *
 * @param seed decides order, crops and flips, together with `epoch`.
 * @param epoch counts from 1.
 * @param batch number of the batch within the epoch, from 0.
 * @param batch_size 1 to 65536.
 * @param crop_padding 0 for none, to 4096: pixels of zeros around an image, of which a window of
 *        the image's size is taken at random. The zeros are those of the stored image, before
 *        normalisation: a pixel of the padding shows as (0 - mean) / deviation.
 * @param flip 1 mirrors half of the images left to right.
 * @param images receives n x C x H x W, GRAFT_FLOAT32, any strides, where n is the number of images
 *        in the batch; its first dimension is at least that. NULL if not wanted.
 * @param labels receives n labels; NULL if not wanted.
 * @param count receives how many images the batch has (fewer in the last one; 0 past it).
 */
graft_status graft_dataset_batch(const graft_dataset *dataset, uint64_t seed, int64_t epoch,
                                 int64_t batch, int64_t batch_size, int64_t crop_padding,
                                 int32_t flip, const graft_tensor *images, int64_t *labels,
                                 size_t *count);

/**
 * The same with all that graft_augmentation has.
 *
 * @param augmentation NULL for the defaults.
 * @param others receives, for each of the n images, the label of what it is mixed with; its own
 *        where images are not mixed. NULL, like shares, if not wanted.
 * @param shares receives the shares of the images' own labels, 1 where images are not mixed: a
 *        target is labels[i] by shares[i], and others[i] by the rest.
 */
graft_status graft_dataset_augmented_batch(const graft_dataset *dataset,
                                           const graft_augmentation *augmentation, uint64_t seed,
                                           int64_t epoch, int64_t batch, int64_t batch_size,
                                           const graft_tensor *images, int64_t *labels,
                                           int64_t *others, double *shares, size_t *count);

#ifdef __cplusplus
}
#endif
#endif
