// Bilinear sampling of images under affine transforms, and its adjoint: CPU and CUDA forms.
//
//   y[n, v, u, c] = sum over i, j of x[n, i, j, c] * w(row - i) * w(column - j)
//
// with (column, row) = transforms[n] * (u, v, 1) and w(d) = 1 - |d| where that is positive, else 0.
// A weight depends on no more than n, the pixel of y and the pixel of x; the adjoint has the same.
#pragma once

#include "common.h"

struct Resample2D {
  int64_t batch, in_h, in_w, channels;  // x [batch, in_h, in_w, channels], in_h * in_w < 2^31
  int64_t out_h, out_w;                 // y [batch, out_h, out_w, channels], the same
  const double* transforms;             // [batch, 2, 3], in the memory where x and y are.
};

extern "C" {

// y of x, or with `adjoint` x of y: `in` is what is read.
void tf_ops_resample_2d_cpu(const Resample2D* op, int adjoint, const float* in, float* out,
                            ParallelFor parallel, void* pool);

// As before, in the memory of the device; returns a CUresult, 0 for success.
int tf_ops_resample_2d_cuda(const Resample2D* op, int adjoint, const float* in, float* out,
                            void* stream);
}
