// Lets a C++ compiler build the `.cu` files for the CPU, where a loop over all threads of a launch
// takes the place of the GPU. The kernels neither share memory nor wait for each other, so that any
// order of the threads will do. Included before everything else.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstring>

static thread_local dim3 gridDim, blockDim;
static thread_local uint3 blockIdx, threadIdx;

template <typename Arguments>
cudaError_t launch_on_cpu(void (*kernel)(Arguments), dim3 grid, dim3 block, void** arguments,
                          size_t, cudaStream_t) {
  gridDim = grid;
  blockDim = block;
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x)
        for (threadIdx.z = 0; threadIdx.z < block.z; ++threadIdx.z)
          for (threadIdx.y = 0; threadIdx.y < block.y; ++threadIdx.y)
            for (threadIdx.x = 0; threadIdx.x < block.x; ++threadIdx.x)
              kernel(*static_cast<Arguments*>(arguments[0]));
  return cudaSuccess;
}

#define cudaLaunchKernel launch_on_cpu
