// Operations on every atom, edge or number by itself: invariants of moments, fading of edges, activations.

#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "numbers.h"

namespace openmm_nti {

using at::Tensor;
using torch::autograd::variable_list;

// Mixtures of the moments, v_c and q_c = 3/2 (of the traceless second moments), and what is made of them: the lanes are
// atoms here. Outputs: asinh of the scaled invariants rho_k, |v|^2, |q|^2, v.q.v; and the vectors v and q.v.
struct Invariants {
  static constexpr int kInputs = 3, kOutputs = 2;  // moments, mixtures, scales (no gradient by them)
  static constexpr int kFewestAtoms = 64;  // for a thread of its own
  static constexpr int kShared = -1;
  static constexpr bool kOwn[kInputs] = {true, false, true};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    const int64_t n_radial = shape.n_radial, n_channels = shape.n_others, n_found = n_radial + 3 * n_channels;
    const Input moments = pass.inputs[0], mixtures = pass.inputs[1];
    std::vector<Lanes> mixture_sums(pass.gradients[1] ? 2 * n_channels * n_radial : 0, Lanes{});
    std::vector<V> found(9 * n_radial), by_found(9 * n_radial);
    for (int64_t i = pass.first_atom; i < pass.last_atom; i += kWidth) {
      const int count = static_cast<int>(std::min<int64_t>(kWidth, pass.last_atom - i));
      const int64_t atom = b * shape.n_atoms + i;
      const auto place = [&](int64_t n, int64_t k) {
        return ((n * shape.n_batch + b) * n_radial + k) * shape.n_atoms + i;
      };
      // Outputs have their channels last: lanes are written and read one by one.
      const auto put = [&](int output, int64_t at, int64_t stride, V x) {
        if (float* to = pass.results[output])
          for (int lane = 0; lane < count; ++lane) to[at + lane * stride] = wanted(x)[lane];
      };
      const auto cotangent = [&](int output, int64_t at, int64_t stride) {
        Lanes g{};
        if (const float* from = pass.cotangents[output])
          for (int lane = 0; lane < count; ++lane) g[lane] = from[at + lane * stride];
        return constant<V>(g);
      };
      const auto put_invariant = [&](int64_t n, V x) {
        if (pass.results[0]) put(0, atom * n_found + n, n_found, inverse_sinh(x * pass.inputs[2].value[n]));
      };
      const auto by_invariant = [&](int64_t n, V x) {
        const float scale = pass.inputs[2].value[n];
        return cotangent(0, atom * n_found + n, n_found) * inverse_root(x * x * (scale * scale) + 1.0f) * scale;
      };
      for (int64_t n = 0; n < 9 * n_radial; ++n) {
        found[n] = Read<V>::row(moments, place(1 + n / n_radial, n % n_radial), count);
        by_found[n] = V{};
      }
      for (int64_t k = 0; k < n_radial; ++k) {
        const V density = Read<V>::row(moments, place(0, k), count);
        put_invariant(k, density);
        if (pass.gradients[0]) add_row(pass.gradients[0] + place(0, k), wanted(by_invariant(k, density)), count);
      }
      for (int64_t c = 0; c < n_channels; ++c) {
        const int64_t first = (b * 2 * n_channels + c) * n_radial, second = first + n_channels * n_radial;
        V v[3], q[6], turned[3];
        for (int n = 0; n < 3; ++n) v[n] = mixed(mixtures, first, &found[n * n_radial], n_radial);
        for (int n = 0; n < 6; ++n) q[n] = mixed(mixtures, second, &found[(3 + n) * n_radial], n_radial);
        remove_trace(q);
        turn(q, v, turned);
        const auto direction = [&](int n, int64_t kind) {
          return (n * shape.all() + atom) * 2 * n_channels + kind * n_channels + c;
        };
        V squares{}, of_tensor{}, both{};
        for (int n = 0; n < 3; ++n) {
          squares += v[n] * v[n];
          both += v[n] * turned[n];
          of_tensor += q[n] * q[n] * 1.5f + q[3 + n] * q[3 + n] * 3.0f;
          put(1, direction(n, 0), 2 * n_channels, v[n]);
          put(1, direction(n, 1), 2 * n_channels, turned[n]);
        }
        const int64_t at = n_radial + c;
        put_invariant(at, squares);
        put_invariant(at + n_channels, of_tensor);
        put_invariant(at + 2 * n_channels, both);
        if (!pass.backward) continue;
        const V g_squares = by_invariant(at, squares), g_tensor = by_invariant(at + n_channels, of_tensor),
                g_both = by_invariant(at + 2 * n_channels, both);
        V by_v[3], by_q[6], g_turned[3], back[3];
        for (int n = 0; n < 3; ++n) g_turned[n] = cotangent(1, direction(n, 1), 2 * n_channels);
        turn(q, g_turned, back);
        for (int n = 0; n < 3; ++n) {
          const int after = (n + 1) % 3;
          by_v[n] = (g_squares * v[n] + g_both * turned[n]) * 2.0f + cotangent(1, direction(n, 0), 2 * n_channels) +
                    back[n];
          by_q[n] = (g_tensor * q[n] * 2.0f + g_both * v[n] * v[n] + g_turned[n] * v[n]) * 1.5f;
          by_q[3 + n] = g_tensor * q[3 + n] * 6.0f + g_both * v[n] * v[after] * 3.0f +
                        (g_turned[n] * v[after] + g_turned[after] * v[n]) * 1.5f;
        }
        remove_trace(by_q);
        for (int64_t k = 0; k < n_radial; ++k) {
          const auto w1 = Read<V>::one(mixtures, first + k), w2 = Read<V>::one(mixtures, second + k);
          V by_w1{}, by_w2{};
          for (int n = 0; n < 3; ++n) {
            by_found[n * n_radial + k] += w1 * by_v[n];
            by_w1 += by_v[n] * found[n * n_radial + k];
          }
          for (int n = 0; n < 6; ++n) {
            by_found[(3 + n) * n_radial + k] += w2 * by_q[n];
            by_w2 += by_q[n] * found[(3 + n) * n_radial + k];
          }
          if (mixture_sums.empty()) continue;
          mixture_sums[c * n_radial + k] += wanted(by_w1);
          mixture_sums[(n_channels + c) * n_radial + k] += wanted(by_w2);
        }
      }
      if (!pass.gradients[0]) continue;
      for (int64_t n = 0; n < 9 * n_radial; ++n)
        add_row(pass.gradients[0] + place(1 + n / n_radial, n % n_radial), wanted(by_found[n]), count);
    }
    finish_sums(pass.gradients[1], b * 2 * n_channels * n_radial, mixture_sums.data(), 2 * n_channels * n_radial);
  }

  template <class V>
  static V constant(Lanes x) {
    if constexpr (std::is_same_v<V, Lanes>)
      return x;
    else
      return {x, Lanes{}};
  }
  template <class V>
  static V mixed(Input mixtures, int64_t at, const V* of, int64_t n_radial) {
    V total{};
    for (int64_t k = 0; k < n_radial; ++k) total += Read<V>::one(mixtures, at + k) * of[k];
    return total;
  }
  template <class V>
  static void remove_trace(V* q) {
    const V mean = (q[0] + q[1] + q[2]) * (1.0f / 3.0f);
    for (int n = 0; n < 3; ++n) q[n] = q[n] - mean;
  }
  template <class V>
  static void turn(const V* q, const V* v, V* result) {  // 3/2 q v for symmetric q of xx, yy, zz, xy, yz, zx
    for (int n = 0; n < 3; ++n) {
      const int after = (n + 1) % 3, before = (n + 2) % 3;
      result[n] = (q[n] * v[n] + q[3 + n] * v[after] + q[3 + before] * v[before]) * 1.5f;
    }
  }

  static Shape shape(const variable_list& inputs) {
    const Tensor &moments = inputs[0], &mixtures = inputs[1];
    return {moments.size(1), moments.size(3), 0, moments.size(2), mixtures.size(1) / 2};
  }
  static std::vector<int64_t> sizes(const Shape& shape, int output) {
    if (output == 0) return {shape.n_batch, shape.n_atoms, shape.n_radial + 3 * shape.n_others};
    return {3, shape.n_batch, shape.n_atoms, 2 * shape.n_others};
  }
};

// Calls visit(place, number) for the blocks of an array with `per_atom` numbers for each atom.
template <class F>
inline void each_block(const Shape& shape, const Pass& pass, int64_t b, int64_t per_atom, F visit) {
  const int64_t last = (b * shape.n_atoms + pass.last_atom) * per_atom;
  for (int64_t at = (b * shape.n_atoms + pass.first_atom) * per_atom; at < last; at += kWidth)
    visit(at, static_cast<int>(std::min<int64_t>(kWidth, last - at)));
}

// How much an edge of length r counts: t^3 (10 - 15 t + 6 t^2) of t = (1 - r / cutoff) / share, between 0 and 1.
struct Fading {
  static constexpr int kInputs = 1, kOutputs = 1;  // vectors
  static constexpr int kFewestAtoms = 256;  // for a thread of its own
  static constexpr int kShared = -1;
  static constexpr bool kOwn[kInputs] = {true};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    each_block(shape, pass, b, shape.n_neighbours, [&](int64_t at, int count) {
      V d[3], r_squared{};
      for (int c = 0; c < 3; ++c) {
        d[c] = Read<V>::row(pass.inputs[0], c * shape.plane() + at, count);
        r_squared += d[c] * d[c];
      }
      const V inverse = inverse_root(r_squared + 1e-12f);
      const V left = positive_part(r_squared * inverse * -shape.slope + shape.start);
      const V gone = positive_part(left * -1.0f + 1.0f), t = gone * -1.0f + 1.0f;
      if (pass.results[0]) {
        const Lanes value = wanted(t * t * t * (t * (t * 6.0f + -15.0f) + 10.0f));
        put_row(pass.results[0] + at, value, count);
      }
      if (!pass.gradients[0]) return;
      const V g = Read<V>::row({pass.cotangents[0]}, at, count);
      const V along = g * t * t * gone * gone * inverse * (-30.0f * shape.slope);
      for (int c = 0; c < 3; ++c)
        add_row(pass.gradients[0] + c * shape.plane() + at, wanted(along * d[c]), count);
    });
  }

  static Shape shape(const variable_list& inputs) {
    const Tensor& vectors = inputs[0];
    return {vectors.size(1), vectors.size(2), vectors.size(3), 0, 0};
  }
  static std::vector<int64_t> sizes(const Shape& shape, int) {
    return {shape.n_batch, shape.n_atoms, shape.n_neighbours};
  }
};

// x / (1 + exp(-x)) of hidden layers.
struct Silu {
  static constexpr int kInputs = 1, kOutputs = 1;
  static constexpr int kFewestAtoms = 256;  // for a thread of its own
  static constexpr int kShared = -1;
  static constexpr bool kOwn[kInputs] = {true};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    each_block(shape, pass, b, shape.n_others, [&](int64_t at, int count) {
      const V x = Read<V>::row(pass.inputs[0], at, count), y = logistic(x);
      if (pass.results[0]) put_row(pass.results[0] + at, wanted(x * y), count);
      if (!pass.gradients[0]) return;
      const V g = Read<V>::row({pass.cotangents[0]}, at, count);
      put_row(pass.gradients[0] + at, wanted(g * y * (x * (y * -1.0f + 1.0f) + 1.0f)), count);
    });
  }

  static Shape shape(const variable_list& inputs) {
    const Tensor& x = inputs[0];
    return {x.size(0), x.size(1), 0, 0, x.size(2)};
  }
  static std::vector<int64_t> sizes(const Shape& shape, int) { return {shape.n_batch, shape.n_atoms, shape.n_others}; }
};

}  // namespace openmm_nti
