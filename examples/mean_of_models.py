"""Write the mean of the weights of two models, one of which was trained further from the other.

Usage: python examples/mean_of_models.py BEFORE AFTER SHARE OUTPUT. BEFORE and AFTER are names of
shipped models or directories; of two networks, their denoisers are taken. The weights are those of
BEFORE plus SHARE of what the training changed.

A training on new fluids costs a little in the old ones, and its last steps leave noise in the
weights. Part of the way back, both are less, while most of the gain remains.
"""

import sys
from pathlib import Path

from openmm_nti.fluid.state import StatePoint
from openmm_nti.model_files import denoiser_directory, load_denoiser, read_card, save_model

before, after, share, output = sys.argv[1], sys.argv[2], float(sys.argv[3]), Path(sys.argv[4])
model, other = load_denoiser(before), load_denoiser(after)
if model.network_config != other.network_config:
    sys.exit(f"{before} and {after} have different networks: take one that began with the other")
weights = model.state_dict()
for name, value in other.state_dict().items():
    if value.is_floating_point():
        weights[name] = weights[name].lerp(value, share)
model.load_state_dict(weights)
old, new = (read_card(denoiser_directory(name)) for name in (before, after))
states = old["trained_on"] + [one for one in new["trained_on"] if one not in old["trained_on"]]
save_model(
    model,
    output,
    trained_on=[StatePoint.model_validate(one) for one in states],
    seed=new["provenance"]["seed"],
    training={**new["training"], "share_of_last_part": share},
)
print(f"{output}: {share:g} of the way from {before} to {after}, {len(states)} fluids")
