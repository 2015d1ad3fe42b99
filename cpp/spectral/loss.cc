// The names behind loss.h.
#include "spectral/loss.h"

#include "base/error.h"

namespace spectralkv {

std::string_view loss_name(Loss loss) {
  switch (loss) {
    case Loss::frobenius:
      return "frobenius";
    case Loss::operator_norm:
      return "operator";
    case Loss::nuclear:
      return "nuclear";
    case Loss::truncate:
      return "truncate";
  }
  return "?";
}

Loss loss_from_name(std::string_view name) {
  for (const Loss loss : kAllLosses)
    if (loss_name(loss) == name) return loss;
  fail(ErrorKind::value, "spectral", "unknown loss '", name,
       "': expected frobenius, operator, nuclear or truncate");
}

}  // namespace spectralkv
