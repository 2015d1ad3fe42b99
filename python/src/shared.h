// What several binding files share: the wrappers that make an engine safe to share between Python threads,
// the check for signals, and arrays that own their memory.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "engine/engine.h"

namespace spectralkv::python {

namespace nb = nanobind;

using Array1 = nb::ndarray<nb::numpy, float, nb::ndim<1>>;
using Array2 = nb::ndarray<nb::numpy, float, nb::ndim<2>>;

// An engine, and the lock that its sessions take: they share one pool of threads, so one works at a time.
struct SharedEngine {
  Engine engine;
  std::mutex mutex;
  std::atomic<std::thread::id> owner{};
  std::atomic<pid_t> process{0};  // of the owner

  SharedEngine(const std::string& path, const EngineOptions& options) : engine(path, options) {}

  // Calls work() with the lock held and the GIL released, so that a thread that waits here stops no other.
  template <class Work>
  auto exclusively(const Work& work) {
    nb::gil_scoped_release released;
    check(owner.load() != std::this_thread::get_id(), "python",
          "a session was called from inside its own call");
    return locked(work);
  }

  // The same for what ends a session: its memory may be what another one records or launches. Python may end
  // one within a call of this engine (a signal's handler did, or the collector): no pass is under way then.
  // And in a forked child the lock may be held for ever by a thread that the child has not.
  template <class Work>
  void at_the_end(const Work& work) {
    const bool inside = owner.load() == std::this_thread::get_id();
    const pid_t holder = process.load();
    if (inside || (holder != 0 && holder != ::getpid())) return work();
    nb::gil_scoped_release released;
    locked(work);
  }

 private:
  template <class Work>
  auto locked(const Work& work) {
    std::lock_guard lock(mutex);
    owner.store(std::this_thread::get_id());
    process.store(::getpid());
    struct Clear {
      SharedEngine& self;
      ~Clear() {
        self.process.store(0);
        self.owner.store({});
      }
    } clear{*this};
    return work();
  }
};

// A session that counts its changes, so that a generation notices when somebody else moved it.
struct SharedSession {
  SharedEngine& shared;
  std::unique_ptr<Session> held;
  Session& session;
  std::uint64_t changes = 0;

  SharedSession(SharedEngine& engine, const SessionOptions& options)
      : shared(engine), held(std::make_unique<Session>(engine.engine, options)), session(*held) {}
  ~SharedSession() {
    shared.at_the_end([this] { held.reset(); });
  }
  SharedSession(const SharedSession&) = delete;
};

// Asks Python for signals that arrived; holds the exception that a handler raised (KeyboardInterrupt) until
// the C++ call has come back.
class SignalCheck {
 public:
  bool operator()() {
    nb::gil_scoped_acquire gil;
    if (!error_ && PyErr_CheckSignals() != 0) error_.emplace();
    return error_.has_value();
  }
  void rethrow() {
    if (error_) throw nb::python_error(std::move(*std::exchange(error_, std::nullopt)));
  }

 private:
  std::optional<nb::python_error> error_;
};

// A Python object that any thread may drop.
inline std::shared_ptr<nb::object> keep_alive(const nb::object& object) {
  return {new nb::object(object), [](nb::object* held) {
            const nb::gil_scoped_acquire gil;
            delete held;
          }};
}

// Bytes of a file as str: what is no UTF-8 becomes surrogate escapes, as os.fsdecode does.
inline nb::object to_str(std::string_view bytes) {
  return nb::steal(
      PyUnicode_DecodeUTF8(bytes.data(), static_cast<Py_ssize_t>(bytes.size()), "surrogateescape"));
}

// A str as UTF-8, its surrogate escapes as the bytes that they stand for; bytes as they are. `what` names it.
inline std::string from_str(nb::handle text, const char* what) {
  if (PyBytes_Check(text.ptr()))
    return {PyBytes_AS_STRING(text.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
  if (!PyUnicode_Check(text.ptr())) throw nb::type_error(concat(what, " must be str or bytes").c_str());
  const nb::object encoded = nb::steal(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogateescape"));
  if (!encoded.is_valid()) throw nb::python_error();
  return from_str(encoded, what);
}

// A path as the system takes it, of str, bytes or os.PathLike.
inline std::string to_path(nb::handle path) {
  PyObject* encoded = nullptr;
  if (PyUnicode_FSConverter(path.ptr(), &encoded) == 0) throw nb::python_error();
  return from_str(nb::steal(encoded), "a path");
}

inline nb::bytes to_bytes(std::string_view bytes) {
  return nb::bytes(bytes.data(), bytes.size());
}

// A mask of tokens (engine/sampler.h) of the bytes of its words.
inline std::vector<std::uint32_t> to_mask(nb::handle bytes) {
  if (!PyBytes_Check(bytes.ptr())) throw nb::type_error("a mask of tokens must be bytes");
  const auto n = static_cast<std::size_t>(PyBytes_GET_SIZE(bytes.ptr()));
  std::vector<std::uint32_t> words((n + 3) / 4);
  std::memcpy(words.data(), PyBytes_AS_STRING(bytes.ptr()), n);
  return words;
}

// Metadata that stands in the place of a file's, of (key, bool | int | float | str) pairs.
std::vector<GgufEntry> to_overrides(nb::handle pairs);

// What Session.cache_report describes.
nb::dict report_dict(const CacheReport& report);

// A new array; `values` outlives it by being moved into its owner.
template <class T>
nb::ndarray<nb::numpy, T> to_array(std::unique_ptr<T[]> values, std::initializer_list<std::size_t> shape) {
  T* data = values.release();
  nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<T*>(p); });
  return nb::ndarray<nb::numpy, T>(data, shape, owner);
}

template <class T>
nb::ndarray<nb::numpy, T, nb::ndim<1>> to_array(std::span<const T> values) {
  auto copy = std::make_unique_for_overwrite<T[]>(values.size());
  std::copy(values.begin(), values.end(), copy.get());
  return nb::ndarray<nb::numpy, T, nb::ndim<1>>(to_array(std::move(copy), {values.size()}));
}

}  // namespace spectralkv::python
