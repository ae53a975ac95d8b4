// How the host reaches the GPU: the driver, opened at run time, and the kernels handed to it.
#pragma once

#include <algorithm>
#include <string>

#include "common.h"

extern "C" {

// Keeps the kernels for GPUs of a compute capability (90 is 9.0): a cubin or PTX, which is copied.
void tf_ops_add_kernels(int capability, const void* image, int64_t size);

// Starts a kernel by its name, in the current context. Returns a CUresult, 0 for success.
int tf_ops_launch(const char* name, const unsigned grid[3], const unsigned block[3],
                  void* arguments, void* stream);

// What a CUresult is called.
const char* tf_ops_device_error(int error);
}

// The ending of the names of kernels for an element type.
inline std::string type_name(int dtype) {
  return dtype == kFloat16 ? "float16" : dtype == kBfloat16 ? "bfloat16" : "float32";
}

// A grid that covers x × y × z threads at least once; kernels stride over what is beyond its limits.
class Launch {
 public:
  Launch(int64_t x, int64_t y, int64_t z) {
    constexpr int64_t kThreads = 256;
    const int64_t block_x = power_of_two(x, kThreads);
    const int64_t block_y = power_of_two(y, kThreads / block_x);
    const int64_t block_z = power_of_two(z, std::min<int64_t>(64, kThreads / block_x / block_y));
    set(0, x, block_x, 0x7fffffff);
    set(1, y, block_y, 0xffff);
    set(2, z, block_z, 0xffff);
  }

  template <typename Arguments>
  int run(const std::string& kernel, Arguments arguments, void* stream) const {
    return tf_ops_launch(kernel.c_str(), grid_, block_, &arguments, stream);
  }

 private:
  // The least one that is no less than `size`, up to `limit`.
  static int64_t power_of_two(int64_t size, int64_t limit) {
    int64_t power = 1;
    while (power < size && power < limit) power *= 2;
    return power;
  }

  void set(int axis, int64_t size, int64_t block_size, int64_t limit) {
    block_[axis] = static_cast<unsigned>(block_size);
    grid_[axis] = static_cast<unsigned>(std::min((size + block_size - 1) / block_size, limit));
  }

  unsigned grid_[3], block_[3];
};
