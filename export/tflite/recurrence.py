"""GRU and LSTM as a TFLite WHILE loop over the steps, which sums the states for their average.

The loop carries the step, the sum, the state, an LSTM's cell state, and, last, two matrices with
the gates' inputs of all steps. These are one matrix product each before the loop, of which every
step reads a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ccnvr.edge.network.layers import Direction, StoredInt8, Weight
from ccnvr.edge.network.shape import NetworkConfig
from ccnvr.export.tflite.graph import ModelBuilder, Operator, Subgraph
from ccnvr.export.tflite.layers import fully_connected
from ccnvr.firmware_bridge.arrays import Float32

# The gates by their place in torch's order: GRU r z n, LSTM i f g o. All but n and g go through the
# logistic function, these two through the hyperbolic tangent.
_LOGISTIC, _CANDIDATE = {"gru": (0, 1), "lstm": (0, 1, 3)}, {"gru": 2, "lstm": 2}


@dataclass(frozen=True)
class _Gates:
    """Some of a direction's gates, with their rows of each weight one below the other."""

    input_weight: Weight
    state_weight: Weight
    input_bias: Float32
    state_bias: Float32

    @property
    def width(self) -> int:
        """The number of rows."""
        return len(self.state_bias)


def averaged_states(
    model: ModelBuilder,
    main: Subgraph,
    name: str,
    direction: Direction,
    config: NetworkConfig,
    sequence: int,
) -> int:
    """Add one direction of a recurrent layer.

    It takes the sequence `(steps, features)` to the average of the states over the steps `(1,
    hidden)`. GRU and LSTM have the gates, biases and order of `torch.nn.GRU` and `torch.nn.LSTM`.
    """
    steps, hidden = config.steps, config.hidden
    groups = [
        _gates(direction, hidden, places)
        for places in (_LOGISTIC[config.cell], (_CANDIDATE[config.cell],))
    ]
    states = 3 if config.cell == "lstm" else 2  # the sum, the state, and an LSTM's cell state
    condition, body = model.subgraph(f"{name}.condition"), model.subgraph(f"{name}.body")
    shapes = [(1, hidden)] * states + [(steps, group.width) for group in groups]
    _continue(condition, shapes, steps)
    _step(body, shapes, groups, config, backward=name == "backward")

    # Once for all steps: a large matrix product is faster than one per step.
    projected = [
        fully_connected(
            main, f"{name}.{kind}.input", sequence, steps, group.input_weight, group.input_bias
        )
        for kind, group in zip(("gates", "candidate"), groups, strict=True)
    ]
    # One constant for all states: the loop copies what it carries, so nothing writes to it.
    zero = main.constant(f"{name}.zero", np.zeros((1, hidden), dtype=np.float32))
    inputs = [main.integers(f"{name}.first", 0), *[zero] * states, *projected]
    outputs = [main.tensor(f"{name}.steps", (1,), np.int32)]
    outputs += [main.tensor(f"{name}.last{index}", shape) for index, shape in enumerate(shapes)]
    options = schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = condition.index, body.index
    main.operator(Operator.WHILE, inputs, outputs, options=options)
    # The loop has summed the states; their average is the sum times 1 / steps.
    share = main.constant(f"{name}.share", np.array(1.0 / steps, dtype=np.float32))
    return _pair(main, Operator.MUL, f"{name}.averaged", hidden, outputs[1], share)


def _gates(direction: Direction, hidden: int, places: tuple[int, ...]) -> _Gates:
    """Return the gates at these places of a direction."""
    rows = np.concatenate([np.arange(place * hidden, (place + 1) * hidden) for place in places])

    def of(weight: Weight) -> Weight:
        return (
            StoredInt8(weight.values[rows], weight.scales[rows])
            if isinstance(weight, StoredInt8)
            else weight[rows]
        )

    return _Gates(
        of(direction.input_weight),
        of(direction.state_weight),
        direction.input_bias[rows],
        direction.state_bias[rows],
    )


def _carried(graph: Subgraph, shapes: list[tuple[int, int]]) -> list[int]:
    """Add the inputs of a subgraph of the loop: the step, and what the loop carries."""
    step = graph.input("step", (1,), np.int32)
    return [step, *(graph.input(f"carried{index}", shape) for index, shape in enumerate(shapes))]


def _continue(graph: Subgraph, shapes: list[tuple[int, int]], steps: int) -> None:
    """Fill the loop's condition: whether there is a step left."""
    step, *_ = _carried(graph, shapes)
    left = graph.tensor("left", (1,), np.bool_)
    graph.operator(
        Operator.LESS, [step, graph.integers("steps", steps)], [left], options=schema.LessOptionsT()
    )
    graph.content.outputs = [left]


def _step(
    graph: Subgraph,
    shapes: list[tuple[int, int]],
    groups: list[_Gates],
    config: NetworkConfig,
    *,
    backward: bool,
) -> None:
    """Fill the loop's body: the next state, from the last one and a row of the gates' inputs."""
    step, total, state, *rest = _carried(graph, shapes)
    inputs = rest[-2:]
    # TFLite reads no sequence in reverse, so the backward direction counts its rows down.
    row = step
    if backward:
        row = graph.tensor("row", (1,), np.int32)
        last = graph.integers("last", config.steps - 1)
        graph.operator(Operator.SUB, [last, step], [row], options=schema.SubOptionsT())
    rows = []
    for name, value, group in zip(("gates.row", "candidate.row"), inputs, groups, strict=True):
        options = schema.GatherOptionsT()
        options.axis = 0
        rows.append(
            graph.apply(Operator.GATHER, name, (1, group.width), value, row, options=options)
        )
    cell = _gru if config.cell == "gru" else _lstm
    states = cell(graph, config.hidden, groups, rows, [state, *rest[:-2]])
    total = _pair(graph, Operator.ADD, "total", config.hidden, total, states[0])
    following = graph.tensor("following", (1,), np.int32)
    graph.operator(
        Operator.ADD, [step, graph.integers("one", 1)], [following], options=schema.AddOptionsT()
    )
    # A WHILE loop carries on exactly what its body returns, so the inputs are returned unchanged.
    graph.content.outputs = [following, total, *states, *inputs]


def _gru(
    graph: Subgraph, hidden: int, groups: list[_Gates], rows: list[int], states: list[int]
) -> list[int]:
    """Add a GRU's step: `h' = n + z (h - n)`, as torch computes it. Return its state."""
    (state,) = states
    reset, update = _logistic(graph, hidden, groups[0], rows[0], state)
    recurrent = fully_connected(
        graph, "candidate.state", state, 1, groups[1].state_weight, groups[1].state_bias
    )
    # As in torch, the reset gate comes after the recurrent matrix and its bias.
    candidate = _pair(graph, Operator.MUL, "candidate.reset", hidden, recurrent, reset)
    candidate = _pair(graph, Operator.ADD, "candidate.sum", hidden, candidate, rows[1])
    candidate = graph.apply(Operator.TANH, "candidate", (1, hidden), candidate)
    # h' = n + z (h - n) needs one operator less than torch's (1 - z) n + z h, and equals it.
    kept = _pair(graph, Operator.SUB, "difference", hidden, state, candidate)
    kept = _pair(graph, Operator.MUL, "kept", hidden, kept, update)
    return [_pair(graph, Operator.ADD, "state", hidden, kept, candidate)]


def _lstm(
    graph: Subgraph, hidden: int, groups: list[_Gates], rows: list[int], states: list[int]
) -> list[int]:
    """Add an LSTM's step: `c' = f c + i g`, `h' = o tanh(c')`. Return its state and cell state."""
    state, cell = states
    enter, forget, leave = _logistic(graph, hidden, groups[0], rows[0], state)
    recurrent = fully_connected(
        graph, "candidate.state", state, 1, groups[1].state_weight, groups[1].state_bias
    )
    candidate = _pair(graph, Operator.ADD, "candidate.sum", hidden, recurrent, rows[1])
    candidate = graph.apply(Operator.TANH, "candidate", (1, hidden), candidate)
    entered = _pair(graph, Operator.MUL, "entered", hidden, candidate, enter)
    kept = _pair(graph, Operator.MUL, "kept", hidden, cell, forget)
    cell = _pair(graph, Operator.ADD, "cell", hidden, kept, entered)
    shown = graph.apply(Operator.TANH, "shown", (1, hidden), cell)
    return [_pair(graph, Operator.MUL, "state", hidden, shown, leave), cell]


def _logistic(graph: Subgraph, hidden: int, gates: _Gates, row: int, state: int) -> list[int]:
    """Add the gates that go through the logistic function; return each, `(1, hidden)`."""
    value = fully_connected(graph, "gates.state", state, 1, gates.state_weight, gates.state_bias)
    value = _pair(graph, Operator.ADD, "gates.sum", gates.width, value, row)
    value = graph.apply(Operator.LOGISTIC, "gates", (1, gates.width), value)
    count = gates.width // hidden
    # One product for all of these gates, split into one tensor for each.
    parts = [graph.tensor(f"gate{index}", (1, hidden)) for index in range(count)]
    options = schema.SplitOptionsT()
    options.numSplits = count
    axis = graph.constant("gates.axis", np.array(1, dtype=np.int32))
    graph.operator(Operator.SPLIT, [axis, value], parts, options=options)
    return parts


def _pair(graph: Subgraph, operator: int, name: str, width: int, first: int, second: int) -> int:
    """Add an elementwise operator that gives `(1, width)`; return its output."""
    options = {
        Operator.ADD: schema.AddOptionsT,
        Operator.SUB: schema.SubOptionsT,
        Operator.MUL: schema.MulOptionsT,
    }
    return graph.apply(operator, name, (1, width), first, second, options=options[operator]())
