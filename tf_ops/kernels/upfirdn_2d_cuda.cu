// upfirdn_2d on GPUs.
//
// A thread makes a small tile of outputs of one channel and keeps the sums in registers. Neighboring
// threads have neighboring channels or, with one channel, neighboring columns, so that their reads
// and writes fall together; pixels that several threads read come from the first cache. For the
// filters of StyleGAN2 with 4×4 taps, everything but the pixels is a constant of the compiler.

#include "device_common.h"
#include "upfirdn_2d.h"

namespace {

template <typename T>
struct Arguments {
  const T* x;
  T* y;
  int64_t batch;
  int in_h, in_w, channels, out_h, out_w;
  int up_y, up_x, down_y, down_x, pad_y, pad_x;
  int kh, kw;
  int shift_y, shift_x;  // How far the first tile begins before the output.
  int tiles_y, tiles_x;
  float k[kMaxCudaTaps];  // Flipped: in the order in which x is read.
};

__host__ __device__ inline int positive_modulo(int a, int b) { return ((a % b) + b) % b; }

// Calls body(n, tile_y, tile_x, c) for all that this thread is to make.
template <typename T, typename Body>
__device__ inline void for_tiles(const Arguments<T>& a, Body body) {
  const int64_t width = static_cast<int64_t>(a.tiles_x) * a.channels;
  const int64_t step_x = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t step_z = static_cast<int64_t>(gridDim.z) * blockDim.z;
  for (int64_t n = static_cast<int64_t>(blockIdx.z) * blockDim.z + threadIdx.z; n < a.batch;
       n += step_z) {
    for (int64_t y = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y; y < a.tiles_y;
         y += static_cast<int64_t>(gridDim.y) * blockDim.y) {
      for (int64_t x = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; x < width;
           x += step_x) {
        const int tile_x = static_cast<int>(divide(x, a.channels));
        body(n, static_cast<int>(y), tile_x, static_cast<int>(x - tile_x * int64_t{a.channels}));
      }
    }
  }
}

// The same factors and taps both ways. Tiles begin where a pixel falls on the first tap, so that
// which taps meet pixels is known to the compiler: for output d of a tile these are
// `first_tap(d)`, `first_tap(d) + kUp`, …, at pixels `first_pixel(d)`, … of those the tile reads.
template <typename T, int kUp, int kDown, int kTaps, int kTileY, int kTileX>
struct Special {
  static constexpr int kPixelsY = ((kTileY - 1) * kDown + kTaps - 1) / kUp + 1;
  static constexpr int kPixelsX = ((kTileX - 1) * kDown + kTaps - 1) / kUp + 1;

  __device__ static constexpr int first_tap(int d) { return (kUp - d * kDown % kUp) % kUp; }
  __device__ static constexpr int first_pixel(int d) { return (d * kDown + first_tap(d)) / kUp; }

  __device__ static void tile(const Arguments<T>& a, int64_t n, int tile_y, int tile_x, int c) {
    const int oy = tile_y * kTileY - a.shift_y, ox = tile_x * kTileX - a.shift_x;
    const int iy = (oy * kDown - a.pad_y) / kUp, ix = (ox * kDown - a.pad_x) / kUp;
    const T* image = a.x + n * a.in_h * a.in_w * a.channels + c;
    float sums[kTileY][kTileX] = {};
#pragma unroll
    for (int py = 0; py < kPixelsY; ++py) {
      float pixels[kPixelsX];
#pragma unroll
      for (int px = 0; px < kPixelsX; ++px) {
        const int row = iy + py, column = ix + px;
        const bool inside = row >= 0 && row < a.in_h && column >= 0 && column < a.in_w;
        const int64_t pixel = static_cast<int64_t>(row) * a.in_w + column;
        pixels[px] = inside ? to_float(image[pixel * a.channels]) : 0.0f;
      }
#pragma unroll
      for (int dy = 0; dy < kTileY; ++dy) {
        const int i = first_tap(dy) + (py - first_pixel(dy)) * kUp;
        if (i < 0 || i >= kTaps) continue;
#pragma unroll
        for (int dx = 0; dx < kTileX; ++dx) {
#pragma unroll
          for (int j = first_tap(dx); j < kTaps; j += kUp) {
            const int px = first_pixel(dx) + (j - first_tap(dx)) / kUp;
            sums[dy][dx] += a.k[i * kTaps + j] * pixels[px];
          }
        }
      }
    }
#pragma unroll
    for (int dy = 0; dy < kTileY; ++dy) {
#pragma unroll
      for (int dx = 0; dx < kTileX; ++dx) {
        const int y = oy + dy, x = ox + dx;
        if (y < 0 || y >= a.out_h || x < 0 || x >= a.out_w) continue;
        from_float(sums[dy][dx], a.y + ((n * a.out_h + y) * a.out_w + x) * a.channels + c);
      }
    }
  }
};

template <typename T, int kUp, int kDown, int kTaps, int kTileY, int kTileX>
__global__ void special_kernel(Arguments<T> a) {
  for_tiles(a, [&](int64_t n, int y, int x, int c) {
    Special<T, kUp, kDown, kTaps, kTileY, kTileX>::tile(a, n, y, x, c);
  });
}

// Any factors and filter, one output at a time.
template <typename T>
__global__ void general_kernel(Arguments<T> a) {
  for_tiles(a, [&](int64_t n, int oy, int ox, int c) {
    const int top = oy * a.down_y - a.pad_y, left = ox * a.down_x - a.pad_x;
    const T* image = a.x + n * a.in_h * a.in_w * a.channels + c;
    float sum = 0;
    for (int i = positive_modulo(-top, a.up_y); i < a.kh; i += a.up_y) {
      const int row = (top + i) / a.up_y;
      if (row < 0 || row >= a.in_h) continue;
      for (int j = positive_modulo(-left, a.up_x); j < a.kw; j += a.up_x) {
        const int column = (left + j) / a.up_x;
        if (column < 0 || column >= a.in_w) continue;
        const int64_t pixel = static_cast<int64_t>(row) * a.in_w + column;
        sum += a.k[i * a.kw + j] * to_float(image[pixel * a.channels]);
      }
    }
    from_float(sum, a.y + ((n * a.out_h + oy) * a.out_w + ox) * a.channels + c);
  });
}

template <typename T>
Arguments<T> arguments_of(const Upfirdn2D& op, const void* x, void* y) {
  Arguments<T> a{};
  a.x = static_cast<const T*>(x);
  a.y = static_cast<T*>(y);
  a.batch = op.batch;
  a.in_h = op.in_h, a.in_w = op.in_w, a.channels = op.channels;
  a.out_h = op.out_h, a.out_w = op.out_w;
  a.up_y = op.up_y, a.up_x = op.up_x, a.down_y = op.down_y, a.down_x = op.down_x;
  a.pad_y = op.pad_y, a.pad_x = op.pad_x;
  a.kh = op.kh, a.kw = op.kw;
  for (int64_t i = 0; i < op.kh * op.kw; ++i) a.k[i] = op.k[op.kh * op.kw - 1 - i];
  return a;
}

template <typename T>
int run(Arguments<T> a, void (*kernel)(Arguments<T>), int tile_y, int tile_x, void* stream) {
  a.tiles_y = (a.out_h + a.shift_y + tile_y - 1) / tile_y;
  a.tiles_x = (a.out_w + a.shift_x + tile_x - 1) / tile_x;
  const int64_t width = static_cast<int64_t>(a.tiles_x) * a.channels;
  return Launch(width, a.tiles_y, a.batch).run(kernel, a, stream);
}

template <typename T>
int choose(const Upfirdn2D& op, Arguments<T> a, void* stream) {
  const bool square = op.kh == 4 && op.kw == 4 && op.up_y == op.up_x && op.down_y == op.down_x;
  if (square && op.up_x == 1 && op.down_x == 1) {
    return run(a, special_kernel<T, 1, 1, 4, 4, 1>, 4, 1, stream);
  }
  if (square && op.up_x == 1 && op.down_x == 2) {
    return run(a, special_kernel<T, 1, 2, 4, 2, 1>, 2, 1, stream);
  }
  if (square && op.up_x == 2 && op.down_x == 1) {
    a.shift_y = positive_modulo(-a.pad_y, 2);
    a.shift_x = positive_modulo(-a.pad_x, 2);
    return run(a, special_kernel<T, 2, 1, 4, 2, 2>, 2, 2, stream);
  }
  return run(a, general_kernel<T>, 1, 1, stream);
}

}  // namespace

int tf_ops_upfirdn_2d_cuda(const Upfirdn2D* op, int dtype, const void* x, void* y, void* stream) {
  if (op->kh * op->kw > kMaxCudaTaps) return cudaErrorInvalidValue;
  if (op->batch == 0 || op->out_h == 0 || op->out_w == 0 || op->channels == 0) return cudaSuccess;
  return with_type(dtype, [&](auto type) {
    using T = decltype(type);
    return choose<T>(*op, arguments_of<T>(*op, x, y), stream);
  });
}
