"""What each side of `against_keras.py` prints: seconds, memory and versions, as JSON."""

import json
import resource
import time


def print_report(records, started, first_step, versions):
    print(
        json.dumps(
            {
                "models": records,
                "seconds": time.perf_counter() - started,
                "startup_seconds": first_step - started,
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                "versions": versions,
            }
        )
    )
