"""The configuration of a calculation so small that the whole command line runs on it in seconds."""

TINY = {
    "seed": 3,
    "system": {"n_particles": 6, "box_length_sigma": 6.0, "temperature_star": 1.25},
    "reference": {
        "n_frames": 40,
        "n_replicas": 2,
        "equilibration_steps": 200,
        "frame_interval": 50,
        "segment_frames": 20,
        "max_steps": 12000,
        "platform": "Reference",
    },
    "network": {"n_radial": 4, "n_channels": 2, "width": 8, "n_refinements": 0},
    "training": {"n_steps": 20, "atoms_per_step": 48, "validate_every": 5, "device": "cpu"},
    "estimates": {
        "bound": {"n_levels": 4, "n_pairs": 8, "n_tethered": 4, "tethered_steps": 240},
        "neural_ti": {"n_samples": 4, "n_steps": 10},
        "neural_ti_noised": {"n_levels": 8, "n_frames": 8},
        "paths": {"n_paths": 8, "n_steps": 10},
        "windows": {
            "n_windows": 3,
            "n_chains": 4,
            "n_frames": 4,
            "steps_between": 5,
            "equilibration_steps": 5,
            "pilot_frames": 4,
            "platform": "Reference",
        },
        "softcore": {
            "n_windows": 5,
            "n_chains": 2,
            "n_frames": 10,
            "equilibration": 50,
            "platform": "Reference",
        },
        "decoupling": {
            "n_windows": 3,
            "n_chains": 2,
            "n_frames": 10,
            "equilibration": 50,
            "platform": "Reference",
        },
        "widom": {"n_insertions_per_frame": 20},
        "bar_chain": {
            "n_walkers": 8,
            "n_frames": 2,
            "n_insertions": 50,
            "equilibration_sweeps": 5,
            "sweeps_between": 2,
        },
    },
}
