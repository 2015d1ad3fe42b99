// The state file of --prompt-cache.
#pragma once

#include <string>

#include "cli/log.h"
#include "engine/engine.h"

namespace spectralkv {

class PromptCache {
 public:
  // path: a state file that there is or that is to be; "" for none. An os error when there is none and none
  // can be written: before the work, not behind it. at_end: saved by `save_all` alone. read_only: never.
  PromptCache(std::string path, bool at_end, bool read_only);

  // Lets the session go on from the file, where there is one.
  void load(Session& session, const Log& log) const;
  // Once, behind the first prompt, unless the file held all of it or cannot be written.
  void save(const Session& session, const Log& log);
  // When everything was generated.
  void save_all(const Session& session, const Log& log) const;

 private:
  std::string path_;
  bool at_end_, kept_;
  std::string read_only_;  // why it cannot be written
  bool saved_ = false;
};

}  // namespace spectralkv
