// graft.hpp: every class and function once, against numbers worked out by hand. Ends with
// 0 if all holds, and names what does not. Compiled and run by Tests/python/test_headers.py.
#include <cmath>
#include <cstdio>
#include <limits>
#include <type_traits>
#include <graft.hpp>

static int failures = 0;

#define EXPECT(condition)                                            \
  do {                                                               \
    if (!(condition)) {                                              \
      std::printf("line %d: %s does not hold\n", __LINE__, #condition); \
      ++failures;                                                    \
    }                                                                \
  } while (0)

static bool near(double a, double b) { return std::fabs(a - b) < 1e-6; }

template <typename Call>
static graft_status failure(Call call, const char *text) {
  try {
    call();
  } catch (const graft::error &problem) {
    EXPECT(std::string(problem.what()).find(text) != std::string::npos);
    return problem.status();
  }
  return GRAFT_OK;
}

static void information() {
  const std::vector<float> w{0, 1, 2, 3, 0, 0, 0, 0};
  graft::view weights(w.data(), {2, 4}, "w");
  graft::information_options options;
  EXPECT(options.bins == 10 && options.struct_size == sizeof(graft_information_options));
  options.bins = 4;
  EXPECT((graft::histogram(weights, options) == std::vector<std::int64_t>{5, 1, 1, 1}));
  double h = -(5 / 8.0 * std::log(5 / 8.0) + 3 / 8.0 * std::log(1 / 8.0));
  EXPECT(near(graft::entropy(weights, options), h));
  std::vector<double> entropies = graft::filter_entropies(weights, options);
  EXPECT(near(entropies.at(0), std::log(4)) && entropies.at(1) == 0);
  EXPECT((graft::filter_norms(weights) == std::vector<double>{6, 0}));
  EXPECT((graft::invalid_filters(weights) == std::vector<bool>{false, true}));
  options.filter_axis = 1;
  EXPECT((graft::filter_norms(weights, options) == std::vector<double>{0, 1, 2, 3}));
  // The transpose of the same memory.
  graft::view turned(w.data(), {4, 2}, "", {1, 4});
  EXPECT((graft::filter_norms(turned) == std::vector<double>{0, 1, 2, 3}));
  EXPECT(near(graft::coefficient(1, 0, 1, 1), 0.75) && graft::coefficient(1, 1) == 0.5);

  options.filter_axis = 5;
  EXPECT(failure([&] { graft::filter_norms(weights, options); }, "filter_axis") ==
         GRAFT_INVALID_ARGUMENT);
  options.bins = -1;
  EXPECT(failure([&] { graft::histogram(weights, options); }, "bins") == GRAFT_INVALID_ARGUMENT);
  EXPECT(failure([&] { graft::coefficient(1, 1, 2); }, "a is 2") == GRAFT_INVALID_ARGUMENT);
  EXPECT(failure([&] { graft::view(w.data(), {8}, "v", {1, 2}); }, "strides") ==
         GRAFT_INVALID_ARGUMENT);

  std::vector<float> mine{1, 2}, nan{1, std::numeric_limits<float>::quiet_NaN()};
  graft::blend({mine.data(), {2}}, {w.data() + 2, {2}}, 0.75);
  EXPECT(mine[0] == 1.25f && mine[1] == 2.25f);
  EXPECT(failure([&] { graft::blend(weights, weights, 0.5); }, "read-only") ==
         GRAFT_INVALID_ARGUMENT);
  EXPECT(failure([&] { graft::entropy({nan.data(), {2}, "bad"}); }, "bad") == GRAFT_NOT_FINITE);
}

static void grafting() {
  std::vector<float> a{0, 1, 2, 3}, b{4, 4, 4, 8}, bias_a{1, 2}, bias_b{3, 4};
  std::vector<std::int64_t> steps(1, 7);
  auto network = [&](std::vector<float> &w, std::vector<float> &bias) {
    return graft::network{{w.data(), {2, 2}, "w"}, {bias.data(), {2}, "bias"},
                          {steps.data(), {}, "steps"}};
  };
  std::vector<graft::network> networks{network(a, bias_a), network(b, bias_b)};

  graft::plan plan(networks[0]);
  EXPECT(plan.size() == 3);
  EXPECT(plan[0].role == GRAFT_ROLE_LAYER && plan[0].rule == GRAFT_RULE_LINEAR);
  EXPECT(plan[1].feeder == 0 && plan[1].name == "bias" && plan[2].role == GRAFT_ROLE_LEAVE);
  plan.set(1, GRAFT_ROLE_LEAVE);
  EXPECT(failure([&] { plan.set(3, GRAFT_ROLE_HALF); }, "index is 3") == GRAFT_INVALID_ARGUMENT);
  static_assert(!std::is_copy_constructible<graft::plan>::value, "one owner");
  graft::plan moved = std::move(plan);
  EXPECT(moved[1].rule == GRAFT_RULE_GIVEN);

  graft::options options;
  options.weighting = GRAFT_WEIGHTING_CONSTANT;
  options.constant = 0.25;
  options.every = 2;
  EXPECT(graft::is_due(options, 1) && !graft::is_due(options, 2));
  options.dry_run = 1;
  graft::report dry = graft::apply(networks, options, &moved);
  EXPECT(a[0] == 0);
  options.dry_run = 0;
  graft::report report = graft::apply(networks, options, &moved);
  EXPECT((a == std::vector<float>{3, 3.25f, 3.5f, 6.75f}) && bias_a[0] == 1);
  EXPECT((b == std::vector<float>{1, 1.75f, 2.5f, 4.25f}));
  EXPECT(report.layers() == 1 && report.networks() == 2);
  graft_layer_report row = report.at(0, 1);
  EXPECT(std::string(row.name) == "w" && row.source == 0 && row.alpha == 0.25);
  EXPECT(near(row.norm_before, 10) && near(row.norm_after, 4.75));
  EXPECT(near(dry.at(0, 1).norm_after, 4.75));
  EXPECT(failure([&] { report.at(1, 0); }, "layer is 1") == GRAFT_INVALID_ARGUMENT);

  graft::apply(networks);
  EXPECT(a == b && bias_a == bias_b && steps[0] == 7);
  networks.push_back({{a.data(), {2, 2}}});
  EXPECT(failure([&] { graft::apply(networks); }, "tensors") == GRAFT_SHAPE_MISMATCH);
  EXPECT(failure([&] { graft::apply({}); }, "") == GRAFT_INVALID_ARGUMENT);
}

static void distillation() {
  const std::vector<double> student{0, 0}, teacher{0, std::log(3.0)};
  std::vector<double> slope(2);
  graft::distillation_options options;
  EXPECT(options.temperature == 2);
  options.temperature = 1;
  graft::view gradient(slope.data(), {1, 2});
  double loss = graft::distillation_loss({student.data(), {1, 2}}, {{teacher.data(), {1, 2}}}, {0},
                                         options, &gradient);
  EXPECT(near(loss, std::log(2.0) + 0.25 * std::log(0.5) + 0.75 * std::log(1.5)));
  EXPECT(near(slope[0], -0.25) && near(slope[1], 0.25));
  EXPECT(near(graft::distillation_loss({student.data(), {1, 2}}, {}, {1}), std::log(2.0)));
  EXPECT(failure([&] { graft::distillation_loss({student.data(), {1, 2}}, {}, {1, 1}); },
                 "labels") == GRAFT_SHAPE_MISMATCH);
  options.label_smoothing = 0.2;  // nine tenths on the label, one on the other
  loss = graft::distillation_loss({teacher.data(), {1, 2}}, {}, {0}, options);
  EXPECT(near(loss, 0.9 * std::log(4.0) + 0.1 * std::log(4 / 3.0)));
}

static void training() {
  const std::vector<std::uint8_t> images(12 * 16, 100);
  const std::vector<std::int64_t> labels(12, 1);
  const std::int64_t shape[4] = {12, 1, 4, 4};
  graft_dataset *data = nullptr;
  graft::check(graft_dataset_bytes(images.data(), shape, nullptr, labels.data(), 7, &data));
  graft_resnet_options how{};
  graft_resnet_options_init(&how, sizeof how);
  how.depth = 8, how.classes = 7, how.channels = 1, how.height = how.width = 4;
  graft_network *network = nullptr, *average = nullptr;
  graft::check(graft_network_resnet(&how, &network));
  graft::check(graft_network_resnet(&how, &average));

  graft::trainer_options options;
  graft::member_options own;
  graft::augmentation augmentation;
  EXPECT(options.momentum == 0.9 && own.weight_decay == -1 && augmentation.crop_padding == 4);
  augmentation.mixup = 1;
  options.epochs = 1, options.batch_size = 5, options.clip_norm = 1, options.ema_decay = 0.5;
  options.evaluate_ema = 1, options.evaluate_steps = 2;
  own.label_smoothing = 0.1, own.augmentation = &augmentation;
  graft_trainer *trainer = nullptr;
  graft::check(graft_trainer_create(&options, nullptr, nullptr, data, data, &trainer));
  graft::check(graft_trainer_add(trainer, network, &own));
  graft::check(graft_trainer_run(trainer, nullptr, nullptr));
  graft::check(graft_trainer_ema(trainer, 0, average));
  graft_evaluation found{};
  found.struct_size = sizeof found;
  graft::check(graft_network_evaluate(average, data, 5, &found));
  graft_epoch_record record{};
  record.struct_size = sizeof record;
  graft::check(graft_trainer_record(trainer, 1, 0, &record));
  EXPECT(near(record.ema_loss, found.loss) && record.ema_top5 == found.top5);
  EXPECT(record.gradient_norm > 0 && record.clipped >= 0 && record.clipped <= 1);
  graft_step_record between{};
  between.struct_size = sizeof between;
  EXPECT(graft_trainer_step_record_count(trainer) == 1);
  graft::check(graft_trainer_step_record(trainer, 0, 0, &between));
  EXPECT(between.epoch == 1 && between.step == 2 && between.test_loss > 0);
  EXPECT(failure([&] { graft::check(graft_trainer_step_record(trainer, 1, 0, &between)); },
                 "index is 1") == GRAFT_INVALID_ARGUMENT);
  graft_trainer_destroy(trainer);
  graft_network_destroy(average);
  graft_network_destroy(network);
  graft_dataset_destroy(data);
}

int main() {
  information();
  grafting();
  distillation();
  training();
  return failures == 0 ? 0 : 1;
}
