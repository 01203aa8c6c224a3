// Trains two libtorch modules on images of stripes, and grafts them after every epoch.
//
// With a folder as its argument it also saves there what the last graft was given (before-K.pt) and
// what it made of it (after-K.pt).
#include <cstdio>
#include <exception>
#include <graft.hpp>
#include <string>
#include <torch/torch.h>
#include <utility>
#include <vector>

struct NetworkImpl : torch::nn::Module {
  torch::nn::Conv2d conv1{nullptr}, conv2{nullptr};
  torch::nn::BatchNorm2d norm1{nullptr}, norm2{nullptr};
  torch::nn::Linear linear{nullptr};

  NetworkImpl() {
    conv1 = register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 8, 3)));
    norm1 = register_module("norm1", torch::nn::BatchNorm2d(8));
    conv2 = register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(8, 16, 3)));
    norm2 = register_module("norm2", torch::nn::BatchNorm2d(16));
    linear = register_module("linear", torch::nn::Linear(16, 4));
  }

  torch::Tensor forward(torch::Tensor x) {
    x = torch::relu(norm1(conv1(x)));
    x = torch::relu(norm2(conv2(x)));
    return linear(x.mean({2, 3}));
  }
};
TORCH_MODULE(Network);

// How Graft sees a module: views of its tensors where they lie, module by module, so that a batch
// norm's parameters and its statistics come right after the convolution that feeds them.
static graft::network views(const torch::nn::Module &module) {
  graft::network result;
  auto add = [&](const std::string &name, const torch::Tensor &tensor) {
    graft::view::dimensions shape = tensor.sizes().vec(), strides = tensor.strides().vec();
    if (tensor.scalar_type() == torch::kFloat32)
      result.emplace_back(tensor.data_ptr<float>(), shape, name, strides);
    else  // num_batches_tracked: a graft leaves counters alone
      result.emplace_back(tensor.data_ptr<std::int64_t>(), shape, name, strides);
  };
  for (const auto &part : module.named_modules("", /*include_self=*/false)) {
    for (const auto &item : part.value()->named_parameters(/*recurse=*/false))
      add(part.key() + "." + item.key(), item.value());
    for (const auto &item : part.value()->named_buffers(/*recurse=*/false))
      add(part.key() + "." + item.key(), item.value());
  }
  return result;
}

// Stripes that lie, stand, or lean to either side, in any phase, under noise.
static std::pair<torch::Tensor, torch::Tensor> stripes(std::int64_t count) {
  torch::Tensor labels = torch::arange(count) % 4;
  torch::Tensor steps = torch::tensor({{0.0, 1.6}, {1.6, 0.0}, {1.1, 1.1}, {1.1, -1.1}},
                                      torch::kFloat32).index_select(0, labels);
  torch::Tensor line = torch::arange(12, torch::kFloat32);
  torch::Tensor angle = steps.select(1, 0).view({-1, 1, 1}) * line.view({1, 1, -1}) +
                        steps.select(1, 1).view({-1, 1, 1}) * line.view({1, -1, 1}) +
                        torch::rand({count, 1, 1}) * 6.2831853;
  torch::Tensor images = angle.sin() + 0.6 * torch::randn({count, 12, 12});
  return {images.unsqueeze(1), labels};
}

static double accuracy(Network &network, const torch::Tensor &images, const torch::Tensor &labels) {
  torch::NoGradGuard guard;
  network->eval();
  return network->forward(images).argmax(1).eq(labels).to(torch::kFloat64).mean().item<double>();
}

int main(int count, char **arguments) {
  try {
    const std::string folder = count > 1 ? std::string(arguments[1]) + "/" : "";
    const int epochs = 4;
    torch::manual_seed(0);
    auto [images, labels] = stripes(1024);
    auto [test_images, test_labels] = stripes(512);

    std::vector<Network> networks(2);  // each with weights of its own
    std::vector<torch::optim::SGD> optimizers;
    std::vector<graft::network> seen;
    for (Network &network : networks) {
      optimizers.emplace_back(network->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
      seen.push_back(views(*network));
    }
    graft::plan plan(seen[0]);
    for (std::size_t i = 0; i < plan.size(); ++i)
      std::printf("%-28s follows %s\n", plan[i].name.c_str(),
                  plan[i].role == GRAFT_ROLE_LEAVE ? "nothing" : plan[plan[i].feeder].name.c_str());

    for (int epoch = 1; epoch <= epochs; ++epoch) {
      for (std::size_t k = 0; k < networks.size(); ++k) {
        networks[k]->train();
        for (const torch::Tensor &batch : torch::randperm(images.size(0)).split(64)) {
          optimizers[k].zero_grad();
          torch::Tensor scores = networks[k]->forward(images.index_select(0, batch));
          torch::nn::functional::cross_entropy(scores, labels.index_select(0, batch)).backward();
          optimizers[k].step();
        }
      }
      const bool keep = !folder.empty() && epoch == epochs;
      for (std::size_t k = 0; keep && k < networks.size(); ++k)
        torch::save(networks[k], folder + "before-" + std::to_string(k) + ".pt");

      graft::report report = graft::apply(seen, {}, &plan);

      for (std::size_t k = 0; k < networks.size(); ++k) {
        if (keep) torch::save(networks[k], folder + "after-" + std::to_string(k) + ".pt");
        std::printf("epoch %d  network %zu  accuracy %.4f", epoch, k,
                    accuracy(networks[k], test_images, test_labels));
        for (std::size_t layer = 0; layer < report.layers(); ++layer)
          std::printf("  %s %.6f", report.at(layer, k).name, report.at(layer, k).alpha);
        std::printf("\n");
      }
    }
  } catch (const std::exception &problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 1;
  }
}
