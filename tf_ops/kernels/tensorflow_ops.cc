// upfirdn_2d and fused_bias_act as TensorFlow operations.

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "fused_bias_act.h"
#include "op_common.h"
#include "upfirdn_2d.h"

namespace {

// What the attributes of TfOpsUpfirdn2D say.
struct ResamplingAttributes {
  std::vector<int64_t> up, down;  // [y, x]
  std::vector<int64_t> pad;       // [above, below, left, right]
  std::vector<int64_t> k_shape;   // [kh, kw]
  std::vector<float> k;

  template <typename Context>
  absl::Status read(Context* context) {
    for (auto [name, field] : {std::make_pair("up", &up), std::make_pair("down", &down),
                               std::make_pair("pad", &pad), std::make_pair("k_shape", &k_shape)}) {
      absl::Status status = context->GetAttr(name, field);
      if (!status.ok()) return status;
    }
    absl::Status status = context->GetAttr("k", &k);
    if (!status.ok()) return status;
    bool valid = up.size() == 2 && down.size() == 2 && pad.size() == 4 && k_shape.size() == 2;
    valid = valid && k_shape[0] > 0 && k_shape[1] > 0 && up[0] > 0 && up[1] > 0 && down[0] > 0 &&
            down[1] > 0 && static_cast<int64_t>(k.size()) == k_shape[0] * k_shape[1];
    return valid ? absl::OkStatus() : absl::InvalidArgumentError("TfOpsUpfirdn2D: bad attributes");
  }

  int64_t out_size(int64_t in_size, int axis) const {
    const int64_t padded = in_size * up[axis] + pad[2 * axis] + pad[2 * axis + 1];
    return padded < k_shape[axis] ? 0 : (padded - k_shape[axis]) / down[axis] + 1;
  }
};

absl::Status upfirdn_shape(InferenceContext* context) {
  ResamplingAttributes attributes;
  TF_RETURN_IF_ERROR(attributes.read(context));
  ShapeHandle x;
  TF_RETURN_IF_ERROR(context->WithRank(context->input(0), 4, &x));
  std::vector<DimensionHandle> sizes{context->Dim(x, 0), context->UnknownDim(),
                                     context->UnknownDim(), context->Dim(x, 3)};
  for (int axis = 0; axis < 2; ++axis) {
    const DimensionHandle size = context->Dim(x, 1 + axis);
    if (!context->ValueKnown(size)) continue;
    sizes[1 + axis] = context->MakeDim(attributes.out_size(context->Value(size), axis));
  }
  context->set_output(0, context->MakeShape(sizes));
  return absl::OkStatus();
}

REGISTER_OP("TfOpsUpfirdn2D")
    .Input("x: T")
    .Output("y: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("up: list(int)")
    .Attr("down: list(int)")
    .Attr("pad: list(int)")
    .Attr("k_shape: list(int)")
    .Attr("k: list(float)")
    .SetShapeFn(upfirdn_shape);

template <typename Device>
class Upfirdn2DOp : public OpKernel {
 public:
  explicit Upfirdn2DOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, attributes_.read(context));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    OP_REQUIRES(context, x.dims() == 4, absl::InvalidArgumentError("x must be 4-D"));
    const ResamplingAttributes& a = attributes_;
    const Upfirdn2D op{x.dim_size(0), x.dim_size(1), x.dim_size(2), x.dim_size(3),
                       a.out_size(x.dim_size(1), 0), a.out_size(x.dim_size(2), 1),
                       a.up[0], a.up[1], a.down[0], a.down[1], a.pad[0], a.pad[2],
                       a.k_shape[0], a.k_shape[1], a.k.data()};
    Tensor* y = nullptr;
    const TensorShape shape({op.batch, op.out_h, op.out_w, op.channels});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &y));
    if (y->NumElements() == 0) return;
    const int dtype = data_type(x.dtype());
    if constexpr (std::is_same_v<Device, OnCpu>) {
      tf_ops_upfirdn_2d_cpu(&op, dtype, data_of(x), data_of(y), parallel_for, pool_of(context));
    } else {
      check_cuda(context, tf_ops_upfirdn_2d_cuda(&op, dtype, data_of(x), data_of(y),
                                                 stream_of(context)));
    }
  }

 private:
  ResamplingAttributes attributes_;
};

absl::Status fused_bias_act_shape(InferenceContext* context) {
  context->set_output(0, context->input(0));
  int64_t axis;
  bool with_sum;
  TF_RETURN_IF_ERROR(context->GetAttr("axis", &axis));
  TF_RETURN_IF_ERROR(context->GetAttr("with_sum", &with_sum));
  DimensionHandle size = context->MakeDim(0);
  if (with_sum) {
    const ShapeHandle a = context->input(0);
    size = context->RankKnown(a) ? context->Dim(a, axis) : context->UnknownDim();
  }
  context->set_output(1, context->Vector(size));
  return absl::OkStatus();
}

// Inputs that an order has no use for are empty; see fused_bias_act.h for what each is.
REGISTER_OP("TfOpsFusedBiasAct")
    .Input("a: T")
    .Input("a_bias: T")
    .Input("reference: T")
    .Input("reference_bias: T")
    .Input("dy: T")
    .Input("scale: T")
    .Input("noise: T")
    .Output("out: T")
    .Output("sum: T")
    .Attr("T: {float, half, bfloat16}")
    .Attr("axis: int >= 0")
    .Attr("order: {'0', '1', '2'}")
    .Attr("act: string")
    .Attr("alpha: float")
    .Attr("gain: float")
    .Attr("clamp: float")
    .Attr("from_output: bool")
    .Attr("with_sum: bool")
    .SetShapeFn(fused_bias_act_shape);

template <typename Device>
class FusedBiasActOp : public OpKernel {
 public:
  explicit FusedBiasActOp(OpKernelConstruction* context) : OpKernel(context) {
    std::string order, act;
    bool from_output;
    OP_REQUIRES_OK(context, context->GetAttr("axis", &axis_));
    OP_REQUIRES_OK(context, context->GetAttr("order", &order));
    OP_REQUIRES_OK(context, context->GetAttr("act", &act));
    OP_REQUIRES_OK(context, context->GetAttr("alpha", &op_.alpha));
    OP_REQUIRES_OK(context, context->GetAttr("gain", &op_.gain));
    OP_REQUIRES_OK(context, context->GetAttr("clamp", &op_.clamp));
    OP_REQUIRES_OK(context, context->GetAttr("from_output", &from_output));
    OP_REQUIRES_OK(context, context->GetAttr("with_sum", &with_sum_));
    op_.order = order[0] - '0';
    op_.from_output = from_output;
    const std::vector<std::string> names{"linear", "relu", "lrelu", "tanh", "sigmoid",
                                         "elu", "selu", "softplus", "swish"};
    op_.act = 0;
    while (op_.act < static_cast<int>(names.size()) && names[op_.act] != act) ++op_.act;
    OP_REQUIRES(context, op_.act < static_cast<int>(names.size()),
                absl::InvalidArgumentError("TfOpsFusedBiasAct: no activation " + act));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& a = context->input(0);
    OP_REQUIRES(context, axis_ < a.dims(), absl::InvalidArgumentError("axis beyond the rank"));
    BiasAct op = op_;
    op.outer = op.inner = 1;
    op.channels = a.dim_size(axis_);
    for (int i = 0; i < a.dims(); ++i) {
      if (i < axis_) op.outer *= a.dim_size(i);
      if (i > axis_) op.inner *= a.dim_size(i);
    }
    for (int i : {1, 3}) {
      const int64_t size = context->input(i).NumElements();
      OP_REQUIRES(context, size == 0 || size == op.channels,
                  absl::InvalidArgumentError("bias does not fit"));
    }
    for (int i : {2, 4}) {
      const bool needed = i == 2 ? op.order > 0 : op.order > 1;
      OP_REQUIRES(context, !needed || context->input(i).NumElements() == a.NumElements(),
                  absl::InvalidArgumentError("tensors differ in shape"));
    }
    op.samples = a.dims() > 0 ? a.dim_size(0) : 1;
    const int64_t scales = context->input(5).NumElements(), all = op.outer * op.inner;
    const int64_t noises = context->input(6).NumElements();
    op.noise_samples = noises == all ? op.samples : 1;
    OP_REQUIRES(context, scales == 0 || (axis_ > 0 && scales == op.samples * op.channels),
                absl::InvalidArgumentError("scale does not fit"));
    OP_REQUIRES(context,
                noises == 0 || (axis_ > 0 && (noises == all || noises * op.samples == all)),
                absl::InvalidArgumentError("noise does not fit"));
    BiasActTensors tensors{data_of(a), data_of(context->input(1)), data_of(context->input(2)),
                           data_of(context->input(3)), data_of(context->input(4)),
                           data_of(context->input(5)), data_of(context->input(6)), nullptr,
                           nullptr};
    Tensor *out = nullptr, *sum = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, a.shape(), &out));
    const TensorShape sum_shape({with_sum_ ? op.channels : 0});
    OP_REQUIRES_OK(context, context->allocate_output(1, sum_shape, &sum));
    tensors.out = data_of(out);
    tensors.sum = data_of(sum);
    run(context, op, data_type(out->dtype()), tensors);
  }

 private:
  void run(OpKernelContext* context, const BiasAct& op, int dtype, const BiasActTensors& tensors) {
    if constexpr (std::is_same_v<Device, OnCpu>) {
      tf_ops_fused_bias_act_cpu(&op, dtype, &tensors, parallel_for, pool_of(context));
    } else {
      if (tensors.out != nullptr) {
        check_cuda(context,
                   tf_ops_fused_bias_act_cuda(&op, dtype, &tensors, stream_of(context)));
      }
      if (tensors.sum == nullptr || !context->status().ok()) return;
      Tensor workspace;
      const int64_t size = tf_ops_channel_sum_workspace(op.outer, op.channels, op.inner);
      OP_REQUIRES_OK(context, context->allocate_temp(tensorflow::DT_FLOAT, TensorShape({size}),
                                                     &workspace));
      check_cuda(context, tf_ops_channel_sum_cuda(
                              op.outer, op.channels, op.inner, dtype, tensors.out,
                              static_cast<float*>(data_of(&workspace)), tensors.sum,
                              stream_of(context)));
    }
  }

  BiasAct op_;
  int64_t axis_;
  bool with_sum_;
};

#define REGISTER_BOTH(TYPE, NAME, PLACE)                                                    \
  REGISTER_KERNEL_BUILDER(Name("TfOpsUpfirdn2D").Device(NAME).TypeConstraint<TYPE>("T"),    \
                          Upfirdn2DOp<PLACE>);                                              \
  REGISTER_KERNEL_BUILDER(Name("TfOpsFusedBiasAct").Device(NAME).TypeConstraint<TYPE>("T"), \
                          FusedBiasActOp<PLACE>)

REGISTER_BOTH(float, tensorflow::DEVICE_CPU, OnCpu);
REGISTER_BOTH(Eigen::half, tensorflow::DEVICE_CPU, OnCpu);
REGISTER_BOTH(tensorflow::bfloat16, tensorflow::DEVICE_CPU, OnCpu);
REGISTER_BOTH(float, tensorflow::DEVICE_GPU, OnGpu);
REGISTER_BOTH(Eigen::half, tensorflow::DEVICE_GPU, OnGpu);
REGISTER_BOTH(tensorflow::bfloat16, tensorflow::DEVICE_GPU, OnGpu);

}  // namespace
