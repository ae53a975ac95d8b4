// weighted_gather on the CPU.
//
// Slices are added up in blocks that stay in registers. The adjoint adds to slices in the order of
// y, in one thread for each block of all slices, so that results do not depend on the number of
// threads.

#include "weighted_gather.h"

#include <algorithm>

namespace {

constexpr int64_t kBlock = 64;  // Elements of a slice that are added up at a time.
constexpr int64_t kPart = 256;  // Elements of a slice that the adjoint takes at a time.

struct Job {
  const WeightedGather& op;
  const float* in;
  float* out;
  int64_t parts;  // Of a slice.

  // y[n, o, r] for numbers of slices in [begin, end).
  template <int kInner>
  static void gather(void* argument, int64_t begin, int64_t end) {
    const Job& job = *static_cast<Job*>(argument);
    const WeightedGather& op = job.op;
    for (int64_t at = begin; at < end;) {
      const int64_t image = at / op.out_size, first = at % op.out_size;
      const int64_t last = std::min(first + end - at, op.out_size);
      const float* x = job.in + image * op.in_size * op.inner;
      for (int64_t r = first; r < last; ++r, ++at) {
        const int64_t taps = (image / op.outer * op.out_size + r) * op.taps;
        float* y = job.out + at * op.inner;
        constexpr int64_t kCount = kInner > 0 ? kInner : kBlock;
        if (op.inner < kCount) {
          for (int64_t i = 0; i < op.inner; ++i) job.sum<1>(x + i, taps, y + i);
        }
        // The last block overlaps the one before it where they do not come out even.
        for (int64_t i = 0; i < op.inner && op.inner >= kCount; i += kCount) {
          const int64_t first_element = std::min(i, op.inner - kCount);
          job.sum<kCount>(x + first_element, taps, y + first_element);
        }
      }
    }
  }

  // kCount elements of a slice of y, whose indices and weights begin at `taps`.
  template <int kCount>
  void sum(const float* x, int64_t taps, float* __restrict__ y) const {
    float sums[kCount] = {};
    for (int64_t k = taps; k < taps + op.taps; ++k) {
      const int64_t index = op.indices[k];
      if (index < 0 || index >= op.in_size) continue;
      const float weight = op.weights[k];
      const float* source = x + index * op.inner;
      for (int i = 0; i < kCount; ++i) sums[i] += weight * source[i];
    }
    for (int i = 0; i < kCount; ++i) y[i] = sums[i];
  }

  // Parts of all slices of x[n, o].
  template <int kInner>
  static void spread(void* argument, int64_t begin, int64_t end) {
    const Job& job = *static_cast<Job*>(argument);
    const WeightedGather& op = job.op;
    const int64_t inner = kInner > 0 ? kInner : op.inner;
    for (int64_t at = begin; at < end; ++at) {
      const int64_t image = at / job.parts, i = at % job.parts * kPart;
      const int64_t count = kInner > 0 ? kInner : std::min(kPart, inner - i);
      const int64_t taps = image / op.outer * op.out_size * op.taps;
      float* x = job.out + image * op.in_size * inner + i;
      const float* y = job.in + image * op.out_size * inner + i;
      for (int64_t j = 0; j < op.in_size; ++j) std::fill_n(x + j * inner, count, 0.0f);
      for (int64_t k = 0; k < op.out_size * op.taps; ++k) {
        const int64_t index = op.indices[taps + k];
        if (index < 0 || index >= op.in_size) continue;
        const float weight = op.weights[taps + k];
        float* __restrict__ target = x + index * inner;
        const float* source = y + k / op.taps * inner;
        for (int64_t c = 0; c < count; ++c) target[c] += weight * source[c];
      }
    }
  }
};

}  // namespace

void tf_ops_weighted_gather_cpu(const WeightedGather* op, int adjoint, const float* in, float* out,
                                ParallelFor parallel, void* pool) {
  const int64_t images = op->batch * op->outer;
  if (op->inner == 0 || op->in_size == 0 || op->out_size == 0) {  // Nothing is read.
    std::fill_n(out, images * op->inner * (adjoint ? op->in_size : op->out_size), 0.0f);
    return;
  }
  Job job{*op, in, out, (op->inner + kPart - 1) / kPart};
  const int64_t cost = (op->taps + 1) * (2 + std::min(op->inner, kPart) / 4);
  if (adjoint) {
    const RangeTask task = op->inner == 3   ? Job::spread<3>
                           : op->inner == 1 ? Job::spread<1>
                                            : Job::spread<0>;
    parallel(pool, images * job.parts, op->out_size * cost, task, &job);
  } else {
    const RangeTask task = op->inner == 3   ? Job::gather<3>
                           : op->inner == 1 ? Job::gather<1>
                                            : Job::gather<0>;
    parallel(pool, images * op->out_size, cost, task, &job);
  }
}
