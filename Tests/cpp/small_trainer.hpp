// A small run for the programs beside it: two networks that graft and teach each other, evaluated,
// on images that are the same every time.
#ifndef SMALL_TRAINER_HPP
#define SMALL_TRAINER_HPP

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <graft.hpp>

constexpr std::int64_t image_count = 40, image_size = 8, class_count = 4;

inline std::vector<float> small_images(std::int64_t count = image_count) {
  std::vector<float> images(static_cast<std::size_t>(count * 3 * image_size * image_size));
  std::uint32_t state = 1;
  for (float &pixel : images) {
    state = state * 1664525u + 1013904223u;
    pixel = static_cast<float>(state >> 8) / 16777216.0f - 0.5f;
  }
  return images;
}

inline graft::owner<graft_dataset> small_data() {
  std::vector<float> images = small_images();
  std::vector<std::int64_t> labels(image_count);
  for (std::size_t i = 0; i < labels.size(); ++i)
    labels[i] = static_cast<std::int64_t>(i) % class_count;
  graft::view view(images.data(), {image_count, 3, image_size, image_size}, "images");
  graft_tensor tensor = view.tensor();
  return graft::make<graft_dataset>(graft_dataset_arrays, &tensor, labels.data(), class_count);
}

inline graft::owner<graft_network> small_network(std::uint64_t seed) {
  graft_resnet_options options;
  graft_resnet_options_init(&options, sizeof options);
  options.depth = 8;
  options.height = options.width = image_size;
  options.classes = class_count;
  options.base_filters = 4;
  options.seed = seed;
  return graft::make<graft_network>(graft_network_resnet, &options);
}

struct small_trainer {
  std::vector<graft::owner<graft_network>> networks;
  graft::owner<graft_trainer> handle;

  explicit small_trainer(std::int32_t threads = 1, std::uint64_t seed = 0, std::int64_t epochs = 2,
                         const char *directory = nullptr) {
    graft::owner<graft_dataset> data = small_data();
    graft_trainer_options options;
    graft_trainer_options_init(&options, sizeof options);
    options.epochs = epochs;
    options.batch_size = 16;
    options.threads = threads;
    options.crop_padding = 1;
    options.grafting = 1;
    options.teaching = GRAFT_TEACHING_OTHERS;
    options.directory = directory;
    options.save_every = directory == nullptr ? 0 : 1;
    handle = graft::make<graft_trainer>(graft_trainer_create, &options, nullptr, nullptr,
                                        data.get(), data.get());
    for (std::uint64_t k = 0; k < 2; ++k) {
      graft_member_options member;
      graft_member_options_init(&member, sizeof member);
      member.seed = seed + k;
      networks.push_back(small_network(seed + 10 * k));
      graft::check(graft_trainer_add(handle.get(), networks.back().get(), &member));
    }
  }

  graft_trainer *get() const { return handle.get(); }

  /** All weights and running statistics of all networks, as bytes. */
  std::string weights() const {
    std::string bytes;
    for (const auto &network : networks) {
      for (std::size_t i = 0; i < graft_network_tensor_count(network.get()); ++i) {
        graft_tensor tensor{};
        tensor.struct_size = sizeof tensor;
        graft::check(graft_network_tensor(network.get(), i, &tensor));
        std::size_t count = tensor.dtype == GRAFT_INT64 ? 8 : 4;
        for (std::int32_t axis = 0; axis < tensor.rank; ++axis)
          count *= static_cast<std::size_t>(tensor.shape[axis]);
        bytes.append(static_cast<const char *>(tensor.data), count);
      }
    }
    return bytes;
  }
};

/** Leaves with a message where something does not hold. */
#define REQUIRE(condition)                                                       \
  do {                                                                           \
    if (!(condition)) {                                                          \
      std::fprintf(stderr, "%s:%d: %s does not hold (%s)\n", __FILE__, __LINE__, \
                   #condition, graft_last_error());                              \
      std::_Exit(99);                                                            \
    }                                                                            \
  } while (0)

#endif
