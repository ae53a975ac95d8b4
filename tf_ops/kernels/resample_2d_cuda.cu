// resample_2d on GPUs.
//
// A thread makes one number of the result, of y or, in the adjoint, of x: there it looks for the
// pixels of y that read its pixel, so that nothing is added up by several threads and results are
// the same at every run. Neighboring threads have neighboring channels and columns.

#include "device_common.h"

namespace resample_2d {

// How much pixel `index` counts at a position; 0 where that is not finite.
__device__ inline float weight_at(double position, int64_t index) {
  const double before = floor(position);
  const float fraction = static_cast<float>(position - before);
  if (before == static_cast<double>(index)) return 1.0f - fraction;
  return before + 1.0 == static_cast<double>(index) ? fraction : 0.0f;
}

// Column (axis 0) or row (axis 1) of the point that pixel (u, v) of y reads.
__device__ inline double position_of(const double* m, int axis, int64_t u, int64_t v) {
  return m[3 * axis] * static_cast<double>(u) +
         (m[3 * axis + 1] * static_cast<double>(v) + m[3 * axis + 2]);
}

// The first of two neighbors, kept out of the range of integers only where both are outside.
__device__ inline int64_t neighbor(double position, int64_t size) {
  return static_cast<int64_t>(fmin(fmax(floor(position), -2.0), static_cast<double>(size)));
}

__device__ inline void sample(const Resample2DArguments& a) {
  const Resample2D& op = a.op;
  for_all(op.out_w * op.channels, op.out_h, op.batch, [&](int64_t n, int64_t v, int64_t at) {
    const int64_t u = divide(at, op.channels), c = at - u * op.channels;
    const double* m = op.transforms + 6 * n;
    const double x = position_of(m, 0, u, v), y = position_of(m, 1, u, v);
    const int64_t column = neighbor(x, op.in_w), row = neighbor(y, op.in_h);
    float sum = 0;
    for (int64_t i = row; i < row + 2; ++i) {
      for (int64_t j = column; j < column + 2; ++j) {
        if (i < 0 || i >= op.in_h || j < 0 || j >= op.in_w) continue;
        const float weight = weight_at(y, i) * weight_at(x, j);
        sum += weight * a.in[((n * op.in_h + i) * op.in_w + j) * op.channels + c];
      }
    }
    a.out[(n * op.out_h + v) * op.out_w * op.channels + at] = sum;
  });
}

// Whole numbers in [0, size) from `first` to `last`.
struct Range {
  int64_t first, last;

  // All of them.
  __device__ explicit Range(int64_t size) : first(0), last(size - 1) {}

  // Leaves those that can be within `reach` of a center, and some beside them; all if it is NaN.
  __device__ void narrow(double center, double reach) {
    const double low = floor(center - reach), high = ceil(center + reach);
    if (low > static_cast<double>(first)) first = low > last ? last + 1 : static_cast<int64_t>(low);
    if (high < static_cast<double>(last)) last = high < 0 ? -1 : static_cast<int64_t>(high);
  }
};

// The u for which slope * u + start can be less than 1 from `index`, among those in `range`.
__device__ inline void narrow_columns(double slope, double start, int64_t index, Range* range) {
  if (slope != 0) range->narrow((index - start) / slope, 1 / fabs(slope));
}

__device__ inline void spread(const Resample2DArguments& a) {
  const Resample2D& op = a.op;
  for_all(op.in_w * op.channels, op.in_h, op.batch, [&](int64_t n, int64_t i, int64_t at) {
    const int64_t j = divide(at, op.channels), c = at - j * op.channels;
    const double* m = op.transforms + 6 * n;
    // The square of pixels around (j, i) comes from a parallelogram, unless all lie on a line.
    Range rows(op.out_h);
    const double determinant = m[0] * m[4] - m[1] * m[3];
    if (determinant != 0) {
      const double v = (m[0] * (i - m[5]) - m[3] * (j - m[2])) / determinant;
      rows.narrow(v, (fabs(m[0]) + fabs(m[3])) / fabs(determinant));
    }
    float sum = 0;
    for (int64_t v = rows.first; v <= rows.last; ++v) {
      Range columns(op.out_w);
      narrow_columns(m[0], m[1] * v + m[2], j, &columns);
      narrow_columns(m[3], m[4] * v + m[5], i, &columns);
      for (int64_t u = columns.first; u <= columns.last; ++u) {
        const float weight =
            weight_at(position_of(m, 1, u, v), i) * weight_at(position_of(m, 0, u, v), j);
        if (weight == 0) continue;
        sum += weight * a.in[((n * op.out_h + v) * op.out_w + u) * op.channels + c];
      }
    }
    a.out[(n * op.in_h + i) * op.in_w * op.channels + at] = sum;
  });
}

}  // namespace resample_2d

KERNEL(resample_2d_sample, Resample2DArguments) { resample_2d::sample(a); }
KERNEL(resample_2d_spread, Resample2DArguments) { resample_2d::spread(a); }
