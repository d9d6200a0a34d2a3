// Pairs of atoms, in double: their vectors, the two-body term, and their search, which has no gradient.

#pragma once

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include "autograd.h"

namespace openmm_nti {

// ---- Vectors of pairs: linear in the positions, and so is the way back, but for the images.

// Minimum images of x_second - x_first, (3, P), from positions (n, 3), double; without a box, plain differences.
inline Tensor differences(const Tensor& positions, const Tensor& first, const Tensor& second, const Tensor& box) {
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
inline Tensor collected(const Tensor& pulls, const Tensor& first, const Tensor& second, int64_t n_atoms) {
  const Tensor g = plain(pulls), a = plain(first), b = plain(second);
  const int64_t count = a.numel(), *at = a.const_data_ptr<int64_t>(), *to = b.const_data_ptr<int64_t>();
  const double* from = g.const_data_ptr<double>();
  Tensor found = at::zeros({n_atoms, 3}, g.options());
  double* sums = found.data_ptr<double>();
  for (int64_t p = 0; p < count; ++p)
    for (int c = 0; c < 3; ++c) {
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
inline variable_list Vectors::forward(AutogradContext* ctx, const Tensor& positions, const Tensor& first,
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
inline variable_list Vectors::backward(AutogradContext* ctx, variable_list pulls) {
  const variable_list saved = ctx->get_saved_variables();
  const Tensor found = Collect::apply(pulls[0], saved[0], saved[1], ctx->saved_data["n_atoms"].toInt());
  return {found, Tensor(), Tensor(), Tensor()};
}

inline std::tuple<Tensor, Tensor> vectors(const Tensor& positions, const Tensor& first, const Tensor& second,
                                   const Tensor& box) {
  const variable_list found = Vectors::apply(positions, first, second, box);
  return {found[0], found[1]};
}
inline Tensor collect(const Tensor& pulls, const Tensor& first, const Tensor& second, int64_t n_atoms) {
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

inline Tensor table_sums(const Tensor& vectors, const Tensor& lengths, const Tensor& configuration, const Tensor& rows,
                  double r_step) {
  return TableSums::apply(vectors, lengths, configuration, rows, r_step);
}

// ---- Without gradient: the two-body term's pull on atoms that were displaced since the pairs were found.

// The gradient by the positions, (n, 3), with an envelope that ends at the cutoff within `share` of it, and the sums of
// (Phi'' + 2 Phi' / r) / 3 over the pairs of each atom, (n,), from the vectors and lengths of the pairs before, (3, P)
// and (P,). A share of 0 stands for no envelope.
inline std::tuple<Tensor, Tensor> displaced_pulls(const Tensor& vectors, const Tensor& lengths, const Tensor& first,
                                                  const Tensor& second, const Tensor& row, const Tensor& rows,
                                                  const Tensor& displacement, double r_step, double cutoff,
                                                  double share) {
  const Tensor x = plain(vectors), before = plain(lengths), a = plain(first), b = plain(second), of = plain(row);
  const Tensor table = plain(rows), moved = plain(displacement);
  const int64_t count = a.numel(), *at = a.const_data_ptr<int64_t>(), *to = b.const_data_ptr<int64_t>();
  const int64_t *rank = of.const_data_ptr<int64_t>(), n_bins = table.size(2), stride = table.size(1) * n_bins;
  const double *d = x.const_data_ptr<double>(), *r0 = before.const_data_ptr<double>();
  const double *y = moved.const_data_ptr<double>(), *c = table.const_data_ptr<double>();
  Tensor pulls = at::zeros_like(moved), stiffness = at::zeros({moved.size(0)}, moved.options());
  double *sums = pulls.data_ptr<double>(), *stiff = stiffness.data_ptr<double>();
  const double inverse_step = 1.0 / r_step;
  for (int64_t p = 0; p < count; ++p) {
    const int64_t i = at[p], j = to[p];
    double v[3], square = 1e-24;
    for (int k = 0; k < 3; ++k) {
      v[k] = d[k * count + p] + (y[3 * j + k] - y[3 * i + k]);
      square += v[k] * v[k];
    }
    const double r = std::sqrt(square), place = r * inverse_step;
    if (share > 0.0 && r >= cutoff) continue;
    const int64_t interval = std::min<int64_t>(static_cast<int64_t>(place), n_bins - 1);
    const double t = place - static_cast<double>(interval), *cubic = c + rank[p] * n_bins + interval;
    const double c1 = cubic[stride], c2 = cubic[2 * stride], c3 = cubic[3 * stride];
    double weight = (c1 + t * (2.0 * c2 + 3.0 * t * c3)) * inverse_step / r;
    if (share > 0.0) {
      const double inside = std::clamp((1.0 - r0[p] / cutoff) / share, 0.0, 1.0);
      weight *= inside * inside * (3.0 - 2.0 * inside);
    }
    const double bend = ((2.0 * c2 + 6.0 * t * c3) * inverse_step * inverse_step + 2.0 * weight) / 3.0;
    for (int k = 0; k < 3; ++k) {
      sums[3 * j + k] += weight * v[k];
      sums[3 * i + k] -= weight * v[k];
    }
    stiff[i] += bend;
    stiff[j] += bend;
  }
  return {pulls, stiffness};
}

// ---- Without gradient: pairs closer than a cutoff, and their places in a padded matrix of neighbours.

// The atoms of each pair, (2, P), as indices into positions (B, N, 3), double.
inline Tensor pairs(const Tensor& positions, const Tensor& box, double cutoff) {
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

// Of pairs among n_atoms, with vectors (3, P): the vectors to the neighbours of every atom, (3, n_atoms, M), which are zero
// in the padding to whole blocks; the neighbours, (n_atoms, M), where padding is the atom itself; and 1 for a neighbour and
// 0 for padding. The gradient by the vectors may be differentiated again.
struct Neighbourhoods : Function<Neighbourhoods> {
  static variable_list forward(AutogradContext* ctx, const Tensor& vectors, const Tensor& firsts, const Tensor& seconds,
                               int64_t n_atoms) {
    const Tensor x = vectors.contiguous(), a = firsts.contiguous(), b = seconds.contiguous();
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
    Tensor index = at::empty({n_atoms, width}, at::kLong);
    Tensor table = at::zeros({3, n_atoms, width}, x.options()), mask = at::zeros({n_atoms, width}, x.options());
    int64_t* to = index.data_ptr<int64_t>();
    for (int64_t i = 0; i < n_atoms; ++i) std::fill_n(to + i * width, width, i);
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "neighbourhoods", [&] {
      const scalar_t* from = x.const_data_ptr<scalar_t>();
      scalar_t *values = table.data_ptr<scalar_t>(), *is_there = mask.data_ptr<scalar_t>();
      for (int64_t p = 0; p < count; ++p) {
        const int64_t seen = place[p] += first[p] * width, back = place[count + p] += second[p] * width;
        to[seen] = second[p];
        to[back] = first[p];
        is_there[seen] = is_there[back] = 1;
        for (int c = 0; c < 3; ++c) {
          values[c * n_atoms * width + seen] = from[c * count + p];
          values[c * n_atoms * width + back] = -from[c * count + p];
        }
      }
    });
    ctx->save_for_backward({places});
    ctx->mark_non_differentiable({index, mask});
    return {table, index, mask};
  }
  static variable_list backward(AutogradContext* ctx, variable_list pulls) {
    const Tensor places = ctx->get_saved_variables()[0];
    const Tensor both = pulls[0].reshape({3, -1}).index_select(1, places);
    const int64_t count = places.numel() / 2;
    return {both.narrow(1, 0, count) - both.narrow(1, count, count), Tensor(), Tensor(), Tensor()};
  }
};
inline std::tuple<Tensor, Tensor, Tensor> neighbourhoods(const Tensor& vectors, const Tensor& first,
                                                         const Tensor& second, int64_t n_atoms) {
  const variable_list found = Neighbourhoods::apply(vectors, first, second, n_atoms);
  return {found[0], found[1], found[2]};
}

}  // namespace openmm_nti
