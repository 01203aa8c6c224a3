// graft/engine.hpp: a network of one's own from C++, against numbers worked out by hand. Ends with 0
// if all holds, and names what does not. Compiled and run by Tests/python/test_headers.py.
#include <cmath>
#include <cstdio>
#include <string>
#include <graft.hpp>

static int failures = 0;

#define EXPECT(condition)                                               \
  do {                                                                  \
    if (!(condition)) {                                                 \
      std::printf("line %d: %s does not hold\n", __LINE__, #condition); \
      ++failures;                                                       \
    }                                                                   \
  } while (0)

using graft::engine::convolution_options;
using graft::engine::value;
using floats = std::vector<float>;

static floats ran(graft::engine::network &network, value at, const floats &images,
                  std::size_t size) {
  floats out(size);
  const graft_operation told = network[static_cast<std::size_t>(at)];
  network.features(at, {images.data(), {1, 1, 2, 2}},
                   {out.data(), {1, told.channels, told.height, told.width}});
  return out;
}

static void joins() {
  graft::engine::network network(1, 2, 2);
  value a = network.convolution("a", network.input(), convolution_options(2).kernel(1));
  value joined = network.label(
      network.concatenation({network.relu(a), network.input()}), "joined");
  value sum = network.label(network.sum(joined, network.clipped_relu(joined, 5)), "sum");
  value dropped = network.dropout(network.global_pool(sum));
  network.finish(network.linear("head", dropped, 1, false), 7);
  EXPECT(network.find("joined") == joined && network.find("a") == a);
  EXPECT(network.penultimate() == network[static_cast<std::size_t>(dropped)].inputs[0]);
  EXPECT(network.output() + 1 == static_cast<value>(network.size()));
  EXPECT(network[static_cast<std::size_t>(joined)].kind == GRAFT_OPERATION_CONCATENATION);
  EXPECT(network[static_cast<std::size_t>(joined)].input_count == 2);
  EXPECT(network[static_cast<std::size_t>(joined)].name == std::string("joined"));

  graft::network tensors = network.tensors();
  EXPECT(tensors.size() == 2 && tensors[0].name() == "a.weight");
  float *weights = static_cast<float *>(tensors[0].tensor().data);
  weights[0] = 2, weights[1] = -1;
  float *head = static_cast<float *>(tensors[1].tensor().data);
  head[0] = 1, head[1] = 10, head[2] = 100;

  const floats images{1, -2, 3, -4};
  EXPECT((ran(network, joined, images, 12) ==
          floats{2, 0, 6, 0, 0, 2, 0, 4, 1, -2, 3, -4}));
  EXPECT((ran(network, sum, images, 12) == floats{4, 0, 11, 0, 0, 4, 0, 8, 2, -2, 6, -4}));
  EXPECT((ran(network, network.penultimate(), images, 3) == floats{3.75f, 3, 0.5f}));
  EXPECT((network.output_shape() == std::array<std::int64_t, 3>{1, 1, 1}));
  floats out(1), folded(1), predicted(1);
  graft::view from(images.data(), {1, 1, 2, 2});
  network.forward(from, {out.data(), {1, 1}});
  network.infer(from, {folded.data(), {1, 1}});
  graft::engine::predictor predict(network);
  weights[0] = 0;  // a predictor has weights of its own
  predict(from, {predicted.data(), {1, 1}});
  EXPECT(out[0] == 83.75f && folded[0] == 83.75f && predicted[0] == 83.75f);
  EXPECT((predict.output_shape() == std::array<std::int64_t, 3>{1, 1, 1}));

  // In training half of the features are dropped, the others are doubled.
  const float one = 1;
  network.set_dropout(3);
  network.forward(from, {out.data(), {1, 1}}, true);
  network.backward({&one, {1, 1}});
  floats again(1);
  network.set_dropout(3);
  network.forward(from, {again.data(), {1, 1}}, true);
  EXPECT(out == again);

  // A predictor of a network that is given up takes its weights.
  network.infer(from, {folded.data(), {1, 1}});
  graft::engine::predictor taken(std::move(network));
  taken(from, {predicted.data(), {1, 1}});
  EXPECT(predicted == folded && weights[1] == 0 && head[0] == 0);
}

static void grafting() {
  graft::engine::densenet_options options;
  options.depth = 10, options.growth = 4, options.height = options.width = 8;
  std::vector<graft::engine::network> networks;
  for (std::uint64_t seed = 0; seed < 2; ++seed) {
    options.seed = seed;
    networks.emplace_back(options);
  }
  graft::plan plan = networks[0].plan();
  EXPECT(plan[0].role == GRAFT_ROLE_LAYER && plan[1].role == GRAFT_ROLE_FOLLOWS);
  graft::apply({networks[0].tensors(), networks[1].tensors()}, {}, &plan);
  floats images(3 * 64, 0.5f), one(10), other(10);
  networks[0].forward({images.data(), {1, 3, 8, 8}}, {one.data(), {1, 10}});
  networks[1].forward({images.data(), {1, 3, 8, 8}}, {other.data(), {1, 10}});
  EXPECT(one == other);  // two networks that graft each other become equal

  graft::engine::imagenet_options large;
  large.model = GRAFT_IMAGENET_MOBILENET_V2, large.height = large.width = 32, large.classes = 3;
  EXPECT((graft::engine::network(large).output_shape() == std::array<std::int64_t, 3>{3, 1, 1}));
  large.dropout = 2;
  try {
    graft::engine::network refused(large);
    EXPECT(false);
  } catch (const graft::error &problem) {
    EXPECT(std::string(problem.what()).find("dropout") != std::string::npos);
  }
}

int main() {
  joins();
  grafting();
  return failures != 0;
}
