// Element types and the interface to a pool of threads.
#pragma once

#include <cstdint>

enum DataType { kFloat32 = 0, kFloat16 = 1, kBfloat16 = 2 };

// Calls task(argument, begin, end) for ranges that cover [0, count), on any threads, in any order.
// `cost` is about how many cycles one element takes.
typedef void (*RangeTask)(void* argument, int64_t begin, int64_t end);
typedef void (*ParallelFor)(void* pool, int64_t count, int64_t cost, RangeTask task,
                            void* argument);
