/** @file
 * The library's own networks for C++17: built layer by layer or ready made, run, saved, deployed.
 * Part of graft.hpp. What a call means and which values are allowed is said once, in network.h,
 * operations.h, predictor.h and architectures.h.
 */
#ifndef GRAFT_ENGINE_HPP
#define GRAFT_ENGINE_HPP

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../graft.hpp"

namespace graft {
namespace engine {

/** What a layer puts out, or a network's input. */
using value = graft_value;

/** graft_convolution_options, with its defaults: 3 x 3, stride 1, no padding. */
struct convolution_options : graft_convolution_options {
  explicit convolution_options(std::int64_t count) noexcept {
    graft_convolution_options_init(this, sizeof *this);
    filters = count;
  }

  convolution_options &kernel(std::int64_t height, std::int64_t width) noexcept {
    return kernel_height = height, kernel_width = width, *this;
  }
  convolution_options &kernel(std::int64_t size) noexcept { return kernel(size, size); }
  convolution_options &stride(std::int64_t size) noexcept {
    return stride_height = stride_width = size, *this;
  }
  convolution_options &padding(std::int64_t size) noexcept {
    return padding_height = padding_width = size, *this;
  }
  convolution_options &dilation(std::int64_t size) noexcept {
    return dilation_height = dilation_width = size, *this;
  }
  convolution_options &in_groups(std::int64_t count) noexcept { return groups = count, *this; }
  convolution_options &with_bias() noexcept { return bias = 1, *this; }
};

/** The options of ready-made networks, with their defaults. */
struct resnet_options : graft_resnet_options {
  resnet_options() noexcept { graft_resnet_options_init(this, sizeof *this); }
};
struct mobilenet_options : graft_mobilenet_options {
  mobilenet_options() noexcept { graft_mobilenet_options_init(this, sizeof *this); }
};
struct vgg_options : graft_vgg_options {
  vgg_options() noexcept { graft_vgg_options_init(this, sizeof *this); }
};
struct wide_resnet_options : graft_wide_resnet_options {
  wide_resnet_options() noexcept { graft_wide_resnet_options_init(this, sizeof *this); }
};
struct resnext_options : graft_resnext_options {
  resnext_options() noexcept { graft_resnext_options_init(this, sizeof *this); }
};
struct densenet_options : graft_densenet_options {
  densenet_options() noexcept { graft_densenet_options_init(this, sizeof *this); }
};
struct imagenet_options : graft_imagenet_options {
  imagenet_options() noexcept { graft_imagenet_options_init(this, sizeof *this); }
};

/** A network of the engine; one thread at a time may use it. */
class network {
 public:
  /** Starts one of one's own on images of channels x height x width. */
  network(std::int64_t channels, std::int64_t height, std::int64_t width) {
    graft_network *made = nullptr;
    check(graft_network_create(channels, height, width, &made));
    handle_.reset(made);
  }

  explicit network(const resnet_options &options) : network(graft_network_resnet, options) {}
  explicit network(const mobilenet_options &options) : network(graft_network_mobilenet, options) {}
  explicit network(const vgg_options &options) : network(graft_network_vgg, options) {}
  explicit network(const wide_resnet_options &options)
      : network(graft_network_wide_resnet, options) {}
  explicit network(const resnext_options &options) : network(graft_network_resnext, options) {}
  explicit network(const densenet_options &options) : network(graft_network_densenet, options) {}
  explicit network(const imagenet_options &options) : network(graft_network_imagenet, options) {}

  graft_network *get() const noexcept { return handle_.get(); }

  /* ---- construction ---- */

  static constexpr value input() noexcept { return 0; }

  value convolution(const std::string &name, value from, const convolution_options &options) {
    return made(graft_network_convolution, name.c_str(), from, &options);
  }
  value batch_norm(const std::string &name, value from, double epsilon = 1e-5,
                   double momentum = 0.1) {
    return made(graft_network_batch_norm, name.c_str(), from, epsilon, momentum);
  }
  value relu(value from, double negative_slope = 0) {
    return made(graft_network_relu, from, negative_slope);
  }
  value clipped_relu(value from, double ceiling = 6) {
    return made(graft_network_clipped_relu, from, ceiling);
  }
  value sum(value a, value b) { return made(graft_network_sum, a, b); }
  value concatenation(const std::vector<value> &from) {
    return made(graft_network_concatenation, from.data(), from.size());
  }
  value dropout(value from, double probability = 0.5) {
    return made(graft_network_dropout, from, probability);
  }
  value shortcut(value from, std::int64_t stride, std::int64_t channels) {
    return made(graft_network_shortcut, from, stride, channels);
  }
  value max_pool(value from, std::int64_t kernel, std::int64_t stride, std::int64_t padding = 0) {
    return made(graft_network_pool, from, GRAFT_POOLING_MAX, kernel, stride, padding);
  }
  value average_pool(value from, std::int64_t kernel, std::int64_t stride,
                     std::int64_t padding = 0) {
    return made(graft_network_pool, from, GRAFT_POOLING_AVERAGE, kernel, stride, padding);
  }
  value global_pool(value from) { return made(graft_network_global_pool, from); }
  value linear(const std::string &name, value from, std::int64_t features, bool bias = true) {
    return made(graft_network_linear, name.c_str(), from, features, bias ? 1 : 0);
  }
  void finish(value output, std::uint64_t seed = 0) {
    check(graft_network_finish(get(), output, seed));
  }

  /* ---- structure ---- */

  /** Names a value, to be found again. */
  value label(value which, const std::string &name) {
    check(graft_network_label(get(), which, name.c_str()));
    return which;
  }
  value find(const std::string &name) const { return made(graft_network_find, name.c_str()); }
  value output() const { return made(graft_network_output); }
  value penultimate() const { return made(graft_network_penultimate); }

  std::size_t size() const noexcept { return graft_network_operation_count(get()); }

  /** An operation; its name and inputs live as long as the network. */
  graft_operation operator[](std::size_t index) const {
    graft_operation found{};
    found.struct_size = sizeof found;
    check(graft_network_operation(get(), index, &found));
    return found;
  }

  /** The plan of a graft of such networks, read off the structure. */
  graft::plan plan() const {
    graft_plan *found = nullptr;
    check(graft_network_plan(get(), &found));
    return graft::plan(found);
  }

  /* ---- weights ---- */

  /** The network's own float32 tensors in place, for graft::apply and for reading and writing. They
   * are valid as long as the network. Counters (num_batches_tracked) come too, as int64. */
  graft::network tensors() {
    graft::network found;
    for (std::size_t i = 0; i < graft_network_tensor_count(get()); ++i) {
      graft_tensor one{};
      one.struct_size = sizeof one;
      check(graft_network_tensor(get(), i, &one));
      view::dimensions shape(one.shape, one.shape + one.rank);
      if (one.dtype == GRAFT_INT64)
        found.emplace_back(static_cast<std::int64_t *>(one.data), std::move(shape), one.name);
      else
        found.emplace_back(static_cast<float *>(one.data), std::move(shape), one.name);
    }
    return found;
  }
  void save(const std::string &path) const { check(graft_network_save(get(), path.c_str())); }
  void load(const std::string &path) { check(graft_network_load(get(), path.c_str())); }

  /* ---- running ---- */

  void set_threads(std::int32_t threads) { check(graft_network_set_threads(get(), threads)); }
  void set_precision(graft_precision precision) {
    check(graft_network_set_precision(get(), precision));
  }
  void set_dropout(std::uint64_t seed, std::uint64_t step = 0) {
    check(graft_network_set_dropout(get(), seed, step));
  }

  /** Channels, height and width of the output for one image. */
  std::array<std::int64_t, 3> output_shape() const {
    std::array<std::int64_t, 3> shape{};
    check(graft_network_output_shape(get(), shape.data()));
    return shape;
  }

  void forward(const view &images, const view &output, bool training = false) {
    detail::require_writable(output, "output");
    graft_tensor from = images.tensor(), to = output.tensor();
    check(graft_network_forward(get(), training ? GRAFT_TRAINING : GRAFT_EVALUATION, &from, &to));
  }
  void backward(const view &output_gradient) {
    graft_tensor from = output_gradient.tensor();
    check(graft_network_backward(get(), &from, nullptr));
  }

  /** Evaluation with batch norms folded into the convolutions before them. */
  void infer(const view &images, const view &output) {
    detail::require_writable(output, "output");
    graft_tensor from = images.tensor(), to = output.tensor();
    check(graft_network_infer(get(), &from, &to));
  }

  /** What is at a value in evaluation. */
  void features(value at, const view &images, const view &output) {
    detail::require_writable(output, "output");
    graft_tensor from = images.tensor(), to = output.tensor();
    check(graft_network_features(get(), at, &from, &to));
  }

 private:
  template <typename Make, typename Options>
  network(Make make, const Options &options) {
    graft_network *made = nullptr;
    check(make(&options, &made));
    handle_.reset(made);
  }

  template <typename Call, typename... Arguments>
  value made(Call call, Arguments... arguments) const {
    value result = 0;
    check(call(get(), arguments..., &result));
    return result;
  }

  struct end {
    void operator()(graft_network *network) const noexcept { graft_network_destroy(network); }
  };
  std::unique_ptr<graft_network, end> handle_;
};

/** graft_predictor_options, with its defaults. */
struct predictor_options : graft_predictor_options {
  predictor_options() noexcept { graft_predictor_options_init(this, sizeof *this); }
};

/** A network as it is deployed; one thread at a time may use it. */
class predictor {
 public:
  explicit predictor(const network &from, const predictor_options &options = {}) {
    graft_predictor *made = nullptr;
    check(graft_predictor_create(from.get(), &options, &made));
    handle_.reset(made);
  }

  /** Takes the weights of a network that is not needed any more: graft_predictor_take. */
  explicit predictor(network &&from, const predictor_options &options = {}) {
    graft_predictor *made = nullptr;
    check(graft_predictor_take(from.get(), &options, &made));
    handle_.reset(made);
  }

  /** Channels, height and width of what it gives for one image. */
  std::array<std::int64_t, 3> output_shape() const {
    std::array<std::int64_t, 3> shape{};
    check(graft_predictor_output_shape(handle_.get(), shape.data()));
    return shape;
  }

  void operator()(const view &images, const view &output) {
    detail::require_writable(output, "output");
    graft_tensor from = images.tensor(), to = output.tensor();
    check(graft_predictor_run(handle_.get(), &from, &to));
  }

 private:
  struct end {
    void operator()(graft_predictor *predictor) const noexcept {
      graft_predictor_destroy(predictor);
    }
  };
  std::unique_ptr<graft_predictor, end> handle_;
};

}  // namespace engine
}  // namespace graft

#endif
