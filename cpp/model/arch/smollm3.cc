// SmolLM3 (Hugging Face): Llama without RoPE in every fourth layer (NoPE, Yang et al., arXiv 2501.18795). No
// key of the file says so.
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

constexpr std::int64_t kPeriod = 4;  // the last layer of each has no RoPE

class Graph final : public Decoder {
 public:
  using Decoder::Decoder;

 private:
  void turn(const Pass& pass, std::int64_t l) const override {
    if ((l + 1) % kPeriod != 0) Decoder::turn(pass, l);
  }
};

}  // namespace

extern const Architecture smollm3 = {"smollm3", "SmolLM3", read_dense_decoder,
                                     load_decoder<load_llama_layer, Graph>};

}  // namespace spectralkv::arch
