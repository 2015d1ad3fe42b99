// Sealed blocks as a codec stores them, against the rows that they were made from: in the mean square, in the
// logits of the model's own queries, and in what attention gives.
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kv/codecs/exact.h"
#include "measure/fidelity_layer.h"

namespace spectralkv {
namespace {

// Sums over blocks, or over a part of them.
struct ErrorSums {
  double error = 0, norm = 0;                      // squares of rows
  double ip_error = 0, ip_cross = 0, ip_norm = 0;  // logits: e^2, e s, s^2
  std::int64_t logits = 0;

  void add(const ErrorSums& o) {
    error += o.error, norm += o.norm;
    ip_error += o.ip_error, ip_cross += o.ip_cross, ip_norm += o.ip_norm;
    logits += o.logits;
  }
};

double ratio(double a, double b) {
  return b > 0 ? a / b : 0;
}

// Adds |x - exact|^2 and |exact|^2.
void add_squares(ConstMatrix exact, ConstMatrix x, double& error, double& norm) {
  for (std::int64_t t = 0; t < exact.rows; ++t)
    for (std::int64_t c = 0; c < exact.cols; ++c) {
      const auto y = static_cast<double>(exact(t, c)), e = static_cast<double>(x(t, c)) - y;
      error += e * e;
      norm += y * y;
    }
}

class CodecMeasurement {
 public:
  CodecMeasurement(const LayerRows& rows, const std::string& type_k, const std::string& type_v,
                   std::shared_ptr<const Calibration> calibration, ThreadPool& pool)
      : rows_(rows),
        pool_(pool),
        d_(rows.shape.head_dim),
        heads_(rows.shape.n_kv_heads),
        format_(rows.shape, type_k, type_v, CacheLayout::kNowhere, std::move(calibration)),
        layer_(format_.layer(rows.layer)),
        work_(pool, BlockPool()),
        store_(layer_, rows.n_context()),
        exact_(make_f32_codec(d_)),
        blocks_(sealed_ranges(layer_.layout, rows.n_context())) {
    const std::int64_t n = rows.n_context();
    const Appended all(store_, rows.k.rows_range(0, n), rows.v.rows_range(0, n), work_);
  }

  CodecFidelity run(ConstMatrix attended) {
    CodecFidelity result;
    result.codec_k = layer_.k.built().text;
    result.codec_v = layer_.v.built().text;
    const Buffer<float> k_memory = rebuild(layer_.k, store_.k, rows_.k, true, result.k);
    const Buffer<float> v_memory = rebuild(layer_.v, store_.v, rows_.v, false, result.v);
    const ConstMatrix k(k_memory.data(), rows_.k.rows, rows_.k.cols);
    const ConstMatrix v(v_memory.data(), rows_.v.rows, rows_.v.cols);
    const auto of_k = attention_errors(k, rows_.v, attended), of_v = attention_errors(rows_.k, v, attended);
    for (std::size_t h = 0; h < of_k.size(); ++h) {
      result.k[h].attention_error = of_k[h];
      result.v[h].attention_error = of_v[h];
    }
    result.attention_error = attention_errors(k, v, attended);
    return result;
  }

 private:
  // The rows of a side with its blocks as they come back, [n, heads * d], and what that says of each head.
  Buffer<float> rebuild(const SideFormat& format, const SideStore& side, ConstMatrix own, bool keys,
                        std::vector<HeadError>& heads) {
    Buffer<float> memory(static_cast<std::size_t>(own.rows * own.cols));
    const Matrix rebuilt(memory.data(), own.rows, own.cols);
    for (std::int64_t t = 0; t < own.rows; ++t)
      std::memcpy(rebuilt.row(t), own.row(t), static_cast<std::size_t>(own.cols) * sizeof(float));
    if (keys) enter_queries(format);

    const auto n_blocks = static_cast<std::int64_t>(blocks_.size());
    std::vector<ErrorSums> sums(static_cast<std::size_t>(heads_ * n_blocks));
    pool_.for_each(heads_ * n_blocks, [&](std::int64_t i, int thread) {
      const std::int64_t h = i / n_blocks, b = i % n_blocks;
      const BlockRange& range = blocks_[static_cast<std::size_t>(b)];
      const auto part = [&](auto rows) {
        return rows.rows_range(range.begin, range.n).cols_range(h * d_, d_);
      };
      const Codec& codec = format.codec(h);
      const SealedBlock& sealed = side.blocks[static_cast<std::size_t>(b)];
      const std::byte* const bytes = sealed.head(static_cast<std::size_t>(h)).data();
      CodecWork& work = work_.workers[static_cast<std::size_t>(thread)].codec;
      std::vector<float> turned(static_cast<std::size_t>(range.n * d_));
      const Matrix in_codec_space(turned.data(), range.n, d_);
      codec.decode(bytes, range.n, in_codec_space);
      codec.leave(in_codec_space, part(rebuilt));
      ErrorSums& sum = sums[static_cast<std::size_t>(i)];
      add_squares(part(own), part(rebuilt), sum.error, sum.norm);
      if (keys) add_logits(codec, bytes, part(own), h, work, sum);
    });

    for (std::int64_t h = 0; h < heads_; ++h) {
      ErrorSums total;
      for (std::int64_t b = 0; b < n_blocks; ++b) total.add(sums[static_cast<std::size_t>(h * n_blocks + b)]);
      HeadError& head = heads.emplace_back();
      head.relative_mse = ratio(total.error, total.norm);
      head.ip_error = std::sqrt(ratio(total.ip_error, static_cast<double>(total.logits)));
      head.ip_bias = ratio(total.ip_cross, total.ip_norm);
      count_bits(format.codec(h), side, h, head);
    }
    return memory;
  }

  void enter_queries(const SideFormat& format) {
    entered_ = Buffer<float>(static_cast<std::size_t>(rows_.q.rows * rows_.q.cols));
    const Matrix entered(entered_.data(), rows_.q.rows, rows_.q.cols);
    for (std::int64_t c = 0; c < rows_.q.cols; c += d_)
      format.codec(c / d_ / rows_.group()).enter(rows_.q.cols_range(c, d_), entered.cols_range(c, d_));
  }

  // Logits of the head's queries with a block as stored and with its own rows.
  void add_logits(const Codec& codec, const std::byte* bytes, ConstMatrix own, std::int64_t head,
                  CodecWork& work, ErrorSums& sum) const {
    const std::int64_t n = own.rows, m = rows_.q.rows;
    std::vector<std::byte> plain(static_cast<std::size_t>(exact_->max_bytes(n)));
    exact_->encode(own, {}, plain.data(), work);
    std::vector<float> memory(static_cast<std::size_t>(2 * m * n));
    const Matrix stored(memory.data(), m, n), exact(memory.data() + m * n, m, n);
    const ConstMatrix entered(entered_.data(), m, rows_.q.cols);
    const auto scale = static_cast<double>(rows_.attention.scale);
    for (std::int64_t g = head * rows_.group(); g < (head + 1) * rows_.group(); ++g) {
      codec.score(bytes, n, entered.cols_range(g * d_, d_), stored, work);
      exact_->score(plain.data(), n, rows_.q.cols_range(g * d_, d_), exact, work);
      for (std::int64_t i = 0; i < m; ++i)
        for (std::int64_t j = 0; j < n; ++j) {
          const double s = scale * static_cast<double>(exact(i, j));
          const double e = scale * static_cast<double>(stored(i, j)) - s;
          sum.ip_error += e * e;
          sum.ip_cross += e * s;
          sum.ip_norm += s * s;
        }
    }
    sum.logits += m * n * rows_.group();
  }

  // As CacheReport counts: what a block takes beside its heads is shared by them.
  void count_bits(const Codec& codec, const SideStore& side, std::int64_t head, HeadError& out) const {
    const auto h = static_cast<std::size_t>(head);
    double paper = 0, bytes = 0, entries = 0, rank = 0, widths = 0, second_rows = 0;
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
      const SealedBlock& block = side.blocks[b];
      const std::int64_t size = std::ssize(block.head(h)), n = blocks_[b].n;
      paper += codec.paper_bits(block.head(h).data(), n, size);
      const Codec::Summary parts = codec.summary(block.head(h).data());
      rank += parts.rank, widths += parts.widths, second_rows += parts.second_rows;
      out.residual_bits = parts.residual_bits;
      bytes += static_cast<double>(size) +
               static_cast<double>(SealedBlock::overhead(heads_)) / static_cast<double>(heads_);
      entries += static_cast<double>(n * d_);
    }
    out.factor_width = ratio(widths, rank);
    out.second_rows = ratio(second_rows, static_cast<double>(blocks_.size()));
    out.bits_paper = ratio(paper, entries);
    out.bits_honest = ratio(8 * bytes, entries);
  }

  std::vector<double> attention_errors(ConstMatrix k, ConstMatrix v, ConstMatrix attended) const {
    Buffer<float> memory(static_cast<std::size_t>(attended.rows * attended.cols));
    const Matrix out(memory.data(), attended.rows, attended.cols);
    attend_to(rows_, k, v, pool_, out);
    std::vector<double> errors;
    const std::int64_t width = rows_.group() * d_;
    for (std::int64_t h = 0; h < heads_; ++h) {
      double error = 0, norm = 0;
      add_squares(attended.cols_range(h * width, width), ConstMatrix(out).cols_range(h * width, width), error,
                  norm);
      errors.push_back(ratio(error, norm));
    }
    return errors;
  }

  const LayerRows& rows_;
  ThreadPool& pool_;
  std::int64_t d_, heads_;
  CacheFormat format_;
  const LayerFormat& layer_;
  CacheWork work_;
  LayerStore store_;
  std::unique_ptr<Codec> exact_;
  std::vector<BlockRange> blocks_;
  Buffer<float> entered_;  // [n_queries, n_heads * d] in the codec space of K
};

}  // namespace

CodecFidelity measure_codec(const LayerRows& rows, const std::string& type_k, const std::string& type_v,
                            std::shared_ptr<const Calibration> calibration, ConstMatrix attended,
                            ThreadPool& pool) {
  return CodecMeasurement(rows, type_k, type_v, std::move(calibration), pool).run(attended);
}

}  // namespace spectralkv
