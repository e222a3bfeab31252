"""Engines: their predictions, the choice between them, missing engines, and hostile models."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ccnvr.edge.bundle import archive as bundles
from ccnvr.edge.bundle.archive import BundleError, model_file_name
from ccnvr.edge.engines import isolated, registry
from ccnvr.edge.engines.isolated import IsolatedSession
from ccnvr.edge.engines.registry import ENGINES, Choice, EngineError, NoModelFile, choose
from ccnvr.edge.engines.worker import Limits
from ccnvr.edge.inference import proofs
from ccnvr.edge.inference.proved_model import ProvedModel
from ccnvr.edge.network.layout import PROFILES
from ccnvr.firmware_bridge.arrays import Float32
from ccnvr.firmware_bridge.installation import extra_command
from tests.support.helpers import NETWORK_BUNDLE, assert_one_sentence, run_ccnvr
from tools import hostile_models

pytestmark = pytest.mark.slow

HERE = ("onnx", "litert", "numpy")


def predicted(lines: str) -> Any:
    """The predicted values in the JSON lines of a command."""
    return [
        [estimate["value"] for estimate in json.loads(line)["predictions"].values()]
        for line in lines.splitlines()
        if "predictions" in line
    ]


@pytest.mark.parametrize("engine", ["onnx", "litert", "tflite"])
def test_the_demo_and_predict_answer_alike_on_each_engine(
    engine: str, all_model_files: Path, soils_csv: Path, request: pytest.FixtureRequest
) -> None:
    python = request.getfixturevalue("tflite_python") if engine == "tflite" else sys.executable

    demo = ("demo", "--spectra", 2, "--bundle", all_model_files, "--profile", "int8")
    predict = ("predict", all_model_files, soils_csv)
    np.testing.assert_allclose(
        answers(engine, python, *demo), answers("numpy", sys.executable, *demo), rtol=1e-2
    )
    for profile in PROFILES:
        expected = answers("numpy", sys.executable, *predict, "--profile", profile)
        assert len(expected) == 4
        found = answers(engine, python, *predict, "--profile", profile)
        np.testing.assert_allclose(found, expected, rtol=1e-2 if profile == "int8" else 1e-5)


# Each engine is compared with the same answers of the NumPy engine.
@cache
def answers(engine: str, program: object, *arguments: object) -> Any:
    """Return what a command predicts on an engine; tflite-runtime has a Python of its own."""
    words = [*map(str, arguments), "--engine", engine, "--json"]
    if program == sys.executable:
        result = run_ccnvr(*words)
    else:
        command = [str(program), "-m", "ccnvr.edge.cli", *words]
        result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return predicted(result.stdout)


@pytest.mark.parametrize("engine", [*HERE, "tflite"])
def test_the_daemon_takes_its_engine_from_the_configuration(
    engine: str, all_model_files: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    python = request.getfixturevalue("tflite_python") if engine == "tflite" else sys.executable
    configuration = tmp_path / "ccnvr.toml"
    configuration.write_text(
        f'[instrument]\nurl = "sim://?pace=0"\n[store]\npath = "{tmp_path}/s.sqlite"\n'
        f'[model]\nbundle = "{all_model_files}"\nengine = "{engine}"\nprofile = "weights"\n'
    )
    command = [str(python), "-m", "ccnvr.edge.cli", "run", "-c", str(configuration), "--count", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.search(rf"ccnvr: engine {engine} \(.*\d\), profile weights", result.stderr)
    assert len(result.stdout.splitlines()) == 2


def test_inspect_takes_an_engine(all_model_files: Path) -> None:
    shown = run_ccnvr("inspect", all_model_files, "--backend", "numpy", "--profile", "int8").stdout
    assert (
        f"self-test passed on numpy (numpy {np.__version__}), profile int8: differs by 0.0e+00 "
        "standard deviations" in shown
    )


def test_auto_takes_the_first_engine_and_the_most_precise_model_file(
    all_model_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = bundles.read(all_model_files).parts

    def chosen(engine: str, profile: str, names: Collection[str] = names) -> Choice:
        return choose(engine, profile, "x.ccnvr", names)

    assert str(chosen("auto", "auto")).startswith("onnx (onnxruntime ")
    assert chosen("auto", "auto").model_file == "model.fp32.onnx"
    assert chosen("litert", "int8").model_file == "model.int8.tflite"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert chosen("auto", "auto").engine.name == "litert"
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    assert chosen("auto", "auto").engine.name == "numpy"
    lean = ("model.weights.tflite", "model.int8.tflite", "model.int8.onnx")
    monkeypatch.undo()
    assert chosen("auto", "auto", lean).model_file == "model.int8.onnx"
    assert chosen("litert", "auto", lean).profile == "weights"
    assert chosen("auto", "weights", lean).engine.name == "litert"
    with pytest.raises(
        NoModelFile,
        match=r"has model.weights.tflite, .* and not model.fp32.network or .*; export it",
    ):
        chosen("numpy", "auto", lean)
    # Nobody named what is missing, so it is the bundle that is wrong.
    with pytest.raises(BundleError, match="has no model file and not") as failure:
        chosen("auto", "auto", ())
    assert (NoModelFile.exit_code, failure.value.exit_code) == (2, 1)


def with_package(folder: Path, name: str, content: str) -> dict[str, str]:
    """An environment with a package of this name and code, which hides an installed one."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(content)
    return {**os.environ, "PYTHONPATH": before_others(folder)}


def before_others(folder: Path) -> str:
    """PYTHONPATH with the folder in front of its present entries."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))


def test_a_missing_or_unfit_engine_is_one_sentence_with_the_command(
    all_model_files: Path, tmp_path: Path
) -> None:
    result = run_ccnvr("inspect", all_model_files, "--backend", "tflite")
    assert_one_sentence(
        result,
        2,
        "the engine tflite needs tflite-runtime; run: pip install 'tflite-runtime>=2.14' 'numpy<2'",
    )
    result = run_ccnvr("inspect", all_model_files, "--backend", "tpu")
    assert_one_sentence(result, 2, "--backend", "invalid choice: 'tpu'")
    with_numpy_2 = with_package(tmp_path, "tflite_runtime", "raise SystemError('crashes')")
    result = run_ccnvr("inspect", all_model_files, "--backend", "tflite", env=with_numpy_2)
    assert_one_sentence(
        result,
        2,
        f"needs numpy 1, but numpy {np.__version__} is installed",
        "run: pip install",
        "'numpy<2'",
    )
    assert run_ccnvr("inspect", all_model_files, env=with_numpy_2).returncode == 0
    broken = with_package(tmp_path, "onnxruntime", "import no_such_library")
    result = run_ccnvr("inspect", all_model_files, "--backend", "onnx", env=broken)
    assert_one_sentence(
        result,
        2,
        "onnxruntime, which is installed but does not load (No module named 'no_such_library')",
        f"run: {extra_command('onnx')}",
    )


@pytest.mark.parametrize("engine", ["onnx", "litert"])
def test_an_engine_that_is_not_installed_is_added_to_this_python(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda library: None)
    assert (ENGINES[engine].obstacle or "").endswith(f"; run: {extra_command(engine)}")


def test_an_engine_costs_its_own_import_alone(all_model_files: Path) -> None:
    libraries = {"onnx": "onnxruntime", "litert": "ai_edge_litert"}
    for engine in HERE:
        program = (
            "import sys; from ccnvr.edge.inference.proved_model import ProvedModel; "
            f"ProvedModel({str(all_model_files)!r}, {engine!r}); print(*sys.modules)"
        )
        loaded = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
        assert {name for name, library in libraries.items() if library in loaded} == {engine} - {
            "numpy"
        }
        assert not {"torch", "onnx", "scipy"} & set(loaded)


def rewritten(source: Path, path: Path, part: str, content: bytes) -> Path:
    """The bundle with this model file alone, which its manifest vouches for."""
    hostile_models.with_model(bundles.read(source), part, content, path)
    return path


def test_a_new_bundle_is_tried_once_in_another_process(
    all_model_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    tried: list[str] = []
    started = IsolatedSession._start

    def start(self: object, name: str, *arguments: Any) -> Any:
        tried.append(name)
        return started(name, *arguments)

    monkeypatch.setattr(IsolatedSession, "_start", start)
    for _ in range(2):
        ProvedModel(str(all_model_files), "numpy")
    assert tried == ["numpy"]
    ProvedModel(str(all_model_files), "litert")
    ProvedModel(str(all_model_files), "numpy", "int8")
    assert tried == ["numpy", "litert", "numpy"]
    folder = tmp_path / "ccnvr" / "proved"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {json.loads(path.read_text())["part"] for path in folder.iterdir()} == {
        "model.fp32.network",
        "model.fp32.tflite",
        "model.int8.network",
    }
    # A folder that others can write to proves nothing.
    folder.chmod(0o777)
    ProvedModel(str(all_model_files), "numpy")
    assert len(tried) == 4
    # A proof does not hold for another version of the engine.
    folder.chmod(0o700)
    monkeypatch.setattr(type(ENGINES["numpy"]), "version", "numpy 99")
    ProvedModel(str(all_model_files), "numpy")
    assert len(tried) == 5


def test_without_a_state_folder_each_start_tries(
    all_model_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    model = ProvedModel(str(all_model_files), "numpy")
    assert not proofs.known(model.bundle, model.choice)


ENDINGS = {
    "crashes": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        r"it crashes the engine \(SIGSEGV\), or needs more",
    ),
    "is killed for memory": ("b = []\nwhile True: b.append(bytearray(1 << 24))", "MemoryError"),
    "hangs": ("import time; time.sleep(99)", "it does not finish in 2 s"),
    "leaves": ("import os; os._exit(3)", r"it crashes the engine \(exit code 3\)"),
    "prints": (
        "print('x' * 100_000); import os; os.write(1, b'noise'); raise ValueError('odd\\n one')",
        "^odd one$",
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_a_model_does_to_its_engine_stays_in_the_trial(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine itself does what a hostile model would make it do when it is loaded."""
    action, words = ENDINGS[ending]
    folder = tmp_path / "ai_edge_litert"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    body = "\n".join(f"        {line}" for line in action.splitlines())
    (folder / "interpreter.py").write_text(
        "class OpResolverType:\n    AUTO = BUILTIN_WITHOUT_DEFAULT_DELEGATES = 0\n"
        f"class Interpreter:\n    def __init__(self, **_):\n{body}\n"
    )
    monkeypatch.setenv("PYTHONPATH", before_others(tmp_path))
    with pytest.raises(EngineError, match=words):
        IsolatedSession("litert", b"model", limits=Limits(64 << 20), seconds=2.0)


def test_the_trial_ends_with_its_process(all_model_files: Path) -> None:
    """A worker whose parent is gone reads the end of its input and exits."""
    model = bundles.read(all_model_files).parts["model.fp32.network"]
    session = IsolatedSession("numpy", model)
    process = session._process
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=60) == 0
    session.close()


def test_an_engine_with_a_process_of_its_own_is_bounded_and_comes_back_after_a_crash(
    all_model_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not ENGINES["tflite"].in_process
    monkeypatch.setitem(ENGINES, "numpy", dataclasses.replace(ENGINES["numpy"], in_process=False))
    model = ProvedModel(str(all_model_files), "numpy")
    assert isinstance(model.session, IsolatedSession)
    inputs = np.ones((2, 4, 348), dtype=np.float32)
    process = model.session._process
    # The terminal and systemd send these to all processes of a run.
    for number in (signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    monkeypatch.undo()
    np.testing.assert_array_equal(
        model.outputs(inputs), ProvedModel(str(all_model_files), "numpy").outputs(inputs)
    )
    soft, hard = resource.prlimit(process.pid, resource.RLIMIT_AS)
    assert 0 < soft == hard < 4 << 30
    assert resource.prlimit(process.pid, resource.RLIMIT_CPU)[0] == resource.RLIM_INFINITY, (
        "it serves for months"
    )
    process.kill()
    with pytest.raises(
        BundleError,
        match=r"refuses the model of bundle .*: it crashes the engine \(SIGKILL\), or needs more",
    ):
        model.outputs(inputs)
    np.testing.assert_array_equal(
        model.outputs(inputs), ProvedModel(str(all_model_files), "numpy").outputs(inputs)
    )
    assert process.returncode == -signal.SIGKILL
    second = model.session._process
    del model
    assert second.returncode == -signal.SIGKILL


def test_an_interrupted_question_leaves_no_answer_for_the_next(
    all_model_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bundles.read(all_model_files).parts["model.fp32.network"]
    first, second = (np.full((1, 4, 348), value, dtype=np.float32) for value in (1.0, 2.0))

    def interrupted(stream: Any) -> None:
        raise KeyboardInterrupt

    with IsolatedSession("numpy", model) as session:
        expected = session(second)
        assert not np.array_equal(session(first), expected)
        with monkeypatch.context() as change:
            change.setattr(isolated, "receive", interrupted)
            with pytest.raises(KeyboardInterrupt):
                session(first)
        np.testing.assert_array_equal(session(second), expected)


@pytest.mark.parametrize("engine", HERE)
def test_a_model_that_is_none_is_one_sentence(
    engine: str, all_model_files: Path, tmp_path: Path
) -> None:
    source = bundles.read(all_model_files)
    part = model_file_name("fp32", ENGINES[engine].model_format)
    whole = source.parts[part]
    for content in (
        b"",
        b"no model",
        whole[: len(whole) // 2],
        whole[:-1],
        whole + b"\0" * 8 + b"\xff" * 99,
    ):
        path = rewritten(all_model_files, tmp_path / "hostile.ccnvr", part, content)
        result = run_ccnvr("inspect", path, "--backend", engine)
        if result.returncode:
            assert_one_sentence(result, 1, "refuses the model of bundle", "copy the bundle again")
    other = source.parts[model_file_name("int8", "onnx" if engine != "onnx" else "tflite")]
    path = rewritten(all_model_files, tmp_path / "hostile.ccnvr", part, other)
    assert_one_sentence(
        run_ccnvr("inspect", path, "--backend", engine), 1, "refuses the model of bundle"
    )


def test_shapes_beyond_all_memory(all_model_files: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper

    shape = helper.make_tensor("shape", TensorProto.INT64, [3], [1, 1 << 20, 1 << 20])
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
            helper.make_node("ReduceMax", ["huge"], ["most"], keepdims=0),
            helper.make_node("Add", ["spectra", "most"], ["properties"]),
        ],
        "huge",
        [helper.make_tensor_value_info("spectra", TensorProto.FLOAT, ["n", 4, 348])],
        [helper.make_tensor_value_info("properties", TensorProto.FLOAT, None)],
        [shape],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = rewritten(
        all_model_files,
        tmp_path / "huge.ccnvr",
        "model.fp32.onnx",
        bytes(model.SerializeToString()),
    )
    assert onnx.load_from_string(model.SerializeToString())
    assert_one_sentence(
        run_ccnvr("inspect", path, "--backend", "onnx"), 1, "refuses the model of bundle"
    )


def test_hostile_models_end_no_process(all_model_files: Path) -> None:
    command = [
        sys.executable,
        hostile_models.__file__,
        "--bundle",
        str(all_model_files),
        "--mutations",
        "8",
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(HERE) * len(PROFILES)
    assert all(": 8 loaded; " in line for line in lines)
    assert sum(int(number) for number in re.findall(r"(\d+) refused", result.stdout)) > 33


def test_a_command_of_the_edge_starts_no_threads_for_small_matrices() -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")
    }
    program = (
        "import os, sys; from ccnvr.edge.cli import main; main(['inspect', "
        f"'{NETWORK_BUNDLE}', '--backend', 'numpy', '--json']); "
        "print(len(os.listdir('/proc/self/task')), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert result.stderr.split() == ["1"]


def with_model(path: Path, change: Callable[[Any], None]) -> Path:
    """The default bundle with a changed ONNX model as its only model file."""
    import onnx

    source = bundles.read(NETWORK_BUNDLE)
    model = onnx.load_from_string(source.parts[model_file_name("fp32", "onnx")])
    change(model)
    parts = {name: part for name, part in source.parts.items() if not name.startswith("model.")}
    parts[model_file_name("fp32", "onnx")] = model.SerializeToString()
    listed = {name: bundles.part_of(part) for name, part in parts.items()}
    bundles.write(path, dataclasses.replace(source.manifest, parts=listed), parts)
    return path


def test_a_model_that_fails_on_a_spectrum_after_its_self_test_is_one_sentence(
    tmp_path: Path,
) -> None:
    from onnx import TensorProto, helper

    def fail_on_one_spectrum(model: Any) -> None:
        graph = model.graph
        for node in graph.node:
            node.output[:] = ["answers" if name == "properties" else name for name in node.output]
        numbers = {"two": [2], "far": [10**6], "first": [0]}
        graph.initializer.extend(
            [
                helper.make_tensor(name, TensorProto.INT64, [1], value)
                for name, value in numbers.items()
            ]
        )
        graph.initializer.append(helper.make_tensor("table", TensorProto.FLOAT, [1], [0.0]))
        steps = [
            ("Shape", ["spectra"], "shape"),
            ("Gather", ["shape", "first"], "count"),
            ("Less", ["count", "two"], "one"),
        ]
        graph.node.extend(
            [helper.make_node(operator, inputs, [output]) for operator, inputs, output in steps]
        )
        graph.node.append(helper.make_node("Cast", ["one"], ["flag"], to=TensorProto.INT64))
        steps = [
            ("Mul", ["flag", "far"], "index"),
            ("Gather", ["table", "index"], "zero"),
            ("Add", ["answers", "zero"], "properties"),
        ]
        graph.node.extend(
            [helper.make_node(operator, inputs, [output]) for operator, inputs, output in steps]
        )

    model = ProvedModel(str(with_model(tmp_path / "late.ccnvr", fail_on_one_spectrum)), "onnx")
    grid = model.bundle.manifest.preprocessing.grid
    with pytest.raises(BundleError, match="onnxruntime"):
        model.bind(grid.wavelengths())(np.array(model.bundle.self_test().absorbance[0]))


def test_weights_beside_the_bundle_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put_outside(model: Any) -> None:
        tensor = model.graph.initializer[0]
        (tmp_path / "secret.bin").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = 1
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "secret.bin"

    path = with_model(tmp_path / "outside.ccnvr", put_outside)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError, match="another file"):
        ProvedModel(str(path), "onnx")


def test_the_interpreter_is_quiet_without_standard_error_too() -> None:
    result = subprocess.run(
        [
            "sh",
            "-c",
            f"{sys.executable} -m ccnvr.edge.cli inspect default:nir --backend litert 2>&-",
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0 and "self-test passed" in result.stdout


def test_one_thread_at_a_time_runs_a_network() -> None:
    """After a reconnection the daemon's reader binds a model by which its main loop predicts."""
    model = ProvedModel("default:as7265x", "numpy")
    wavelengths = model.bundle.manifest.preprocessing.grid.wavelengths()
    session, within = model.session, threading.Lock()

    class Exclusive:
        name = session.name

        def __call__(self, inputs: Float32) -> Float32:
            assert within.acquire(blocking=False), "two threads run the network at once"
            with ExitStack() as leaving:
                leaving.callback(within.release)
                time.sleep(1e-4)
                return session(inputs)

    model.session = Exclusive()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: model.bind(wavelengths), range(4)))
