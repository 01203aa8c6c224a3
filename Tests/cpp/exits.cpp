// A program that leaves while handles are alive or threads are in the library. It must end with its
// own code, 7. Compiled and run by Tests/python/test_exit.py:
//
//     exits HOW THREADS MILLISECONDS
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "small_trainer.hpp"

constexpr int own_code = 7;

// Destroyed after main, in the order that the program and the libraries were started in.
static graft::owner<graft_trainer> at_the_end;
static thread_local graft::owner<graft_network> at_the_threads_end;

static void wait(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

/** Trains until the process is gone. */
static void train(std::int32_t threads) {
  small_trainer trainer(threads, 0, 1000000);
  graft::run(trainer.get());
}

/** One graft of arrays that are large enough for two threads. */
static void graft_once(std::int32_t threads) {
  std::vector<float> own(512 * 64 * 9), other(own.size());
  for (std::size_t i = 0; i < own.size(); ++i) {
    own[i] = static_cast<float>(i % 1013);
    other[i] = static_cast<float>(i % 7);
  }
  graft::view first(own.data(), {512, 64, 3, 3}, "w"), second(other.data(), {512, 64, 3, 3}, "w");
  const graft_tensor tensors[] = {first.tensor(), second.tensor()};
  const graft_tensor *networks[] = {&tensors[0], &tensors[1]};
  graft_options options;
  graft_options_init(&options, sizeof options);
  options.threads = threads;
  graft::check(graft_apply(nullptr, networks, sizeof tensors[0], 1, 2, &options, nullptr));
}

static void graft_for_ever(std::int32_t threads) {
  for (;;) graft_once(threads);
}

/** Threads of the host's that begin and end, as those of servers do, with a graft in each. */
static void come_and_go(std::int32_t threads) {
  for (;;) std::thread(graft_once, threads).join();
}

static void exit_from_a_callback(std::int32_t threads, int milliseconds) {
  std::thread(train, threads).detach();
  small_trainer trainer(threads, 0, 1000000);
  int calls = 0;
  graft::run(trainer.get(), [&](const graft_progress &) {
    if (++calls > milliseconds) std::exit(own_code);
  });
}

/** A forked child that works in parallel and leaves by _exit; returns what it left with. */
static int child_that_leaves(std::int32_t threads, int milliseconds) {
  graft_once(threads);  // the runtime is not in the middle of its start
  std::thread(train, threads).detach();
  wait(milliseconds);
  const pid_t child = fork();
  if (child == 0) {
    graft_once(threads);
    std::thread(graft_for_ever, threads).detach();
    wait(milliseconds);
    _exit(own_code);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static void work_and_destroy() {
  small_trainer trainer(2);
  graft::run(trainer.get());
  at_the_end.reset();
}

int main(int count, char **arguments) {
  REQUIRE(count == 4);
  const std::string how = arguments[1];
  const std::int32_t threads = std::atoi(arguments[2]);
  const int milliseconds = std::atoi(arguments[3]);
  if (how == "while-a-thread-trains") {
    std::thread(train, threads).detach();
    wait(milliseconds);
    std::exit(own_code);
  }
  if (how == "while-threads-graft" || how == "while-threads-come-and-go") {
    for (int k = 0; k < 3; ++k)
      std::thread(how == "while-threads-graft" ? graft_for_ever : come_and_go, threads).detach();
    wait(milliseconds);
    std::exit(own_code);
  }
  if (how == "from-a-callback") exit_from_a_callback(threads, milliseconds);
  if (how == "in-a-child") return child_that_leaves(threads, milliseconds);
  if (how == "quickly") {
    std::thread(train, threads).detach();
    wait(milliseconds);
    std::quick_exit(own_code);
  }
  if (how == "from-another-thread") {
    std::thread([milliseconds] { wait(milliseconds), std::exit(own_code); }).detach();
    train(threads);
  }
  if (how == "with-handles-alive") {
    small_trainer trainer(threads);
    graft::run(trainer.get());
    at_the_end = std::move(trainer.handle);
    at_the_threads_end = std::move(trainer.networks[0]);
    std::thread([threads] {
      at_the_threads_end = small_network(1);
      small_trainer other(threads);
      graft::run(other.get());
    }).join();
    (void)small_data().release();  // never freed
    return own_code;
  }
  if (how == "after-main") {  // works on, and destroys, when the program's own statics are going
    small_trainer trainer(threads);
    at_the_end = std::move(trainer.handle);
    std::atexit(work_and_destroy);
    return own_code;
  }
  return 1;
}
