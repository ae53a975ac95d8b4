// What the TensorFlow operations share.
#pragma once

#include <cstdint>
#include <string>

#include "common.h"
#include "device.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/platform/stream_executor.h"

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

inline int data_type(tensorflow::DataType type) {
  if (type == tensorflow::DT_HALF) return kFloat16;
  return type == tensorflow::DT_BFLOAT16 ? kBfloat16 : kFloat32;
}

inline const void* data_of(const Tensor& tensor) {
  return tensor.NumElements() == 0 ? nullptr : tensor.tensor_data().data();
}

inline void* data_of(Tensor* tensor) {
  return tensor->NumElements() == 0 ? nullptr : const_cast<char*>(tensor->tensor_data().data());
}

// TensorFlow's own threads.
inline void parallel_for(void* pool, int64_t count, int64_t cost, RangeTask task, void* argument) {
  static_cast<tensorflow::thread::ThreadPool*>(pool)->ParallelFor(
      count, cost, [=](int64_t begin, int64_t end) { task(argument, begin, end); });
}

inline void* pool_of(OpKernelContext* context) {
  return context->device()->tensorflow_cpu_worker_threads()->workers;
}

inline void* stream_of(OpKernelContext* context) {
  return context->op_device_context()->stream()->platform_specific_handle().stream;
}

inline void check_cuda(OpKernelContext* context, int error) {
  OP_REQUIRES(context, error == 0,
              absl::InternalError(std::string(tf_ops_device_error(error)) + " in " +
                                  std::string(context->op_kernel().type_string())));
}

struct OnCpu {};
struct OnGpu {};
