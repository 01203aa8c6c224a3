// A small convolutional network that knows nothing of Graft: 3x3 filters over 8x8 images, ReLU, the
// mean over the image, a linear layer. Plain loops, one image at a time.
#ifndef NETWORK_HPP
#define NETWORK_HPP

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <random>
#include <vector>

constexpr std::size_t side = 8, filters = 12, classes = 4;
constexpr std::size_t valid = side - 2;  // where a 3x3 filter fits

using Image = std::array<float, side * side>;
using Scores = std::array<float, classes>;

struct Network {
  std::vector<float> conv = std::vector<float>(filters * 9);         // [filter, 1, 3, 3]
  std::vector<float> bias = std::vector<float>(filters);             // [filter]
  std::vector<float> linear = std::vector<float>(classes * filters);  // [class, filter]

  explicit Network(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, 1);
    for (float &w : conv) w = normal(random) / 3;
    for (float &w : linear) w = normal(random) / 3;
  }

  // The scores of the classes; `sums` receives every filter before and `means` after the ReLU.
  Scores scores(const Image &image, std::vector<float> &sums, std::vector<float> &means) const {
    sums.assign(filters * valid * valid, 0);
    means.assign(filters, 0);
    for (std::size_t f = 0; f < filters; ++f) {
      for (std::size_t y = 0; y < valid; ++y) {
        for (std::size_t x = 0; x < valid; ++x) {
          float sum = bias[f];
          for (std::size_t i = 0; i < 9; ++i)
            sum += conv[f * 9 + i] * image[(y + i / 3) * side + x + i % 3];
          sums[(f * valid + y) * valid + x] = sum;
          means[f] += std::max(sum, 0.0f) / (valid * valid);
        }
      }
    }
    Scores result{};
    for (std::size_t c = 0; c < classes; ++c)
      for (std::size_t f = 0; f < filters; ++f) result[c] += linear[c * filters + f] * means[f];
    return result;
  }

  // A step of stochastic gradient descent on the cross entropy of one image.
  void learn(const Image &image, std::size_t label, float rate) {
    std::vector<float> sums, means;
    Scores slope = scores(image, sums, means);  // becomes softmax - label: d loss / d score
    float highest = *std::max_element(slope.begin(), slope.end()), total = 0;
    for (float &s : slope) total += s = std::exp(s - highest);
    for (float &s : slope) s /= total;
    slope[label] -= 1;

    for (std::size_t f = 0; f < filters; ++f) {
      float back = 0;  // d loss / d mean of this filter
      for (std::size_t c = 0; c < classes; ++c) {
        back += slope[c] * linear[c * filters + f];
        linear[c * filters + f] -= rate * slope[c] * means[f];
      }
      back *= rate / (valid * valid);
      for (std::size_t y = 0; y < valid; ++y) {
        for (std::size_t x = 0; x < valid; ++x) {
          if (sums[(f * valid + y) * valid + x] <= 0) continue;
          for (std::size_t i = 0; i < 9; ++i)
            conv[f * 9 + i] -= back * image[(y + i / 3) * side + x + i % 3];
          bias[f] -= back;
        }
      }
    }
  }
};

#endif
