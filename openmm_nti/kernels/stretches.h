// The pairs' stretches of a vector of all coordinates, one pair after another; without gradient.
//
// For each pair, in an order that depends on the numbers of its atoms alone, the difference of both atoms' vectors is
// multiplied by exp(-w Phi'') along the pair and by exp(-w Phi' / r) across it. So the logarithm of the determinant is
// a plain sum. The inverse takes the opposite order. validation/sampling/paths/stretches.py has the same in PyTorch.

#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <tuple>
#include <vector>

#include "autograd.h"

namespace openmm_nti {

// The round of a tournament in which each pair (i, j), i < j, of n_atoms meets: no atom is in two pairs of a round.
inline int64_t round_of(int64_t i, int64_t j, int64_t n_atoms) {
  const int64_t n_rounds = n_atoms - 1 + n_atoms % 2;
  return j == n_rounds ? (2 * i) % n_rounds : (i + j) % n_rounds;
}

// From z (B N, 3) to the stretched z, and the logarithm of the determinant, (B,); pairs as in pairs.h, weights w (B,).
// Exponents are at most `limit` in size.
inline std::tuple<Tensor, Tensor> stretched(const Tensor& z, const Tensor& vectors, const Tensor& lengths,
                                            const Tensor& first, const Tensor& second, const Tensor& row,
                                            const Tensor& rows, const Tensor& weights, int64_t n_atoms, double r_step,
                                            double limit, bool inverse) {
  const Tensor x = plain(vectors), distance = plain(lengths), a = plain(first), b = plain(second), of = plain(row);
  const Tensor table = plain(rows), w = plain(weights);
  const int64_t count = a.numel(), *at = a.const_data_ptr<int64_t>(), *to = b.const_data_ptr<int64_t>();
  const int64_t *rank = of.const_data_ptr<int64_t>(), n_bins = table.size(2), stride = table.size(1) * n_bins;
  const double *d = x.const_data_ptr<double>(), *length = distance.const_data_ptr<double>();
  const double *c = table.const_data_ptr<double>(), *weight = w.const_data_ptr<double>(), inverse_step = 1.0 / r_step;
  Tensor found = plain(z).clone(), determinant = at::zeros({w.numel()}, w.options());
  double *moved = found.data_ptr<double>(), *sums = determinant.data_ptr<double>();

  const int64_t n_keys = w.numel() * n_atoms;  // by configuration, then by round
  std::vector<int64_t> starts(n_keys + 1, 0), order(count), keys(count);
  for (int64_t p = 0; p < count; ++p) {
    const int64_t i = at[p] % n_atoms, j = to[p] % n_atoms;
    keys[p] = at[p] / n_atoms * n_atoms + round_of(std::min(i, j), std::max(i, j), n_atoms);
    ++starts[keys[p] + 1];
  }
  std::partial_sum(starts.begin(), starts.end(), starts.begin());
  for (int64_t p = 0; p < count; ++p) order[starts[keys[p]]++] = p;

  for (int64_t number = 0; number < count; ++number) {
    const int64_t p = order[inverse ? count - 1 - number : number], i = at[p], j = to[p];
    const int64_t configuration = i / n_atoms;
    const double r = length[p], place = r * inverse_step;
    const int64_t interval = std::min<int64_t>(static_cast<int64_t>(place), n_bins - 1);
    const double t = place - static_cast<double>(interval), *cubic = c + rank[p] * n_bins + interval;
    const double c1 = cubic[stride], c2 = cubic[2 * stride], c3 = cubic[3 * stride];
    const double slope = (c1 + t * (2.0 * c2 + 3.0 * t * c3)) * inverse_step;
    const double bend = (2.0 * c2 + 6.0 * t * c3) * inverse_step * inverse_step;
    const double along = std::clamp(-weight[configuration] * bend, -limit, limit);
    const double across = std::clamp(-weight[configuration] * slope / r, -limit, limit);
    sums[configuration] += along + 2.0 * across;
    const double by_along = std::expm1(inverse ? -along : along), by_across = std::expm1(inverse ? -across : across);
    double difference[3], projected = 0.0;
    for (int k = 0; k < 3; ++k) {
      difference[k] = moved[3 * j + k] - moved[3 * i + k];
      projected += difference[k] * d[k * count + p];
    }
    projected *= (by_along - by_across) / (r * r);
    for (int k = 0; k < 3; ++k) {
      const double change = 0.5 * (by_across * difference[k] + projected * d[k * count + p]);
      moved[3 * j + k] += change;
      moved[3 * i + k] -= change;
    }
  }
  return {found, determinant};
}

}  // namespace openmm_nti
