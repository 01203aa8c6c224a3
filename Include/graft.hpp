/** @file
 * Graft for C++17: header only, over graft.h. Views of the caller's own memory, handles that end
 * themselves, exceptions instead of codes. What a call means and which values are allowed is said
 * once, in graft.h and the headers that it includes.
 */
#ifndef GRAFT_HPP
#define GRAFT_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "graft.h"

namespace graft {

/* ---- errors ---------------------------------------------------------------------------------- */

/** What a call that failed throws; what() says which argument was wrong and what is allowed. */
class error : public std::runtime_error {
 public:
  error(graft_status status, const std::string &message)
      : std::runtime_error(message), status_(status) {}

  graft_status status() const noexcept { return status_; }

 private:
  graft_status status_;
};

/** Throws where a call of graft.h did not return GRAFT_OK. */
inline void check(graft_status status) {
  if (status != GRAFT_OK) throw error(status, graft_last_error());
}

/* ---- views ----------------------------------------------------------------------------------- */

/** A caller's array: where it lies, its shape, and, unless row-major, its strides in elements. The
 * view copies nothing and owns nothing. */
class view {
 public:
  using dimensions = std::vector<std::int64_t>;

  view(float *data, dimensions shape, std::string name = "", dimensions strides = {})
      : view(data, GRAFT_FLOAT32, true, std::move(shape), std::move(name), std::move(strides)) {}

  view(double *data, dimensions shape, std::string name = "", dimensions strides = {})
      : view(data, GRAFT_FLOAT64, true, std::move(shape), std::move(name), std::move(strides)) {}

  /** Counters, which a graft leaves alone. */
  view(std::int64_t *data, dimensions shape, std::string name = "", dimensions strides = {})
      : view(data, GRAFT_INT64, true, std::move(shape), std::move(name), std::move(strides)) {}

  /** Read-only: for what measures, not for what is grafted. */
  view(const float *data, dimensions shape, std::string name = "", dimensions strides = {})
      : view(const_cast<float *>(data), GRAFT_FLOAT32, false, std::move(shape), std::move(name),
             std::move(strides)) {}

  view(const double *data, dimensions shape, std::string name = "", dimensions strides = {})
      : view(const_cast<double *>(data), GRAFT_FLOAT64, false, std::move(shape), std::move(name),
             std::move(strides)) {}

  const std::string &name() const noexcept { return name_; }
  const dimensions &shape() const noexcept { return shape_; }
  bool writable() const noexcept { return writable_; }

  /** The C description; valid as long as this view. */
  graft_tensor tensor() const & noexcept {
    graft_tensor result{};
    result.struct_size = sizeof result;
    result.name = name_.c_str();
    result.data = data_;
    result.dtype = dtype_;
    result.rank = static_cast<std::int32_t>(shape_.size());
    result.shape = shape_.data();
    result.strides = strides_.empty() ? nullptr : strides_.data();
    return result;
  }
  graft_tensor tensor() const && = delete;

 private:
  view(void *data, graft_dtype dtype, bool writable, dimensions shape, std::string name,
       dimensions strides)
      : data_(data), dtype_(dtype), writable_(writable), shape_(std::move(shape)),
        strides_(std::move(strides)), name_(std::move(name)) {
    if (shape_.size() > GRAFT_MAX_RANK)
      throw error(GRAFT_INVALID_ARGUMENT, name_ + ": more dimensions than GRAFT_MAX_RANK");
    if (!strides_.empty() && strides_.size() != shape_.size())
      throw error(GRAFT_INVALID_ARGUMENT, name_ + ": strides must be one per dimension");
  }

  void *data_;
  graft_dtype dtype_;
  bool writable_;
  dimensions shape_, strides_;
  std::string name_;
};

/** A network's tensors, in the order of a state dict. */
using network = std::vector<view>;

namespace detail {

inline std::vector<graft_tensor> tensors(const network &views) {
  std::vector<graft_tensor> result;
  result.reserve(views.size());
  for (const view &one : views) result.push_back(one.tensor());
  return result;
}

inline void require_writable(const view &one, const char *what) {
  if (!one.writable())
    throw error(GRAFT_INVALID_ARGUMENT,
                std::string(what) + " " + one.name() + " is read-only, and would be written");
}

inline std::size_t filters(const view &weights, const graft_information_options &options) {
  if (weights.shape().empty()) return 1;
  std::size_t axis = static_cast<std::size_t>(options.filter_axis);
  if (options.filter_axis < 0 || axis >= weights.shape().size())
    throw error(GRAFT_INVALID_ARGUMENT, "filter_axis is not below the number of dimensions");
  if (weights.shape()[axis] < 0)
    throw error(GRAFT_INVALID_ARGUMENT, weights.name() + ": a dimension is negative");
  return static_cast<std::size_t>(weights.shape()[axis]);
}

}  // namespace detail

/* ---- information ----------------------------------------------------------------------------- */

/** graft_information_options, with its defaults. */
struct information_options : graft_information_options {
  information_options() noexcept { graft_information_options_init(this, sizeof *this); }
};

inline double entropy(const view &weights, const information_options &options = {}) {
  graft_tensor tensor = weights.tensor();
  double result = 0;
  check(graft_entropy(&tensor, &options, &result));
  return result;
}

inline std::vector<double> filter_entropies(const view &weights,
                                            const information_options &options = {}) {
  graft_tensor tensor = weights.tensor();
  std::vector<double> result(detail::filters(weights, options));
  check(graft_filter_entropies(&tensor, &options, result.data(), result.size()));
  return result;
}

inline std::vector<std::int64_t> histogram(const view &weights,
                                           const information_options &options = {}) {
  if (options.bins < 1 || options.bins > 65536)
    throw error(GRAFT_INVALID_ARGUMENT, "bins is not 1 to 65536");
  graft_tensor tensor = weights.tensor();
  std::vector<std::int64_t> result(static_cast<std::size_t>(options.bins));
  check(graft_histogram(&tensor, &options, result.data(), result.size()));
  return result;
}

inline std::vector<double> filter_norms(const view &weights,
                                        const information_options &options = {}) {
  graft_tensor tensor = weights.tensor();
  std::vector<double> result(detail::filters(weights, options));
  check(graft_filter_norms(&tensor, &options, result.data(), result.size()));
  return result;
}

inline std::vector<bool> invalid_filters(const view &weights, double threshold = 0.1,
                                         const information_options &options = {}) {
  graft_tensor tensor = weights.tensor();
  std::vector<std::uint8_t> mask(detail::filters(weights, options));
  check(graft_invalid_filters(&tensor, threshold, &options, mask.data(), mask.size()));
  return {mask.begin(), mask.end()};
}

inline double coefficient(double h_self, double h_other, double a = 0.4, double c = 500,
                          bool compatibility = false) {
  double alpha = 0;
  check(graft_coefficient(h_self, h_other, a, c, compatibility, &alpha));
  return alpha;
}

inline void blend(const view &self, const view &other, double alpha, int threads = 0) {
  detail::require_writable(self, "self");
  graft_tensor mine = self.tensor(), theirs = other.tensor();
  check(graft_blend(&mine, &theirs, alpha, threads));
}

/* ---- the plan -------------------------------------------------------------------------------- */

/** Which tensors of a network are layers, and which follow them. */
class plan {
 public:
  struct entry {
    std::string name;
    graft_role role;
    graft_rule rule;
    std::size_t feeder;
    int filter_axis;
  };

  /** By the order of the tensors alone. */
  explicit plan(const network &tensors) {
    std::vector<graft_tensor> described = detail::tensors(tensors);
    graft_plan *handle = nullptr;
    check(graft_plan_create(described.data(), sizeof(graft_tensor), described.size(), &handle));
    handle_.reset(handle);
  }

  /** Takes the handle over. */
  explicit plan(graft_plan *handle) noexcept : handle_(handle) {}

  std::size_t size() const noexcept { return graft_plan_count(handle_.get()); }

  entry operator[](std::size_t index) const {
    graft_plan_entry found{};
    found.struct_size = sizeof found;
    check(graft_plan_get(handle_.get(), index, &found));
    return {found.name, found.role, found.rule, found.feeder, found.filter_axis};
  }

  void set(std::size_t index, graft_role role, std::size_t feeder = 0, int filter_axis = 0) {
    check(graft_plan_set(handle_.get(), index, role, feeder, filter_axis));
  }

  const graft_plan *get() const noexcept { return handle_.get(); }

 private:
  struct end {
    void operator()(graft_plan *plan) const noexcept { graft_plan_destroy(plan); }
  };
  std::unique_ptr<graft_plan, end> handle_;
};

/* ---- the report ------------------------------------------------------------------------------ */

/** What a graft did, layer by layer and network by network. */
class report {
 public:
  /** Takes the handle over. */
  explicit report(graft_report *handle) noexcept : handle_(handle) {}

  std::size_t layers() const noexcept { return graft_report_layer_count(handle_.get()); }
  std::size_t networks() const noexcept { return graft_report_network_count(handle_.get()); }

  /** One layer of network `which`; its name lives as long as this report. */
  graft_layer_report at(std::size_t layer, std::size_t which) const {
    graft_layer_report result{};
    result.struct_size = sizeof result;
    check(graft_report_layer(handle_.get(), layer, which, &result));
    return result;
  }

 private:
  struct end {
    void operator()(graft_report *report) const noexcept { graft_report_destroy(report); }
  };
  std::unique_ptr<graft_report, end> handle_;
};

/* ---- the graft ------------------------------------------------------------------------------- */

/** graft_options, with its defaults: the paper's. */
struct options : graft_options {
  options() noexcept { graft_options_init(this, sizeof *this); }
};

/** Whether a graft is due after epoch (or step) `index`, counted from 1. */
inline bool is_due(const options &when, std::int64_t index) {
  std::int32_t due = 0;
  check(graft_is_due(&when, index, &due));
  return due != 0;
}

/** Grafts K networks in place; where it throws, nothing has changed. */
inline report apply(const std::vector<network> &networks, const options &how = {},
                    const plan *which = nullptr) {
  std::vector<std::vector<graft_tensor>> described;
  std::vector<const graft_tensor *> pointers;
  described.reserve(networks.size());
  for (const network &one : networks) {
    if (one.size() != networks.front().size())
      throw error(GRAFT_SHAPE_MISMATCH, "the networks have different numbers of tensors");
    for (const view &tensor : one)
      if (!how.dry_run) detail::require_writable(tensor, "tensor");
    described.push_back(detail::tensors(one));
    pointers.push_back(described.back().data());
  }
  graft_report *handle = nullptr;
  check(graft_apply(which == nullptr ? nullptr : which->get(), pointers.data(),
                    sizeof(graft_tensor), networks.empty() ? 0 : networks.front().size(),
                    networks.size(), &how, &handle));
  return report(handle);
}

/* ---- how a trainer trains -------------------------------------------------------------------- */

/** graft_augmentation, with its defaults: the paper's. */
struct augmentation : graft_augmentation {
  augmentation() noexcept { graft_augmentation_init(this, sizeof *this); }
};

/** graft_trainer_options, with its defaults: the paper's. */
struct trainer_options : graft_trainer_options {
  trainer_options() noexcept { graft_trainer_options_init(this, sizeof *this); }
};

/** graft_member_options, with its defaults. */
struct member_options : graft_member_options {
  member_options() noexcept { graft_member_options_init(this, sizeof *this); }
};

/* ---- distillation ---------------------------------------------------------------------------- */

/** graft_distillation_options, with its defaults: the paper's. */
struct distillation_options : graft_distillation_options {
  distillation_options() noexcept { graft_distillation_options_init(this, sizeof *this); }
};

/** The loss; `gradient`, unless null, receives d loss / d z. */
inline double distillation_loss(const view &student, const std::vector<view> &teachers,
                                const std::vector<std::int64_t> &labels,
                                const distillation_options &how = {},
                                const view *gradient = nullptr) {
  if (!student.shape().empty() && !labels.empty() &&
      labels.size() != static_cast<std::size_t>(student.shape()[0]))
    throw error(GRAFT_SHAPE_MISMATCH, "labels must be one a row of the student's logits");
  std::vector<graft_tensor> described = detail::tensors(teachers);
  std::vector<const graft_tensor *> pointers;
  for (const graft_tensor &teacher : described) pointers.push_back(&teacher);
  graft_tensor z = student.tensor(), slope{};
  if (gradient != nullptr) {
    detail::require_writable(*gradient, "gradient");
    slope = gradient->tensor();
  }
  double loss = 0;
  check(graft_distillation_loss(&z, pointers.data(), pointers.size(),
                                labels.empty() ? nullptr : labels.data(), &how, &loss,
                                gradient == nullptr ? nullptr : &slope));
  return loss;
}

/* ---- the engine ------------------------------------------------------------------------------ */

namespace detail {

/** Ends a handle of the engine. */
struct end {
  void operator()(graft_dataset *handle) const noexcept { graft_dataset_destroy(handle); }
  void operator()(graft_network *handle) const noexcept { graft_network_destroy(handle); }
  void operator()(graft_sgd *handle) const noexcept { graft_sgd_destroy(handle); }
  void operator()(graft_trainer *handle) const noexcept { graft_trainer_destroy(handle); }
};

}  // namespace detail

/** Owns a graft_dataset, graft_network, graft_sgd or graft_trainer; get() is for graft.h. */
template <typename Handle>
using owner = std::unique_ptr<Handle, detail::end>;

/**
 * What a call of graft.h makes through its last argument; throws where it fails.
 *
 *     auto network = graft::make<graft_network>(graft_network_resnet, &options);
 */
template <typename Handle, typename Function, typename... Arguments>
owner<Handle> make(Function function, Arguments... arguments) {
  Handle *made = nullptr;
  check(function(arguments..., &made));
  return owner<Handle>(made);
}

/** Trains until all epochs are done, as graft_trainer_run. */
inline void run(graft_trainer *trainer) { check(graft_trainer_run(trainer, nullptr, nullptr)); }

/**
 * The same with a callback that takes a `const graft_progress &`. It returns nothing, or whether
 * to go on: after false this throws an error of status GRAFT_CANCELLED.
 *
 * What the callback throws never passes through the library, where that would be undefined: it is
 * caught, stops the run, and is thrown again from here. A further call goes on where this one
 * stopped.
 */
template <typename Callback>
void run(graft_trainer *trainer, Callback &&callback) {
  struct call {
    std::remove_reference_t<Callback> &callback;
    std::exception_ptr thrown;

    static std::int32_t trampoline(const graft_progress *progress, void *user_data) noexcept {
      call &self = *static_cast<call *>(user_data);
      try {
        if constexpr (std::is_void_v<decltype(self.callback(*progress))>) {
          self.callback(*progress);
          return 0;
        } else {
          return self.callback(*progress) ? 0 : 1;
        }
      } catch (...) {
        self.thrown = std::current_exception();
        return 1;
      }
    }
  };
  call one{callback, nullptr};
  graft_status status = graft_trainer_run(trainer, call::trampoline, &one);
  if (one.thrown) std::rethrow_exception(one.thrown);
  check(status);
}

}  // namespace graft

#include "graft/engine.hpp"

#endif
