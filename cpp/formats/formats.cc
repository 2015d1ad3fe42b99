// Builds the decoder table from list.def.
#include "formats/formats.h"

namespace spectralkv {

#define X(name, id, values, bytes) skv_decode_##name,
const skv_decode_fn kDecode[] = {
#include "formats/list.def"
};
#undef X

const int kDecodeCount = (int)(sizeof(kDecode) / sizeof(kDecode[0]));

// A line of list.def must agree with the struct that its .inl declares.
const struct skv_affine kAffine[] = {
    {0, 0, 0, 0, nullptr},             // f32
    {0, 0, 0, 0, nullptr},             // f16
    {4, 32, 8, 0, skv_affine_q4_0},    //
    {4, 32, 0, 1, skv_affine_q4_1},    //
    {5, 32, 16, 0, skv_affine_q5_0},   //
    {5, 32, 0, 1, skv_affine_q5_1},    //
    {8, 32, 128, 0, skv_affine_q8_0},  //
    {2, 16, 0, 1, skv_affine_q2_k},    //
    {3, 16, 4, 0, skv_affine_q3_k},    //
    {4, 32, 0, 1, skv_affine_q4_k},    //
    {5, 32, 0, 1, skv_affine_q5_k},    //
    {6, 16, 32, 0, skv_affine_q6_k},   //
    {0, 0, 0, 0, nullptr},             // bf16
};
static_assert(sizeof kAffine / sizeof kAffine[0] == sizeof kDecode / sizeof kDecode[0],
              "a line for each type");

#define X(name, id, values, bytes) static_assert(sizeof(struct skv_block_##name) == (bytes), #name " block");
#include "formats/list.def"
#undef X

}  // namespace spectralkv
