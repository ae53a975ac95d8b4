// fused_bias_act on GPUs, and sums over everything but the channels.
//
// All numbers are read and written once, four at a time where the tensors allow it. Sums are
// made in passes without atomics: in each, a thread adds up a fixed set of at most 64 numbers. So
// results are the same in every run, on every GPU.

#include "activations.h"
#include "device_common.h"

namespace fused_bias_act {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Vector {
  T values[kSize];
};

__device__ inline float compute(const Formula& formula, int act, int order, int from_output,
                                float a, float reference, float dy) {
  float result = 0;
  with_activation(act, [&](auto activation) {
    using Act = decltype(activation);
    if (order == 0) {
      result = formula.forward<Act>(a);
    } else if (order == 2) {
      result = formula.second<Act>(a, dy, reference);
    } else {
      result = from_output ? formula.first_by_output<Act>(a, reference)
                           : formula.first<Act>(a, reference);
    }
  });
  return result;
}

template <typename T, int kSize>
__device__ inline void run(const FusedBiasActArguments& p) {
  using V = Vector<T, kSize>;
  const Formula formula{p.alpha, p.gain, p.clamp};
  const T *a_bias = static_cast<const T*>(p.a_bias), *scales = static_cast<const T*>(p.scale);
  const T *offsets = static_cast<const T*>(p.reference_bias);
  const T* noises = static_cast<const T*>(p.noise);
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < p.vectors;
       i += step) {
    const V a = static_cast<const V*>(p.a)[i];
    V reference{}, dy{}, out;
    if (p.order > 0) reference = static_cast<const V*>(p.reference)[i];
    if (p.order > 1) dy = static_cast<const V*>(p.dy)[i];
    const int64_t plane = divide(i * kSize, p.inner);
    int64_t within = i * kSize - plane * p.inner;
    int64_t outer = divide(plane, p.channels);
    int64_t channel = plane - outer * p.channels;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      const float bias = a_bias ? to_float(a_bias[channel]) : 0.0f;
      const float offset = offsets ? to_float(offsets[channel]) : 0.0f;
      float biased = to_float(a.values[j]) + bias;
      if (scales || noises) {
        const int64_t position = outer * p.inner + within, sample = divide(position, p.pixels);
        const int64_t pixel = p.noise_samples == 1 ? position - sample * p.pixels : position;
        const float scale = scales ? to_float(scales[sample * p.channels + channel]) : 1.0f;
        const float noise = noises ? to_float(noises[pixel]) : 0.0f;
        biased = to_float(a.values[j]) * scale + (bias + noise);
      }
      const float result = compute(formula, p.act, p.order, p.from_output, biased,
                                   to_float(reference.values[j]) + offset, to_float(dy.values[j]));
      from_float(result, &out.values[j]);
      if (++within == p.inner) {
        within = 0;
        if (++channel == p.channels) channel = 0, ++outer;
      }
    }
    static_cast<V*>(p.out)[i] = out;
  }
}

// Thread `part` of a channel adds up its numbers part, part + parts, ….
template <typename T, typename Out>
__device__ inline void add_up(const ChannelSumArguments& p) {
  const int64_t total = p.channels * p.parts, step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < total;
       i += step) {
    // Neighboring threads read neighboring numbers.
    const int64_t minor = p.inner == 1 ? p.channels : p.parts, major = divide(i, minor);
    const int64_t channel = p.inner == 1 ? i - major * minor : major;
    const int64_t part = p.inner == 1 ? major : i - major * minor;
    int64_t outer = divide(part, p.inner), inner = part - outer * p.inner;
    float sum = 0;
    while (outer < p.outer) {
      const int64_t at = (outer * p.channels + channel) * p.inner + inner;
      sum += to_float(static_cast<const T*>(p.x)[at]);
      outer += p.step_outer;
      inner += p.step_inner;
      if (inner >= p.inner) inner -= p.inner, ++outer;
    }
    from_float(sum, static_cast<Out*>(p.sums) + channel * p.parts + part);
  }
}

}  // namespace fused_bias_act

#define KERNELS(T, TYPE)                                                                         \
  KERNEL(fused_bias_act_1_##TYPE, FusedBiasActArguments) { fused_bias_act::run<T, 1>(a); }       \
  KERNEL(fused_bias_act_4_##TYPE, FusedBiasActArguments) { fused_bias_act::run<T, 4>(a); }
KERNELS(float, float32)
KERNELS(Float16, float16)
KERNELS(Bfloat16, bfloat16)
#undef KERNELS

#define KERNELS(T, TYPE, OUT, OUT_TYPE)                          \
  KERNEL(channel_sum_##TYPE##_##OUT_TYPE, ChannelSumArguments) { \
    fused_bias_act::add_up<T, OUT>(a);                              \
  }
KERNELS(float, float32, float, float32)
KERNELS(Float16, float16, Float16, float16)
KERNELS(Bfloat16, bfloat16, Bfloat16, bfloat16)
KERNELS(Float16, float16, float, float32)
KERNELS(Bfloat16, bfloat16, float, float32)
KERNELS(float, float32, Float16, float16)
KERNELS(float, float32, Bfloat16, bfloat16)
#undef KERNELS
