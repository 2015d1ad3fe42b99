// Tokenizer and Utf8Stream.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include "bind.h"
#include "engine/vocab.h"
#include "shared.h"
#include "tokenizer/pretokenizers.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv::python {
namespace {

std::string_view view(const nb::bytes& bytes) {
  return {bytes.c_str(), bytes.size()};
}

std::vector<std::string> to_texts(const nb::list& items) {
  std::vector<std::string> out;
  out.reserve(items.size());
  for (nb::handle item : items) out.push_back(from_str(item, "tokens and merges"));
  return out;
}

void make_tokenizer(Tokenizer* self, const std::string& model, const nb::list& tokens,
                    std::vector<float> scores, const std::vector<int>& types, const nb::list& merges,
                    const std::string& pre, Token bos, Token eos, Token unk, bool add_bos, bool add_eos,
                    bool add_space_prefix, bool allow_unknown_pre, const std::string& prepend_scheme) {
  Vocab vocab;
  vocab.source = "Tokenizer()";
  vocab.model = model;
  vocab.pre = pre;
  vocab.allow_unknown_pre = allow_unknown_pre;
  vocab.tokens = to_texts(tokens);
  vocab.scores = std::move(scores);
  for (const int type : types) {
    check(type >= 1 && type <= 6, "tokenizer", "a token type must be 1 to 6, not ", type);
    vocab.types.push_back(static_cast<TokenType>(type));
  }
  vocab.merges = to_texts(merges);
  vocab.bos = bos;
  vocab.eos = eos;
  vocab.unk = unk;
  vocab.add_bos = add_bos;
  vocab.add_eos = add_eos;
  check(prepend_scheme.empty() || prepend_scheme == "always" || prepend_scheme == "first", "tokenizer",
        "prepend_scheme must be 'always' or 'first', not '", prepend_scheme, "'");
  vocab.space_prefix = !add_space_prefix            ? SpacePrefix::none
                       : prepend_scheme == "always" ? SpacePrefix::each_without
                       : prepend_scheme == "first"  ? SpacePrefix::first_without
                                                    : SpacePrefix::each;
  new (self) Tokenizer(std::move(vocab));
}

std::vector<Token> encode(const Tokenizer& self, const nb::bytes& text, bool add_special,
                          bool parse_special) {
  const std::string_view bytes = view(text);
  nb::gil_scoped_release released;
  return self.encode(bytes, add_special, parse_special);
}

std::vector<Token> encode_prompt(const Tokenizer& self, const nb::bytes& text, bool parse_special) {
  const std::string_view bytes = view(text);
  nb::gil_scoped_release released;
  return self.encode_prompt(bytes, parse_special);
}

std::vector<Token> encode_marked_prompt(const Tokenizer& self, const nb::bytes& text) {
  const std::string_view bytes = view(text);
  nb::gil_scoped_release released;
  return self.encode_marked_prompt(bytes);
}

}  // namespace

void bind_tokenizer(nb::module_& m) {
  nb::class_<Tokenizer>(
      m, "Tokenizer",
      "Text to token ids and back. model: \"gpt2\" (byte-level BPE) or \"llama\" (merging by score);\n"
      "the other arguments are GGUF's tokenizer.ggml.* of the same name, -1 for an id that is absent.\n"
      "prepend_scheme: Metaspace's \"always\" or \"first\" in place of GGUF's space in front.\n"
      "Immutable, so threads may share it. Raises ValueError for a vocabulary that makes no sense.")
      .def("__init__", make_tokenizer, nb::arg("model"), nb::arg("tokens"), nb::arg("scores"),
           nb::arg("types"), nb::arg("merges"), nb::arg("pre"), nb::arg("bos") = -1, nb::arg("eos") = -1,
           nb::arg("unk") = -1, nb::arg("add_bos") = false, nb::arg("add_eos") = false,
           nb::arg("add_space_prefix") = true, nb::arg("allow_unknown_pre") = false,
           nb::arg("prepend_scheme") = "",
           nb::sig(
               "def __init__(self, model: str, tokens: list[str] | list[bytes], scores: "
               "collections.abc.Sequence[float], "
               "types: collections.abc.Sequence[int], merges: list[str] | list[bytes], pre: str, bos: int = "
               "-1, eos: int = "
               "-1, "
               "unk: int = -1, add_bos: bool = False, add_eos: bool = False, add_space_prefix: bool = True, "
               "allow_unknown_pre: bool = False, prepend_scheme: str = '') -> None"))
      .def_static(
          "from_file",
          [](nb::handle path, bool allow_unknown_pre, nb::handle overrides) {
            const std::string name = to_path(path);
            std::vector<GgufEntry> entries = to_overrides(overrides);
            nb::gil_scoped_release released;
            Gguf file(name, Gguf::Types::any);
            for (GgufEntry& entry : entries) file.set(std::move(entry));
            return Tokenizer(read_vocab(file, allow_unknown_pre));
          },
          nb::arg("path"), nb::kw_only(), nb::arg("allow_unknown_pre") = false,
          nb::arg("overrides") = nb::make_tuple(),
          nb::sig(
              "def from_file(path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, "
              "allow_unknown_pre: bool = False, overrides: collections.abc.Iterable[tuple[str, bool | int "
              "| float | str]] = ()) -> Tokenizer"),
          "The vocabulary of a GGUF file, whose weights are not read and may be missing, and whose "
          "architecture "
          "may be\n"
          "unknown. Errors as gguf_info's, and ValueError for a vocabulary that is not supported.")
      .def("encode", encode, nb::arg("text"), nb::arg("add_special") = true, nb::arg("parse_special") = false,
           "Token ids of UTF-8 bytes. add_special: BOS and EOS where the vocabulary asks for them. "
           "parse_special:\n"
           "control tokens written out in the text become their ids. Bytes that are no UTF-8 are accepted.")
      .def("encode_prompt", encode_prompt, nb::arg("text"), nb::arg("parse_special") = true,
           "Token ids of a text that a model is to go on from: BOS where the vocabulary asks for it and the "
           "text\n"
           "does not begin with it, never EOS. An empty text is BOS alone where there is one.")
      .def(
          "mark_plain",
          [](const Tokenizer& self, const nb::bytes& text) { return to_bytes(self.mark_plain(view(text))); },
          nb::arg("text"),
          "The text with U+FDD0 wherever a control token is written in it, which keeps it plain text in a "
          "chat.")
      .def("encode_marked_prompt", encode_marked_prompt, nb::arg("text"),
           "As encode_prompt, of a text with such marks, which go: behind one no control token begins.")
      .def(
          "decode",
          [](const Tokenizer& self, const std::vector<Token>& tokens, bool render_special,
             bool strip_leading_space) {
            return to_bytes(self.decode(tokens, render_special, strip_leading_space));
          },
          nb::arg("tokens"), nb::arg("render_special") = false, nb::arg("strip_leading_space") = false,
          "The bytes of token ids; a character may be cut at the ends. ValueError for an id out of range.")
      .def(
          "piece",
          [](const Tokenizer& self, Token token, bool render_special) {
            return to_bytes(self.piece(token, render_special));
          },
          nb::arg("token"), nb::arg("render_special") = false, "The bytes of one token.")
      .def("is_end", &Tokenizer::is_end, nb::arg("token"), "True for every token that ends a generation.")
      .def("is_control", &Tokenizer::is_control, nb::arg("token"),
           "True for control tokens and the unknown token.")
      .def_prop_ro("n_vocab", &Tokenizer::n_vocab, "Number of tokens.")
      .def_prop_ro(
          "bos", [](const Tokenizer& self) { return self.vocab().bos; }, "Id of the BOS token, -1: none.")
      .def_prop_ro(
          "eos", [](const Tokenizer& self) { return self.vocab().eos; }, "Id of the EOS token, -1: none.")
      .def_prop_ro(
          "add_bos", [](const Tokenizer& self) { return self.vocab().add_bos; },
          "Whether add_special puts BOS in front.")
      .def_prop_ro(
          "strips_answers",
          [](const Tokenizer& self) {
            return self.vocab().model == "llama" && self.vocab().space_prefix != SpacePrefix::none;
          },
          "Whether an answer begins with a space that belongs to the tokenizer, not to the text.")
      .def_prop_ro(
          "warning", [](const Tokenizer& self) { return self.vocab().warning; },
          "What the file leaves open about its vocabulary, for the user; empty: nothing.");

  m.def(
      "pretokenizers",
      [] {
        nb::dict out;
        for (const PreTokenizer& row : pretokenizers())
          out[nb::str(row.name.data(), row.name.size())] = nb::make_tuple(row.ignore_merges, row.add_bos);
        return out;
      },
      nb::sig("def pretokenizers() -> dict[str, tuple[bool, bool]]"),
      "The names of tokenizer.ggml.pre, and of each (ignore_merges, add_bos): whether a piece that is a "
      "token "
      "as it\nstands is that token, and whether texts begin with BOS where a file does not say it.");

  nb::class_<Utf8Stream>(m, "Utf8Stream", "Holds back the bytes of a character that is not complete yet.")
      .def(nb::init<>())
      .def(
          "put", [](Utf8Stream& self, const nb::bytes& bytes) { return self.put(view(bytes)); },
          nb::arg("data"),
          "Takes more bytes and gives the characters that are complete; bad bytes become U+FFFD.")
      .def("finish", &Utf8Stream::finish, "U+FFFD when an incomplete character is left, else an empty text.");
}

}  // namespace spectralkv::python
