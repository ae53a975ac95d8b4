// Bias, activation, gain and clamp in one pass, and their derivatives: CPU and CUDA forms.
//
// With t = scale * x + noise + b and v = gain * act(t), per element, `open` where v is not beyond the
// clamp:
//   order 0: out = v, clamped          a = x, a_bias = b
//   order 1: out = (a + a_bias) * dv/dt * open      the gradient for dy = a + a_bias
//   order 2: out = (a + a_bias) * dy * d2v/dt2 * open
// Orders 1 and 2 know t from `reference`: it is x, with `reference_bias` b, or else y (see Formula).
// Scale and noise are for order 0; without them they are 1 and 0.
#pragma once

#include "common.h"

struct BiasAct {
  int64_t outer, channels, inner;  // Tensors are [outer, channels, inner].
  int64_t samples;        // Of which each has outer * inner / samples pixels, one after another.
  int64_t noise_samples;  // 1 where all have the same noise, else `samples`.
  int order;
  int act;             // Activation.
  float alpha, gain;
  float clamp;         // Negative for none.
  int from_output;     // Whether `reference` is y.
};

// Null where there is none. Biases are [channels], scale [samples, channels], noise [noise_samples,
// pixels], all else [outer, channels, inner].
struct BiasActTensors {
  const void *a, *a_bias, *reference, *reference_bias, *dy, *scale, *noise;
  void* out;  // May be `a`.
  void* sum;  // [channels]: out added up over everything but the channels, in a fixed order.
};

extern "C" {

void tf_ops_fused_bias_act_cpu(const BiasAct* op, int dtype, const BiasActTensors* tensors,
                               ParallelFor parallel, void* pool);

// Tensors in the memory of the device; `sum` is not computed. Returns a CUresult.
int tf_ops_fused_bias_act_cuda(const BiasAct* op, int dtype, const BiasActTensors* tensors,
                               void* stream);

// How many floats of working memory `tf_ops_channel_sum_cuda` needs.
int64_t tf_ops_channel_sum_workspace(int64_t outer, int64_t channels, int64_t inner);

// sum[c] = sum over outer and inner of x[outer, c, inner]. Returns a CUresult.
int tf_ops_channel_sum_cuda(int64_t outer, int64_t channels, int64_t inner, int dtype,
                            const void* x, float* workspace, void* sum, void* stream);
}
