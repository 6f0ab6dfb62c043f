"""Names for the numpy arrays that functions take and return.

What an array holds, and its shape, is said where it is used. A name that says more than the type of its
numbers (row indices, instants) is defined beside the functions that share it.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
# One per user: 1 where the user churned, 0 where not.
Labels = npt.NDArray[np.int64]
