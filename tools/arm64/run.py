"""Test ccnvr on emulated Raspberry Pis: `python -m tools.arm64.run`, or `make test-arm64`.

Names of parts (answers, counts, cable) run those alone. The program prints what it finds, and ends
with 1 if anything is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tools.arm64 import cable, fetch, host, machines, parity


def test_cable() -> list[str]:
    """Boot a whole computer and pull its USB serial cable three times."""
    outcome = cable.run(fetch.install(machines.BOOKWORM, with_kernel=True))
    print(
        f"cable: {outcome.taken} scans taken, {len(outcome.stored)} stored, cable pulled "
        f"{outcome.pulled} times, "
        f"{outcome.seconds:.0f} s"
    )
    return cable.check(outcome)


def test_answers() -> list[str]:
    """Compare every engine and profile of the bundle on several Pis with the same here."""
    print(
        f"outputs of {parity.bundle()} for {parity.SPECTRA} spectra, emulated ARM compared with "
        "this computer\n"
    )
    print(
        "| engine and profile | version | computer | largest difference, sd | in 8-bit steps | "
        "self-test, sd |"
    )
    print("|---|---|---|---|---|---|", flush=True)
    compared = []
    for one in parity.run():
        numbers = f"{one.difference:.2g} | {one.steps:.2g} | {one.self_test:.2g}"
        print(f"| {one.name} | {one.version} | {one.computer} | {numbers} |", flush=True)
        compared.append(one)
    print()
    return [one.problem for one in compared if one.problem] + (
        [] if compared else ["no engine ran on any computer"]
    )


def test_counts() -> list[str]:
    """Print the cost of an inference in instructions; there is no limit to hold."""
    older, newer = parity.counts(machines.PI_4), parity.counts(machines.PI_5)
    print("| millions of instructions for one spectrum | Cortex-A72 | Cortex-A76 |")
    print("|---|---|---|")
    for name, count in older.items():
        print(f"| {name} | {count / 1e6:.2f} | {newer[name] / 1e6:.2f} |")
    print()
    return []


PARTS: dict[str, Callable[[], list[str]]] = {
    "answers": test_answers,
    "counts": test_counts,
    "cable": test_cable,
}


def main(names: list[str]) -> int:
    """Run the parts and print what is wrong."""
    wrong = []
    try:
        for name in names or list(PARTS):
            wrong += [f"{name}: {sentence}" for sentence in PARTS[name]()]
    except host.LabError as error:
        wrong.append(str(error))
    except KeyError as error:
        wrong.append(f"there is no part {error}; the parts are {', '.join(PARTS)}")
    for sentence in wrong:
        print(f"WRONG {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
