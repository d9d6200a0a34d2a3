// From tensors to pointers and threads; and an operation, its gradient and the gradient of that for autograd.

#pragma once

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>
#include <vector>

#include "numbers.h"

namespace openmm_nti {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

struct Settings {
  Tensor index;  // undefined where there are no edges
  double cutoff = 1.0, softening = 0.0, share = 1.0;
};

inline Tensor plain(const Tensor& x) { return x.defined() ? x.contiguous() : x; }

inline const float* pointer(const Tensor& x, variable_list& kept) {
  if (!x.defined() || x.numel() == 0) return nullptr;
  kept.push_back(plain(x));
  return kept.back().const_data_ptr<float>();
}

// Into how many parts to divide the atoms of a configuration, for all threads to have one that is worth the call.
inline int64_t parts(const Shape& shape, int64_t fewest_atoms) {
  const int64_t wanted_parts = at::get_num_threads() / std::max<int64_t>(1, shape.n_batch);
  return std::clamp<int64_t>(wanted_parts, 1, std::max<int64_t>(1, shape.n_atoms / fewest_atoms));
}

// The results (or, where there are tangents of the inputs, theirs) and then the gradients by the inputs (or theirs).
// Undefined tangents are zero; results or gradients that are not asked for come undefined. Gradients by inputs of
// which an atom's part comes from this atom alone may be added to those of `sums`.
template <class K>
inline variable_list run(const Settings& settings, const variable_list& inputs, const variable_list& tangents,
                         const variable_list& cotangents, bool with_results, const std::vector<bool>& needed,
                         const variable_list& sums = {}) {
  Shape shape = K::shape(inputs);
  shape.inverse_cutoff_squared = static_cast<float>(1.0 / (settings.cutoff * settings.cutoff));
  shape.softening_squared = static_cast<float>(settings.softening * settings.softening);
  shape.slope = static_cast<float>(1.0 / (settings.cutoff * settings.share));
  shape.start = static_cast<float>(1.0 / settings.share);
  // Each thread adds to arrays of its own where others would add too.
  const int64_t n_parts = parts(shape, K::kFewestAtoms);
  const auto copies = [&](int n) { return n == K::kShared ? n_parts * shape.n_batch : n_parts; };
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
    if (!sums.empty() && sums[n].defined()) {
      found[K::kOutputs + n] = sums[n];
      continue;
    }
    std::vector<int64_t> sizes = inputs[n].sizes().vec();
    if (!K::kOwn[n]) sizes.insert(sizes.begin(), copies(n));
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
          gradient += (n == K::kShared ? item : part) * inputs[n].numel();
      const Pass pass{index_at, in.data(), pulls.data(), mine.data(), mine.data() + K::kOutputs, !cotangents.empty(),
                      part * shape.n_atoms / n_parts, (part + 1) * shape.n_atoms / n_parts};
      tangents.empty() ? K::template run<Lanes>(shape, pass, b) : K::template run<DualLanes>(shape, pass, b);
    }
  });
  for (int n = 0; n < K::kInputs; ++n) {
    Tensor& gradient = found[K::kOutputs + n];
    if (!gradient.defined() || K::kOwn[n]) continue;
    gradient = copies(n) == 1 ? gradient.squeeze(0) : gradient.sum(0);
  }
  return found;
}

// ---- Autograd: an operation, its gradient, and the gradient of that.

inline Settings settings_of(AutogradContext* ctx) {
  return {ctx->saved_data["index"].toTensor(), ctx->saved_data["cutoff"].toDouble(),
          ctx->saved_data["softening"].toDouble(), ctx->saved_data["share"].toDouble()};
}

inline void save(AutogradContext* ctx, const Settings& settings, const variable_list& tensors) {
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
    variable_list found = run<K>(settings, {inputs, tensors.end()}, {}, {tensors.begin(), inputs}, false, needed);
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

}  // namespace openmm_nti
