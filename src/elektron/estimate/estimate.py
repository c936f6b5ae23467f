"""`elektron estimate`: what a pre-training will cost, before it.

Nothing is trained. The networks are built without memory (on torch's `meta` device) and counted; the
run's steps are counted by kind (`steps.py`); operations are `pretraining/flops.py`'s, which the run
itself counts by; memory and disk follow from sizes (`memory.py`, `disk.py`). Time cannot be told from
sizes: it needs a throughput, given or probed (`probe.py`). What is not known stays None, and the table
says what would tell.
"""

from __future__ import annotations

import json

from elektron.errors import ElektronError
from elektron.estimate.config import EstimateConfig
from elektron.estimate.figures import Estimate, as_json
from elektron.estimate.run import Run
from elektron.estimate.table import print_table
from elektron.folders import refuse_foreign, write_whole

OURS = b'{\n "parameters": {'
"""How the file begins."""


def estimate(config: EstimateConfig) -> Estimate:
    """Say on stdout what the run will cost, and write it to `config.json` if that is set.

    Raises:
        ElektronError: what `elektron pretrain` would refuse, a size or speed that is none, or
            neither blocks nor the numbers that stand for them.
    """
    found = Run(config).estimate()
    if config.json is not None:
        refuse_foreign(config.json, OURS)
        try:
            write_whole(config.json, json.dumps(as_json(found), indent=1))
        except OSError as error:
            raise ElektronError(f"{config.json} cannot be written ({error.strerror})") from error
    print_table(found, config)
    return found
