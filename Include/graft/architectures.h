/** @file
 * The networks of the paper, ready made, with the names and counts of the PyTorch models that
 * people know, so that weights are exchanged as they are (graft_network_save,
 * graft_network_load).
 */
#ifndef GRAFT_ARCHITECTURES_H
#define GRAFT_ARCHITECTURES_H

#include "network.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In all options the input's channels, height and width are 1 to 65536 each, together at most 2^28.
 * What does not fit in between (poolings and strides) is GRAFT_SHAPE_MISMATCH. */

/* ---- ResNet -------------------------------------------------------------------------------- */

/** How a residual block's shortcut changes the number of channels (He et al. 2016, section 3.3). */
typedef enum graft_shortcut {
  /** Option A: strided identity, padded with zero channels, half before and half after. */
  GRAFT_SHORTCUT_A = 0,
  /** Option B: a strided 1x1 convolution with batch norm. */
  GRAFT_SHORTCUT_B = 1
} graft_shortcut;

/** A CIFAR ResNet (He et al. 2016, section 4.2). Fill with graft_resnet_options_init. */
typedef struct graft_resnet_options {
  size_t struct_size;
  /** 6n + 2: 8, 14, 20, 32, 44, 56, 110, ... up to 1202. Default 20. */
  int64_t depth;
  /** Number of classes, 1 to 65536. Default 10. */
  int64_t classes;
  /** The input's channels, height and width. Default 3, 32, 32. */
  int64_t channels;
  int64_t height;
  int64_t width;
  /**
   * Filters of the first stage, 1 to 4096; the later ones have 2 and 4 times as many. Default 16.
   */
  int64_t base_filters;
  /** Default GRAFT_SHORTCUT_A. */
  graft_shortcut shortcut;
  /** Slope of the rectifier below 0: 0 (default) is ReLU; 0 to 1. */
  double negative_slope;
  /** Decides the initial weights (He normal, fan out, for convolutions). Default 0. */
  uint64_t seed;
} graft_resnet_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_resnet_options_init(graft_resnet_options *options, size_t size);

/**
 * Makes a CIFAR ResNet. Its tensors are named as in PyTorch: conv1.weight, bn1.weight, ...,
 * layer1.0.conv1.weight, ..., layer2.0.shortcut.0.weight (option B), linear.weight, linear.bias.
 *
 * @param options NULL for the defaults.
 * @param network receives the network; end it with graft_network_destroy.
 */
graft_status graft_network_resnet(const graft_resnet_options *options, graft_network **network);

/* ---- MobileNetV2 --------------------------------------------------------------------------- */

/** MobileNetV2 for small images (Sandler et al. 2018). Fill with graft_mobilenet_options_init. */
typedef struct graft_mobilenet_options {
  size_t struct_size;
  /** Number of classes, 1 to 65536. Default 10. */
  int64_t classes;
  /** The input's channels, height and width. Default 3, 32, 32. */
  int64_t channels;
  int64_t height;
  int64_t width;
  /** Decides the initial weights. Default 0. */
  uint64_t seed;
} graft_mobilenet_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_mobilenet_options_init(graft_mobilenet_options *options, size_t size);

/**
 * Makes the MobileNetV2 that the paper trains on CIFAR: the first convolution and the first stages
 * keep the map's size, rectifiers are ReLU, 2.30 M parameters at 10 classes. Tensors are named
 * conv1.weight, bn1.weight, ..., layers.0.conv1.weight, layers.0.shortcut.0.weight, ...,
 * conv2.weight, bn2.weight, linear.weight, linear.bias.
 *
 * @param options NULL for the defaults.
 */
graft_status graft_network_mobilenet(const graft_mobilenet_options *options,
                                     graft_network **network);

/* ---- VGG ----------------------------------------------------------------------------------- */

/** VGG with batch norm for small images (Simonyan and Zisserman 2015). */
typedef struct graft_vgg_options {
  size_t struct_size;
  /** 11, 13, 16 (default) or 19. */
  int64_t depth;
  /** Number of classes, 1 to 65536. Default 10. */
  int64_t classes;
  /** The input's channels, height and width, at least 32 x 32. Default 3, 32, 32. */
  int64_t channels;
  int64_t height;
  int64_t width;
  /** Decides the initial weights. Default 0. */
  uint64_t seed;
} graft_vgg_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_vgg_options_init(graft_vgg_options *options, size_t size);

/**
 * Makes a VGG with batch norm and one linear layer, as people train it on CIFAR (14.73 M parameters
 * at depth 16 and 10 classes). Tensors are named features.0.weight, features.1.weight, ... by their
 * place in the sequence of convolution, batch norm, rectifier and pooling; classifier.weight.
 *
 * @param options NULL for the defaults.
 */
graft_status graft_network_vgg(const graft_vgg_options *options, graft_network **network);

/* ---- WideResNet ---------------------------------------------------------------------------- */

/** A wide residual network (Zagoruyko and Komodakis 2016). */
typedef struct graft_wide_resnet_options {
  size_t struct_size;
  /** 6n + 4: 10, 16, 22, 28 (default), 40, ... up to 1204. */
  int64_t depth;
  /** How many times wider than a ResNet, 1 to 64. Default 10. */
  int64_t widen;
  /** Number of classes, 1 to 65536. Default 10. */
  int64_t classes;
  /** The input's channels, height and width. Default 3, 32, 32. */
  int64_t channels;
  int64_t height;
  int64_t width;
  /** Decides the initial weights. Default 0. */
  uint64_t seed;
  /** Probability of the dropout between a block's convolutions, 0 (default: none) to 1, excluded. */
  double dropout;
} graft_wide_resnet_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_wide_resnet_options_init(graft_wide_resnet_options *options, size_t size);

/**
 * Makes a wide residual network with pre-activation blocks (WRN-28-10: 36.48 M parameters at 10
 * classes). Tensors are named conv1.weight, block1.layer.0.bn1.weight, block1.layer.0.conv1.weight,
 * ..., block1.layer.0.convShortcut.weight, ..., bn1.weight, fc.weight, fc.bias.
 *
 * @param options NULL for the defaults.
 */
graft_status graft_network_wide_resnet(const graft_wide_resnet_options *options,
                                       graft_network **network);

/* ---- ResNeXt ------------------------------------------------------------------------------- */

/** ResNeXt for small images (Xie et al. 2017, section 5.2). */
typedef struct graft_resnext_options {
  size_t struct_size;
  /** 9n + 2: 11, 20, 29 (default), 38, ... up to 1100. */
  int64_t depth;
  /** Groups of the 3 x 3 convolutions, 1 to 1024. Default 8. */
  int64_t cardinality;
  /**
   * Filters of a group in the first stage, 1 to 1024; the later ones have 2 and 4 times as many.
   * Default 64.
   */
  int64_t base_width;
  /** Number of classes, 1 to 65536. Default 10. */
  int64_t classes;
  /** The input's channels, height and width. Default 3, 32, 32. */
  int64_t channels;
  int64_t height;
  int64_t width;
  /** Decides the initial weights. Default 0. */
  uint64_t seed;
} graft_resnext_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_resnext_options_init(graft_resnext_options *options, size_t size);

/**
 * Makes a ResNeXt as the paper trains it on CIFAR (ResNeXt-29, 8x64d: 34.43 M parameters at 10
 * classes). Tensors are named conv_1_3x3.weight, bn_1.weight, ...,
 * stage_1.stage_1_bottleneck_0.conv_reduce.weight, ..., shortcut.shortcut_conv.weight, ...,
 * classifier.weight, classifier.bias.
 *
 * @param options NULL for the defaults.
 */
graft_status graft_network_resnext(const graft_resnext_options *options, graft_network **network);

/* ---- DenseNet ------------------------------------------------------------------------------ */

/** DenseNet for small images (Huang et al. 2017, section 3). */
typedef struct graft_densenet_options {
  size_t struct_size;
  /** 6n + 4 with bottlenecks (100, default), 3n + 4 without, up to 1204. */
  int64_t depth;
  /** Channels that every layer adds, 1 to 1024. Default 12. */
  int64_t growth;
  /** Filters of the first convolution, 1 to 4096; 0 (default) for 2 * growth. */
  int64_t base_filters;
  /** 1 (default): a 1 x 1 convolution to 4 * growth channels before each 3 x 3 one. */
  int32_t bottleneck;
  /** What share of its channels a transition keeps, above 0, up to 1. Default 0.5. */
  double reduction;
  /** Number of classes, 1 to 65536. Default 10. */
  int64_t classes;
  /** The input's channels, height and width. Default 3, 32, 32. */
  int64_t channels;
  int64_t height;
  int64_t width;
  /** Probability of the dropout after each of a layer's convolutions, 0 (default) to 1, excluded. */
  double dropout;
  /** Decides the initial weights. Default 0. */
  uint64_t seed;
} graft_densenet_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_densenet_options_init(graft_densenet_options *options, size_t size);

/**
 * Makes a DenseNet. The defaults are DenseNet-BC-100-12 (0.77 M parameters at 10 classes); depth
 * 40, bottleneck 0 and reduction 1 are DenseNet-40-12 (1.06 M; with base_filters 16, as in the
 * paper, 1.02 M). Tensors are named conv1.weight,
 * block1.layer.0.bn1.weight, block1.layer.0.conv1.weight, ..., trans1.bn1.weight,
 * trans1.conv1.weight, ..., bn1.weight, fc.weight, fc.bias.
 *
 * @param options NULL for the defaults.
 */
graft_status graft_network_densenet(const graft_densenet_options *options,
                                    graft_network **network);

/* ---- ImageNet ------------------------------------------------------------------------------ */

/** A network for images of ImageNet's size, as torchvision has it. */
typedef enum graft_imagenet_model {
  GRAFT_IMAGENET_RESNET18 = 0,
  GRAFT_IMAGENET_RESNET34 = 1,
  GRAFT_IMAGENET_RESNET50 = 2,
  GRAFT_IMAGENET_RESNET101 = 3,
  GRAFT_IMAGENET_RESNET152 = 4,
  GRAFT_IMAGENET_RESNEXT50_32X4D = 5,
  GRAFT_IMAGENET_RESNEXT101_32X8D = 6,
  GRAFT_IMAGENET_WIDE_RESNET50_2 = 7,
  GRAFT_IMAGENET_MOBILENET_V2 = 8,
  GRAFT_IMAGENET_DENSENET121 = 9,
  GRAFT_IMAGENET_DENSENET169 = 10,
  GRAFT_IMAGENET_DENSENET201 = 11,
  GRAFT_IMAGENET_DENSENET161 = 12
} graft_imagenet_model;

/** Fill with graft_imagenet_options_init. */
typedef struct graft_imagenet_options {
  size_t struct_size;
  /** Default GRAFT_IMAGENET_RESNET50. */
  graft_imagenet_model model;
  /** Number of classes, 1 to 65536. Default 1000. */
  int64_t classes;
  /** The input's channels, height and width. Default 3, 224, 224. */
  int64_t channels;
  int64_t height;
  int64_t width;
  /**
   * Probability of MobileNetV2's dropout before the classifier, or of DenseNet's in each layer, 0
   * to 1, 1 excluded; -1 (default) for torchvision's, 0.2 and 0. ResNets have none.
   */
  double dropout;
  /** Decides the initial weights. Default 0. */
  uint64_t seed;
} graft_imagenet_options;

/** Writes the defaults into the first `size` bytes of *options and sets its struct_size. */
void graft_imagenet_options_init(graft_imagenet_options *options, size_t size);

/**
 * Makes a network with torchvision's names, shapes and counts (ResNet-18 11.69 M parameters at 1000
 * classes, ResNet-50 25.56 M, MobileNetV2 3.50 M, DenseNet-121 7.98 M): its published weights load
 * as they are.
 *
 * @param options NULL for the defaults.
 */
graft_status graft_network_imagenet(const graft_imagenet_options *options,
                                    graft_network **network);

#ifdef __cplusplus
}
#endif
#endif
