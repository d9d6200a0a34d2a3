// Sums over the edges of an atom's neighbourhood.
//
//   pushes_i  = sum_j d_ij / r_ij  e(r_ij) m_ij  sum_q (a_iq + b_jq) sum_k w_qk B_k(r_ij)
//   moments_i = sum_j (1, u, u u)  e(r_ij) m_ij  B_k(r_ij),    u = d_ij / r_ij,
//   d_ij = x_ij + y_j - y_i,   r^2 = |d|^2 + softening^2,   e = relu(1 - r^2 / cutoff^2)^3,
//   B_k = exp(p_k2 t^2 + p_k1 t + p_k0),   t = r - 1.
//
// Nothing is kept between the passes: an edge is cheaper to compute again than to read.

#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <vector>

#include "numbers.h"
#include "rows.h"

namespace openmm_nti {

using at::Tensor;
using torch::autograd::variable_list;

// ---- One block of edges. The inputs are vectors, moved, mask, polynomials, and those of the sum.

template <class V>
struct Edges {
  V seen[kRow], d[3], t, inverse, inside, envelope, mask;  // seen: of the neighbours
  V gaussians[kRadial];

  Edges(const Shape& shape, const Pass& pass, const Neighbours<V>& neighbours, int64_t atom, int64_t at, int count) {
    neighbours.see(at, count, seen);
    const Input vectors = pass.inputs[0], moved = pass.inputs[1], polynomials = pass.inputs[3];
    V r_squared{};
    for (int c = 0; c < 3; ++c) {
      const auto here = Read<V>::one(moved, c * shape.all() + atom);
      d[c] = Read<V>::row(vectors, c * shape.plane() + at, count) + seen[c] - here;
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
      gaussians[k] = exponential((p2 * t + p1) * t + Read<V>::one(polynomials, 3 * k + 2));
    }
  }

  // From the gradients by gaussians, 1 / r, envelope and d to those by the inputs. `by_there` is that by y_j, `recoil`
  // that by y_i with the other sign, and `by_polynomials` collects over the configuration.
  void pull_back(const Shape& shape, const Pass& pass, const V* by_gaussians, V by_inverse, V by_envelope,
                 const V* by_d, int64_t at, int count, Lanes* by_there, Lanes* recoil, Lanes* by_polynomials) {
    V by_t{};
    for (int k = 0; k < shape.n_radial; ++k) {
      const V slope = by_gaussians[k] * gaussians[k];
      const auto p2 = Read<V>::one(pass.inputs[3], 3 * k), p1 = Read<V>::one(pass.inputs[3], 3 * k + 1);
      by_t += slope * (p2 * t * 2.0f + p1);
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
      by_there[c] = pull;
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

// ---- The operations, each for one configuration b.

struct Pushes {
  static constexpr int kInputs = 6, kOutputs = 1;  // vectors, moved, mask, polynomials, radial, gates; P
  static constexpr int kFewestAtoms = 32;  // for a thread of its own
  static constexpr int kShared = 3;                // the input that all configurations share
  // The inputs of which an atom's part of the gradient comes from this atom alone.
  static constexpr bool kOwn[kInputs] = {true, false, true, false, false, false};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    const int64_t n_radial = shape.n_radial, n_gates = shape.n_others;
    const Input radial = pass.inputs[4], gates = pass.inputs[5];
    const float* cotangent = pass.cotangents[0];
    float *result = pass.results[0], *by_radial = pass.gradients[4], *by_gates = pass.gradients[5];
    Lanes radial_sums[kGates * kRadial], polynomial_sums[3 * kRadial];
    std::fill_n(radial_sums, n_gates * n_radial, Lanes{});
    std::fill_n(polynomial_sums, 3 * n_radial, Lanes{});
    Neighbours<V> neighbours(shape, pass, b, pass.inputs[1], gates, n_gates);
    for (int64_t atom = b * shape.n_atoms + pass.first_atom; atom < b * shape.n_atoms + pass.last_atom; ++atom) {
      Lanes sums[3] = {}, recoil[3] = {}, own_sums[kGates] = {};
      for (int64_t m = 0; m < shape.n_neighbours; m += kWidth) {
        const int count = static_cast<int>(std::min<int64_t>(kWidth, shape.n_neighbours - m));
        const int64_t at = atom * shape.n_neighbours + m;
        if (empty(pass, at, count)) continue;
        Edges<V> edge(shape, pass, neighbours, atom, at, count);
        V gate[kGates], force[kGates], total{};
        for (int q = 0; q < n_gates; ++q) {
          gate[q] = edge.seen[kSent + q] + Read<V>::one(gates, atom * 2 * n_gates + q);
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
        Lanes by_seen[kRow] = {};
        for (int q = 0; q < n_gates; ++q) {
          const V by_force = weighted * gate[q];
          for (int k = 0; k < n_radial; ++k) {
            by_gaussians[k] += Read<V>::one(radial, (b * n_gates + q) * n_radial + k) * by_force;
            if (by_radial != nullptr) radial_sums[q * n_radial + k] += wanted(by_force * edge.gaussians[k]);
          }
          if (by_gates == nullptr) continue;
          const Lanes by_gate = wanted(weighted * force[q]);
          own_sums[q] += by_gate;
          by_seen[kSent + q] = by_gate;
        }
        const V by_weight = by_pull * total;
        edge.pull_back(shape, pass, by_gaussians, by_weight * edge.envelope, by_weight * edge.inverse, by_d, at, count,
                       by_seen, recoil, polynomial_sums);
        if (neighbours.wants_more()) neighbours.add(at, count, by_seen);
      }
      if (result != nullptr)
        for (int c = 0; c < 3; ++c) result[c * shape.all() + atom] = sum(sums[c]);
      if (!pass.backward) continue;
      finish_atom(shape, pass, atom, recoil);
      finish_sums(by_gates, atom * 2 * n_gates, own_sums, n_gates);
    }
    neighbours.finish();
    finish_sums(pass.gradients[3], 0, polynomial_sums, 3 * n_radial);
    finish_sums(by_radial, b * n_gates * n_radial, radial_sums, n_gates * n_radial);
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
  static constexpr int kFewestAtoms = 32;  // for a thread of its own
  static constexpr int kShared = 3;
  static constexpr bool kOwn[kInputs] = {true, false, true, false};

  template <class V>
  static void run(const Shape& shape, const Pass& pass, int64_t b) {
    const int64_t n_radial = shape.n_radial;
    const float* cotangent = pass.cotangents[0];
    float* result = pass.results[0];
    Lanes polynomial_sums[3 * kRadial];
    std::fill_n(polynomial_sums, 3 * n_radial, Lanes{});
    Neighbours<V> neighbours(shape, pass, b, pass.inputs[1], {nullptr}, 0);
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
        Edges<V> edge(shape, pass, neighbours, atom, at, count);
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
        Lanes by_seen[kRow] = {};
        edge.pull_back(shape, pass, by_gaussians, by_inverse, by_envelope, by_d, at, count, by_seen, recoil,
                       polynomial_sums);
        if (neighbours.wants_more()) neighbours.add(at, count, by_seen);
      }
      if (result != nullptr)
        for (int n = 0; n < kMonomials; ++n)
          for (int k = 0; k < n_radial; ++k) result[place(n, k)] = sum(sums[n * n_radial + k]);
      if (pass.backward) finish_atom(shape, pass, atom, recoil);
    }
    neighbours.finish();
    finish_sums(pass.gradients[3], 0, polynomial_sums, 3 * n_radial);
  }

  static Shape shape(const variable_list& inputs) { return Pushes::shape_of_edges(inputs, 0); }
  static std::vector<int64_t> sizes(const Shape& shape, int) {
    return {kMonomials, shape.n_batch, shape.n_radial, shape.n_atoms};
  }
};

}  // namespace openmm_nti
