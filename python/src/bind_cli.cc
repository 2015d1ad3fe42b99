// The command line, with hooks that call back into Python.
#include "cli/cli.h"

#include <nanobind/stl/function.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <csignal>
#include <memory>

#include "base/error.h"
#include "bind.h"
#include "shared.h"

namespace spectralkv::python {
namespace {

// Gives Ctrl-C back to Python while a hook runs, and then again to the command line.
class PythonInterrupts {
 public:
  explicit PythonInterrupts(const struct sigaction& python) { sigaction(SIGINT, &python, &command_line_); }
  ~PythonInterrupts() { sigaction(SIGINT, &command_line_, nullptr); }
  PythonInterrupts(const PythonInterrupts&) = delete;

 private:
  struct sigaction command_line_ {};
};

// Calls a Python hook; its exception becomes an Error with the bare message, which is what a command line
// shows. The caller holds the GIL.
template <class Call>
nb::object call_hook_object(const char* name, const struct sigaction& python, const Call& call) {
  const PythonInterrupts interrupts(python);
  std::string message;
  ErrorKind kind = ErrorKind::value;
  try {
    return call();
  } catch (nb::python_error& error) {
    kind = error.matches(PyExc_KeyboardInterrupt) ? ErrorKind::interrupted : ErrorKind::value;
    message = from_str(nb::str(error.value()), "the message");
  } catch (const nb::builtin_exception& error) {
    message = error.what();
  }
  const std::string prefix = concat("[", name, "] ");  // which fail() writes again
  if (message.starts_with(prefix)) message.erase(0, prefix.size());
  fail(kind, name, message);
}

template <class Call>
std::string call_hook(const char* name, const struct sigaction& python, const Call& call) {
  nb::gil_scoped_acquire gil;
  return from_str(call_hook_object(name, python, call), "what the hook returns");
}

// Masks that a Python function gives; it goes with the GIL held.
class HeldMask {
 public:
  explicit HeldMask(nb::object next) : next_(std::move(next)) {}
  ~HeldMask() {
    nb::gil_scoped_acquire gil;
    next_.reset();
  }
  HeldMask(const HeldMask&) = delete;

  TokenMask next(Token last, const struct sigaction& python) {
    nb::gil_scoped_acquire gil;
    mask_ = to_mask(call_hook_object("grammar", python, [&] { return next_(last); }));
    return mask_;
  }

 private:
  nb::object next_;
  std::vector<std::uint32_t> mask_;
};

int run_cli(const nb::sequence& args, const nb::object& format_chat, const nb::object& default_model,
            std::vector<std::pair<std::string, std::string>> more_commands, const nb::object& plot_fidelity,
            const std::optional<std::string>& no_plot, const nb::object& unpack_npz,
            const nb::object& fetch_model, const nb::object& constrain, nb::handle calibrations,
            const nb::object& read_message) {
  std::vector<std::string> words;
  for (const nb::handle arg : args) words.push_back(from_str(arg, "arguments"));
  struct sigaction python {};
  sigaction(SIGINT, nullptr, &python);
  CliHooks hooks;
  if (!format_chat.is_none())
    hooks.format_chat = [&format_chat, &python](
                            const std::string& source, const std::vector<ChatMessage>& messages,
                            bool add_generation_prompt, const std::string& bos, const std::string& eos) {
      return call_hook("chat", python, [&] {
        nb::list list;
        for (const ChatMessage& message : messages) {
          nb::dict item;
          item["role"] = to_str(message.role);
          item["content"] = to_str(message.content);
          list.append(item);
        }
        return format_chat(to_str(source), list, add_generation_prompt, to_str(bos), to_str(eos));
      });
    };
  if (!default_model.is_none())
    hooks.default_model = [&default_model, &python] {
      return call_hook("pull", python, [&] { return default_model(); });
    };
  if (!fetch_model.is_none())
    hooks.fetch_model = [&fetch_model, &python](const std::string& repo, const std::string& file) {
      return call_hook("pull", python, [&] { return fetch_model(to_str(repo), to_str(file)); });
    };
  if (!plot_fidelity.is_none())
    hooks.plot_fidelity = [&plot_fidelity, &python](const std::string& json, const std::string& folder) {
      return call_hook("plot", python, [&] { return plot_fidelity(to_str(json), to_str(folder)); });
    };
  if (no_plot) hooks.no_plot = *no_plot;
  if (!unpack_npz.is_none())
    hooks.unpack_npz = [&unpack_npz, &python](const std::string& path, const std::string& archive) {
      return call_hook("cli", python, [&] { return unpack_npz(to_str(path), to_bytes(archive)); });
    };
  if (!constrain.is_none())
    hooks.constrain = [&constrain, &python](const std::string& option, const std::string& text,
                                            const Tokenizer& tokenizer) -> NextTokens {
      nb::gil_scoped_acquire gil;
      const nb::object next = call_hook_object("grammar", python, [&] {
        return constrain(to_str(option), to_str(text), nb::cast(&tokenizer, nb::rv_policy::reference));
      });
      auto held = std::make_shared<HeldMask>(next);
      return [held, &python](Token last) { return held->next(last, python); };
    };
  if (!read_message.is_none())
    hooks.read_message = [&read_message, &python](const std::string& prompt) -> std::optional<std::string> {
      nb::gil_scoped_acquire gil;
      const nb::object text = call_hook_object("cli", python, [&] { return read_message(to_str(prompt)); });
      if (text.is_none()) return std::nullopt;
      return from_str(text, "what the hook returns");
    };
  hooks.more_commands = std::move(more_commands);
  if (!calibrations.is_none()) hooks.calibrations = to_path(calibrations);
  nb::gil_scoped_release released;
  return cli_main(words, hooks);
}

}  // namespace

void bind_cli(nb::module_& m) {
  m.def(
      "cli_main", run_cli, nb::arg("args"), nb::arg("format_chat") = nb::none(),
      nb::arg("default_model") = nb::none(),
      nb::arg("more_commands") = std::vector<std::pair<std::string, std::string>>(),
      nb::arg("plot_fidelity") = nb::none(), nb::arg("no_plot") = nb::none(),
      nb::arg("unpack_npz") = nb::none(), nb::arg("fetch_model") = nb::none(),
      nb::arg("constrain") = nb::none(), nb::arg("calibrations") = nb::none(),
      nb::arg("read_message") = nb::none(),
      nb::sig(
          "def cli_main(args: collections.abc.Sequence[str | bytes], format_chat: "
          "collections.abc.Callable[[str, list[dict[str, str]], bool, "
          "str, str], str] | None "
          "= None, default_model: collections.abc.Callable[[], str] | None = None, more_commands: "
          "collections.abc.Sequence[tuple[str, "
          "str]] = [], plot_fidelity: collections.abc.Callable[[str, str], str] | None = None, no_plot: str "
          "| None = None, unpack_npz: collections.abc.Callable[[str, bytes], bytes] | None = None, "
          "fetch_model: "
          "collections.abc.Callable[[str, str], str] | None = None, constrain: "
          "collections.abc.Callable[[str, str, Tokenizer], collections.abc.Callable[[int], bytes]] | None = "
          "None, calibrations: str | None = None, read_message: "
          "collections.abc.Callable[[str], str | None] | None = None) -> int"),
      "Runs the command line on `args` (without the program's name) and returns its exit status.\n"
      "format_chat(template, messages, add_generation_prompt, bos, eos) renders a chat; default_model() "
      "gives the path of\n"
      "the model when no -m is given; more_commands: (name, one line of help) of commands that the caller "
      "handles; plot_fidelity(json, folder) draws what `fidelity` measured and returns lines for the log; "
      "without it --plot\n"
      "is refused with no_plot as the reason; unpack_npz(path, archive) takes the array of token ids out of "
      "the bytes of a .npz\n"
      "file, as those of a .npy file; without it such files are refused; fetch_model(repo, file) gives the "
      "path of a model\n"
      "of the Hugging Face Hub for -hf, which is refused without it; constrain(option, text, tokenizer) "
      "gives "
      "what\n"
      "Generation takes as `allowed`, for one answer under --grammar or --json-schema; calibrations: a "
      "folder of\n"
      "calibrations of known models; read_message(prompt) gives a chat's message that a terminal's user "
      "edited, None at its end;\n"
      "without it the terminal's own lines are read.");
}

}  // namespace spectralkv::python
