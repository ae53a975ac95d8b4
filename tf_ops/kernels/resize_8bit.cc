// Resampling of 8-bit pictures with separable weights, the horizontal pass first and rounded to 8
// bits, as Pillow has it: the same results to the last bit, several times as fast.
//
// Both passes run along contiguous bytes of many rows or columns at once, which compilers turn into
// vector instructions; between them the planes are transposed.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr int kPrecision = 22;  // bits of a weight after the point
constexpr int kLanes = 64;

struct Weights {
  int size;               // of the result
  int taps;               // weights for each
  const int32_t* first;   // [size] where they start
  const int32_t* count;   // [size] how many are used
  const int32_t* values;  // [size, taps]
};

// Exchanges the bits of a under mask << shift with those of b under mask.
inline void Swap(uint64_t& a, uint64_t& b, int shift, uint64_t mask) {
  const uint64_t t = ((a >> shift) ^ b) & mask;
  b ^= t;
  a ^= t << shift;
}

void Transpose8x8(const uint8_t* in, int64_t in_stride, uint8_t* out, int64_t out_stride) {
  uint64_t r[8];
  for (int i = 0; i < 8; ++i) std::memcpy(&r[i], in + i * in_stride, 8);
  for (int i = 0; i < 4; ++i) Swap(r[i], r[i + 4], 32, 0x00000000FFFFFFFFull);
  for (int i : {0, 1, 4, 5}) Swap(r[i], r[i + 2], 16, 0x0000FFFF0000FFFFull);
  for (int i : {0, 2, 4, 6}) Swap(r[i], r[i + 1], 8, 0x00FF00FF00FF00FFull);
  for (int i = 0; i < 8; ++i) std::memcpy(out + i * out_stride, &r[i], 8);
}

// [rows, columns] to [columns, rows].
void Transpose(const uint8_t* in, int64_t in_stride, int rows, int columns, uint8_t* out,
               int64_t out_stride) {
  for (int y = 0; y < rows; y += 8) {
    for (int x = 0; x < columns; x += 8) {
      if (y + 8 <= rows && x + 8 <= columns) {
        Transpose8x8(in + y * in_stride + x, in_stride, out + x * out_stride + y, out_stride);
        continue;
      }
      for (int j = y; j < rows && j < y + 8; ++j) {
        for (int i = x; i < columns && i < x + 8; ++i) {
          out[i * out_stride + j] = in[j * in_stride + i];
        }
      }
    }
  }
}

inline uint8_t Clip(int32_t sum) {
  const int32_t value = sum >> kPrecision;
  return static_cast<uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// One line of the result: the weighted sum of lines of `width` bytes that are `step` apart.
void Blend(const uint8_t* in, int64_t step, const int32_t* weights, int taps, int width,
           uint8_t* out) {
  int x = 0;
  for (; x + kLanes <= width; x += kLanes) {
    int32_t sums[kLanes];
    for (int i = 0; i < kLanes; ++i) sums[i] = 1 << (kPrecision - 1);
    for (int k = 0; k < taps; ++k) {
      const uint8_t* line = in + k * step + x;
      const int32_t weight = weights[k];
      for (int i = 0; i < kLanes; ++i) sums[i] += weight * line[i];
    }
    for (int i = 0; i < kLanes; ++i) out[x + i] = Clip(sums[i]);
  }
  for (; x < width; ++x) {
    int32_t sum = 1 << (kPrecision - 1);
    for (int k = 0; k < taps; ++k) sum += weights[k] * in[k * step + x];
    out[x] = Clip(sum);
  }
}

}  // namespace

// in: [height, width, pixel_bytes], rows row_bytes apart; of each pixel the first `channels` bytes
// count. out: [channels, y.size, x.size]. weights: see struct Weights.
extern "C" void resize_8bit(const uint8_t* in, int height, int width, int channels,
                            int64_t row_bytes, int pixel_bytes, int x_size,
                            int x_taps, const int32_t* x_first, const int32_t* x_count,
                            const int32_t* x_values, int y_size, int y_taps,
                            const int32_t* y_first, const int32_t* y_count,
                            const int32_t* y_values, uint8_t* out) {
  const Weights wx{x_size, x_taps, x_first, x_count, x_values};
  const Weights wy{y_size, y_taps, y_first, y_count, y_values};
  // A stride that is no power of two keeps the columns out of the same lines of the cache.
  const int64_t stride = ((height + 63) / 64) * 64 + 64;
  std::vector<uint8_t> columns(stride * width * pixel_bytes);
  std::vector<uint8_t> narrow(int64_t{height} * wx.size);
  std::vector<uint8_t> wide(int64_t{wx.size} * height);
  Transpose(in, row_bytes, height, width * pixel_bytes, columns.data(), stride);
  for (int c = 0; c < channels; ++c) {
    for (int x = 0; x < wx.size; ++x) {
      const uint8_t* first = columns.data() + (int64_t{wx.first[x]} * pixel_bytes + c) * stride;
      Blend(first, stride * pixel_bytes, wx.values + int64_t{x} * wx.taps, wx.count[x], height,
            narrow.data() + int64_t{x} * height);
    }
    Transpose(narrow.data(), height, wx.size, height, wide.data(), wx.size);
    uint8_t* plane = out + int64_t{c} * wy.size * wx.size;
    for (int y = 0; y < wy.size; ++y) {
      Blend(wide.data() + int64_t{wy.first[y]} * wx.size, wx.size,
            wy.values + int64_t{y} * wy.taps, wy.count[y], wx.size, plane + int64_t{y} * wx.size);
    }
  }
}
