// graft::run and what a callback may do: stop, throw, and call back in. Ends with 0 if all holds.
// Compiled and run by Tests/python/test_headers.py.
#include <stdexcept>
#include <string>

#include "small_trainer.hpp"

struct own_exception {
  int number;
};

/** What an unbroken run of the same seed comes to. */
static const std::string &expected() {
  static const std::string weights = [] {
    small_trainer trainer;
    graft::run(trainer.get());
    return trainer.weights();
  }();
  return weights;
}

static int callbacks_of_a_run() {
  small_trainer trainer;
  int calls = 0;
  graft::run(trainer.get(), [&](const graft_progress &progress) {
    REQUIRE(progress.struct_size == sizeof progress);
    ++calls;
  });
  REQUIRE(trainer.weights() == expected());
  return calls;
}

/** Stopped or thrown out of at every point, a run goes on to the same bits. */
static void stops_anywhere() {
  const int calls = callbacks_of_a_run();
  REQUIRE(calls > 10);
  for (int at = 1; at <= calls; ++at) {
    for (int how = 0; how < 4; ++how) {
      small_trainer trainer;
      int call = 0, caught = -1;
      auto callback = [&](const graft_progress &) {
        if (++call != at) return true;
        if (how == 1) throw std::runtime_error("from the callback");
        if (how == 2) throw own_exception{at};
        if (how == 3) throw std::string("no exception class");
        return false;
      };
      try {
        graft::run(trainer.get(), callback);
      } catch (const graft::error &error) {
        REQUIRE(error.status() == GRAFT_CANCELLED);
        caught = 0;
      } catch (const std::runtime_error &error) {
        REQUIRE(std::string(error.what()) == "from the callback");
        caught = 1;
      } catch (const own_exception &error) {
        REQUIRE(error.number == at);
        caught = 2;
      } catch (const std::string &error) {
        caught = 3;
      }
      REQUIRE(caught == how);
      REQUIRE(call == at);
      graft::run(trainer.get());
      REQUIRE(trainer.weights() == expected());
    }
  }
}

/** Everything that is allowed in a callback, at every point, changes nothing. */
static void calls_back_in(const std::string &folder) {
  small_trainer trainer;
  graft::owner<graft_dataset> data = small_data();
  std::vector<float> images = small_images(8), logits(8 * class_count);
  graft::view shown(images.data(), {8, 3, image_size, image_size});
  graft::view answer(logits.data(), {8, class_count});
  graft_tensor in = shown.tensor(), out = answer.tensor();
  graft::run(trainer.get(), [&](const graft_progress &progress) {
    graft_trainer *handle = trainer.get();
    graft_network *network = trainer.networks[0].get();
    REQUIRE(graft_trainer_run(handle, nullptr, nullptr) == GRAFT_INVALID_STATE);
    REQUIRE(std::strstr(graft_last_error(), "callback") != nullptr);
    REQUIRE(graft_trainer_load(handle, folder.c_str()) == GRAFT_INVALID_STATE);
    REQUIRE(graft_trainer_add(handle, network, nullptr) == GRAFT_INVALID_STATE);
    REQUIRE(graft_trainer_add_teacher(handle, network) == GRAFT_INVALID_STATE);
    REQUIRE(graft_trainer_save(handle, (folder + "/checkpoint").c_str()) == GRAFT_OK);
    graft_epoch_record record{};
    record.struct_size = sizeof record;
    if (graft_trainer_epochs_done(handle) > 0)
      REQUIRE(graft_trainer_record(handle, 1, 1, &record) == GRAFT_OK);
    graft_report *report = nullptr;
    if (progress.phase == GRAFT_PHASE_GRAFT)
      REQUIRE(graft_trainer_graft_report(handle, progress.epoch, &report) == GRAFT_OK);
    graft_report_destroy(report);
    double loss = 0, accuracy = 0;
    REQUIRE(graft_evaluate(network, data.get(), 7, &loss, &accuracy) == GRAFT_OK);
    REQUIRE(graft_network_forward(network, GRAFT_EVALUATION, &in, &out) == GRAFT_OK);
    REQUIRE(graft_network_set_threads(network, 3) == GRAFT_OK);
    if (progress.phase == GRAFT_PHASE_EPOCH) {  // a run within a run
      small_trainer other;
      graft::run(other.get());
      REQUIRE(other.weights() == expected());
    }
  });
  REQUIRE(trainer.weights() == expected());
  small_trainer resumed;
  REQUIRE(graft_trainer_load(resumed.get(), (folder + "/checkpoint").c_str()) == GRAFT_OK);
  graft::run(resumed.get());
  REQUIRE(resumed.weights() == expected());
}

/** A trainer that is destroyed in its own callback ends when the run returns. */
static void destroys_itself() {
  small_trainer trainer;
  graft_trainer *handle = trainer.get();
  graft_status status = graft_trainer_run(
      handle,
      [](const graft_progress *progress, void *user) -> std::int32_t {
        auto &owner = *static_cast<small_trainer *>(user);
        if (progress->step == 2) owner.handle.reset();
        return 0;
      },
      &trainer);
  REQUIRE(status == GRAFT_OK && trainer.handle == nullptr);
  REQUIRE(trainer.weights() == expected());  // the networks have their own handles
}

static void run_says_what_failed() {
  try {
    graft::run(nullptr, [](const graft_progress &) {});
    REQUIRE(false);
  } catch (const graft::error &error) {
    REQUIRE(error.status() == GRAFT_INVALID_ARGUMENT);
  }
}

int main(int count, char **arguments) {
  REQUIRE(count == 2);
  stops_anywhere();
  calls_back_in(arguments[1]);
  destroys_itself();
  run_says_what_failed();
  return 0;
}
