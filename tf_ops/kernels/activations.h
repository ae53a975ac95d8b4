// Activation functions with two derivatives, in float32, for the CPU and CUDA alike.
//
// `value`, `slope` and `curvature` are the function and its derivatives at t; alpha is the slope of
// lrelu for negative t. Where a slope jumps at 0, TensorFlow's choice is followed. There are no
// branches, so that loops vectorise. NaN stays NaN.
#pragma once

#include "common.h"

// The order of `activation_funcs` in fused_bias_act.py.
enum Activation { kLinear, kRelu, kLrelu, kTanh, kSigmoid, kElu, kSelu, kSoftplus, kSwish };

// Both a and b are computed before one is chosen, so that there is no branch.
HOST_DEVICE float select(bool condition, float a, float b) {
  return condition ? a : b;
}

// Horner's scheme, from the highest power of x down; recursion, so that it is straight code.
HOST_DEVICE float polynomial(float, float sum) { return sum; }

template <typename... Rest>
HOST_DEVICE float polynomial(float x, float sum, float next, Rest... rest) {
  return polynomial(x, sum * x + next, rest...);
}

// e^t for t <= 0, within 2 units in the last place: 2^n times a polynomial in |r| <= ln(2)/2.
HOST_DEVICE float exp_of_negative(float t) {
  t = select(t < -87.0f, -87.0f, t);
  const float n = (t * 1.44269504f + 12582912.0f) - 12582912.0f;  // Rounds to whole numbers.
  const float r = (t - n * 0.693359375f) + n * 2.12194440e-4f;    // ln(2) in two parts.
  const float p = polynomial(r, 1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f,
                             1.0f, 1.0f);
  const int32_t bits = (static_cast<int32_t>(n) + 127) * (1 << 23);
  float power;
  memcpy(&power, &bits, sizeof power);
  return p * power;
}

// e^t - 1 for t <= 0, accurate near 0 too, where it is a polynomial.
HOST_DEVICE float expm1_of_negative(float t) {
  const float p = polynomial(t, 1.0f / 40320, 1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                             1.0f / 6, 0.5f, 1.0f);
  return select(t > -0.5f, p * t, exp_of_negative(t) - 1.0f);
}

// log(1 + z) for 0 <= z <= 1: 2 atanh(s), s = z / (2 + z) <= 1/3, by its series.
HOST_DEVICE float log1p_of_unit(float z) {
  const float s = z / (2.0f + z), q = s * s;
  const float p = polynomial(q, 1.0f / 15, 1.0f / 13, 1.0f / 11, 1.0f / 9, 1.0f / 7, 1.0f / 5,
                             1.0f / 3, 1.0f);
  return 2.0f * s * p;
}

HOST_DEVICE float minus_abs(float t) { return select(t > 0, -t, t); }

HOST_DEVICE float sigmoid(float t) {
  const float e = exp_of_negative(minus_abs(t));
  return select(t > 0, 1.0f, e) / (1.0f + e);
}

struct Linear {
  HOST_DEVICE static float value(float t, float) { return t; }
  HOST_DEVICE static float slope(float, float) { return 1; }
  HOST_DEVICE static float curvature(float, float) { return 0; }
};

struct Relu {
  HOST_DEVICE static float value(float t, float) { return select(t < 0, 0, t); }
  HOST_DEVICE static float slope(float t, float) { return select(t > 0, 1, 0); }
  HOST_DEVICE static float curvature(float, float) { return 0; }
};

struct Lrelu {
  HOST_DEVICE static float value(float t, float alpha) { return select(t > 0, t, t * alpha); }
  HOST_DEVICE static float slope(float t, float alpha) { return select(t > 0, 1, alpha); }
  HOST_DEVICE static float curvature(float, float) { return 0; }
};

struct Tanh {
  HOST_DEVICE static float value(float t, float) {
    const float m = expm1_of_negative(2.0f * minus_abs(t));
    const float magnitude = -m / (m + 2.0f);
    return select(t > 0, magnitude, -magnitude);
  }
  // 4 e^-2|t| / (1 + e^-2|t|)^2 keeps its digits where 1 - tanh(t)^2 has none left.
  HOST_DEVICE static float slope(float t, float) {
    const float e = exp_of_negative(2.0f * minus_abs(t));
    return 4.0f * e / ((1.0f + e) * (1.0f + e));
  }
  HOST_DEVICE static float curvature(float t, float alpha) {
    return -2.0f * value(t, alpha) * slope(t, alpha);
  }
};

struct Sigmoid {
  HOST_DEVICE static float value(float t, float) { return sigmoid(t); }
  HOST_DEVICE static float slope(float t, float) {
    const float e = exp_of_negative(minus_abs(t));
    return e / ((1.0f + e) * (1.0f + e));
  }
  HOST_DEVICE static float curvature(float t, float alpha) {
    return -slope(t, alpha) * Tanh::value(0.5f * t, alpha);
  }
};

struct Elu {
  HOST_DEVICE static float value(float t, float) {
    return select(t > 0, t, expm1_of_negative(select(t > 0, 0, t)));
  }
  HOST_DEVICE static float slope(float t, float) { return exp_of_negative(select(t > 0, 0, t)); }
  HOST_DEVICE static float curvature(float t, float) {
    return select(t < 0, exp_of_negative(select(t > 0, 0, t)), 0);
  }
};

// Klambauer et al. 2017 (arXiv:1706.02515), equation 2.
struct Selu {
  static constexpr float kScale = 1.0507009873554805f;
  static constexpr float kScaledAlpha = 1.7580993408473766f;
  HOST_DEVICE static float value(float t, float alpha) {
    return select(t > 0, kScale * t, kScaledAlpha * Elu::value(t, alpha));
  }
  HOST_DEVICE static float slope(float t, float alpha) {
    return select(t < 0, kScaledAlpha * Elu::slope(t, alpha), kScale);
  }
  HOST_DEVICE static float curvature(float t, float alpha) {
    return kScaledAlpha * Elu::curvature(t, alpha);
  }
};

struct Softplus {
  HOST_DEVICE static float value(float t, float) {
    return select(t < 0, 0, t) + log1p_of_unit(exp_of_negative(minus_abs(t)));
  }
  HOST_DEVICE static float slope(float t, float) { return sigmoid(t); }
  HOST_DEVICE static float curvature(float t, float alpha) { return Sigmoid::slope(t, alpha); }
};

struct Swish {
  HOST_DEVICE static float value(float t, float) { return t * sigmoid(t); }
  HOST_DEVICE static float slope(float t, float alpha) {
    return sigmoid(t) + t * Sigmoid::slope(t, alpha);
  }
  HOST_DEVICE static float curvature(float t, float alpha) {
    return 2.0f * Sigmoid::slope(t, alpha) + t * Sigmoid::curvature(t, alpha);
  }
};

// Calls function(Act{}) with the class of an activation.
template <typename Function>
HOST_DEVICE void with_activation(int act, Function function) {
  switch (act) {
    case kLinear: return function(Linear{});
    case kRelu: return function(Relu{});
    case kLrelu: return function(Lrelu{});
    case kTanh: return function(Tanh{});
    case kSigmoid: return function(Sigmoid{});
    case kElu: return function(Elu{});
    case kSelu: return function(Selu{});
    case kSoftplus: return function(Softplus{});
    default: return function(Swish{});
  }
}

// What the three orders of fused_bias_act do to one number; `fused_bias_act.h` says what a is.
struct Formula {
  float alpha, gain;
  float clamp;  // NaN for none: no comparison with it holds.

  template <typename Act>
  HOST_DEVICE float forward(float t) const {
    const float v = gain * Act::value(t, alpha);
    const float low = select(v < -clamp, -clamp, v);
    return select(low > clamp, clamp, low);
  }

  template <typename Act>
  HOST_DEVICE float first(float a, float t) const {
    const float v = gain * Act::value(t, alpha);
    return select(minus_abs(v) < -clamp, 0, a * (gain * Act::slope(t, alpha)));
  }

  // By y instead of t, for linear, relu and lrelu with gain > 0 and alpha >= 0.
  template <typename Act>
  HOST_DEVICE float first_by_output(float a, float y) const {
    return select(minus_abs(y) <= -clamp, 0, a * (gain * Act::slope(y, alpha)));
  }

  template <typename Act>
  HOST_DEVICE float second(float a, float dy, float t) const {
    const float v = gain * Act::value(t, alpha);
    return select(minus_abs(v) < -clamp, 0, a * dy * (gain * Act::curvature(t, alpha)));
  }
};
