// A quantised weight matrix rearranged for the 8-bit kernels (simd/panel_layout.h), all at once or as
// products come to use it.
#pragma once

#include "base/buffer.h"
#include "base/threads.h"
#include "linalg/panel_packer.h"
#include "simd/dispatch.h"
#include "tensor/matrix.h"

namespace spectralkv {

// How products make use of a matrix whose panels are not there yet: the first one packs each panel,
// multiplies and drops it, so that the first step of a model waits for nothing but its file, and a matrix
// that is used once takes no memory; the second one keeps what it packs. All of them multiply the same
// panels: results do not depend on how often a matrix was used.
class Panels final : public UploadedWeight {
 public:
  // Whether a weight type has panels: every quantised one.
  static bool possible(DType type);
  // Of w [rows, cols], whose data must stay until all panels are kept. Takes their memory, which is the size
  // of the weights or a little more, from the system's reserve, but writes nothing there: no page of it is
  // resident.
  // readers: the kernels that will multiply them, for sets of instructions differ in the order of codes.
  explicit Panels(const WeightView& w, const simd::Kernels& readers = kernels());
  // With all panels, after which w's data may go.
  Panels(const WeightView& w, ThreadPool& pool, const simd::Kernels& readers = kernels())
      : Panels(w, readers) {
    keep_all(pool);
  }
  // Packs them all now, unless they are there.
  void keep_all(ThreadPool& pool);

  std::int64_t count() const { return count_; }  // of 16 rows
  int offset() const { return offset_; }         // the code of zero, for types without minimums
  std::int64_t bytes() const { return static_cast<std::int64_t>(data_.bytes()); }

  // What a product does with the panels. A product that began must end, and one that is `keep` must have
  // packed every panel into its place; meanwhile another one of the same matrix is `drop`.
  enum class Use { kept, drop, keep };
  Use begin_use() const;
  void end_use(Use use) const;
  void abandon(Use use) const;  // after an error: not all panels are in place

  std::int64_t panel_bytes() const { return panel_bytes_; }
  const std::uint8_t* panel(std::int64_t i) const { return data_.data() + i * panel_bytes_; }  // once kept
  std::uint8_t* place(std::int64_t i) const { return data_.data() + i * panel_bytes_; }
  void pack(PanelPacker& packer, std::int64_t i, std::uint8_t* out) const {
    packer.pack(source_, i, step_columns_, out);
  }
  // Asks for what the file has some way behind rows [begin, end), which is what the next products read where
  // it has its tensors in the order of their use: then the disk reads while panels are packed.
  void expect_behind(std::int64_t begin, std::int64_t end) const;
  // Of rows [begin, end), whose panels are in place, lets the file's pages go.
  void forget_rows(std::int64_t begin, std::int64_t end) const { source_.forget(begin, end); }

 private:
  enum class State { untouched, used, keeping, kept };
  // A weight is the same whether its panels are there or not, so products of a constant one may add them.
  mutable State state_ = State::untouched;
  mutable Buffer<std::uint8_t> data_;
  WeightView source_;
  std::int64_t count_ = 0, panel_bytes_ = 0;
  int offset_ = 0, step_columns_ = 0;
};

// Those of w, which a CPU backend uploaded; null where it has none.
inline const Panels* panels_of(const WeightView& w) {
  return static_cast<const Panels*>(w.uploaded);
}

}  // namespace spectralkv
