// How much a step reads of prompts: the pause is kept while the machine's pace changes.
#include "engine/pace.h"

#include <gtest/gtest.h>

#include <vector>

namespace spectralkv {
namespace {

constexpr double kPause = 0.2;

// A machine: seconds of a step that decodes, and of a token of a prompt.
struct Machine {
  double decode_s = 0.02, token_s = 0.001;

  double step(Pace& pace) const {
    const std::int64_t n = pace.beside();
    const double seconds = decode_s + token_s * static_cast<double>(n);
    pace.took(n, 4, seconds);
    return seconds;
  }
};

Pace started(const Machine& machine) {
  Pace pace(kPause, 512);
  for (int i = 0; i < 5; ++i) pace.took(0, 4, machine.decode_s);
  return pace;
}

TEST(Pace, BeginsCarefully) {
  const Machine slow{.decode_s = 0.05, .token_s = 0.008};
  Pace pace = started(slow);
  for (int i = 0; i < 20; ++i) EXPECT_LE(slow.step(pace), kPause);
  EXPECT_LE(Pace(kPause, 512).alone(), Pace::kFirst);
  EXPECT_LE(Pace(kPause, 8).beside(), 8);
}

TEST(Pace, UsesMostOfThePause) {
  const Machine machine;
  Pace pace = started(machine);
  for (int i = 0; i < 50; ++i) EXPECT_LE(machine.step(pace), kPause);
  EXPECT_GE(machine.step(pace), kPause / 2);
  EXPECT_EQ(pace.alone(), 512);
}

// By the length of a prompt, say: a twentieth with each step, until the least that is read takes all of it.
TEST(Pace, FollowsWhatGrowsSlower) {
  Machine machine;
  Pace pace = started(machine);
  for (int i = 0; i < 45; ++i) {
    EXPECT_LE(machine.step(pace), kPause) << "step " << i;
    machine.token_s *= 1.05;
  }
}

// When the machine halves its speed one step may be longer; the next ones are not.
TEST(Pace, IsLateOnceAtMost) {
  Machine machine;
  Pace pace = started(machine);
  for (int i = 0; i < 30; ++i) machine.step(pace);
  const Machine busy{.decode_s = 0.06, .token_s = 0.003};
  EXPECT_LE(busy.step(pace), 2.5 * kPause);
  for (int i = 0; i < 30; ++i) EXPECT_LE(busy.step(pace), kPause);
  pace.took(0, 4, busy.decode_s);
  for (int i = 0; i < 60; ++i) {
    machine.step(pace);
    pace.took(0, 4, machine.decode_s);
  }
  EXPECT_GE(machine.step(pace), kPause / 2);  // it is not slow for ever
}

// No prompt stands still, however slow decoding is.
TEST(Pace, AlwaysReadsSomething) {
  Pace pace(kPause, 512);
  pace.took(0, 4, 3.0);
  pace.took(16, 4, 9.0);
  EXPECT_EQ(pace.beside(), Pace::kLeast);
  EXPECT_GE(pace.alone(), Pace::kLeast);
}

}  // namespace
}  // namespace spectralkv
