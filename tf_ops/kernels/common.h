// Whole numbers, element types and the interface to a pool of threads.
#pragma once

#ifdef __CUDACC_RTC__  // NVRTC has no standard headers; what is used of them is built in.
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned uint32_t;
typedef long long int64_t;
#else
#include <cmath>
#include <cstdint>
#include <cstring>
#endif

// Loops vectorise only where everything in them is inlined.
#ifdef __CUDACC__
#define HOST_DEVICE __host__ __device__ __forceinline__
#else
#define HOST_DEVICE __attribute__((always_inline)) inline
#endif

enum DataType { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

// Calls task(argument, begin, end) for ranges that cover [0, count), on any threads, in any order.
// `cost` is about how many cycles one element takes.
typedef void (*RangeTask)(void* argument, int64_t begin, int64_t end);
typedef void (*ParallelFor)(void* pool, int64_t count, int64_t cost, RangeTask task,
                            void* argument);
