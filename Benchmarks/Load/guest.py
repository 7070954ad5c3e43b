"""Within the emulated machine: measures the cells that the host asks for, a line each, with the same code as the host.

The kernel's account of CPU time is in nanoseconds, and here each is one instruction: see emulated.py."""

import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from Load import cells, scenarios, targets
from Load.client import LoadFailed


def measured(yard, program, name, target):
    scenario = {**scenarios.SCENARIOS, **scenarios.MORE}[name]
    scenario = scenarios.replace(scenario, warm=scenario.emulated_warm, count=scenario.emulated_count)
    cell = cells.cost(yard, program, targets.TARGETS[target], scenario, has_counter=False, scale=1)
    return {"emulated": cell["cpu_us"] * 1000}


def main():
    # Who is woken waits until the one that runs has no more to do: so the target finds what a target at its limit finds, all
    # that there is to do at once, each time the same. With the usual policy it depends on chance who interrupts whom.
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    program = targets.build_client()
    with targets.Yard(pathlib.Path(sys.argv[1])) as yard:
        print("ready", flush=True)
        for line in iter(sys.stdin.readline, ""):
            try:
                values = measured(yard, program, *json.loads(line))
            except (LoadFailed, SystemExit) as error:
                values = {"refused": str(error)}
            print(json.dumps(values), flush=True)


main()
