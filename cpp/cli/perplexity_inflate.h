// Reads deflate streams (RFC 1951), as .npz files hold them.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace spectralkv {

// The text of a stream of exactly `size` bytes; nothing where the stream is damaged or of another size.
std::optional<std::string> inflate(std::string_view in, std::size_t size);

}  // namespace spectralkv
