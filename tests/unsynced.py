"""Files are not synced to the disk: that waits 7 ms for each, 250 ms for a short training, and no test cuts the power."""

import os

os.fsync = os.fstat  # a descriptor that is not open is still an error
