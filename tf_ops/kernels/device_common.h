// What the CUDA kernels share: number types, the shape of a launch.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "common.h"

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }
__device__ inline float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

__device__ inline void from_float(float value, float* out) { *out = value; }
__device__ inline void from_float(float value, __half* out) { *out = __float2half_rn(value); }
__device__ inline void from_float(float value, __nv_bfloat16* out) {
  *out = __float2bfloat16_rn(value);
}

// a / b for what is not negative; in 32 bits, which GPUs divide several times faster, where it fits.
__device__ inline int64_t divide(int64_t a, int64_t b) {
  if ((a | b) >> 32 != 0) return a / b;
  return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
}

// Calls function(T{}) with the C++ type of an element type and returns what it returns.
template <typename Function>
int with_type(int dtype, Function function) {
  if (dtype == kFloat16) return function(__half{});
  if (dtype == kBfloat16) return function(__nv_bfloat16{});
  return function(float{});
}

// A grid that covers x × y × z threads at least once; kernels stride over what is beyond its limits.
struct Launch {
  dim3 grid, block;

  Launch(int64_t x, int64_t y, int64_t z) {
    constexpr int64_t kThreads = 256;
    const int64_t block_x = power_of_two(x, kThreads);
    const int64_t block_y = power_of_two(y, kThreads / block_x);
    const int64_t block_z = power_of_two(z, std::min<int64_t>(64, kThreads / block_x / block_y));
    block = dim3(block_x, block_y, block_z);
    grid = dim3(blocks(x, block_x, 0x7fffffff), blocks(y, block_y, 0xffff),
                blocks(z, block_z, 0xffff));
  }

  template <typename Arguments>
  int run(void (*kernel)(Arguments), Arguments arguments, void* stream) const {
    void* pointers[] = {&arguments};
    return cudaLaunchKernel(kernel, grid, block, pointers, 0, static_cast<cudaStream_t>(stream));
  }

 private:
  // The least one that is no less than `size`, up to `limit`.
  static int64_t power_of_two(int64_t size, int64_t limit) {
    int64_t power = 1;
    while (power < size && power < limit) power *= 2;
    return power;
  }

  static unsigned blocks(int64_t size, int64_t block_size, int64_t limit) {
    return static_cast<unsigned>(std::min((size + block_size - 1) / block_size, limit));
  }
};

// Calls body(z, y, x) for all that this thread is to make of `depth` × `height` × `width` numbers.
template <typename Body>
__device__ inline void for_all(int64_t width, int64_t height, int64_t depth, Body body) {
  const int64_t step_x = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t step_y = static_cast<int64_t>(gridDim.y) * blockDim.y;
  const int64_t step_z = static_cast<int64_t>(gridDim.z) * blockDim.z;
  const int64_t first_x = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t first_y = static_cast<int64_t>(blockIdx.y) * blockDim.y + threadIdx.y;
  int64_t z = static_cast<int64_t>(blockIdx.z) * blockDim.z + threadIdx.z;
  for (; z < depth; z += step_z) {
    for (int64_t y = first_y; y < height; y += step_y) {
      for (int64_t x = first_x; x < width; x += step_x) body(z, y, x);
    }
  }
}
