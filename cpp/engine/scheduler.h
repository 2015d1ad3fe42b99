// Continuous batching: requests join and leave at every step, prompts are read in pieces beside decoding.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "engine/cache_cost.h"
#include "engine/engine.h"
#include "engine/pace.h"
#include "engine/prefix_cache.h"
#include "engine/request.h"

namespace spectralkv {

class CacheFormat;
class Scratch;
struct Sequence;
struct StepPlan;

struct SchedulerOptions {
  std::int64_t n_ctx = 0;        // tokens of a request, prompt and answer; 0: the model's own
  std::int64_t n_batch = 512;    // tokens of a step, at most
  std::int64_t n_parallel = 16;  // requests that run at a time, at most
  std::string type_k = "default", type_v = "default";  // cache specs (kv/codecs.h)
  std::int64_t cache_bytes = std::int64_t{1} << 30;    // of running and kept sequences together
  std::string kept_folder;  // for kept sequences that memory has no room for, and restarts; empty: none
  std::int64_t kept_folder_bytes = std::int64_t{10} << 30;
  double pause_s = 0.2;  // how long a step may take while requests decode; prompts are cut to that
};

// What a request gets depends on the request alone: the same tokens, alone and beside others, to the last bit
// on the CPU; on a GPU, whose products round by the number of rows, but for that.
class Scheduler {
 public:
  // The engine must outlive it; its sessions may not be used while this is made or a step runs. Lays out the
  // weights.
  Scheduler(Engine& engine, SchedulerOptions options);
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;

  // From any thread. A value error, and nothing has changed, for a prompt that is empty, too long or has ids
  // out of range, options out of range, and a request that the cache budget could never hold.
  RequestId submit(Request request);
  // From any thread: false for a request that has ended, or never was. Its last event comes all the same.
  bool cancel(RequestId id);
  // From any thread: what the request's next tokens may be, until it is called again; empty: all. False as
  // for cancel. Call it between the step that gave a token and the next one.
  bool allow(RequestId id, std::vector<std::uint32_t> allowed);
  // From any thread. Waits until there is something for a step to do, at most so long; false: there is not.
  bool wait(double seconds);
  SchedulerStats stats() const;  // from any thread, as of the last step

  // One forward pass, and what came of it; nothing where nothing is to be done. From one thread at a time.
  // What goes wrong with a request is its last event. A step that has nothing else to do writes a kept
  // sequence to the folder.
  std::vector<Event> step();

  // By the thread of the steps. Writes as a state file the longest start of `tokens` that is kept, and gives
  // its length; 0, and no file: none is. OS errors name the file.
  std::int64_t save(std::span<const Token> tokens, const std::string& path);
  // By the thread of the steps. Keeps what a state file holds, and gives its tokens. A value error with the
  // reason for a file of another model or cache type, of more tokens than the context, or damaged.
  std::vector<Token> load(const std::string& path);

  const SchedulerOptions& options() const { return options_; }
  const CacheFormat& format() const { return *format_; }

 private:
  struct Inbox;
  using Events = std::vector<Event>;
  // scheduler.cc
  void take_inbox(Events& events);
  void expire(Events& events);
  void end(Sequence& sequence, FinishReason reason, const std::string& error, Events& events);
  void release(Sequence& sequence);
  void publish();
  // scheduler_admit.cc
  void admit(Events& events);
  struct Start;
  Start best_start(const Sequence& sequence);
  bool waits_for_reader(const Sequence& sequence, std::int64_t has);
  bool start(Sequence& sequence, const Start& from, bool alone);
  void keep(const Sequence& sequence);
  std::int64_t used_bytes() const;
  bool make_room(std::int64_t bytes);
  void preempt(Sequence& sequence);
  // scheduler_read.cc
  StepPlan plan();
  StepPlan plan_that_fits(Events& events);
  void read(const StepPlan& plan, Events& events);
  void recover(const StepPlan& plan, const std::string& error, Events& events);
  void draw(Sequence& sequence, const float* row, Events& events);

  Engine& engine_;
  SchedulerOptions options_;
  std::shared_ptr<const CacheFormat> format_;
  std::unique_ptr<Scratch> scratch_;
  CacheCost cost_;
  PrefixCache kept_;
  Pace pace_;
  bool no_room_ = false;  // nobody is admitted until somebody has ended

  // By id, so the oldest first; those that hold a cache run.
  std::map<RequestId, std::unique_ptr<Sequence>> sequences_;
  SchedulerStats now_;

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::unique_ptr<Inbox> inbox_;
  std::unordered_set<RequestId> live_;
  RequestId next_id_ = 1;
  SchedulerStats published_;
  bool unsaved_ = false;
};

}  // namespace spectralkv
