// Lets a C++ compiler build the `.cu` files for the CPU, where a loop over all threads of a launch
// takes the place of the GPU. The kernels neither share memory nor wait for each other, so that any
// order of the threads will do. Included before everything else.
#pragma once

#include <cmath>
#include <cstring>
#include <map>
#include <string>

#define __device__
struct Index {
  unsigned x, y, z;
};
static thread_local Index gridDim, blockDim, blockIdx, threadIdx;

struct Kernel {
  void (*run)(const void* arguments);
  size_t size;  // Of the arguments.
};

inline std::map<std::string, Kernel>& kernels() {
  static std::map<std::string, Kernel> all;
  return all;
}

inline bool add_kernel(const char* name, Kernel kernel) { return kernels()[name] = kernel, true; }

template <typename Arguments, void (*kFunction)(const Arguments&)>
Kernel kernel_of() {
  return {[](const void* p) { kFunction(*static_cast<const Arguments*>(p)); }, sizeof(Arguments)};
}

#define KERNEL(NAME, ARGUMENTS)                                                              \
  static void NAME(const ARGUMENTS& a);                                                      \
  static const bool NAME##_is_known = add_kernel(#NAME, kernel_of<ARGUMENTS, NAME>());        \
  static void NAME(const ARGUMENTS& a)
