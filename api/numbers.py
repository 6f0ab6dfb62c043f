"""Numbers as the API shows them."""


def shortest_float32(value: float) -> float:
    """Return the number with the shortest text that reads back as this float32: 29.85."""
    import numpy as np

    return float(str(np.float32(value)))
