// fused_bias_act on the CPU.
//
// Elements are processed in tiles short enough for the fastest cache, with the bias of each element
// in an array beside them, so that one loop serves every place of the channels; likewise the scale,
// and the noise is part of the bias. Sums per channel
// add up lane by lane within a block of tiles, whose size follows from the shape alone, and then
// over the blocks in order, so that results do not depend on the number of threads.

#include "fused_bias_act.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "activations.h"
#include "floats.h"

namespace {

constexpr int64_t kTile = 512;    // Elements, about.
constexpr int64_t kBlock = 32768;  // Elements, about: what one thread takes at a time.

// One tile in float32; biases have an entry for each element.
struct Tile {
  int64_t size;
  const float *a, *a_bias, *scale, *reference, *reference_bias, *dy;
  float* out;
  float* lanes;  // Where to add `out`, or null.
};

enum Kind { kForward, kScaled, kFirst, kFirstByOutput, kSecond };

template <typename Act, Kind kKind>
void process(const Formula& formula, const Tile& tile) {
  const float *a = tile.a, *a_bias = tile.a_bias, *scale = tile.scale;
  const float *reference = tile.reference, *reference_bias = tile.reference_bias, *dy = tile.dy;
  float* out = tile.out;
  const Formula f = formula;
  // `out` may be `a`, element for element, which does not hinder vectorisation.
#pragma GCC ivdep
  for (int64_t i = 0; i < tile.size; ++i) {
    const float biased = (kKind == kScaled ? a[i] * scale[i] : a[i]) + a_bias[i];
    if (kKind == kForward || kKind == kScaled) {
      out[i] = f.forward<Act>(biased);
    } else if (kKind == kFirst) {
      out[i] = f.first<Act>(biased, reference[i] + reference_bias[i]);
    } else if (kKind == kFirstByOutput) {
      out[i] = f.first_by_output<Act>(biased, reference[i]);
    } else {
      out[i] = f.second<Act>(biased, dy[i], reference[i] + reference_bias[i]);
    }
  }
  if (tile.lanes == nullptr) return;
  float* __restrict__ lanes = tile.lanes;
  for (int64_t i = 0; i < tile.size; ++i) lanes[i] += out[i];
}

void process(const BiasAct& op, const Tile& tile) {
  const Formula formula{op.alpha, op.gain, op.clamp < 0 ? NAN : op.clamp};
  with_activation(op.act, [&](auto act) {
    using Act = decltype(act);
    if (op.order == 0 && tile.scale != nullptr) {
      process<Act, kScaled>(formula, tile);
    } else if (op.order == 0) {
      process<Act, kForward>(formula, tile);
    } else if (op.order == 2) {
      process<Act, kSecond>(formula, tile);
    } else if (op.from_output) {
      process<Act, kFirstByOutput>(formula, tile);
    } else {
      process<Act, kFirst>(formula, tile);
    }
  });
}

template <typename T>
std::vector<float> floats(const void* values, int64_t count) {
  std::vector<float> result(count, 0.0f);
  const T* typed = static_cast<const T*>(values);
  for (int64_t i = 0; typed != nullptr && i < count; ++i) result[i] = to_float(typed[i]);
  return result;
}

// Access to the tensors as float32: where they are float32 already, in place.
template <typename T>
class Tiles {
 public:
  Tiles(const BiasActTensors& tensors, int64_t size) : tensors_(tensors) {
    if (sizeof(T) != sizeof(float)) buffers_.resize(4 * size);
    size_ = size;
  }

  Tile open(int64_t offset, int64_t size) {
    Tile tile{};
    tile.size = size;
    tile.a = read(tensors_.a, offset, size, 0);
    tile.reference = read(tensors_.reference, offset, size, 1);
    tile.dy = read(tensors_.dy, offset, size, 2);
    tile.out = buffers_.empty() ? static_cast<float*>(tensors_.out) + offset : buffer(3);
    return tile;
  }

  void close(const Tile& tile, int64_t offset) {
    T* out = static_cast<T*>(tensors_.out) + offset;
    if (buffers_.empty()) return;
    for (int64_t i = 0; i < tile.size; ++i) from_float(tile.out[i], &out[i]);
  }

 private:
  float* buffer(int64_t index) { return buffers_.data() + index * size_; }

  const float* read(const void* tensor, int64_t offset, int64_t size, int64_t index) {
    if (tensor == nullptr) return nullptr;
    const T* typed = static_cast<const T*>(tensor) + offset;
    if (buffers_.empty()) return reinterpret_cast<const float*>(typed);
    float* result = buffer(index);
    for (int64_t i = 0; i < size; ++i) result[i] = to_float(typed[i]);
    return result;
  }

  BiasActTensors tensors_;
  std::vector<float> buffers_;
  int64_t size_;
};

template <typename T>
class Job {
 public:
  Job(const BiasAct& op, const BiasActTensors& tensors)
      : op_(op),
        tensors_(tensors),
        a_bias_(floats<T>(tensors.a_bias, op.channels)),
        reference_bias_(floats<T>(tensors.reference_bias, op.channels)) {
    if (op.inner == 1) {
      // A tile is a few whole rows of channels.
      repeats_ = std::max<int64_t>(1, kTile / op.channels);
      tile_ = repeats_ * op.channels;
      block_ = std::max<int64_t>(1, kBlock / tile_) * tile_;
      blocks_ = (op.outer * op.channels + block_ - 1) / block_;
      repeat(&a_bias_);
      repeat(&reference_bias_);
    } else {
      // A block is within one channel of one sample.
      tile_ = std::min(op.inner, kTile);
      block_ = std::min(op.inner, kBlock);
      parts_ = (op.inner + block_ - 1) / block_;
      blocks_ = op.outer * op.channels * parts_;
    }
    if (tensors.sum != nullptr) partial_.resize(op.inner == 1 ? blocks_ * op.channels : blocks_);
  }

  int64_t blocks() const { return blocks_; }
  int64_t cost() const { return block_ * (op_.act <= kLrelu ? 1 : 8); }

  static void run(void* argument, int64_t begin, int64_t end) {
    Job& job = *static_cast<Job*>(argument);
    std::vector<float> lanes(job.tile_), bias(3 * job.tile_);
    Tiles<T> tiles(job.tensors_, job.tile_);
    for (int64_t block = begin; block < end; ++block) {
      std::fill(lanes.begin(), lanes.end(), 0.0f);
      if (job.op_.inner == 1) {
        job.rows(block, &tiles, &lanes, &bias);
      } else {
        job.plane(block, &tiles, &lanes, &bias);
      }
    }
  }

  void finish() {
    if (tensors_.sum == nullptr) return;
    std::vector<double> sums(op_.channels, 0.0);
    if (op_.inner == 1) {
      for (size_t i = 0; i < partial_.size(); ++i) sums[i % op_.channels] += partial_[i];
    } else {
      for (size_t i = 0; i < partial_.size(); ++i) sums[i / parts_ % op_.channels] += partial_[i];
    }
    T* sum = static_cast<T*>(tensors_.sum);
    for (int64_t c = 0; c < op_.channels; ++c) from_float(static_cast<float>(sums[c]), &sum[c]);
  }

 private:
  void repeat(std::vector<float>* bias) {
    bias->resize(tile_);
    for (int64_t i = op_.channels; i < tile_; ++i) (*bias)[i] = (*bias)[i - op_.channels];
  }

  bool modulates() const { return tensors_.scale != nullptr || tensors_.noise != nullptr; }

  int64_t pixels() const { return op_.outer * op_.inner / op_.samples; }

  // The scale of a channel of a sample, and the noise of one of its pixels.
  float scale(int64_t sample, int64_t channel) const {
    const T* scale = static_cast<const T*>(tensors_.scale);
    return scale == nullptr ? 1.0f : to_float(scale[sample * op_.channels + channel]);
  }

  float noise(int64_t sample, int64_t pixel) const {
    const T* noise = static_cast<const T*>(tensors_.noise);
    if (noise == nullptr) return 0.0f;
    return to_float(noise[op_.noise_samples == 1 ? pixel : sample * pixels() + pixel]);
  }

  void rows(int64_t block, Tiles<T>* tiles, std::vector<float>* lanes, std::vector<float>* bias) {
    const int64_t end = std::min((block + 1) * block_, op_.outer * op_.channels);
    for (int64_t i = block * block_; i < end; i += tile_) {
      const int64_t size = std::min(tile_, end - i);
      const float *a_bias = a_bias_.data(), *scales = nullptr;
      if (modulates()) {
        modulate_rows(i / op_.channels, size / op_.channels, bias->data(), bias->data() + tile_);
        a_bias = bias->data(), scales = bias->data() + tile_;
      }
      one_tile(i, size, a_bias, scales, reference_bias_.data(), tiles, lanes->data());
    }
    for (int64_t i = 0; !partial_.empty() && i < tile_; ++i) {
      partial_[block * op_.channels + i % op_.channels] += (*lanes)[i];
    }
  }

  // Biases with noise, and scales, of rows of channels.
  void modulate_rows(int64_t begin, int64_t count, float* bias, float* scales) const {
    const int64_t pixels = this->pixels();
    for (int64_t position = begin; position < begin + count; ++position) {
      const int64_t sample = position / pixels;
      const float added = noise(sample, position - sample * pixels);
      for (int64_t c = 0; c < op_.channels; ++c) {
        *bias++ = a_bias_[c] + added;
        *scales++ = scale(sample, c);
      }
    }
  }

  void plane(int64_t block, Tiles<T>* tiles, std::vector<float>* lanes, std::vector<float>* bias) {
    const int64_t plane = block / parts_, channel = plane % op_.channels;
    const int64_t begin = block % parts_ * block_, end = std::min(begin + block_, op_.inner);
    const int64_t position = plane / op_.channels * op_.inner;
    float *a_bias = bias->data(), *reference_bias = a_bias + tile_, *scales = nullptr;
    std::fill_n(a_bias, tile_, a_bias_[channel]);
    std::fill_n(reference_bias, tile_, reference_bias_[channel]);
    for (int64_t i = begin; i < end; i += tile_) {
      const int64_t size = std::min(tile_, end - i);
      if (modulates()) {
        scales = reference_bias + tile_;
        const int64_t sample = position / pixels(), pixel = position - sample * pixels() + i;
        std::fill_n(scales, size, scale(sample, channel));
        for (int64_t j = 0; j < size; ++j) a_bias[j] = a_bias_[channel] + noise(sample, pixel + j);
      }
      one_tile(plane * op_.inner + i, size, a_bias, scales, reference_bias, tiles, lanes->data());
    }
    if (!partial_.empty()) partial_[block] = halve(lanes->data(), tile_);
  }

  void one_tile(int64_t offset, int64_t size, const float* a_bias, const float* scales,
                const float* reference_bias, Tiles<T>* tiles, float* lanes) {
    Tile tile = tiles->open(offset, size);
    tile.a_bias = a_bias;
    tile.scale = scales;
    tile.reference_bias = reference_bias;
    tile.lanes = partial_.empty() ? nullptr : lanes;
    process(op_, tile);
    tiles->close(tile, offset);
  }

  // The sum of an array, which it overwrites.
  static float halve(float* lanes, int64_t size) {
    while (size > 1) {
      const int64_t half = (size + 1) / 2;
      for (int64_t i = 0; i < size - half; ++i) lanes[i] += lanes[i + half];
      size = half;
    }
    return lanes[0];
  }

  const BiasAct op_;
  const BiasActTensors tensors_;
  std::vector<float> a_bias_, reference_bias_;
  std::vector<float> partial_;  // A sum for each block, or for each block and channel.
  int64_t repeats_ = 1, tile_ = 0, block_ = 0, blocks_ = 0, parts_ = 1;
};

}  // namespace

void tf_ops_fused_bias_act_cpu(const BiasAct* op, int dtype, const BiasActTensors* tensors,
                               ParallelFor parallel, void* pool) {
  with_type(dtype, [&](auto type) {
    using T = decltype(type);
    if (op->channels == 0) return;
    if (op->outer == 0 || op->inner == 0) {
      T* sum = static_cast<T*>(tensors->sum);
      if (sum != nullptr) std::fill_n(sum, op->channels, T{});
      return;
    }
    Job<T> job(*op, *tensors);
    parallel(pool, job.blocks(), job.cost() + 1, Job<T>::run, &job);
    job.finish();
  });
}
