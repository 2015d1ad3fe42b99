// The loss that a shrinker of singular values is optimal for, and its name in codec strings and in Python.
#pragma once

#include <array>
#include <string_view>

namespace spectralkv {

// frobenius, operator_norm, nuclear: the optimal shrinkers of eOptShrink [S] (arXiv 2207.03466) for that norm
// of the error of the low-rank part; frobenius is eOptShrinkQ's own choice [E] (arXiv 2605.02905). truncate
// keeps the observed singular values.
enum class Loss { frobenius, operator_norm, nuclear, truncate };

inline constexpr std::array kAllLosses = {Loss::frobenius, Loss::operator_norm, Loss::nuclear,
                                          Loss::truncate};

// "frobenius", "operator", "nuclear", "truncate".
std::string_view loss_name(Loss loss);

// The loss of that name; any other name is a value error that lists the choices.
Loss loss_from_name(std::string_view name);

}  // namespace spectralkv
