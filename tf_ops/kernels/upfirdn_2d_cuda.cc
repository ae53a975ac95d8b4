// Which kernel of upfirdn_2d_cuda.cu makes an output, and with what.

#include "device.h"
#include "device_arguments.h"

namespace {

int positive_modulo(int64_t a, int64_t b) { return static_cast<int>(((a % b) + b) % b); }

Upfirdn2DArguments arguments_of(const Upfirdn2D& op, const void* x, void* y) {
  Upfirdn2DArguments a{};
  a.x = x;
  a.y = y;
  a.batch = op.batch;
  a.in_h = op.in_h, a.in_w = op.in_w, a.channels = op.channels;
  a.out_h = op.out_h, a.out_w = op.out_w;
  a.up_y = op.up_y, a.up_x = op.up_x, a.down_y = op.down_y, a.down_x = op.down_x;
  a.pad_y = op.pad_y, a.pad_x = op.pad_x;
  a.kh = op.kh, a.kw = op.kw;
  for (int64_t i = 0; i < op.kh * op.kw; ++i) a.k[i] = op.k[op.kh * op.kw - 1 - i];
  return a;
}

int run(const char* kernel, int dtype, Upfirdn2DArguments a, int tile_y, int tile_x, void* stream) {
  a.tiles_y = (a.out_h + a.shift_y + tile_y - 1) / tile_y;
  a.tiles_x = (a.out_w + a.shift_x + tile_x - 1) / tile_x;
  const int64_t width = static_cast<int64_t>(a.tiles_x) * a.channels;
  return Launch(width, a.tiles_y, a.batch).run(kernel + type_name(dtype), a, stream);
}

}  // namespace

int tf_ops_upfirdn_2d_cuda(const Upfirdn2D* op, int dtype, const void* x, void* y, void* stream) {
  constexpr int kInvalidValue = 1;
  if (op->kh * op->kw > kMaxCudaTaps) return kInvalidValue;
  if (op->batch == 0 || op->out_h == 0 || op->out_w == 0 || op->channels == 0) return 0;
  Upfirdn2DArguments a = arguments_of(*op, x, y);
  if (a.kh == 4 && a.kw == 4 && a.up_y == a.up_x && a.down_y == a.down_x) {
    if (a.up_x == 1 && a.down_x == 1) return run("upfirdn_2d_same_", dtype, a, 4, 1, stream);
    if (a.up_x == 1 && a.down_x == 2) return run("upfirdn_2d_down_", dtype, a, 2, 1, stream);
    if (a.up_x == 2 && a.down_x == 1) {
      a.shift_y = positive_modulo(-op->pad_y, 2);
      a.shift_x = positive_modulo(-op->pad_x, 2);
      return run("upfirdn_2d_up_", dtype, a, 2, 2, stream);
    }
  }
  return run("upfirdn_2d_any_", dtype, a, 1, 1, stream);
}
