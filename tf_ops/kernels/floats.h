// float16 and bfloat16, without branches so that compilers vectorise the loops; GPUs have
// instructions for float16.
#pragma once

#include "common.h"

struct Float16 {
  uint16_t bits;
};

struct Bfloat16 {
  uint16_t bits;
};

HOST_DEVICE float as_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

HOST_DEVICE uint32_t as_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

HOST_DEVICE float to_float(float value) { return value; }

HOST_DEVICE float to_float(Bfloat16 value) {
  return as_float(static_cast<uint32_t>(value.bits) << 16);
}

HOST_DEVICE float to_float(Float16 value) {
#ifdef __CUDA_ARCH__
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
#else
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t magnitude = value.bits & 0x7fffu;
  // An exponent of 31 becomes 255, so that infinities and NaNs stay what they are.
  const float normal = as_float((magnitude << 13) + (224u << 23)) * 0x1p-112f;
  // Subnormals are multiples of 2^-24, which is the last bit of 0.5f.
  const float subnormal = as_float(magnitude + as_bits(0.5f)) - 0.5f;
  return as_float(sign | as_bits(magnitude < 0x0400u ? subnormal : normal));
#endif
}

HOST_DEVICE void from_float(float value, float* out) { *out = value; }

// Both round to the nearest, ties to even.
HOST_DEVICE void from_float(float value, Bfloat16* out) {
  const uint32_t bits = as_bits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  out->bits = static_cast<uint16_t>(nan ? (bits >> 16) | 0x0040u : rounded);
}

HOST_DEVICE void from_float(float value, Float16* out) {
#ifdef __CUDA_ARCH__
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out->bits) : "f"(value));
#else
  const uint32_t bits = as_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t rounded = magnitude + 0x0fffu + ((magnitude >> 13) & 1u);
  const uint32_t normal = (rounded - (112u << 23)) >> 13;
  const uint32_t subnormal = as_bits(as_float(magnitude) + 0.5f) - as_bits(0.5f);
  uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
  result = rounded >= (143u << 23) ? 0x7c00u : result;
  result = magnitude > 0x7f800000u ? 0x7e00u : result;
  out->bits = static_cast<uint16_t>(sign | result);
#endif
}

// Calls function(T{}) with the C++ type of an element type.
template <typename Function>
void with_type(int dtype, Function function) {
  if (dtype == kFloat16) {
    function(Float16{});
  } else if (dtype == kBfloat16) {
    function(Bfloat16{});
  } else {
    function(float{});
  }
}
