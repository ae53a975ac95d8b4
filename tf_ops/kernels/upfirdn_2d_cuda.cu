// upfirdn_2d on GPUs.
//
// A thread makes a small tile of outputs of one channel and keeps the sums in registers. Neighboring
// threads have neighboring channels or, with one channel, neighboring columns, so that their reads
// and writes fall together; pixels that several threads read come from the first cache. For the
// filters of StyleGAN2 with 4×4 taps, everything but the pixels is a constant of the compiler.

#include "device_common.h"

namespace upfirdn_2d {

__device__ inline int positive_modulo(int a, int b) { return ((a % b) + b) % b; }

// Calls body(n, tile_y, tile_x, c) for all that this thread is to make.
template <typename Body>
__device__ inline void for_tiles(const Upfirdn2DArguments& a, Body body) {
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
        body(n, static_cast<int>(y), tile_x, static_cast<int>(x - static_cast<int64_t>(tile_x) * a.channels));
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

  __device__ static void tile(const Upfirdn2DArguments& a, int64_t n, int tile_y, int tile_x, int c) {
    const int oy = tile_y * kTileY - a.shift_y, ox = tile_x * kTileX - a.shift_x;
    const int iy = (oy * kDown - a.pad_y) / kUp, ix = (ox * kDown - a.pad_x) / kUp;
    const T* image = static_cast<const T*>(a.x) + n * a.in_h * a.in_w * a.channels + c;
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
        const int64_t pixel = (n * a.out_h + y) * a.out_w + x;
        from_float(sums[dy][dx], static_cast<T*>(a.y) + pixel * a.channels + c);
      }
    }
  }
};

template <typename T, int kUp, int kDown, int kTaps, int kTileY, int kTileX>
__device__ inline void special(const Upfirdn2DArguments& a) {
  for_tiles(a, [&](int64_t n, int y, int x, int c) {
    Special<T, kUp, kDown, kTaps, kTileY, kTileX>::tile(a, n, y, x, c);
  });
}

// Any factors and filter, one output at a time.
template <typename T>
__device__ inline void general(const Upfirdn2DArguments& a) {
  for_tiles(a, [&](int64_t n, int oy, int ox, int c) {
    const int top = oy * a.down_y - a.pad_y, left = ox * a.down_x - a.pad_x;
    const T* image = static_cast<const T*>(a.x) + n * a.in_h * a.in_w * a.channels + c;
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
    const int64_t pixel = (n * a.out_h + oy) * a.out_w + ox;
    from_float(sum, static_cast<T*>(a.y) + pixel * a.channels + c);
  });
}

}  // namespace upfirdn_2d

#define KERNELS(T, TYPE)                                                                          \
  KERNEL(upfirdn_2d_same_##TYPE, Upfirdn2DArguments) { upfirdn_2d::special<T, 1, 1, 4, 4, 1>(a); } \
  KERNEL(upfirdn_2d_down_##TYPE, Upfirdn2DArguments) { upfirdn_2d::special<T, 1, 2, 4, 2, 1>(a); } \
  KERNEL(upfirdn_2d_up_##TYPE, Upfirdn2DArguments) { upfirdn_2d::special<T, 2, 1, 4, 2, 2>(a); }   \
  KERNEL(upfirdn_2d_any_##TYPE, Upfirdn2DArguments) { upfirdn_2d::general<T>(a); }
KERNELS(float, float32)
KERNELS(Float16, float16)
KERNELS(Bfloat16, bfloat16)
#undef KERNELS
