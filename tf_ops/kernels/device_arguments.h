// What the kernels in the `_cuda.cu` files are launched with, by the `_cuda.cc` files.
#pragma once

#include "resample_2d.h"
#include "upfirdn_2d.h"
#include "weighted_gather.h"

struct Upfirdn2DArguments {
  const void* x;
  void* y;
  int64_t batch;
  int in_h, in_w, channels, out_h, out_w;
  int up_y, up_x, down_y, down_x, pad_y, pad_x;
  int kh, kw;
  int shift_y, shift_x;  // How far the first tile begins before the output.
  int tiles_y, tiles_x;
  float k[kMaxCudaTaps];  // Flipped: in the order in which x is read.
};

struct FusedBiasActArguments {
  const void *a, *a_bias, *reference, *reference_bias, *dy, *scale, *noise;
  void* out;
  int64_t vectors, channels, inner, pixels, noise_samples;
  float alpha, gain, clamp;  // The last is NaN for none.
  int act, order, from_output;
};

struct ChannelSumArguments {
  const void* x;  // [outer, channels, inner]
  void* sums;     // [channels, parts]
  int64_t outer, channels, inner, parts;
  int64_t step_outer, step_inner;  // parts = step_outer * inner + step_inner
};

struct Resample2DArguments {
  Resample2D op;
  const float* in;
  float* out;
};

struct WeightedGatherArguments {
  WeightedGather op;
  const float* in;
  float* out;
};
