// Energies of a `density` network and their gradients by vectors and noise, without autograd.
//
// hamiltonian/networks/density.py has the formulas, and names for all that is here. At a few hundred atoms, most of the
// time of its small operations goes into calls, graphs and copies: here the chain rule is written out, for one
// derivative and for weights that stay as they are.

#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <vector>

#include "atoms.h"
#include "autograd.h"
#include "edge_sums.h"

namespace openmm_nti {

constexpr double kOfSprings = 1e-4;  // sigma^2

// Hands out the tensors of a list one after the other.
struct Tensors {
  at::TensorList list;
  size_t next = 0;
  const Tensor& operator()() { return list.at(next++); }
};

// What depends on the noise (B, F) alone: value (B, n). As loops, since calls would take longer.
struct OfNoise {
  Tensor weight, value;

  OfNoise(Tensors& tensors, const Tensor& noise, bool has_bias = true) {
    weight = tensors().contiguous();
    const Tensor bias = has_bias ? tensors().contiguous() : Tensor();
    const int64_t n_batch = noise.size(0), n_values = weight.size(0), n_noise = weight.size(1);
    value = at::empty({n_batch, n_values}, noise.options());
    const float *w = weight.const_data_ptr<float>(), *x = noise.const_data_ptr<float>();
    const float* start = has_bias ? bias.const_data_ptr<float>() : nullptr;
    float* y = value.data_ptr<float>();
    for (int64_t b = 0; b < n_batch; ++b)
      for (int64_t n = 0; n < n_values; ++n) {
        float total = start != nullptr ? start[n] : 0.0f;
        for (int64_t f = 0; f < n_noise; ++f) total += x[b * n_noise + f] * w[n * n_noise + f];
        y[b * n_values + n] = total;
      }
  }

  // Of the values from `first` on.
  void pull_back(const Tensor& by_value, Tensor& by_noise, int64_t first = 0) const {
    const Tensor pulls = by_value.contiguous();
    const int64_t n_batch = pulls.size(0), n_values = pulls.size(1), n_noise = weight.size(1);
    const float *w = weight.const_data_ptr<float>() + first * n_noise, *g = pulls.const_data_ptr<float>();
    float* x = by_noise.data_ptr<float>();
    for (int64_t b = 0; b < n_batch; ++b)
      for (int64_t n = 0; n < n_values; ++n)
        for (int64_t f = 0; f < n_noise; ++f) x[b * n_noise + f] += g[b * n_values + n] * w[n * n_noise + f];
  }
};

inline Tensor silu_of(const Tensor& x) { return run<Silu>({}, {x}, {}, {}, true, {})[0]; }
inline Tensor through_silu(const Tensor& x, const Tensor& by_result) {
  return run<Silu>({}, {x}, {}, {by_result}, false, {true})[1];
}

// `AtomicMLP`.
struct Perceptron {
  Tensor first, first_bias;
  OfNoise shift;
  Tensor second, second_bias;
  OfNoise scale;
  Tensor last, last_bias, scaled, before_first, before_second, hidden;

  Perceptron(Tensors& tensors, const Tensor& noise)
      : first(tensors()), first_bias(tensors()), shift(tensors, noise), second(tensors()), second_bias(tensors()),
        scale(tensors, noise), last(tensors()), last_bias(tensors()) {}

  Tensor operator()(const Tensor& inputs) {  // (B, N, n)
    const auto shifts = (first_bias + shift.value).unsqueeze(1);
    before_first = at::baddbmm(shifts, inputs, first.t().expand({inputs.size(0), -1, -1}));
    before_second = at::linear(silu_of(before_first), second, second_bias);
    hidden = silu_of(before_second);
    scaled = last * scale.value.unsqueeze(1);
    return at::baddbmm(last_bias, hidden, scaled.transpose(1, 2));
  }

  Tensor pull_back(const Tensor& by_result, Tensor& by_noise) const {
    const Tensor by_second = through_silu(before_second, at::bmm(by_result, scaled));
    const Tensor by_first = through_silu(before_first, at::matmul(by_second, second));
    if (by_noise.defined()) {
      scale.pull_back((at::bmm(by_result.transpose(1, 2), hidden) * last).sum(1), by_noise);
      shift.pull_back(by_first.sum(1), by_noise);
    }
    return at::matmul(by_first, first);
  }
};

// Moments and their invariants, where the atoms have been displaced to.
struct Stage {
  OfNoise mixtures;
  Tensor scales, displacement, moments;

  Stage(Tensors& tensors, const Tensor& noise) : mixtures(tensors, noise), scales(tensors()) {}
};

struct Refined {
  Perceptron gates;
  OfNoise radial, inertia;
  Tensor radial_values, gate_values;
  variable_list from, velocities;  // of each move

  Refined(Tensors& tensors, const Tensor& noise) : gates(tensors, noise), radial(tensors, noise), inertia(tensors, noise) {}
};

// What the network is made of, and the edges: no derivatives by these are needed.
struct Network {
  Tensor index, mask, basis;  // mask: 1 for a neighbour and 0 for padding
  int64_t n_refinements;
  variable_list tensors;
  double cutoff, softening, share, onset_squared;
};

class Density {
 public:
  Density(const Network& network, const Tensor& vectors, const Tensor& noise, const Tensor& variance)
      : network_(network), edges_{network.index, network.cutoff, network.softening},
        fading_{Tensor(), network.cutoff, 0.0, network.share}, vectors_(vectors.contiguous()), noise_(noise.contiguous()),
        variance_(variance), polynomials_(polynomials(network.basis)) {}

  Tensor energies() {  // (B,)
    const int64_t n_batch = vectors_.size(1), n_atoms = vectors_.size(2), n_radial = polynomials_.size(0);
    mask_ = network_.mask * run<Fading>(fading_, {vectors_}, {}, {}, true, {})[0];
    step_ = variance_ * 8.0 / (variance_ * 60.0 + 1.0);
    Tensors tensors{network_.tensors};
    Tensor displacement = at::zeros({3, n_batch, n_atoms}, vectors_.options());
    stages_.emplace_back(tensors, noise_);
    const int64_t n_described = stages_[0].scales.size(0), n_inputs = n_described * (network_.n_refinements + 1) + 1;
    Tensor described = at::zeros({n_batch, n_atoms + 1, n_inputs}, vectors_.options());
    take(stages_[0], displacement, described, 0, n_described);
    for (int64_t r = 0; r < network_.n_refinements; ++r) {
      Refined& refined = refined_.emplace_back(tensors, noise_);
      stages_.emplace_back(tensors, noise_);
      refined.gate_values = refined.gates(described.narrow(1, 0, n_atoms).narrow(2, 0, n_described * (r + 1)));
      refined.radial_values = (refined.radial.value * -step_.unsqueeze(1)).reshape({n_batch, -1, n_radial});
      for (int64_t move = 0; move < refined.inertia.value.size(1); ++move) {
        Tensor velocity = run<Pushes>(edges_, pushed(refined, displacement), {}, {}, true, {})[0];
        if (move > 0) velocity.addcmul_(refined.inertia.value.narrow(1, move, 1), refined.velocities.back());
        refined.from.push_back(displacement);
        refined.velocities.push_back(velocity);
        displacement = displacement + velocity;
      }
      take(stages_.back(), displacement, described, n_described * (r + 1), n_described);
    }
    const Stage& end = stages_.back();
    springs_ = displacement.square().sum(0) / (variance_ + kOfSprings).unsqueeze(1);
    described.narrow(1, 0, n_atoms).select(2, n_inputs - 1).copy_(springs_.log1p());
    // The last atom of each configuration has no neighbours.
    energy_ = std::make_unique<Perceptron>(tensors, noise_);
    const Tensor atomic = (*energy_)(described).squeeze(2);
    linear_weights_ = std::make_unique<OfNoise>(tensors, noise_, false);
    densities_ = end.moments.select(0, 0).sum(2) * end.scales.narrow(0, 0, n_radial);
    linear_ = at::cat({densities_, springs_.sum(1, true)}, 1);
    onset_ = variance_ / (variance_ + network_.onset_squared);
    before_onset_ = (atomic.narrow(1, 0, n_atoms) - atomic.narrow(1, n_atoms, 1)).sum(1) +
                    (linear_ * linear_weights_->value).sum(1);
    return before_onset_ * onset_;
  }

  // The gradients of each configuration's energy by vectors, noise and variance; the last two if wanted.
  variable_list gradients(bool of_noise) {
    const int64_t n_batch = vectors_.size(1), n_atoms = vectors_.size(2), n_radial = polynomials_.size(0);
    by_vectors_ = at::zeros_like(vectors_);
    by_mask_ = at::zeros_like(mask_);
    Tensor by_noise, by_variance;
    if (of_noise) {
      by_noise = at::zeros_like(noise_);
      const Tensor left = network_.onset_squared / (variance_ + network_.onset_squared).square();
      by_variance = before_onset_ * left;
      linear_weights_->pull_back(linear_ * onset_.unsqueeze(1), by_noise);
    }
    Tensor by_atomic = onset_.reshape({n_batch, 1, 1}).repeat({1, n_atoms + 1, 1});
    by_atomic.select(1, n_atoms).mul_(-static_cast<double>(n_atoms));
    const Tensor by_described = energy_->pull_back(by_atomic, by_noise).narrow(1, 0, n_atoms);
    const Tensor by_linear = linear_weights_->value * onset_.unsqueeze(1), spring = variance_ + kOfSprings;
    const Tensor by_springs = by_described.select(2, by_described.size(2) - 1) / (springs_ + 1.0) +
                              by_linear.narrow(1, n_radial, 1);
    Tensor by_displacement = stages_.back().displacement * (by_springs * 2.0 / spring.unsqueeze(1));
    if (of_noise) by_variance -= (springs_ * by_springs).sum(1) / spring;
    for (int64_t s = network_.n_refinements; s >= 0; --s) {
      const Stage& stage = stages_[s];
      const int64_t n_described = stage.scales.size(0);
      const Tensor by_these = by_described.narrow(2, s * n_described, n_described);
      const auto mixtures = stage.mixtures.value.reshape({n_batch, -1, n_radial});
      variable_list found = run<Invariants>({}, {stage.moments, mixtures, stage.scales}, {}, {by_these, Tensor()}, false,
                                            {true, of_noise, false});
      if (of_noise) stage.mixtures.pull_back(found[3].reshape({n_batch, -1}), by_noise);
      if (s == network_.n_refinements) {
        const Tensor by_densities = by_linear.narrow(1, 0, n_radial) * stage.scales.narrow(0, 0, n_radial);
        found[2].select(0, 0).add_(by_densities.unsqueeze(2));
      }
      found = run<Moments>(edges_, {vectors_, stage.displacement, mask_, polynomials_}, {}, {found[2]}, false,
                           {true, s > 0, true, false}, {by_vectors_, Tensor(), by_mask_, Tensor()});
      if (s == 0) break;
      by_displacement += found[2];
      Refined& refined = refined_[s - 1];
      Tensor by_gates, by_radial, by_velocity = at::zeros_like(by_displacement);
      for (int64_t move = refined.inertia.value.size(1) - 1; move >= 0; --move) {
        by_velocity += by_displacement;
        found = run<Pushes>(edges_, pushed(refined, refined.from[move]), {}, {by_velocity}, false,
                            {true, true, true, false, of_noise, true},
                            {by_vectors_, Tensor(), by_mask_, Tensor(), Tensor(), Tensor()});
        by_displacement += found[2];
        by_gates = by_gates.defined() ? by_gates + found[6] : found[6];
        if (of_noise) by_radial = by_radial.defined() ? by_radial + found[5] : found[5];
        if (move == 0) break;
        if (of_noise) {
          const Tensor by_value = (by_velocity * refined.velocities[move - 1]).sum(at::IntArrayRef{0, 2});
          refined.inertia.pull_back(by_value.unsqueeze(1), by_noise, move);
        }
        by_velocity = by_velocity * refined.inertia.value.narrow(1, move, 1);
      }
      if (of_noise) {
        const Tensor by_values = by_radial.reshape({n_batch, -1});
        refined.radial.pull_back(by_values * -step_.unsqueeze(1), by_noise);
        const Tensor slope = 8.0 / (variance_ * 60.0 + 1.0).square();
        by_variance -= (by_values * refined.radial.value).sum(1) * slope;
      }
      const Tensor by_inputs = refined.gates.pull_back(by_gates, by_noise);
      by_described.narrow(2, 0, by_inputs.size(2)).add_(by_inputs);
    }
    run<Fading>(fading_, {vectors_}, {}, {by_mask_ * network_.mask}, false, {true}, {by_vectors_});
    return {by_vectors_, by_noise, by_variance};
  }

 private:
  static Tensor polynomials(const Tensor& basis) {  // `exponents`
    const Tensor centre = basis[0] - 1.0, sharpness = basis[1].exp();
    return at::cat({-sharpness, sharpness * centre * 2.0, -sharpness * centre * centre}, 1);
  }
  variable_list pushed(const Refined& refined, const Tensor& displacement) const {
    return {vectors_, displacement, mask_, polynomials_, refined.radial_values, refined.gate_values};
  }
  void take(Stage& stage, const Tensor& displacement, const Tensor& described, int64_t at, int64_t count) const {
    stage.displacement = displacement;
    stage.moments = run<Moments>(edges_, {vectors_, displacement, mask_, polynomials_}, {}, {}, true, {})[0];
    const auto mixtures = stage.mixtures.value.reshape({vectors_.size(1), -1, polynomials_.size(0)});
    const variable_list found = run<Invariants>({}, {stage.moments, mixtures, stage.scales}, {}, {}, true, {});
    described.narrow(1, 0, vectors_.size(2)).narrow(2, at, count).copy_(found[0]);
  }
  const Network& network_;
  const Settings edges_, fading_;
  const Tensor vectors_, noise_, variance_, polynomials_;
  std::vector<Stage> stages_;
  std::vector<Refined> refined_;
  std::unique_ptr<Perceptron> energy_;
  std::unique_ptr<OfNoise> linear_weights_;
  Tensor mask_, step_, springs_, densities_, linear_, onset_, before_onset_, by_vectors_, by_mask_;
};

struct DensityEnergies : Function<DensityEnergies> {
  static Tensor forward(AutogradContext* ctx, const Network& network, const Tensor& vectors, const Tensor& noise,
                        const Tensor& variance) {
    Density density(network, vectors, noise, variance);
    const Tensor energies = density.energies();
    const bool of_noise = noise.requires_grad() || variance.requires_grad();
    if (of_noise || vectors.requires_grad()) ctx->save_for_backward(density.gradients(of_noise));
    return energies;
  }

  static variable_list backward(AutogradContext* ctx, variable_list cotangents) {
    TORCH_CHECK(!at::GradMode::is_enabled(), "openmm_nti: density_energies has no second derivatives");
    const variable_list found = ctx->get_saved_variables();
    const Tensor& g = cotangents[0];
    variable_list pulls{Tensor(), found[0] * g.reshape({1, -1, 1, 1}), Tensor(), Tensor()};
    if (found[1].defined()) {
      pulls[2] = found[1] * g.unsqueeze(1);
      pulls[3] = found[2] * g;
    }
    return pulls;
  }
};

inline Tensor density_energies(const Tensor& vectors, const Tensor& index, const Tensor& mask, const Tensor& noise,
                               const Tensor& variance, const Tensor& basis, int64_t n_refinements,
                               at::TensorList tensors, double cutoff, double softening, double share,
                               double onset_squared) {
  const Network network{index, mask, basis, n_refinements, tensors.vec(), cutoff, softening, share, onset_squared};
  return DensityEnergies::apply(network, vectors, noise, variance);
}

}  // namespace openmm_nti
