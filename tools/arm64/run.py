"""ccnvr on emulated Raspberry Pis: `make test-arm64`, or this with the names of some parts. Prints
what it finds, and ends with 1 if anything is wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from tools.arm64 import cable, lab, parity


def test_cable() -> list[str]:
    """A whole computer whose USB serial cable is pulled three times."""
    outcome = cable.run(lab.install(lab.BOOKWORM, with_kernel=True))
    print(
        f"cable: {outcome.taken} scans taken, {len(outcome.stored)} stored, cable pulled "
        f"{outcome.pulled} times, "
        f"{outcome.seconds:.0f} s"
    )
    return cable.check(outcome)


def test_answers() -> list[str]:
    """Every engine and profile of the bundle on several Pis, beside the same here."""
    print(
        f"answers to {parity.SPECTRA} spectra by {parity.bundle()}, emulated ARM beside this "
        "computer\n"
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
    """What an inference costs, in instructions; nothing to compare with here."""
    older, newer = parity.counts(lab.PI_4), parity.counts(lab.PI_5)
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
    """Run the parts and say what is wrong."""
    wrong = []
    try:
        for name in names or list(PARTS):
            wrong += [f"{name}: {sentence}" for sentence in PARTS[name]()]
    except lab.LabError as error:
        wrong.append(str(error))
    except KeyError as error:
        wrong.append(f"no part {error}; the parts are {', '.join(PARTS)}")
    for sentence in wrong:
        print(f"WRONG {sentence}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
