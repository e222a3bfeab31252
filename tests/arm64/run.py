"""ccnvr on emulated Raspberry Pis: `make test-arm64`, or this with the names of some parts. Prints what it finds, and ends
with 1 if anything is wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable

import cable
import lab


def test_cable() -> list[str]:
    """A whole computer whose USB serial cable is pulled three times."""
    outcome = cable.run(lab.install(lab.BOOKWORM, with_kernel=True))
    print(
        f"cable: {outcome.taken} scans taken, {len(outcome.stored)} stored, cable pulled {outcome.pulled} times, "
        f"{outcome.seconds:.0f} s"
    )
    return cable.check(outcome)


PARTS: dict[str, Callable[[], list[str]]] = {"cable": test_cable}


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
