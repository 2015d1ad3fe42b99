// Decoding of weight rows: the definition of every GGUF type, in plain code that each instruction set
// compiles for itself. STL-free, internal linkage: instruction-set specific objects include this.
#pragma once

#include <stdint.h>

// A row decoder: n values, a multiple of the type's block, from `row` to `out`.
typedef void (*skv_decode_fn)(const void* row, float* out, int64_t n);

#include "formats/bf16.inl"
#include "formats/f16.inl"
#include "formats/f32.inl"
#include "formats/q2_k.inl"
#include "formats/q3_k.inl"
#include "formats/q4_0.inl"
#include "formats/q4_1.inl"
#include "formats/q4_k.inl"
#include "formats/q5_0.inl"
#include "formats/q5_1.inl"
#include "formats/q5_k.inl"
#include "formats/q6_k.inl"
#include "formats/q8_0.inl"
