"""`elektron estimate`: what a pre-training will cost, before it.

Nothing is trained. The networks are built without memory (on torch's `meta` device) and counted; the
run's steps are counted by kind (`steps.py`); operations are `pretraining/flops.py`'s, which the run
itself counts by; memory and disk follow from sizes (`memory.py`, `disk.py`). Time cannot be told from
sizes: it needs a throughput, given or probed (`probe.py`). What is not known stays None, and the table
says what would tell.
"""

from __future__ import annotations

from elektron.estimate.config import EstimateConfig
from elektron.estimate.figures import Estimate
from elektron.estimate.run import Run
from elektron.estimate.table import print_table


def estimate(config: EstimateConfig) -> Estimate:
    """Say what the run will cost.

    Raises:
        ElektronError: what `elektron pretrain` would refuse, a size or speed that is none, or
            neither blocks nor the numbers that stand for them.
    """
    found = Run(config).estimate()
    print_table(found, config)
    return found
