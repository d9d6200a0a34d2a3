// The operations as PyTorch has them, torch.ops.openmm_nti. hamiltonian/edges.py, descriptors.py, network.py, geometry.py
// and two_body.py have the same in PyTorch, with the shapes.

#include <torch/library.h>

#include <tuple>

#include "atoms.h"
#include "autograd.h"
#include "density.h"
#include "edge_sums.h"
#include "pairs.h"
#include "stretches.h"

namespace openmm_nti {

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

}  // namespace openmm_nti

TORCH_LIBRARY(openmm_nti, library) {
  library.def("table_sums", &openmm_nti::table_sums);
  library.def("vectors", &openmm_nti::vectors);
  library.def("collect", &openmm_nti::collect);
  library.def("displaced_pulls", &openmm_nti::displaced_pulls);
  library.def("stretched", &openmm_nti::stretched);
  library.def("pairs", &openmm_nti::pairs);
  library.def("neighbourhoods", &openmm_nti::neighbourhoods);
  library.def("pushes", &openmm_nti::pushes);
  library.def("moments", &openmm_nti::moments);
  library.def("invariants", &openmm_nti::invariants);
  library.def("fading", &openmm_nti::fading);
  library.def("density_energies", &openmm_nti::density_energies);
  library.def("silu", &openmm_nti::silu);
}
