// resample_2d on the CPU.
//
// For a stretch of a row of y, places and weights of the four neighbors are computed first, in a
// loop without branches that vectorises; the pixels follow one by one. Rows of y are independent.
// The adjoint adds up all that falls on an image in one thread, in the order of y, so that results
// do not depend on the number of threads.

#include "resample_2d.h"

#include <algorithm>
#include <cmath>

namespace {

constexpr int kStretch = 64;  // Pixels of y.

// The two neighbors along an axis, for each pixel of a stretch.
struct Axis {
  int32_t tap[2][kStretch];
  float weight[2][kStretch];

  // Positions are start + slope * u for u = first, first + 1, …
  void find(double start, double slope, int64_t first, int64_t size) {
    for (int i = 0; i < kStretch; ++i) {
      const double position = start + slope * static_cast<double>(first + i);
      const double floor = std::floor(position);
      const float fraction = static_cast<float>(position - floor);
      // Far outside is as good as just outside, and so is NaN.
      const double low = floor > -2.0 ? floor : -2.0;
      const double clipped = low < size ? low : size;
      const int32_t before = static_cast<int32_t>(clipped), last = static_cast<int32_t>(size - 1);
      set(0, i, before, last, 1.0f - fraction);
      set(1, i, before + 1, last, fraction);
    }
  }

 private:
  void set(int which, int i, int32_t index, int32_t last, float value) {
    const int32_t clipped = std::min(std::max(index, 0), last);
    tap[which][i] = clipped;
    weight[which][i] = clipped == index ? value : 0.0f;
  }
};

// The four neighbors, for each pixel of a stretch.
struct Neighbors {
  int32_t place[4][kStretch];  // In pixels from the first one of the image.
  float weight[4][kStretch];

  void find(const Resample2D& op, int64_t n, int64_t v, int64_t first) {
    const double* m = op.transforms + 6 * n;
    Axis x, y;
    x.find(m[1] * v + m[2], m[0], first, op.in_w);
    y.find(m[4] * v + m[5], m[3], first, op.in_h);
    const int32_t width = static_cast<int32_t>(op.in_w);
    for (int k = 0; k < 4; ++k) {
      for (int i = 0; i < kStretch; ++i) {
        place[k][i] = y.tap[k / 2][i] * width + x.tap[k % 2][i];
        weight[k][i] = y.weight[k / 2][i] * x.weight[k % 2][i];
      }
    }
  }
};

// Calls body(neighbors, i, u) for the pixels u of a row of y.
template <typename Body>
void for_row(const Resample2D& op, int64_t n, int64_t v, Body body) {
  Neighbors neighbors;
  for (int64_t first = 0; first < op.out_w; first += kStretch) {
    neighbors.find(op, n, v, first);
    const int64_t count = std::min<int64_t>(kStretch, op.out_w - first);
    for (int64_t i = 0; i < count; ++i) body(neighbors, i, first + i);
  }
}

// kChannels is 0 where their number is not known to the compiler.
template <int kChannels>
void sample_row(const Resample2D& op, int64_t n, int64_t v, const float* x, float* y) {
  const int64_t channels = kChannels > 0 ? kChannels : op.channels;
  for_row(op, n, v, [=](const Neighbors& neighbors, int64_t i, int64_t u) {
    const float* source[4];
    for (int k = 0; k < 4; ++k) source[k] = x + neighbors.place[k][i] * channels;
    for (int64_t c = 0; c < channels; ++c) {
      float sum = 0;
      for (int k = 0; k < 4; ++k) sum += neighbors.weight[k][i] * source[k][c];
      y[u * channels + c] = sum;
    }
  });
}

template <int kChannels>
void spread_row(const Resample2D& op, int64_t n, int64_t v, const float* y, float* x) {
  const int64_t channels = kChannels > 0 ? kChannels : op.channels;
  for_row(op, n, v, [=](const Neighbors& neighbors, int64_t i, int64_t u) {
    for (int k = 0; k < 4; ++k) {
      const float weight = neighbors.weight[k][i];
      float* target = x + neighbors.place[k][i] * channels;
      for (int64_t c = 0; c < channels; ++c) target[c] += weight * y[u * channels + c];
    }
  });
}

struct Job {
  using Row = void (*)(const Resample2D&, int64_t n, int64_t v, const float* in, float* out);

  const Resample2D& op;
  const float* in;
  float* out;
  Row row;
  int64_t in_size, out_size;  // Of an image of x and of y.

  // For rows of all images.
  static void sample(void* argument, int64_t begin, int64_t end) {
    const Job& job = *static_cast<Job*>(argument);
    const Resample2D& op = job.op;
    for (int64_t i = begin; i < end; ++i) {
      const float* image = job.in + i / op.out_h * job.in_size;
      job.row(op, i / op.out_h, i % op.out_h, image, job.out + i * op.out_w * op.channels);
    }
  }

  // For whole images.
  static void spread(void* argument, int64_t begin, int64_t end) {
    const Job& job = *static_cast<Job*>(argument);
    const Resample2D& op = job.op;
    for (int64_t n = begin; n < end; ++n) {
      float* image = job.out + n * job.in_size;
      std::fill_n(image, job.in_size, 0.0f);
      for (int64_t v = 0; v < op.out_h; ++v) {
        job.row(op, n, v, job.in + n * job.out_size + v * op.out_w * op.channels, image);
      }
    }
  }
};

template <int kChannels>
Job::Row row_of(bool adjoint) {
  return adjoint ? spread_row<kChannels> : sample_row<kChannels>;
}

}  // namespace

void tf_ops_resample_2d_cpu(const Resample2D* op, int adjoint, const float* in, float* out,
                            ParallelFor parallel, void* pool) {
  const int64_t in_size = op->in_h * op->in_w * op->channels;
  const int64_t out_size = op->out_h * op->out_w * op->channels;
  if (in_size == 0 || out_size == 0) {  // Nothing is read.
    std::fill_n(out, op->batch * (adjoint ? in_size : out_size), 0.0f);
    return;
  }
  const Job::Row row = op->channels == 3   ? row_of<3>(adjoint)
                       : op->channels == 1 ? row_of<1>(adjoint)
                                           : row_of<0>(adjoint);
  Job job{*op, in, out, row, in_size, out_size};
  const int64_t cost = op->out_w * (8 + 4 * op->channels);
  if (adjoint) {
    parallel(pool, op->batch, op->out_h * cost + in_size, Job::spread, &job);
  } else {
    parallel(pool, op->batch * op->out_h, cost, Job::sample, &job);
  }
}
