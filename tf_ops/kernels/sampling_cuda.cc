// How the kernels of resample_2d_cuda.cu and weighted_gather_cuda.cu are launched.

#include "device.h"
#include "device_arguments.h"

int tf_ops_resample_2d_cuda(const Resample2D* op, int adjoint, const float* in, float* out,
                            void* stream) {
  const int64_t width = adjoint ? op->in_w : op->out_w, height = adjoint ? op->in_h : op->out_h;
  if (op->batch * op->channels * width * height == 0) return 0;
  const Launch launch(width * op->channels, height, op->batch);
  const char* kernel = adjoint ? "resample_2d_spread" : "resample_2d_sample";
  return launch.run(kernel, Resample2DArguments{*op, in, out}, stream);
}

int tf_ops_weighted_gather_cuda(const WeightedGather* op, int adjoint, const float* in, float* out,
                                void* stream) {
  const int64_t size = adjoint ? op->in_size : op->out_size;
  if (op->batch * op->outer * op->inner * size == 0) return 0;
  const WeightedGatherArguments arguments{*op, in, out};
  if (adjoint) {
    const Launch launch(op->inner, op->outer, op->batch);
    return launch.run("weighted_gather_spread", arguments, stream);
  }
  const Launch launch(op->inner, op->out_size, op->batch * op->outer);
  return launch.run("weighted_gather_collect", arguments, stream);
}
