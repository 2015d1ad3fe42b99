// Which panels are there, and who brings the others.
#include "linalg/panels.h"

#include <algorithm>
#include <cassert>

#include "formats/formats.h"
#include "simd/panel_layout.h"

namespace spectralkv {

bool Panels::possible(DType type) {
  return kUnpack[static_cast<std::size_t>(type)].unpack != nullptr;
}

Panels::Panels(const WeightView& w, const simd::Kernels& readers)
    : source_(w), step_columns_(readers.step_columns) {
  assert(possible(w.type));
  offset_ = kUnpack[static_cast<std::size_t>(w.type)].form.offset;
  count_ = (w.rows + simd::kPanelRows - 1) / simd::kPanelRows;
  panel_bytes_ = panel_form_of(w.type).bytes(w.cols);
  data_ = Buffer<std::uint8_t>(static_cast<std::size_t>(count_ * panel_bytes_));
  advise_huge_pages(data_.data(), data_.bytes());
}

void Panels::keep_all(ThreadPool& pool) {
  if (state_ == State::kept) return;
  pool.for_range(count_, [&](std::int64_t begin, std::int64_t end, int) {
    PanelPacker packer;
    for (std::int64_t i = begin; i < end; ++i) pack(packer, i, place(i));
    forget_rows(begin * simd::kPanelRows, std::min(end * simd::kPanelRows, source_.rows));
  });
  end_use(Use::keep);
}

void Panels::expect_behind(std::int64_t begin, std::int64_t end) const {
  constexpr std::int64_t kAhead = std::int64_t{64}
                                  << 20;  // bytes, some hundredths of a second of a disk's time
  if (source_.file == nullptr) return;
  const auto bytes = static_cast<std::size_t>((end - begin) * source_.row_bytes());
  source_.file->expect(source_.row(begin) + kAhead, bytes);
}

Panels::Use Panels::begin_use() const {
  switch (state_) {
    case State::kept:
      return Use::kept;
    case State::used:
      state_ = State::keeping;
      return Use::keep;
    case State::untouched:
    case State::keeping:
      break;
  }
  return Use::drop;
}

void Panels::end_use(Use use) const {
  if (use == Use::keep) {
    source_.forget();
    state_ = State::kept;
  } else if (use == Use::drop && state_ == State::untouched) {
    state_ = State::used;
  }
}

void Panels::abandon(Use use) const {
  if (use == Use::keep) state_ = State::used;
}

}  // namespace spectralkv
