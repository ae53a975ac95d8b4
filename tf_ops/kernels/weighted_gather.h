// Sums of weighted slices along an axis, and their adjoint: CPU and CUDA forms.
//
//   y[n, o, r, i] = sum over k of weights[n, r, k] * x[n, o, indices[n, r, k], i]
//
// Indices that are not in [0, in_size) count as slices of zeros.
#pragma once

#include "common.h"

struct WeightedGather {
  int64_t batch, outer, inner;
  int64_t in_size, out_size;  // x is [batch, outer, in_size, inner]; y has out_size there.
  int64_t taps;
  const int32_t* indices;  // [batch, out_size, taps], in the memory where x and y are.
  const float* weights;    // The same.
};

extern "C" {

// y of x, or with `adjoint` x of y: `in` is what is read.
void tf_ops_weighted_gather_cpu(const WeightedGather* op, int adjoint, const float* in, float* out,
                                ParallelFor parallel, void* pool);

// As before, in the memory of the device; returns a CUresult, 0 for success.
int tf_ops_weighted_gather_cuda(const WeightedGather* op, int adjoint, const float* in, float* out,
                                void* stream);
}
