// fused_bias_act on GPUs, and sums over everything but the channels.
//
// All numbers are read and written once, four at a time where the tensors allow it. Sums are
// made in passes without atomics: in each, a thread adds up a fixed set of at most 64 numbers. So
// results are the same in every run, on every GPU.

#include <cmath>

#include "activations.h"
#include "device_common.h"
#include "fused_bias_act.h"

namespace {

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Vector {
  T values[kSize];
};

template <typename T>
struct Arguments {
  const T *a, *a_bias, *reference, *reference_bias, *dy, *scale, *noise;
  T* out;
  int64_t vectors, channels, inner, pixels, noise_samples;
  Formula formula;
  int act, order, from_output;
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
__global__ void fused_bias_act_kernel(Arguments<T> p) {
  using V = Vector<T, kSize>;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < p.vectors;
       i += step) {
    const V a = reinterpret_cast<const V*>(p.a)[i];
    V reference{}, dy{}, out;
    if (p.order > 0) reference = reinterpret_cast<const V*>(p.reference)[i];
    if (p.order > 1) dy = reinterpret_cast<const V*>(p.dy)[i];
    const int64_t plane = divide(i * kSize, p.inner);
    int64_t within = i * kSize - plane * p.inner;
    int64_t outer = divide(plane, p.channels);
    int64_t channel = plane - outer * p.channels;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      const float bias = p.a_bias ? to_float(p.a_bias[channel]) : 0.0f;
      const float offset = p.reference_bias ? to_float(p.reference_bias[channel]) : 0.0f;
      float biased = to_float(a.values[j]) + bias;
      if (p.scale || p.noise) {
        const int64_t position = outer * p.inner + within, sample = divide(position, p.pixels);
        const int64_t pixel = p.noise_samples == 1 ? position - sample * p.pixels : position;
        const float scale = p.scale ? to_float(p.scale[sample * p.channels + channel]) : 1.0f;
        const float noise = p.noise ? to_float(p.noise[pixel]) : 0.0f;
        biased = to_float(a.values[j]) * scale + (bias + noise);
      }
      const float result = compute(p.formula, p.act, p.order, p.from_output, biased,
                                   to_float(reference.values[j]) + offset, to_float(dy.values[j]));
      from_float(result, &out.values[j]);
      if (++within == p.inner) {
        within = 0;
        if (++channel == p.channels) channel = 0, ++outer;
      }
    }
    reinterpret_cast<V*>(p.out)[i] = out;
  }
}

template <typename T, int kSize>
int run(const BiasAct& op, const BiasActTensors& t, void* stream) {
  Arguments<T> p{};
  p.a = static_cast<const T*>(t.a);
  p.a_bias = static_cast<const T*>(t.a_bias);
  p.reference = static_cast<const T*>(t.reference);
  p.reference_bias = static_cast<const T*>(t.reference_bias);
  p.dy = static_cast<const T*>(t.dy);
  p.scale = static_cast<const T*>(t.scale);
  p.noise = static_cast<const T*>(t.noise);
  p.out = static_cast<T*>(t.out);
  p.vectors = op.outer * op.channels * op.inner / kSize;
  p.channels = op.channels, p.inner = op.inner;
  p.pixels = op.outer * op.inner / op.samples, p.noise_samples = op.noise_samples;
  p.formula = {op.alpha, op.gain, op.clamp < 0 ? NAN : op.clamp};
  p.act = op.act, p.order = op.order, p.from_output = op.from_output;
  return Launch(p.vectors, 1, 1).run(fused_bias_act_kernel<T, kSize>, p, stream);
}

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// What one thread of a pass of `channel_sum` adds up.
constexpr int64_t kFan = 64;

int64_t threads_for(int64_t count) { return (count + kFan - 1) / kFan; }

template <typename T, typename Out>
struct SumArguments {
  const T* x;  // [outer, channels, inner]
  Out* sums;   // [channels, parts]
  int64_t outer, channels, inner, parts;
  int64_t step_outer, step_inner;  // parts = step_outer * inner + step_inner
};

// Thread `part` of a channel adds up its numbers part, part + parts, ….
template <typename T, typename Out>
__global__ void sum_kernel(SumArguments<T, Out> p) {
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
      sum += to_float(p.x[(outer * p.channels + channel) * p.inner + inner]);
      outer += p.step_outer;
      inner += p.step_inner;
      if (inner >= p.inner) inner -= p.inner, ++outer;
    }
    from_float(sum, &p.sums[channel * p.parts + part]);
  }
}

template <typename T, typename Out>
int run_sum(const T* x, Out* sums, int64_t outer, int64_t channels, int64_t inner, int64_t parts,
            void* stream) {
  if (inner == 0) outer = 0, inner = 1;
  const SumArguments<T, Out> arguments{x,     sums,  outer,         channels,
                                       inner, parts, parts / inner, parts % inner};
  return Launch(channels * parts, 1, 1).run(sum_kernel<T, Out>, arguments, stream);
}

}  // namespace

int tf_ops_fused_bias_act_cuda(const BiasAct* op, int dtype, const BiasActTensors* tensors,
                               void* stream) {
  const BiasActTensors& t = *tensors;
  const int64_t size = op->outer * op->channels * op->inner;
  if (size == 0) return cudaSuccess;
  const bool all_aligned = aligned(t.a) && aligned(t.reference) && aligned(t.dy) && aligned(t.out);
  return with_type(dtype, [&](auto type) {
    using T = decltype(type);
    constexpr int kSize = 4;
    if (all_aligned && size % kSize == 0) return run<T, kSize>(*op, t, stream);
    return run<T, 1>(*op, t, stream);
  });
}

int64_t tf_ops_channel_sum_workspace(int64_t outer, int64_t channels, int64_t inner) {
  const int64_t parts = threads_for(outer * inner);
  return parts > 1 ? channels * (parts + threads_for(parts)) : 0;
}

int tf_ops_channel_sum_cuda(int64_t outer, int64_t channels, int64_t inner, int dtype,
                            const void* x, float* workspace, void* sum, void* stream) {
  if (channels == 0) return cudaSuccess;
  return with_type(dtype, [&](auto type) {
    using T = decltype(type);
    int64_t parts = threads_for(outer * inner);
    if (parts <= 1) {
      return run_sum(static_cast<const T*>(x), static_cast<T*>(sum), outer, channels, inner, 1,
                     stream);
    }
    int error =
        run_sum(static_cast<const T*>(x), workspace, outer, channels, inner, parts, stream);
    // Sums of sums, in the two halves of the workspace by turns.
    float *source = workspace, *target = workspace + channels * parts;
    while (error == cudaSuccess && threads_for(parts) > 1) {
      const int64_t fewer = threads_for(parts);
      error = run_sum(source, target, 1, channels, parts, fewer, stream);
      std::swap(source, target);
      parts = fewer;
    }
    if (error != cudaSuccess) return error;
    return run_sum(source, static_cast<T*>(sum), 1, channels, parts, 1, stream);
  });
}
