// How many threads this machine is good for.
#pragma once

#include <span>
#include <string>

namespace spectralkv {

// Processors that this process may run on (affinity and cgroup quota counted).
int available_processors();

// Threads by default: one for each core of those processors, second hardware threads of a core and cores that
// were made to be slow left out. At least 1.
int default_threads();

// The cores of these processors, as default_threads() counts them; devices: a folder as Linux's /sys/devices.
// What it does not say is taken for a core of its own, as fast as the others.
int fast_cores(std::span<const int> processors, const std::string& devices);

}  // namespace spectralkv
