// upfirdn_2d on the CPU.
//
// A filter is a sum of products of a column and a row: one such term where it has rank 1, as the
// filters of StyleGAN2 do, else one term for each of its rows. A row of y is made from up to kh rows
// of x, added up by weight into one row, which the row filter then passes over. Both steps are the
// same loop, `weighted_sum`, over contiguous numbers. Rows of y are independent, and the order of
// every sum is fixed, so that results do not depend on the number of threads.

#include "upfirdn_2d.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "floats.h"

namespace {

// Below this many channels, neighboring pixels are processed together.
constexpr int64_t kFewChannels = 16;
constexpr int64_t kStretch = 64;    // Elements between fetches ahead.
constexpr int64_t kCacheLine = 64;  // Bytes.

// One product of a column and a row; taps in the order in which x is read.
struct Term {
  std::vector<float> column, row;
};

std::vector<Term> factorise(const Upfirdn2D& op) {
  const int64_t kh = op.kh, kw = op.kw;
  auto tap = [&](int64_t i, int64_t j) { return op.k[(kh - 1 - i) * kw + kw - 1 - j]; };
  int64_t pivot_i = 0, pivot_j = 0;
  for (int64_t i = 0; i < kh; ++i) {
    for (int64_t j = 0; j < kw; ++j) {
      if (std::fabs(tap(i, j)) > std::fabs(tap(pivot_i, pivot_j))) pivot_i = i, pivot_j = j;
    }
  }
  const double pivot = tap(pivot_i, pivot_j);
  Term product{std::vector<float>(kh), std::vector<float>(kw)};
  for (int64_t i = 0; i < kh; ++i) product.column[i] = tap(i, pivot_j);
  for (int64_t j = 0; j < kw; ++j) {
    product.row[j] = pivot == 0 ? 0 : static_cast<float>(tap(pivot_i, j) / pivot);
  }
  double error = 0;
  for (int64_t i = 0; i < kh; ++i) {
    for (int64_t j = 0; j < kw; ++j) {
      const double product_tap = static_cast<double>(product.column[i]) * product.row[j];
      error = std::max(error, std::fabs(product_tap - tap(i, j)));
    }
  }
  if (error <= 2e-7 * std::fabs(pivot)) return {product};

  std::vector<Term> rows;
  for (int64_t i = 0; i < kh; ++i) {
    Term term{std::vector<float>(kh, 0.0f), std::vector<float>(kw)};
    term.column[i] = 1;
    for (int64_t j = 0; j < kw; ++j) term.row[j] = tap(i, j);
    rows.push_back(term);
  }
  return rows;
}

int64_t positive_modulo(int64_t a, int64_t b) { return ((a % b) + b) % b; }

// For an output position: the first pixel it reads and the first tap. Further pixels follow one by
// one, further taps in steps of `up`; the taps in between meet inserted zeros.
struct Start {
  int64_t pixel, tap;
};

Start start_of(int64_t position, int64_t up, int64_t down, int64_t pad) {
  const int64_t first = position * down - pad;
  const int64_t tap = positive_modulo(-first, up);
  return {(first + tap) / up, tap};
}

struct Weighted {
  float weight;
  int64_t offset;  // From the first source, in elements.
};

// What one call of `weighted_sum` does:
//   dst[m*dst_step + i] (+)= sum over taps of weight * src[offset + m*src_step + i]
// for m < columns and i < n. Meanwhile what is to be read and written soon is fetched.
template <typename T>
struct Span {
  int64_t columns, n;
  const T* src;
  int64_t src_step;
  float* dst;
  int64_t dst_step;
  const T* next_src;
  const float* next_dst;
};

template <int kTaps, bool kAdd, typename T>
void sum_of(const Weighted* taps, const Span<T>& span) {
  const float w0 = taps[0].weight, w1 = kTaps > 1 ? taps[1].weight : 0;
  const float w2 = kTaps > 2 ? taps[2].weight : 0, w3 = kTaps > 3 ? taps[3].weight : 0;
  for (int64_t m = 0; m < span.columns; ++m) {
    const T* src = span.src + m * span.src_step;
    const T* __restrict__ s0 = src + taps[0].offset;
    const T* __restrict__ s1 = kTaps > 1 ? src + taps[1].offset : s0;
    const T* __restrict__ s2 = kTaps > 2 ? src + taps[2].offset : s0;
    const T* __restrict__ s3 = kTaps > 3 ? src + taps[3].offset : s0;
    float* __restrict__ dst = span.dst + m * span.dst_step;
    auto sum_up = [&](int64_t begin, int64_t end) __attribute__((always_inline)) {
      for (int64_t i = begin; i < end; ++i) {
        float sum = w0 * to_float(s0[i]);
        if (kTaps > 1) sum += w1 * to_float(s1[i]);
        if (kTaps > 2) sum += w2 * to_float(s2[i]);
        if (kTaps > 3) sum += w3 * to_float(s3[i]);
        dst[i] = kAdd ? dst[i] + sum : sum;
      }
    };
    int64_t i = 0;
    for (; i + kStretch <= span.n; i += kStretch) {
      for (int64_t j = 0; j < kStretch; j += kCacheLine / sizeof(T)) {
        __builtin_prefetch(span.next_src + i + j, 0, 2);
      }
      for (int64_t j = 0; j < kStretch; j += kCacheLine / sizeof(float)) {
        __builtin_prefetch(span.next_dst + m * span.dst_step + i + j, 1, 2);
      }
      sum_up(i, i + kStretch);
    }
    sum_up(i, span.n);
  }
}

template <bool kAdd, typename T>
void sum_of_few(int64_t count, const Weighted* taps, const Span<T>& span) {
  switch (count) {
    case 1: return sum_of<1, kAdd>(taps, span);
    case 2: return sum_of<2, kAdd>(taps, span);
    case 3: return sum_of<3, kAdd>(taps, span);
    default: return sum_of<4, kAdd>(taps, span);
  }
}

template <typename T>
void weighted_sum(const Weighted* taps, int64_t count, bool add, const Span<T>& span) {
  if (count == 0 && !add) {
    for (int64_t m = 0; m < span.columns; ++m) {
      std::fill_n(span.dst + m * span.dst_step, span.n, 0.0f);
    }
  }
  for (int64_t t = 0; t < count; t += 4) {
    const int64_t few = std::min<int64_t>(count - t, 4);
    if (add || t > 0) {
      sum_of_few<true>(few, taps + t, span);
    } else {
      sum_of_few<false>(few, taps + t, span);
    }
  }
}

// Outputs `group`, `group + groups`, … of a row: the same taps, reading every `step`-th pixel.
struct Group {
  int64_t columns;
  std::vector<std::vector<Weighted>> taps;  // For each term; offsets within the padded row.
};

struct Plan {
  explicit Plan(const Upfirdn2D& op) : op(op), terms(factorise(op)) {
    const int64_t common = std::gcd(op.up_x, op.down_x);
    groups = op.up_x / common;
    step = op.down_x / common;
    planes = op.channels < kFewChannels ? step : 1;
    // Pixels before and after the row, so that no position of the filter needs a check.
    const Start last = start_of(op.out_w - 1, op.up_x, op.down_x, op.pad_x);
    left = std::max<int64_t>(0, -start_of(0, op.up_x, op.down_x, op.pad_x).pixel);
    const int64_t end = std::max(op.in_w, last.pixel + (op.kw + op.up_x - 1) / op.up_x);
    plane_width = (left + end + planes) / planes + 1;
    for (int64_t oy = 0; oy < op.out_h; ++oy) {
      rows.push_back(start_of(oy, op.up_y, op.down_y, op.pad_y));
    }
    for (int64_t g = 0; g < std::min(groups, op.out_w); ++g) add_group(g);
  }

  void add_group(int64_t g) {
    const Start start = start_of(g, op.up_x, op.down_x, op.pad_x);
    Group group{(op.out_w - g + groups - 1) / groups, {}};
    for (const Term& term : terms) {
      std::vector<Weighted> taps;
      int64_t column = left + start.pixel;
      for (int64_t j = start.tap; j < op.kw; j += op.up_x, ++column) {
        const int64_t place = (column % planes) * plane_width + column / planes;
        if (term.row[j] != 0) taps.push_back({term.row[j], place * op.channels});
      }
      group.taps.push_back(taps);
    }
    row_groups.push_back(group);
  }

  // With few channels, each group of outputs is made in a row of its own first.
  bool interleaves() const { return groups > 1 && op.channels < kFewChannels; }

  Upfirdn2D op;
  std::vector<Term> terms;
  std::vector<Start> rows;  // For each row of y.
  int64_t groups, step;
  int64_t planes;       // The padded row is kept as its pixels 0, step, …; 1, step + 1, …; ….
  int64_t left;         // Zeros before the row.
  int64_t plane_width;  // Pixels.
  std::vector<Group> row_groups;
};

template <typename T>
class RowMaker {
 public:
  explicit RowMaker(const Plan& plan)
      : plan_(plan),
        op_(plan.op),
        padded_(plan.planes * plan.plane_width * op_.channels, 0.0f),
        dense_(plan.planes > 1 ? op_.in_w * op_.channels : 0),
        group_(plan.interleaves() ? op_.out_w * op_.channels : 0),
        out_(sizeof(T) == sizeof(float) ? 0 : op_.out_w * op_.channels),
        rows_(op_.kh) {}

  // Makes y[n, oy] from x[n].
  void make(const T* x, int64_t oy, T* y) {
    float* out = out_.empty() ? reinterpret_cast<float*>(y) : out_.data();
    for (size_t term = 0; term < plan_.terms.size(); ++term) {
      find_rows(oy, plan_.terms[term]);
      add_up_rows(x);
      pass_over(term, out);
    }
    if (plan_.interleaves()) interleave(out);
    for (size_t i = 0; i < out_.size(); ++i) from_float(out[i], &y[i]);
  }

 private:
  void find_rows(int64_t oy, const Term& term) {
    const int64_t size = op_.in_w * op_.channels;
    const Start start = plan_.rows[oy];
    count_ = 0;
    int64_t row = start.pixel;
    for (int64_t i = start.tap; i < op_.kh; i += op_.up_y, ++row) {
      if (row >= 0 && row < op_.in_h && term.column[i] != 0) {
        rows_[count_++] = {term.column[i], row * size};
      }
    }
  }

  void add_up_rows(const T* x) {
    const int64_t n = op_.in_w * op_.channels;
    float* dst = plan_.planes > 1 ? dense_.data() : padded_.data() + plan_.left * op_.channels;
    // The next row of y most often reads the same rows and the one after them.
    const T* next = x + (count_ > 0 ? rows_[count_ - 1].offset : 0) + n;
    weighted_sum<T>(rows_.data(), count_, false, {1, n, x, 0, dst, 0, next, dst});
    if (plan_.planes > 1) split();
  }

  // Distributes a dense row over the planes.
  void split() {
    const int64_t channels = op_.channels, planes = plan_.planes;
    for (int64_t plane = 0; plane < planes; ++plane) {
      // The first column of x that belongs to this plane, and its place in it.
      const int64_t first = positive_modulo(plane - plan_.left, planes);
      const int64_t place = (plan_.left + first) / planes;
      float* dst = padded_.data() + (plane * plan_.plane_width + place) * channels;
      copy_columns(dense_.data() + first * channels, planes * channels, dst, channels,
                   (op_.in_w - first + planes - 1) / planes);
    }
  }

  void pass_over(size_t term, float* out) {
    const int64_t channels = op_.channels, row_size = op_.out_w * channels;
    const float* src = padded_.data();
    float* dst = plan_.interleaves() ? group_.data() : out;
    for (const Group& group : plan_.row_groups) {
      const std::vector<Weighted>& taps = group.taps[term];
      const int64_t columns = group.columns, n = columns * channels;
      if (plan_.step == plan_.planes && (plan_.groups == 1 || plan_.interleaves())) {
        weighted_sum<float>(taps.data(), taps.size(), term > 0,
                            {1, n, src, 0, dst, 0, src, dst + row_size});
        dst += n;
      } else {
        weighted_sum<float>(taps.data(), taps.size(), term > 0,
                            {columns, channels, src, plan_.step * channels, dst,
                             plan_.groups * channels, src, dst + row_size});
        dst += channels;
      }
    }
  }

  void interleave(float* out) {
    const float* src = group_.data();
    for (size_t g = 0; g < plan_.row_groups.size(); ++g) {
      const int64_t columns = plan_.row_groups[g].columns;
      copy_columns(src, op_.channels, out + g * op_.channels, plan_.groups * op_.channels, columns);
      src += columns * op_.channels;
    }
  }

  void copy_columns(const float* src, int64_t src_step, float* dst, int64_t dst_step,
                    int64_t columns) {
    switch (op_.channels) {
      case 1: return copy<1>(src, src_step, dst, dst_step, columns);
      case 3: return copy<3>(src, src_step, dst, dst_step, columns);
      default: return copy<0>(src, src_step, dst, dst_step, columns);
    }
  }

  template <int kChannels>
  void copy(const float* __restrict__ src, int64_t src_step, float* __restrict__ dst,
            int64_t dst_step, int64_t columns) {
    const int64_t channels = kChannels > 0 ? kChannels : op_.channels;
    for (int64_t m = 0; m < columns; ++m) {
      for (int64_t c = 0; c < channels; ++c) dst[m * dst_step + c] = src[m * src_step + c];
    }
  }

  const Plan& plan_;
  const Upfirdn2D& op_;
  std::vector<float> padded_, dense_, group_, out_;
  std::vector<Weighted> rows_;  // The first `count_` make up the row of y.
  int64_t count_ = 0;
};

template <typename T>
struct Job {
  const Plan* plan;
  const T* x;
  T* y;

  static void run(void* argument, int64_t begin, int64_t end) {
    const Job& job = *static_cast<Job*>(argument);
    const Upfirdn2D& op = job.plan->op;
    RowMaker<T> maker(*job.plan);
    for (int64_t i = begin; i < end; ++i) {
      const T* image = job.x + i / op.out_h * op.in_h * op.in_w * op.channels;
      maker.make(image, i % op.out_h, job.y + i * op.out_w * op.channels);
    }
  }
};

}  // namespace

void tf_ops_upfirdn_2d_cpu(const Upfirdn2D* op, int dtype, const void* x, void* y,
                           ParallelFor parallel, void* pool) {
  const int64_t rows = op->batch * op->out_h, row_size = op->out_w * op->channels;
  if (rows == 0 || row_size == 0) return;
  const Plan plan(*op);
  const int64_t cost = row_size * static_cast<int64_t>(plan.terms.size()) * (op->kh + op->kw) / 8;
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    Job<T> job{&plan, static_cast<const T*>(x), static_cast<T*>(y)};
    parallel(pool, rows, cost + 1, Job<T>::run, &job);
  });
}
