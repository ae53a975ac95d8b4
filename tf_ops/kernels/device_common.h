// What the CUDA kernels share. They are compiled by NVRTC: nothing but these files is there.
#pragma once

#include "device_arguments.h"
#include "floats.h"

// The head of a kernel that is launched by its name, with one struct `a`.
#ifndef KERNEL
#define KERNEL(NAME, ARGUMENTS) extern "C" __global__ void NAME(const __grid_constant__ ARGUMENTS a)
#endif

// a / b for what is not negative; in 32 bits, which GPUs divide several times faster, where it fits.
__device__ inline int64_t divide(int64_t a, int64_t b) {
  if ((a | b) >> 32 != 0) return a / b;
  return static_cast<uint32_t>(a) / static_cast<uint32_t>(b);
}

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
