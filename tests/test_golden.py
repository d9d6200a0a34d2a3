"""The shipped models compute what they have always computed."""

import json
from pathlib import Path

import numpy as np
from golden import model_numbers

STORED = Path(__file__).parent / "support" / "golden.json"


def test_the_shipped_models_give_the_stored_numbers():
    stored, now = json.loads(STORED.read_text(encoding="utf-8")), model_numbers()
    assert stored.keys() == now.keys()
    assert len(stored) > 50
    for name, values in stored.items():
        scale = max(1.0, np.abs(values).max())
        np.testing.assert_allclose(now[name], values, rtol=1e-6, atol=1e-6 * scale, err_msg=name)
