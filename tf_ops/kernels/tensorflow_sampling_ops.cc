// resample_2d and weighted_gather as TensorFlow operations, each with its adjoint.

#include <cstdint>
#include <initializer_list>
#include <type_traits>
#include <utility>

#include "op_common.h"
#include "resample_2d.h"
#include "weighted_gather.h"

namespace {

// The shape of `in` with other sizes, unknown here, from axis `first` to axis `last`.
absl::Status resized_shape(InferenceContext* context, int first, int last) {
  ShapeHandle out;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(0), 4, &out));
  for (int axis = first; axis <= last; ++axis) {
    TF_RETURN_IF_ERROR(context->ReplaceDim(out, axis, context->UnknownDim(), &out));
  }
  context->set_output(0, out);
  return absl::OkStatus();
}

const float* floats(const Tensor& tensor) { return static_cast<const float*>(data_of(tensor)); }

bool has_shape(const Tensor& tensor, std::initializer_list<int64_t> sizes) {
  return tensor.shape() == TensorShape(sizes);
}

// `size` is that of the result: height and width.
REGISTER_OP("TfOpsResample2D")
    .Input("in: float")
    .Input("transforms: double")
    .Input("size: int32")
    .Output("out: float")
    .Attr("adjoint: bool")
    .SetShapeFn([](InferenceContext* context) { return resized_shape(context, 1, 2); });

template <typename Device>
class Resample2DOp : public OpKernel {
 public:
  explicit Resample2DOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("adjoint", &adjoint_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &in = context->input(0), &transforms = context->input(1);
    OP_REQUIRES(context, in.dims() == 4, absl::InvalidArgumentError("images must be 4-D"));
    const int64_t batch = in.dim_size(0), channels = in.dim_size(3);
    OP_REQUIRES(context, has_shape(transforms, {batch, 2, 3}),
                absl::InvalidArgumentError("as many transforms as images are needed"));
    OP_REQUIRES(context, has_shape(context->input(2), {2}),
                absl::InvalidArgumentError("size must be two numbers"));
    const int64_t height = context->input(2).flat<int32_t>()(0);
    const int64_t width = context->input(2).flat<int32_t>()(1);
    Resample2D op{batch, in.dim_size(1), in.dim_size(2), channels, height, width,
                  static_cast<const double*>(data_of(transforms))};
    if (adjoint_) {
      std::swap(op.in_h, op.out_h);
      std::swap(op.in_w, op.out_w);
    }
    OP_REQUIRES(context, op.in_h * op.in_w <= INT32_MAX,
                absl::InvalidArgumentError("images of more than 2^31 pixels"));
    Tensor* out = nullptr;
    const TensorShape shape({batch, height, width, channels});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    if (out->NumElements() == 0) return;
    float* target = static_cast<float*>(data_of(out));
    if constexpr (std::is_same_v<Device, OnCpu>) {
      tf_ops_resample_2d_cpu(&op, adjoint_, floats(in), target, parallel_for, pool_of(context));
    } else {
      check_cuda(context, tf_ops_resample_2d_cuda(&op, adjoint_, floats(in), target,
                                                  stream_of(context)));
    }
  }

 private:
  bool adjoint_;
};

// `size` is that of axis 2 of the result.
REGISTER_OP("TfOpsWeightedGather")
    .Input("in: float")
    .Input("indices: int32")
    .Input("weights: float")
    .Input("size: int32")
    .Output("out: float")
    .Attr("adjoint: bool")
    .SetShapeFn([](InferenceContext* context) { return resized_shape(context, 2, 2); });

template <typename Device>
class WeightedGatherOp : public OpKernel {
 public:
  explicit WeightedGatherOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("adjoint", &adjoint_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &in = context->input(0), &indices = context->input(1);
    OP_REQUIRES(context, in.dims() == 4 && indices.dims() == 3,
                absl::InvalidArgumentError("input must be 4-D, indices 3-D"));
    OP_REQUIRES(context, context->input(3).NumElements() == 1,
                absl::InvalidArgumentError("size must be one number"));
    const int64_t size = context->input(3).flat<int32_t>()(0);
    WeightedGather op{in.dim_size(0), in.dim_size(1), in.dim_size(3), in.dim_size(2), size,
                      indices.dim_size(2), static_cast<const int32_t*>(data_of(indices)),
                      floats(context->input(2))};
    if (adjoint_) std::swap(op.in_size, op.out_size);
    OP_REQUIRES(context, has_shape(indices, {op.batch, op.out_size, op.taps}),
                absl::InvalidArgumentError("indices do not fit"));
    OP_REQUIRES(context, context->input(2).shape() == indices.shape(),
                absl::InvalidArgumentError("as many weights as indices are needed"));
    Tensor* out = nullptr;
    const TensorShape shape({op.batch, op.outer, size, op.inner});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    if (out->NumElements() == 0) return;
    float* target = static_cast<float*>(data_of(out));
    if constexpr (std::is_same_v<Device, OnCpu>) {
      tf_ops_weighted_gather_cpu(&op, adjoint_, floats(in), target, parallel_for,
                                 pool_of(context));
    } else {
      check_cuda(context, tf_ops_weighted_gather_cuda(&op, adjoint_, floats(in), target,
                                                      stream_of(context)));
    }
  }

 private:
  bool adjoint_;
};

#define REGISTER_BOTH(NAME, PLACE)                                                          \
  REGISTER_KERNEL_BUILDER(Name("TfOpsResample2D").Device(NAME).HostMemory("size"),          \
                          Resample2DOp<PLACE>);                                             \
  REGISTER_KERNEL_BUILDER(Name("TfOpsWeightedGather").Device(NAME).HostMemory("size"),      \
                          WeightedGatherOp<PLACE>)

REGISTER_BOTH(tensorflow::DEVICE_CPU, OnCpu);
REGISTER_BOTH(tensorflow::DEVICE_GPU, OnGpu);

}  // namespace
