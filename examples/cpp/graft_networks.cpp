// Grafts three networks of one's own, from C++17.
//
//   make build
//   c++ -std=c++17 -IInclude examples/cpp/graft_networks.cpp -Lbuild -lgraft
//     -Wl,-rpath,"$PWD/build" -o build/graft_networks && build/graft_networks
#include <cstdio>
#include <exception>
#include <graft.hpp>
#include <vector>

// A network's weights: wherever the program keeps them, Graft works on them in place.
struct Network {
  std::vector<float> conv = std::vector<float>(8 * 3 * 3 * 3);
  std::vector<float> norm = std::vector<float>(8);
  std::vector<float> linear = std::vector<float>(4 * 8);

  graft::network views() {
    return {{conv.data(), {8, 3, 3, 3}, "conv"},
            {norm.data(), {8}, "norm"},
            {linear.data(), {4, 8}, "linear"}};
  }
};

// Stands for training: uniform numbers to the power 2k + 1, and a filter that died.
static Network train(int k) {
  Network net;
  std::uint32_t state = static_cast<std::uint32_t>(k) + 1;
  for (std::vector<float> *part : {&net.conv, &net.norm, &net.linear}) {
    for (float &weight : *part) {
      state = state * 1664525u + 1013904223u;
      double uniform = state / 2147483648.0 - 1, value = uniform;
      for (int power = 0; power < k; ++power) value *= uniform * uniform;
      weight = static_cast<float>(value);
    }
  }
  for (int i = 0; i < 27; ++i) net.conv[static_cast<std::size_t>(k * 27 + i)] *= 0.001f;
  return net;
}

int main() {
  try {
    std::vector<Network> nets{train(0), train(1), train(2)};
    std::vector<graft::network> networks;
    for (Network &net : nets) networks.push_back(net.views());

    graft::report report = graft::apply(networks);

    std::puts("layer  network  from   alpha  entropy   after  invalid  after  last weight");
    for (std::size_t layer = 0; layer < report.layers(); ++layer) {
      for (std::size_t k = 0; k < report.networks(); ++k) {
        graft_layer_report row = report.at(layer, k);
        std::printf("%-5s  %7zu  %4zu  %.4f  %7.4f  %6.4f  %7zu  %5zu  %11.6f\n", row.name, k,
                    row.source, row.alpha, row.entropy_before, row.entropy_after,
                    row.invalid_before, row.invalid_after,
                    static_cast<double>(nets[k].linear.back()));
      }
    }
  } catch (const std::exception &problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 1;
  }
}
