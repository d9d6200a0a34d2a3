// Eight or sixteen numbers at a time, plain or carrying a tangent, and what operations read and write of them.
//
// All operations are written once, for both kinds. With plain numbers a pass gives the gradient g . df/dx by reverse
// accumulation; with tangents v along the inputs the same pass gives the derivative of that gradient along v, which is
// all that the backward pass of a gradient is: d/dx (v . g df/dx), and d/dg of it, which is the tangent of f.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

namespace openmm_nti {

#if defined(__AVX512F__)
constexpr int kWidth = 16;  // edges at a time
#else
constexpr int kWidth = 8;
#endif
constexpr int kRadial = 64, kGates = 4, kMonomials = 10;
using Row = float __attribute__((vector_size(32)));  // eight numbers
using Lanes = float __attribute__((vector_size(4 * kWidth)));
using Words = int32_t __attribute__((vector_size(4 * kWidth)));

// ---- Numbers: plain (float, Lanes) and with a tangent.

template <class V>
struct Dual {
  V value, tangent;
};
using DualLanes = Dual<Lanes>;

template <class A, class B>
inline auto operator+(Dual<A> a, Dual<B> b) -> Dual<decltype(a.value + b.value)> {
  return {a.value + b.value, a.tangent + b.tangent};
}
template <class A, class B>
inline auto operator-(Dual<A> a, Dual<B> b) -> Dual<decltype(a.value - b.value)> {
  return {a.value - b.value, a.tangent - b.tangent};
}
template <class A, class B>
inline auto operator*(Dual<A> a, Dual<B> b) -> Dual<decltype(a.value * b.value)> {
  return {a.value * b.value, a.value * b.tangent + a.tangent * b.value};
}
template <class A>
inline Dual<A> operator+(Dual<A> a, float b) {
  return {a.value + b, a.tangent};
}
template <class A>
inline Dual<A> operator*(Dual<A> a, float b) {
  return {a.value * b, a.tangent * b};
}
template <class A, class B>
inline Dual<A>& operator+=(Dual<A>& a, Dual<B> b) {
  a.value += b.value;
  a.tangent += b.tangent;
  return a;
}

inline Lanes root(Lanes x) {
  Lanes y;
  for (int lane = 0; lane < kWidth; ++lane) y[lane] = std::sqrt(x[lane]);
  return y;
}
inline Lanes inverse_root(Lanes x) { return 1.0f / root(x); }
inline DualLanes inverse_root(DualLanes x) {
  const Lanes y = inverse_root(x.value);
  return {y, -0.5f * y * y * y * x.tangent};
}

// Powers of two by the exponent bits, and the rest, between -ln 2 / 2 and ln 2 / 2, by its series: 2e-7. Arguments are
// never large: Gaussians are at most 1, and beyond -87 they are 1e-38.
inline Lanes exponential(Lanes x) {
  const Lanes low = Lanes{} - 87.0f, shift = Lanes{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to whole numbers
  x = x > low ? x : low;
  const Lanes shifted = x * 1.44269504f + shift, whole = shifted - shift;
  const Lanes y = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;
  Lanes series = y * 1.3888889e-3f + 8.3333333e-3f;
  series = series * y + 4.1666668e-2f;
  series = series * y + 1.6666667e-1f;
  series = series * y + 0.5f;
  series = series * y + 1.0f;
  series = series * y + 1.0f;
  return (Lanes)((Words)series + ((Words)shifted << 23));
}
inline DualLanes exponential(DualLanes x) {
  const Lanes y = exponential(x.value);
  return {y, y * x.tangent};
}

// ln(1 + x) for x >= 0: the mantissa m of 1 + x, between 2/3 and 4/3, by the series of 2 artanh((m - 1) / (m + 1)).
inline Lanes log_of_one_plus(Lanes x) {
  const Lanes y = x + 1.0f, lost = (x - (y - 1.0f)) / y;
  const Words bits = (Words)y - 0x3f2aaaab;
  const Words power = bits >> 23;
  const Lanes mantissa = (Lanes)((bits & 0x007fffff) + 0x3f2aaaab);
  const Lanes z = (mantissa - 1.0f) / (mantissa + 1.0f), square = z * z;
  Lanes series = square * (2.0f / 9.0f) + 2.0f / 7.0f;
  series = series * square + 2.0f / 5.0f;
  series = series * square + 2.0f / 3.0f;
  return __builtin_convertvector(power, Lanes) * 0.693147181f + (z * 2.0f + z * square * series) + lost;
}
inline Lanes inverse_sinh(Lanes x) {
  const Lanes size = x < Lanes{} ? -x : x;
  const Lanes y = log_of_one_plus(size + size * size / (1.0f + root(size * size + 1.0f)));
  return x < Lanes{} ? -y : y;
}
inline DualLanes inverse_sinh(DualLanes x) {
  return {inverse_sinh(x.value), x.tangent * inverse_root(x.value * x.value + 1.0f)};
}

inline Lanes logistic(Lanes x) {
  const Lanes y = exponential(x < Lanes{} ? x : -x);
  return (x < Lanes{} ? y : Lanes{} + 1.0f) / (y + 1.0f);
}
inline DualLanes logistic(DualLanes x) {
  const Lanes y = logistic(x.value);
  return {y, y * (1.0f - y) * x.tangent};
}

inline Lanes positive_part(Lanes x) { return x > Lanes{} ? x : Lanes{}; }
inline DualLanes positive_part(DualLanes x) {
  return {positive_part(x.value), x.value > Lanes{} ? x.tangent : Lanes{}};
}

inline float sum(Row x) {  // as a tree: a chain of eight additions would wait for each of them
  x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
  return x[0] + x[1];
}
#if defined(__AVX512F__)
inline Row first_half(Lanes x) { return __builtin_shufflevector(x, x, 0, 1, 2, 3, 4, 5, 6, 7); }
inline Row second_half(Lanes x) { return __builtin_shufflevector(x, x, 8, 9, 10, 11, 12, 13, 14, 15); }
inline float sum(Lanes x) { return sum(first_half(x) + second_half(x)); }
#endif

// What a pass is after: of plain numbers the value, of those with tangents the tangent.
inline Lanes wanted(Lanes x) { return x; }
inline Lanes wanted(DualLanes x) { return x.tangent; }

// ---- Inputs, with tangents where there are any, and outputs.

struct Input {
  const float* value;
  const float* tangent = nullptr;
};

// Whole blocks are the rule, and loops of fixed length stay in registers: hence the cases.
inline Lanes first_lanes(const float* from, int count) {
  Lanes x{};
  if (count == kWidth)
    __builtin_memcpy(&x, from, sizeof(x));
  else
    for (int lane = 0; lane < count; ++lane) x[lane] = from[lane];
  return x;
}
inline Lanes gathered_lanes(const float* from, int64_t stride, const int64_t* index, int count) {
  Lanes x{};
  for (int lane = 0; lane < count; ++lane) x[lane] = from[index[lane] * stride];
  return x;
}
inline void add_row(float* to, Lanes x, int count) {
  if (count == kWidth) {
    x += first_lanes(to, count);
    __builtin_memcpy(to, &x, sizeof(x));
  } else {
    for (int lane = 0; lane < count; ++lane) to[lane] += x[lane];
  }
}
inline void put_row(float* to, Lanes x, int count) {
  if (count == kWidth)
    __builtin_memcpy(to, &x, sizeof(x));
  else
    for (int lane = 0; lane < count; ++lane) to[lane] = x[lane];
}
inline void add_scattered(float* to, int64_t stride, const int64_t* index, Lanes x, int count) {
  for (int lane = 0; lane < count; ++lane) to[index[lane] * stride] += x[lane];
}

template <class V>
struct Read;
template <>
struct Read<Lanes> {
  static Lanes row(Input in, int64_t at, int count) { return first_lanes(in.value + at, count); }
  static float one(Input in, int64_t at) { return in.value[at]; }
  static float constant(float x) { return x; }
};
template <>
struct Read<DualLanes> {
  static DualLanes row(Input in, int64_t at, int count) {
    return {first_lanes(in.value + at, count), in.tangent ? first_lanes(in.tangent + at, count) : Lanes{}};
  }
  static DualLanes gather(Input in, int64_t at, int64_t stride, const int64_t* index, int count) {
    return {gathered_lanes(in.value + at, stride, index, count),
            in.tangent ? gathered_lanes(in.tangent + at, stride, index, count) : Lanes{}};
  }
  static Dual<float> one(Input in, int64_t at) { return {in.value[at], in.tangent ? in.tangent[at] : 0.0f}; }
  static Dual<float> constant(float x) { return {x, 0.0f}; }
};

struct Shape {
  int64_t n_batch, n_atoms, n_neighbours, n_radial, n_others;  // n_others: gates q, or mixtures C
  float inverse_cutoff_squared = 0.0f, softening_squared = 0.0f;  // of the edges
  float slope = 0.0f, start = 0.0f;                               // of the fading

  int64_t all() const { return n_batch * n_atoms; }
  int64_t plane() const { return n_batch * n_atoms * n_neighbours; }  // a component of arrays over edges
};

// What a pass reads and writes, for all its tensors in order. A result, or a gradient by an input, is null where it is
// not asked for, and so is a cotangent where it is zero.
struct Pass {
  const int64_t* index;
  const Input* inputs;
  const float* const* cotangents;
  float* const* results;
  float* const* gradients;
  bool backward;
  int64_t first_atom, last_atom;  // of the configuration, which several threads may share
};

// What is collected over the lanes of many blocks, added once at the end, from place `at` on.
inline void finish_sums(float* to, int64_t at, const Lanes* sums, int64_t count) {
  if (to == nullptr) return;
  for (int64_t n = 0; n < count; ++n) to[at + n] += sum(sums[n]);
}

}  // namespace openmm_nti
