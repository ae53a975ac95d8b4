// weighted_gather on GPUs.
//
// A thread makes one number of y. In the adjoint it makes the same element of all slices of x,
// adding to them in the order of y, so that results are the same at every run. Neighboring threads
// have neighboring elements of a slice.

#include "device_common.h"

namespace weighted_gather {

__device__ inline void collect(const WeightedGatherArguments& a) {
  const WeightedGather& op = a.op;
  for_all(op.inner, op.out_size, op.batch * op.outer, [&](int64_t image, int64_t r, int64_t i) {
    const int64_t taps = (divide(image, op.outer) * op.out_size + r) * op.taps;
    float sum = 0;
    for (int64_t k = taps; k < taps + op.taps; ++k) {
      const int64_t index = op.indices[k];
      if (index < 0 || index >= op.in_size) continue;
      sum += op.weights[k] * a.in[(image * op.in_size + index) * op.inner + i];
    }
    a.out[(image * op.out_size + r) * op.inner + i] = sum;
  });
}

__device__ inline void spread(const WeightedGatherArguments& a) {
  const WeightedGather& op = a.op;
  for_all(op.inner, op.outer, op.batch, [&](int64_t n, int64_t o, int64_t i) {
    const int64_t image = n * op.outer + o;
    float* x = a.out + image * op.in_size * op.inner + i;
    const float* y = a.in + image * op.out_size * op.inner + i;
    for (int64_t j = 0; j < op.in_size; ++j) x[j * op.inner] = 0;
    for (int64_t r = 0; r < op.out_size; ++r) {
      const int64_t taps = (n * op.out_size + r) * op.taps;
      for (int64_t k = taps; k < taps + op.taps; ++k) {
        const int64_t index = op.indices[k];
        if (index < 0 || index >= op.in_size) continue;
        x[index * op.inner] += op.weights[k] * y[r * op.inner];
      }
    }
  });
}

}  // namespace weighted_gather

KERNEL(weighted_gather_collect, WeightedGatherArguments) { weighted_gather::collect(a); }
KERNEL(weighted_gather_spread, WeightedGatherArguments) { weighted_gather::spread(a); }
