// Trains three networks in a loop of its own and grafts them after every epoch.
//
// With a folder as its argument it also leaves there, as raw float32, what the last graft was given
// (before-K.bin) and what it made of it (after-K.bin): conv, bias, linear of network K.
#include <cstdio>
#include <exception>
#include <fstream>
#include <graft.hpp>
#include <string>

#include "network.hpp"

struct Example {
  Image image;
  std::size_t label;
};

// Stripes that lie, stand, or lean to either side, in any phase, under noise.
static std::vector<Example> stripes(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> phase(0, 6.2831853f);
  std::normal_distribution<float> noise(0, 0.6f);
  const float steps[classes][2] = {{0, 1.6f}, {1.6f, 0}, {1.1f, 1.1f}, {1.1f, -1.1f}};
  std::vector<Example> result(count);
  for (std::size_t n = 0; n < count; ++n) {
    result[n].label = n % classes;
    const float *step = steps[result[n].label], start = phase(random);
    for (std::size_t i = 0; i < side * side; ++i)
      result[n].image[i] =
          std::sin(start + step[0] * float(i % side) + step[1] * float(i / side)) + noise(random);
  }
  return result;
}

static double accuracy(const Network &network, const std::vector<Example> &examples) {
  std::vector<float> sums, means;
  std::size_t right = 0;
  for (const Example &example : examples) {
    Scores s = network.scores(example.image, sums, means);
    right += std::size_t(std::max_element(s.begin(), s.end()) - s.begin()) == example.label;
  }
  return double(right) / double(examples.size());
}

// How Graft sees a network: views of the weights where they lie.
static graft::network views(Network &network) {
  return {{network.conv.data(), {filters, 1, 3, 3}, "conv"},
          {network.bias.data(), {filters}, "bias"},
          {network.linear.data(), {classes, filters}, "linear"}};
}

static void save(const Network &network, const std::string &path) {
  std::ofstream file(path, std::ios::binary);
  for (const std::vector<float> *part : {&network.conv, &network.bias, &network.linear})
    file.write(reinterpret_cast<const char *>(part->data()),
               std::streamsize(part->size() * sizeof(float)));
  if (!file) throw std::runtime_error(path + " cannot be written");
}

int main(int count, char **arguments) {
  try {
    const std::string folder = count > 1 ? std::string(arguments[1]) + "/" : "";
    const int epochs = 6;
    std::vector<Network> networks{Network(1), Network(2), Network(3)};
    std::vector<graft::network> seen;
    for (Network &network : networks) seen.push_back(views(network));
    const std::vector<Example> training = stripes(800, 10), test = stripes(400, 20);

    for (int epoch = 1; epoch <= epochs; ++epoch) {
      for (std::size_t k = 0; k < networks.size(); ++k) {
        // Each in an order of its own: networks that see the same learn the same.
        std::mt19937 order(unsigned(100 * epoch) + unsigned(k));
        for (std::size_t n = 0; n < training.size(); ++n) {
          const Example &example = training[order() % training.size()];
          networks[k].learn(example.image, example.label, 0.05f);
        }
      }
      const bool keep = !folder.empty() && epoch == epochs;
      for (std::size_t k = 0; keep && k < networks.size(); ++k)
        save(networks[k], folder + "before-" + std::to_string(k) + ".bin");

      graft::report report = graft::apply(seen);

      for (std::size_t k = 0; keep && k < networks.size(); ++k)
        save(networks[k], folder + "after-" + std::to_string(k) + ".bin");
      for (std::size_t k = 0; k < networks.size(); ++k) {
        graft_layer_report row = report.at(0, k);
        std::printf("epoch %d  network %zu  accuracy %.4f  %s from %zu  alpha %.6f  entropy %.6f\n",
                    epoch, k, accuracy(networks[k], test), row.name, row.source, row.alpha,
                    row.entropy_before);
      }
    }
  } catch (const std::exception &problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 1;
  }
}
