// Upsampling, FIR filtering and downsampling of 2-D images: what the CPU and CUDA forms share.
//
//   y[n, oy, ox, c] = sum over i, j of k[kh-1-i, kw-1-j] * u[n, oy*down_y + i - pad_y, ...]
//
// where u is x with up-1 zeros after each pixel and zeros all around.
#pragma once

#include "common.h"

struct Upfirdn2D {
  int64_t batch, in_h, in_w, channels;  // x [batch, in_h, in_w, channels]
  int64_t out_h, out_w;                 // y [batch, out_h, out_w, channels]
  int64_t up_y, up_x, down_y, down_x;
  int64_t pad_y, pad_x;  // Zeros above and to the left; negative numbers crop.
  int64_t kh, kw;
  const float* k;  // [kh, kw], in the memory of the host.
};

// Largest kh * kw that the CUDA form takes: the filter travels with the kernel's arguments.
constexpr int64_t kMaxCudaTaps = 576;

extern "C" {

// x and y are in the memory of the host.
void tf_ops_upfirdn_2d_cpu(const Upfirdn2D* op, int dtype, const void* x, void* y,
                           ParallelFor parallel, void* pool);

// x and y are in the memory of the device; returns a CUresult, 0 for success.
int tf_ops_upfirdn_2d_cuda(const Upfirdn2D* op, int dtype, const void* x, void* y, void* stream);
}
