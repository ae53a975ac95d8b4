// How the kernels of fused_bias_act_cuda.cu are launched.

#include "fused_bias_act.h"

#include <utility>

#include "device.h"
#include "device_arguments.h"

namespace {

bool aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

// What one thread of a pass of `channel_sum` adds up.
constexpr int64_t kFan = 64;

int64_t threads_for(int64_t count) { return (count + kFan - 1) / kFan; }

int run_sum(const void* x, int x_type, void* sums, int sums_type, int64_t outer, int64_t channels,
            int64_t inner, int64_t parts, void* stream) {
  if (inner == 0) outer = 0, inner = 1;
  const ChannelSumArguments arguments{x,     sums,  outer,         channels,
                                      inner, parts, parts / inner, parts % inner};
  const std::string kernel = "channel_sum_" + type_name(x_type) + "_" + type_name(sums_type);
  return Launch(channels * parts, 1, 1).run(kernel, arguments, stream);
}

}  // namespace

int tf_ops_fused_bias_act_cuda(const BiasAct* op, int dtype, const BiasActTensors* tensors,
                               void* stream) {
  const BiasActTensors& t = *tensors;
  const int64_t count = op->outer * op->channels * op->inner;
  if (count == 0) return 0;
  const bool all_aligned = aligned(t.a) && aligned(t.reference) && aligned(t.dy) && aligned(t.out);
  const int size = all_aligned && count % 4 == 0 ? 4 : 1;
  FusedBiasActArguments a{};
  a.a = t.a, a.a_bias = t.a_bias;
  a.reference = t.reference, a.reference_bias = t.reference_bias;
  a.dy = t.dy, a.scale = t.scale, a.noise = t.noise;
  a.out = t.out;
  a.vectors = count / size;
  a.channels = op->channels, a.inner = op->inner;
  a.pixels = op->outer * op->inner / op->samples, a.noise_samples = op->noise_samples;
  a.alpha = op->alpha, a.gain = op->gain, a.clamp = op->clamp < 0 ? NAN : op->clamp;
  a.act = op->act, a.order = op->order, a.from_output = op->from_output;
  const std::string kernel = "fused_bias_act_" + std::to_string(size) + "_" + type_name(dtype);
  return Launch(a.vectors, 1, 1).run(kernel, a, stream);
}

int64_t tf_ops_channel_sum_workspace(int64_t outer, int64_t channels, int64_t inner) {
  const int64_t parts = threads_for(outer * inner);
  return parts > 1 ? channels * (parts + threads_for(parts)) : 0;
}

int tf_ops_channel_sum_cuda(int64_t outer, int64_t channels, int64_t inner, int dtype,
                            const void* x, float* workspace, void* sum, void* stream) {
  if (channels == 0) return 0;
  int64_t parts = threads_for(outer * inner);
  if (parts <= 1) return run_sum(x, dtype, sum, dtype, outer, channels, inner, 1, stream);
  int error =
      run_sum(x, dtype, workspace, kFloat32, outer, channels, inner, parts, stream);
  // Sums of sums, in the two halves of the workspace by turns.
  float *source = workspace, *target = workspace + channels * parts;
  while (error == 0 && threads_for(parts) > 1) {
    const int64_t fewer = threads_for(parts);
    error = run_sum(source, kFloat32, target, kFloat32, 1, channels, parts, fewer, stream);
    std::swap(source, target);
    parts = fewer;
  }
  if (error != 0) return error;
  return run_sum(source, kFloat32, sum, dtype, 1, channels, parts, 1, stream);
}
