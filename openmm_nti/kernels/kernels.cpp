// What the networks spend their time on, with its gradients and the gradients of those, in one pass each: two sums over
// edges, and the invariants of an atom's moments. Last, pairs:
// their vectors, the two-body term, and their search, which has no gradient.
//
//   pushes_i  = sum_j d_ij / r_ij  e(r_ij) m_ij  sum_q (a_iq + b_jq) sum_k w_qk B_k(r_ij)
//   moments_i = sum_j (1, u, u u)  e(r_ij) m_ij  B_k(r_ij),    u = d_ij / r_ij,
//   d_ij = x_ij + y_j - y_i,   r^2 = |d|^2 + softening^2,   e = relu(1 - r^2 / cutoff^2)^3,
//   B_k = exp(p_k2 t^2 + p_k1 t + p_k0),   t = r - 1.
//
// hamiltonian/edges.py and descriptors.py have the same in PyTorch, with the shapes. Here nothing is kept between the
// passes: an edge is cheaper to compute again than to read. All code is written once, for numbers that are either plain or carry a
// tangent. With plain numbers a pass gives the gradient g . df/dx by reverse accumulation; with tangents v along the
// inputs the same pass gives the derivative of that gradient along v, which is all that the backward pass of a
// gradient is: d/dx (v . g df/dx), and d/dg of it, which is the tangent of f.

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

constexpr int kWidth = 8;  // edges at a time
constexpr int kFewestAtoms = 32;  // for a thread of its own
constexpr int kRadial = 64, kGates = 8, kMonomials = 10;
using Lanes = float __attribute__((vector_size(4 * kWidth)));
using Words = int32_t __attribute__((vector_size(4 * kWidth)));

// ---- Numbers: plain (float, Lanes) and with a tangent.

template <class V>
struct Dual {
  V value, tangent;
};
using DualLanes = Dual<Lanes>;

template <class V>
struct ScalarOf {
  using type = float;
};
template <>
struct ScalarOf<DualLanes> {
  using type = Dual<float>;
};
template <class V>
using Scalar = typename ScalarOf<V>::type;

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

inline float sum(Lanes x) {  // as a tree: a chain of eight additions would wait for each of them
  x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
  return x[0] + x[1];
}

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
  const auto at = [&](int lane) { return from[index[lane] * stride]; };
  if (count == kWidth) return Lanes{at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)};
  Lanes x{};
  for (int lane = 0; lane < count; ++lane) x[lane] = at(lane);
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
  static Lanes gather(Input in, int64_t at, int64_t stride, const int64_t* index, int count) {
    return gathered_lanes(in.value + at, stride, index, count);
  }
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

inline Lanes plus(Lanes a, float b) { return a + b; }
inline DualLanes plus(DualLanes a, Dual<float> b) { return {a.value + b.value, a.tangent + b.tangent}; }

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

// ---- One block of edges. The inputs are vectors, moved, mask, polynomials, and those of the sum.

template <class V>
struct Edges {
  V d[3], t, inverse, inside, envelope, mask;
  V gaussians[kRadial];

  Edges(const Shape& shape, const Pass& pass, int64_t atom, int64_t at, int count) {
    const Input vectors = pass.inputs[0], moved = pass.inputs[1], polynomials = pass.inputs[3];
    V r_squared{};
    for (int c = 0; c < 3; ++c) {
      const V there = Read<V>::gather(moved, c * shape.all(), 1, pass.index + at, count);
      const auto here = Read<V>::one(moved, c * shape.all() + atom);
      d[c] = plus(Read<V>::row(vectors, c * shape.plane() + at, count) + there, here * -1.0f);
      r_squared = r_squared + d[c] * d[c];
    }
    r_squared = r_squared + shape.softening_squared;
    inverse = inverse_root(r_squared);
    t = r_squared * inverse + -1.0f;
    inside = positive_part(r_squared * -shape.inverse_cutoff_squared + 1.0f);
    mask = Read<V>::row(pass.inputs[2], at, count);
    envelope = inside * inside * inside * mask;
    for (int k = 0; k < shape.n_radial; ++k) {
      const auto p2 = Read<V>::one(polynomials, 3 * k), p1 = Read<V>::one(polynomials, 3 * k + 1);
      gaussians[k] = exponential(plus(plus(p2 * t, p1) * t, Read<V>::one(polynomials, 3 * k + 2)));
    }
  }

  // From the gradients by gaussians, 1 / r, envelope and d to those by the inputs; `recoil` is that by y_i, and
  // `by_polynomials` collects over the configuration.
  void pull_back(const Shape& shape, const Pass& pass, const V* by_gaussians, V by_inverse, V by_envelope,
                 const V* by_d, int64_t at, int count, Lanes* recoil, Lanes* by_polynomials) {
    V by_t{};
    for (int k = 0; k < shape.n_radial; ++k) {
      const V slope = by_gaussians[k] * gaussians[k];
      const auto p2 = Read<V>::one(pass.inputs[3], 3 * k), p1 = Read<V>::one(pass.inputs[3], 3 * k + 1);
      by_t += slope * plus(p2 * t * 2.0f, p1);
      if (pass.gradients[3] != nullptr) {
        by_polynomials[3 * k] += wanted(slope * t * t);
        by_polynomials[3 * k + 1] += wanted(slope * t);
        by_polynomials[3 * k + 2] += wanted(slope);
      }
    }
    const V inside_squared = inside * inside;
    if (pass.gradients[2] != nullptr)
      add_row(pass.gradients[2] + at, wanted(by_envelope * inside_squared * inside), count);
    const V twice_by_r_squared = inverse * (by_t - by_inverse * inverse * inverse) +
                                 by_envelope * mask * inside_squared * (-6.0f * shape.inverse_cutoff_squared);
    for (int c = 0; c < 3; ++c) {
      const Lanes pull = wanted(by_d[c] + twice_by_r_squared * d[c]);
      if (pass.gradients[0] != nullptr) add_row(pass.gradients[0] + c * shape.plane() + at, pull, count);
      if (pass.gradients[1] == nullptr) continue;
      add_scattered(pass.gradients[1] + c * shape.all(), 1, pass.index + at, pull, count);
      recoil[c] += pull;
    }
  }
};

// Padding comes last in a row, and often fills its last block: edges of mask 0 add nothing and get no gradient.
inline bool empty(const Pass& pass, int64_t at, int count) {
  for (int lane = 0; lane < count; ++lane)
    if (pass.inputs[2].value[at + lane] != 0.0f) return false;
  return true;
}

// What is collected over a block's lanes, or over an atom, is added once at the end.
inline void finish_atom(const Shape& shape, const Pass& pass, int64_t atom, const Lanes* recoil) {
  if (pass.gradients[1] == nullptr) return;
  for (int c = 0; c < 3; ++c) pass.gradients[1][c * shape.all() + atom] -= sum(recoil[c]);
}
inline void finish_sums(float* to, const Lanes* sums, int64_t count) {
  if (to == nullptr) return;
  for (int64_t n = 0; n < count; ++n) to[n] += sum(sums[n]);
}

// ---- The operations, each for one configuration b.

struct Pushes {
  static constexpr int kInputs = 6, kOutputs = 1;  // vectors, moved, mask, polynomials, radial, gates; P
  static constexpr int kShared = 3;                // the input that all configurations share
  // The inputs of which an atom's part of the gradient comes from this atom alone.
  static constexpr bool kOwn[kInputs] = {true, false, true, false, false, false};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    const int64_t n_radial = shape.n_radial, n_gates = shape.n_others;
    const Input radial = pass.inputs[4], gates = pass.inputs[5];
    const float* cotangent = pass.cotangents[0];
    float *result = pass.results[0], *by_radial = pass.gradients[4], *by_gates = pass.gradients[5];
    Lanes radial_sums[kGates * kRadial] = {}, polynomial_sums[3 * kRadial] = {};
    for (int64_t atom = b * shape.n_atoms + pass.first_atom; atom < b * shape.n_atoms + pass.last_atom; ++atom) {
      Lanes sums[3] = {}, recoil[3] = {}, own_sums[kGates] = {};
      for (int64_t m = 0; m < shape.n_neighbours; m += kWidth) {
        const int count = static_cast<int>(std::min<int64_t>(kWidth, shape.n_neighbours - m));
        const int64_t at = atom * shape.n_neighbours + m;
        if (empty(pass, at, count)) continue;
        Edges<V> edge(shape, pass, atom, at, count);
        V gate[kGates], force[kGates], total{};
        for (int q = 0; q < n_gates; ++q) {
          const V sent = Read<V>::gather(gates, n_gates + q, 2 * n_gates, pass.index + at, count);
          gate[q] = plus(sent, Read<V>::one(gates, atom * 2 * n_gates + q));
          force[q] = V{};
          for (int k = 0; k < n_radial; ++k)
            force[q] += Read<V>::one(radial, (b * n_gates + q) * n_radial + k) * edge.gaussians[k];
          total += force[q] * gate[q];
        }
        const V weight = edge.envelope * edge.inverse;
        if (result != nullptr)
          for (int c = 0; c < 3; ++c) sums[c] += wanted(total * weight * edge.d[c]);
        if (!pass.backward) continue;
        V by_pull{}, by_d[3], by_gaussians[kRadial];
        for (int c = 0; c < 3; ++c) {
          const auto g = Read<V>::constant(cotangent[c * shape.all() + atom]);
          by_pull += g * edge.d[c];
          by_d[c] = g * (total * weight);
        }
        for (int k = 0; k < n_radial; ++k) by_gaussians[k] = V{};
        const V weighted = by_pull * weight;
        for (int q = 0; q < n_gates; ++q) {
          const V by_force = weighted * gate[q];
          for (int k = 0; k < n_radial; ++k) {
            by_gaussians[k] += Read<V>::one(radial, (b * n_gates + q) * n_radial + k) * by_force;
            if (by_radial != nullptr) radial_sums[q * n_radial + k] += wanted(by_force * edge.gaussians[k]);
          }
          if (by_gates == nullptr) continue;
          const Lanes by_gate = wanted(weighted * force[q]);
          own_sums[q] += by_gate;
          add_scattered(by_gates + n_gates + q, 2 * n_gates, pass.index + at, by_gate, count);
        }
        const V by_weight = by_pull * total;
        edge.pull_back(shape, pass, by_gaussians, by_weight * edge.envelope, by_weight * edge.inverse, by_d, at, count,
                       recoil, polynomial_sums);
      }
      if (result != nullptr)
        for (int c = 0; c < 3; ++c) result[c * shape.all() + atom] = sum(sums[c]);
      if (!pass.backward) continue;
      finish_atom(shape, pass, atom, recoil);
      if (by_gates != nullptr) finish_sums(by_gates + atom * 2 * n_gates, own_sums, n_gates);
    }
    if (!pass.backward) return;
    finish_sums(pass.gradients[3] ? pass.gradients[3] + b * 3 * n_radial : nullptr, polynomial_sums, 3 * n_radial);
    finish_sums(by_radial ? by_radial + b * n_gates * n_radial : nullptr, radial_sums, n_gates * n_radial);
  }

  static Shape shape(const variable_list& inputs) {
    const Shape shape = shape_of_edges(inputs, inputs[4].size(1));
    TORCH_CHECK(shape.n_others <= kGates, "openmm_nti: at most ", kGates, " gates");
    return shape;
  }
  static std::vector<int64_t> sizes(const Shape& shape, int) { return {3, shape.n_batch, shape.n_atoms}; }
  static Shape shape_of_edges(const variable_list& inputs, int64_t n_others) {
    const Tensor &vectors = inputs[0], &polynomials = inputs[3];
    TORCH_CHECK(polynomials.size(0) <= kRadial, "openmm_nti: at most ", kRadial, " radial functions");
    return {vectors.size(1), vectors.size(2), vectors.size(3), polynomials.size(0), n_others};
  }
};

struct Moments {
  static constexpr int kInputs = 4, kOutputs = 1;  // vectors, moved, mask, polynomials; M
  static constexpr int kShared = 3;
  static constexpr bool kOwn[kInputs] = {true, false, true, false};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    const int64_t n_radial = shape.n_radial;
    const float* cotangent = pass.cotangents[0];
    float* result = pass.results[0];
    Lanes polynomial_sums[3 * kRadial] = {};
    for (int64_t i = pass.first_atom; i < pass.last_atom; ++i) {
      const int64_t atom = b * shape.n_atoms + i;
      const auto place = [&](int n, int64_t k) {
        return ((n * shape.n_batch + b) * n_radial + k) * shape.n_atoms + i;
      };
      Lanes sums[kMonomials * kRadial], recoil[3] = {};
      std::fill_n(sums, kMonomials * n_radial, Lanes{});
      float pulls[kMonomials * kRadial];
      if (pass.backward)
        for (int n = 0; n < kMonomials; ++n)
          for (int64_t k = 0; k < n_radial; ++k) pulls[n * n_radial + k] = cotangent[place(n, k)];
      for (int64_t m = 0; m < shape.n_neighbours; m += kWidth) {
        const int count = static_cast<int>(std::min<int64_t>(kWidth, shape.n_neighbours - m));
        const int64_t at = atom * shape.n_neighbours + m;
        if (empty(pass, at, count)) continue;
        Edges<V> edge(shape, pass, atom, at, count);
        V u[3], products[6], monomials[kMonomials];  // products: xx, yy, zz, xy, yz, zx
        for (int c = 0; c < 3; ++c) u[c] = edge.d[c] * edge.inverse;
        for (int c = 0; c < 3; ++c) {
          products[c] = u[c] * u[c];
          products[3 + c] = u[c] * u[(c + 1) % 3];
        }
        monomials[0] = edge.envelope;
        for (int c = 0; c < 3; ++c) monomials[1 + c] = u[c] * edge.envelope;
        for (int c = 0; c < 6; ++c) monomials[4 + c] = products[c] * edge.envelope;
        if (result != nullptr)
          for (int n = 0; n < kMonomials; ++n)
            for (int k = 0; k < n_radial; ++k)
              sums[n * n_radial + k] += wanted(monomials[n] * edge.gaussians[k]);
        if (!pass.backward) continue;
        V by_gaussians[kRadial], by_monomials[kMonomials];
        for (int k = 0; k < n_radial; ++k) by_gaussians[k] = V{};
        for (int n = 0; n < kMonomials; ++n) {
          by_monomials[n] = V{};
          for (int k = 0; k < n_radial; ++k) {
            const auto g = Read<V>::constant(pulls[n * n_radial + k]);
            by_gaussians[k] += g * monomials[n];
            by_monomials[n] += g * edge.gaussians[k];
          }
        }
        V by_envelope = by_monomials[0], by_u[3], by_d[3], by_inverse{};
        for (int c = 0; c < 3; ++c) by_envelope += by_monomials[1 + c] * u[c];
        for (int c = 0; c < 6; ++c) by_envelope += by_monomials[4 + c] * products[c];
        for (int c = 0; c < 3; ++c) {
          const int after = (c + 1) % 3, before = (c + 2) % 3;  // c stands in products c, 3 + c and 3 + before
          by_u[c] = edge.envelope * (by_monomials[1 + c] + by_monomials[4 + c] * u[c] * 2.0f +
                                     by_monomials[7 + c] * u[after] + by_monomials[7 + before] * u[before]);
          by_d[c] = by_u[c] * edge.inverse;
          by_inverse += by_u[c] * edge.d[c];
        }
        edge.pull_back(shape, pass, by_gaussians, by_inverse, by_envelope, by_d, at, count, recoil, polynomial_sums);
      }
      if (result != nullptr)
        for (int n = 0; n < kMonomials; ++n)
          for (int k = 0; k < n_radial; ++k) result[place(n, k)] = sum(sums[n * n_radial + k]);
      if (pass.backward) finish_atom(shape, pass, atom, recoil);
    }
    if (!pass.backward) return;
    finish_sums(pass.gradients[3] ? pass.gradients[3] + b * 3 * n_radial : nullptr, polynomial_sums, 3 * n_radial);
  }

  static Shape shape(const variable_list& inputs) { return Pushes::shape_of_edges(inputs, 0); }
  static std::vector<int64_t> sizes(const Shape& shape, int) {
    return {kMonomials, shape.n_batch, shape.n_radial, shape.n_atoms};
  }
};

// Mixtures of the moments, v_c and q_c = 3/2 (of the traceless second moments), and what is made of them: the lanes are
// atoms here. Outputs: asinh of the scaled invariants rho_k, |v|^2, |q|^2, v.q.v; and the vectors v and q.v.
struct Invariants {
  static constexpr int kInputs = 3, kOutputs = 2;  // moments, mixtures, scales (no gradient by them)
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
    if (!mixture_sums.empty())
      finish_sums(pass.gradients[1] + b * 2 * n_channels * n_radial, mixture_sums.data(), 2 * n_channels * n_radial);
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

// How much an edge of length r counts: t^3 (10 - 15 t + 6 t^2) of t = (1 - r / cutoff) / share, between 0 and 1.
struct Fading {
  static constexpr int kInputs = 1, kOutputs = 1;  // vectors
  static constexpr int kShared = -1;
  static constexpr bool kOwn[kInputs] = {true};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    const int64_t last = (b * shape.n_atoms + pass.last_atom) * shape.n_neighbours;
    for (int64_t at = (b * shape.n_atoms + pass.first_atom) * shape.n_neighbours; at < last; at += kWidth) {
      const int count = static_cast<int>(std::min<int64_t>(kWidth, last - at));
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
      if (!pass.gradients[0]) continue;
      V g = Read<V>::row({pass.cotangents[0]}, at, count);
      const V along = g * t * t * gone * gone * inverse * (-30.0f * shape.slope);
      for (int c = 0; c < 3; ++c)
        add_row(pass.gradients[0] + c * shape.plane() + at, wanted(along * d[c]), count);
    }
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
  static constexpr int kShared = -1;
  static constexpr bool kOwn[kInputs] = {true};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    const int64_t last = (b * shape.n_atoms + pass.last_atom) * shape.n_others;
    for (int64_t at = (b * shape.n_atoms + pass.first_atom) * shape.n_others; at < last; at += kWidth) {
      const int count = static_cast<int>(std::min<int64_t>(kWidth, last - at));
      const V x = Read<V>::row(pass.inputs[0], at, count), y = logistic(x);
      if (pass.results[0]) put_row(pass.results[0] + at, wanted(x * y), count);
      if (!pass.gradients[0]) continue;
      const V g = Read<V>::row({pass.cotangents[0]}, at, count);
      put_row(pass.gradients[0] + at, wanted(g * y * (x * (y * -1.0f + 1.0f) + 1.0f)), count);
    }
  }

  static Shape shape(const variable_list& inputs) {
    const Tensor& x = inputs[0];
    return {x.size(0), x.size(1), 0, 0, x.size(2)};
  }
  static std::vector<int64_t> sizes(const Shape& shape, int) { return {shape.n_batch, shape.n_atoms, shape.n_others}; }
};

// ---- From tensors to pointers.

struct Settings {
  Tensor index;  // undefined where there are no edges
  double cutoff = 1.0, softening = 0.0, share = 1.0;
};

Tensor plain(const Tensor& x) { return x.defined() ? x.contiguous() : x; }

const float* pointer(const Tensor& x, variable_list& kept) {
  if (!x.defined() || x.numel() == 0) return nullptr;
  kept.push_back(plain(x));
  return kept.back().const_data_ptr<float>();
}

// Into how many parts to divide the atoms of a configuration, for all threads to have one.
int64_t parts(const Shape& shape) {
  const int64_t wanted_parts = at::get_num_threads() / std::max<int64_t>(1, shape.n_batch);
  return std::clamp<int64_t>(wanted_parts, 1, std::max<int64_t>(1, shape.n_atoms / kFewestAtoms));
}

// The results (or, where there are tangents of the inputs, theirs) and then the gradients by the inputs (or theirs).
// Undefined tangents are zero; results or gradients that are not asked for come undefined.
template <class K>
variable_list run(const Settings& settings, const variable_list& inputs, const variable_list& tangents,
                  const variable_list& cotangents, bool with_results, const std::vector<bool>& needed) {
  Shape shape = K::shape(inputs);
  shape.inverse_cutoff_squared = static_cast<float>(1.0 / (settings.cutoff * settings.cutoff));
  shape.softening_squared = static_cast<float>(settings.softening * settings.softening);
  shape.slope = static_cast<float>(1.0 / (settings.cutoff * settings.share));
  shape.start = static_cast<float>(1.0 / settings.share);
  // Each thread adds to arrays of its own where others would add too.
  const int64_t n_parts = parts(shape);
  variable_list kept, found(K::kOutputs + K::kInputs);
  const Tensor index = plain(settings.index);
  const auto options = inputs[0].options();
  std::vector<Input> in;
  std::vector<const float*> pulls(K::kOutputs, nullptr);
  std::vector<float*> out(K::kOutputs + K::kInputs, nullptr);
  for (int n = 0; n < K::kOutputs; ++n) {
    if (with_results) found[n] = at::empty(K::sizes(shape, n), options);
    if (!cotangents.empty()) pulls[n] = pointer(cotangents[n], kept);
  }
  for (int n = 0; n < K::kInputs; ++n) {
    in.push_back({pointer(inputs[n], kept), tangents.empty() ? nullptr : pointer(tangents[n], kept)});
    if (cotangents.empty() || !needed[n]) continue;
    std::vector<int64_t> sizes = inputs[n].sizes().vec();
    if (n == K::kShared) sizes.insert(sizes.begin(), shape.n_batch);
    if (!K::kOwn[n]) sizes.insert(sizes.begin(), n_parts);
    found[K::kOutputs + n] = at::zeros(sizes, options);
  }
  for (size_t n = 0; n < out.size(); ++n)
    if (found[n].defined()) out[n] = found[n].template data_ptr<float>();
  const int64_t* index_at = index.defined() ? index.const_data_ptr<int64_t>() : nullptr;
  at::parallel_for(0, shape.n_batch * n_parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / n_parts, part = item % n_parts;
      std::vector<float*> mine = out;
      for (int n = 0; n < K::kInputs; ++n)
        if (float*& gradient = mine[K::kOutputs + n]; gradient != nullptr && !K::kOwn[n])
          gradient += part * (found[K::kOutputs + n].numel() / n_parts);
      const Pass pass{index_at, in.data(), pulls.data(), mine.data(), mine.data() + K::kOutputs, !cotangents.empty(),
                      part * shape.n_atoms / n_parts, (part + 1) * shape.n_atoms / n_parts};
      tangents.empty() ? K::template run<Lanes>(shape, pass, b) : K::template run<DualLanes>(shape, pass, b);
    }
  });
  for (int n = 0; n < K::kInputs; ++n) {
    Tensor& gradient = found[K::kOutputs + n];
    if (!gradient.defined() || K::kOwn[n]) continue;
    gradient = n_parts == 1 ? gradient.squeeze(0) : gradient.sum(0);
    if (n == K::kShared) gradient = gradient.sum(0);
  }
  return found;
}

// ---- Autograd: an operation, its gradient, and the gradient of that.

Settings settings_of(AutogradContext* ctx) {
  return {ctx->saved_data["index"].toTensor(), ctx->saved_data["cutoff"].toDouble(), ctx->saved_data["softening"].toDouble(),
          ctx->saved_data["share"].toDouble()};
}

void save(AutogradContext* ctx, const Settings& settings, const variable_list& tensors) {
  ctx->save_for_backward(tensors);
  ctx->saved_data["index"] = settings.index;
  ctx->saved_data["cutoff"] = settings.cutoff;
  ctx->saved_data["softening"] = settings.softening;
  ctx->saved_data["share"] = settings.share;
  ctx->set_materialize_grads(false);  // what is zero comes undefined
}

// Arguments: settings and needed, which are no tensors to autograd, then cotangents and inputs.
template <class K>
struct Gradient : Function<Gradient<K>> {
  template <class... X>
  static variable_list forward(AutogradContext* ctx, const Settings& settings, const std::vector<bool>& needed,
                               const X&... x) {
    const variable_list tensors{x...};
    save(ctx, settings, tensors);
    const auto inputs = tensors.begin() + K::kOutputs;
    variable_list found =
        run<K>(settings, {inputs, tensors.end()}, {}, {tensors.begin(), inputs}, false, needed);
    found.erase(found.begin(), found.begin() + K::kOutputs);
    for (auto& gradient : found)  // autograd takes no undefined outputs
      if (!gradient.defined()) gradient = at::empty({0}, inputs->options());
    return found;
  }

  static variable_list backward(AutogradContext* ctx, variable_list tangents) {
    const variable_list saved = ctx->get_saved_variables();
    const auto inputs = saved.begin() + K::kOutputs;
    const Settings settings = settings_of(ctx);
    variable_list found = run<K>(settings, {inputs, saved.end()}, tangents, {saved.begin(), inputs}, true,
                                 std::vector<bool>(K::kInputs, true));
    for (int n = 0; n < K::kOutputs; ++n)
      if (saved[n].numel() == 0) found[n] = Tensor();
    found.insert(found.begin(), 2, Tensor());  // settings, needed
    return found;
  }
};

template <class K>
struct Operation : Function<Operation<K>> {
  template <class... X>
  static variable_list forward(AutogradContext* ctx, const Settings& settings, const X&... x) {
    save(ctx, settings, {x...});
    variable_list found = run<K>(settings, {x...}, {}, {}, true, {});
    found.resize(K::kOutputs);
    return found;
  }

  static variable_list backward(AutogradContext* ctx, variable_list cotangents) {
    return backward(ctx, cotangents, std::make_index_sequence<K::kOutputs>(), std::make_index_sequence<K::kInputs>());
  }

  template <size_t... N, size_t... M>
  static variable_list backward(AutogradContext* ctx, const variable_list& cotangents, std::index_sequence<N...>,
                                std::index_sequence<M...>) {
    const variable_list saved = ctx->get_saved_variables();
    const std::vector<bool> needed{ctx->needs_input_grad(M)...};
    const Settings settings = settings_of(ctx);
    const auto options = saved[0].options();  // autograd takes no undefined inputs: what is zero goes in empty
    const auto given = [&](const Tensor& x) { return x.defined() ? x : at::empty({0}, options); };
    variable_list found = Gradient<K>::apply(settings, needed, given(cotangents[N])..., saved[M]...);
    for (size_t n = 0; n < needed.size(); ++n)
      if (!needed[n]) found[n] = Tensor();
    found.insert(found.begin(), Tensor());  // settings
    return found;
  }
};

// ---- Vectors of pairs: linear in the positions, and so is the way back, but for the images.

// Minimum images of x_second - x_first, (3, P), from positions (n, 3), double; without a box, plain differences.
Tensor differences(const Tensor& positions, const Tensor& first, const Tensor& second, const Tensor& box) {
  const Tensor x = plain(positions), a = plain(first), b = plain(second), edges = plain(box);
  const int64_t count = a.numel(), *at = a.const_data_ptr<int64_t>(), *to = b.const_data_ptr<int64_t>();
  const double* from = x.const_data_ptr<double>();
  Tensor found = at::empty({3, count}, x.options());
  double* d = found.data_ptr<double>();
  for (int c = 0; c < 3; ++c)
    for (int64_t p = 0; p < count; ++p) d[c * count + p] = from[3 * to[p] + c] - from[3 * at[p] + c];
  if (!edges.defined()) return found;
  for (int c = 0; c < 3; ++c) {
    const double edge = edges.const_data_ptr<double>()[c], inverse = 1.0 / edge;
    for (int64_t p = 0; p < count; ++p) d[c * count + p] -= edge * std::nearbyint(d[c * count + p] * inverse);
  }
  return found;
}

// The gradient by the positions, (n, 3), from that by the vectors, (3, P).
Tensor collected(const Tensor& pulls, const Tensor& first, const Tensor& second, int64_t n_atoms) {
  const Tensor g = plain(pulls), a = plain(first), b = plain(second);
  const int64_t count = a.numel(), *at = a.const_data_ptr<int64_t>(), *to = b.const_data_ptr<int64_t>();
  const double* from = g.const_data_ptr<double>();
  Tensor found = at::zeros({n_atoms, 3}, g.options());
  double* sums = found.data_ptr<double>();
  for (int c = 0; c < 3; ++c)
    for (int64_t p = 0; p < count; ++p) {
      sums[3 * to[p] + c] += from[c * count + p];
      sums[3 * at[p] + c] -= from[c * count + p];
    }
  return found;
}

struct Vectors : Function<Vectors> {  // and their lengths, without gradient
  static variable_list forward(AutogradContext* ctx, const Tensor& positions, const Tensor& first,
                               const Tensor& second, const Tensor& box);
  static variable_list backward(AutogradContext* ctx, variable_list pulls);
};
struct Collect : Function<Collect> {
  static Tensor forward(AutogradContext* ctx, const Tensor& pulls, const Tensor& first, const Tensor& second,
                        int64_t n_atoms) {
    ctx->save_for_backward({first, second});
    return collected(pulls, first, second, n_atoms);
  }
  static variable_list backward(AutogradContext* ctx, variable_list v) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor no_box = at::zeros({0}, v[0].options());
    return {Vectors::apply(v[0], saved[0], saved[1], no_box)[0], Tensor(), Tensor(), Tensor()};
  }
};
variable_list Vectors::forward(AutogradContext* ctx, const Tensor& positions, const Tensor& first,
                               const Tensor& second, const Tensor& box) {
  ctx->save_for_backward({first, second});
  ctx->saved_data["n_atoms"] = positions.size(0);
  const Tensor found = differences(positions, first, second, box.numel() ? box : Tensor());
  const int64_t count = first.numel();
  Tensor lengths = at::empty({count}, found.options());
  const double* d = found.const_data_ptr<double>();
  double* r = lengths.data_ptr<double>();
  for (int64_t p = 0; p < count; ++p)
    r[p] = std::sqrt(d[p] * d[p] + d[count + p] * d[count + p] + d[2 * count + p] * d[2 * count + p] + 1e-24);
  ctx->mark_non_differentiable({lengths});
  return {found, lengths};
}
variable_list Vectors::backward(AutogradContext* ctx, variable_list pulls) {
  const variable_list saved = ctx->get_saved_variables();
  const Tensor found = Collect::apply(pulls[0], saved[0], saved[1], ctx->saved_data["n_atoms"].toInt());
  return {found, Tensor(), Tensor(), Tensor()};
}

std::tuple<Tensor, Tensor> vectors(const Tensor& positions, const Tensor& first, const Tensor& second,
                                   const Tensor& box) {
  const variable_list found = Vectors::apply(positions, first, second, box);
  return {found[0], found[1]};
}
Tensor collect(const Tensor& pulls, const Tensor& first, const Tensor& second, int64_t n_atoms) {
  return Collect::apply(pulls, first, second, n_atoms);
}

// ---- The two-body term: sums over the pairs of each configuration of tabulated cubics, differentiable once.

struct TableSums : Function<TableSums> {
  // Calls visit(pair, at, stride, t) for every pair: its cubic in t has coefficients at, at + stride, ...
  template <class F>
  static void each_pair(const Tensor& lengths, const Tensor& configuration, const Tensor& rows, double r_step, F visit) {
    const int64_t count = configuration.numel(), n_bins = rows.size(2), stride = rows.size(1) * n_bins;
    const int64_t* of = configuration.const_data_ptr<int64_t>();
    const double *r = lengths.const_data_ptr<double>(), inverse = 1.0 / r_step;
    for (int64_t p = 0; p < count; ++p) {
      const double place = r[p] * inverse;
      const int64_t interval = std::min<int64_t>(static_cast<int64_t>(place), n_bins - 1);
      visit(p, of[p] * n_bins + interval, stride, place - static_cast<double>(interval));
    }
  }

  static Tensor forward(AutogradContext* ctx, const Tensor& vectors, const Tensor& lengths, const Tensor& configuration,
                        const Tensor& rows, double r_step) {
    const Tensor x = plain(vectors), r = plain(lengths), b = plain(configuration), table = plain(rows);
    ctx->save_for_backward({x, r, b, table});
    ctx->saved_data["r_step"] = r_step;
    Tensor found = at::zeros({table.size(1)}, x.options());
    double* sums = found.data_ptr<double>();
    const double* c = table.const_data_ptr<double>();
    const int64_t* of = b.const_data_ptr<int64_t>();
    each_pair(r, b, table, r_step, [&](int64_t p, int64_t at, int64_t stride, double t) {
      sums[of[p]] += c[at] + t * (c[at + stride] + t * (c[at + 2 * stride] + t * c[at + 3 * stride]));
    });
    return found;
  }

  static variable_list backward(AutogradContext* ctx, variable_list cotangents) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "openmm_nti: the compiled two-body term has one derivative, not two: "
                                             "run with OPENMM_NTI_KERNELS=off");
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &lengths = saved[1], &b = saved[2], &table = saved[3], g = plain(cotangents[0]);
    const double r_step = ctx->saved_data["r_step"].toDouble(), inverse = 1.0 / r_step;
    const int64_t count = b.numel(), *of = b.const_data_ptr<int64_t>();
    const double *c = table.const_data_ptr<double>(), *d = x.const_data_ptr<double>(), *pull = g.const_data_ptr<double>();
    const double* r = lengths.const_data_ptr<double>();
    const bool with_rows = ctx->needs_input_grad(3);
    Tensor by_vectors = at::empty_like(x), by_rows = with_rows ? at::zeros_like(table) : Tensor();
    double *to = by_vectors.data_ptr<double>(), *to_rows = with_rows ? by_rows.data_ptr<double>() : nullptr;
    each_pair(lengths, b, table, r_step, [&](int64_t p, int64_t at, int64_t stride, double t) {
      const double slope = c[at + stride] + t * (2.0 * c[at + 2 * stride] + 3.0 * t * c[at + 3 * stride]);
      const double weight = pull[of[p]] * slope * inverse / r[p];
      for (int axis = 0; axis < 3; ++axis) to[axis * count + p] = weight * d[axis * count + p];
      if (to_rows == nullptr) return;
      double power = pull[of[p]];
      for (int n = 0; n < 4; ++n, power *= t) to_rows[at + n * stride] += power;
    });
    return {by_vectors, Tensor(), Tensor(), by_rows, Tensor()};
  }
};

Tensor table_sums(const Tensor& vectors, const Tensor& lengths, const Tensor& configuration, const Tensor& rows,
                  double r_step) {
  return TableSums::apply(vectors, lengths, configuration, rows, r_step);
}

// ---- Without gradient: pairs closer than a cutoff, and their places in a padded matrix of neighbours.

// The atoms of each pair, (2, P), as indices into positions (B, N, 3), double.
Tensor pairs(const Tensor& positions, const Tensor& box, double cutoff) {
  const Tensor x = plain(positions), edges = plain(box);
  const double *at = x.const_data_ptr<double>(), *edge = edges.const_data_ptr<double>();
  const int64_t n_batch = x.size(0), n_atoms = x.size(1);
  const double reach = cutoff * cutoff;
  std::vector<int64_t> first, second, hits(n_atoms + 1);
  std::vector<double> rows(3 * n_atoms), squares(n_atoms);
  for (int64_t b = 0; b < n_batch; ++b) {
    for (int64_t i = 0; i < n_atoms; ++i)
      for (int c = 0; c < 3; ++c) rows[c * n_atoms + i] = at[(b * n_atoms + i) * 3 + c];
    for (int64_t i = 0; i + 1 < n_atoms; ++i) {
      for (int64_t j = i + 1; j < n_atoms; ++j) squares[j] = 0.0;
      for (int c = 0; c < 3; ++c) {
        const double here = rows[c * n_atoms + i], inverse = 1.0 / edge[c];
        for (int64_t j = i + 1; j < n_atoms; ++j) {
          double d = rows[c * n_atoms + j] - here;
          d -= edge[c] * std::nearbyint(d * inverse);
          squares[j] += d * d;
        }
      }
      int64_t n_hits = 0;  // without a branch: half of them would be guessed wrong
      for (int64_t j = i + 1; j < n_atoms; ++j) {
        hits[n_hits] = b * n_atoms + j;
        n_hits += squares[j] < reach;
      }
      first.insert(first.end(), n_hits, b * n_atoms + i);
      second.insert(second.end(), hits.begin(), hits.begin() + n_hits);
    }
  }
  const int64_t count = static_cast<int64_t>(first.size());
  Tensor found = at::empty({2, count}, at::kLong);
  std::copy(first.begin(), first.end(), found.data_ptr<int64_t>());
  std::copy(second.begin(), second.end(), found.data_ptr<int64_t>() + count);
  return found;
}

// Of pairs (P,) among n_atoms: the neighbours of every atom, (n_atoms, M), padded with the atom itself to whole
// blocks; and at which place of it each pair stands, seen from its first atom and from its second, (2 P,).
std::tuple<Tensor, Tensor> neighbours(const Tensor& firsts, const Tensor& seconds, int64_t n_atoms) {
  const Tensor a = firsts.contiguous(), b = seconds.contiguous();
  const int64_t *first = a.const_data_ptr<int64_t>(), *second = b.const_data_ptr<int64_t>(), count = a.numel();
  std::vector<int64_t> filled(n_atoms, 0);
  Tensor places = at::empty({2 * count}, at::kLong);
  int64_t* place = places.data_ptr<int64_t>();
  for (int64_t p = 0; p < count; ++p) {
    place[p] = filled[first[p]]++;
    place[count + p] = filled[second[p]]++;
  }
  const int64_t most = n_atoms ? *std::max_element(filled.begin(), filled.end()) : 0;
  const int64_t width = std::max<int64_t>(1, (most + kWidth - 1) / kWidth) * kWidth;  // whole blocks
  Tensor index = at::arange(n_atoms, at::kLong).unsqueeze(1).repeat({1, width});
  int64_t* to = index.data_ptr<int64_t>();
  for (int64_t p = 0; p < count; ++p) {
    place[p] += first[p] * width;
    place[count + p] += second[p] * width;
    to[place[p]] = second[p];
    to[place[count + p]] = first[p];
  }
  return {index, places};
}

Tensor pushes(const Tensor& vectors, const Tensor& moved, const Tensor& index, const Tensor& mask,
              const Tensor& polynomials, const Tensor& radial, const Tensor& gates, double cutoff, double softening) {
  const Settings settings{index, cutoff, softening};
  return Operation<Pushes>::apply(settings, vectors, moved, mask, polynomials, radial, gates)[0];
}

Tensor moments(const Tensor& vectors, const Tensor& moved, const Tensor& index, const Tensor& mask,
               const Tensor& polynomials, double cutoff, double softening) {
  return Operation<Moments>::apply(Settings{index, cutoff, softening}, vectors, moved, mask, polynomials)[0];
}

std::tuple<Tensor, Tensor> invariants(const Tensor& moments, const Tensor& mixtures, const Tensor& scales) {
  TORCH_CHECK(!scales.requires_grad(), "openmm_nti: there is no gradient by the scales of invariants");
  const variable_list found = Operation<Invariants>::apply(Settings{}, moments, mixtures, scales);
  return {found[0], found[1]};
}

Tensor fading(const Tensor& vectors, double cutoff, double share) {
  return Operation<Fading>::apply(Settings{Tensor(), cutoff, 0.0, share}, vectors)[0];
}

Tensor silu(const Tensor& x) { return Operation<Silu>::apply(Settings{}, x)[0]; }

}  // namespace

TORCH_LIBRARY(openmm_nti, library) {
  library.def("table_sums", &table_sums);
  library.def("vectors", &vectors);
  library.def("collect", &collect);
  library.def("pairs", &pairs);
  library.def("neighbours", &neighbours);
  library.def("pushes", &pushes);
  library.def("moments", &moments);
  library.def("invariants", &invariants);
  library.def("fading", &fading);
  library.def("silu", &silu);
}
