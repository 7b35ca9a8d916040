"""The command line's contract: one JSON object on standard output, exit statuses, errors without tracebacks, help."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest

from hwnas import interrupts
from hwnas.cli import app
from hwnas.commands.answer import seconds

ROOT = Path(__file__).parent.parent
COMMANDS = [command.callback.__name__ for command in app.registered_commands if command.callback]


def hwnas(*arguments: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hwnas.cli", *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def answer(*arguments: str | Path, status: int = 0) -> dict[str, Any]:
    done = hwnas(*arguments, "--json")
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stdout.count("\n") == 1
    value: dict[str, Any] = json.loads(done.stdout)
    return value


def error(*arguments: str | Path, status: int) -> dict[str, Any]:
    value = answer(*arguments, status=status)
    assert set(value) == {"error"}
    assert set(value["error"]) >= {"kind", "message", "hint"}
    told: dict[str, Any] = value["error"]
    return told


def test_help_is_quick_and_every_command_has_an_example() -> None:
    assert len(COMMANDS) == 12
    for command in COMMANDS:
        done = hwnas(command, "--help")
        assert done.returncode == 0
        assert f"hwnas {command} " in done.stdout.replace("\n", " ")
        assert "--json" in done.stdout
        assert "Example" in done.stdout
    assert all(command in hwnas("--help").stdout for command in COMMANDS)


def test_usage_errors_are_answers_too(tmp_path: Path) -> None:
    assert "did you mean" in error("predcit", status=2)["message"].lower()
    assert "--out" in error("run", "x.toml", status=2)["message"]
    assert "--device" in error("measure", "x.onnx", "--devise", "cpu", status=2)["message"]
    assert hwnas("run").returncode == 2


def test_bad_input_is_status_2(tmp_path: Path) -> None:
    config, model = tmp_path / "c.toml", tmp_path / "m.onnx"
    config.write_text("[budget]\nlatency_ms = -1\n")
    model.write_bytes(b"not a model")
    assert "line 2" in error("run", config, "--out", tmp_path / "run", status=2)["message"]
    assert not (tmp_path / "run").exists()
    assert str(model) in error("measure", model, status=2)["message"]
    assert "did you mean 'onnxruntime'" in error("measure", model, "--device", "onnxruntim", status=2)["message"]
    assert "no setting" in error("measure", model, "--device", "onnxruntime:thread=1", status=2)["message"]
    assert "nothing.jsonl" in error("predict", model, "--profile", tmp_path / "nothing.jsonl", status=2)["message"]
    assert "NAME=1x3x224x224" in error("measure", model, "--input", "x=1,2", status=2)["message"]
    assert (
        "90s" in error("profile", "--out", tmp_path / "p", "--for", model, "--time-limit", "soon", status=2)["message"]
    )
    assert "no run" in error("report", tmp_path, status=2)["message"]
    assert "no run" in error("compare", tmp_path, status=2)["message"]
    assert error("certify", tmp_path, status=2)["kind"] == "InvalidData"


def test_for_people_errors_go_to_standard_error() -> None:
    done = hwnas("measure", "nothing.onnx")
    assert done.returncode == 2
    assert not done.stdout
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_devices() -> None:
    found = answer("devices")["devices"]
    assert any(d["name"] == "onnxruntime" and d["available"] for d in found)


def test_an_impossible_budget_is_status_3_with_the_closest_network(
    small_run: Path, small_config: Path, tmp_path: Path
) -> None:
    config = small_config.with_name("impossible.toml")
    config.write_text(small_config.read_text().replace("latency_ms = 1.0", "latency_ms = 1e-6"))
    told = error("search", config, "--out", tmp_path / "run", status=3)
    assert told["kind"] == "InfeasibleBudget"
    assert told["closest"]["latency_ms"] > 1e-6
    assert told["closest"]["genes"]


def test_a_run_and_what_can_be_done_with_it(small_run: Path, small_config: Path) -> None:
    made = answer("run", small_config, "--out", small_run)
    assert made["within_budget"]
    assert made["certificate"]["files"]["model.onnx"]["sha256"]
    assert Path(made["report"]).exists()
    assert answer("report", small_run) == {"report": made["report"], "pictures": []}
    (line,) = answer("compare", small_run)["runs"]
    assert line["within_budget"]
    assert line["evaluated"] == 24
    assert "test accuracy" in hwnas("compare", small_run).stdout.replace("\n", " ")


LOOP = """
<ir_version: 8, opset_import: ["" : 17]>
looping (float[4] x, bool go) => (float[4] y) <int64 most = {3}>
{
  y = Loop (most, go, x) <
    body = again (int64 i, bool on, float[4] before) => (bool still, float[4] after) {
      still = Identity(on)
      after = Sin(before)
    }
  >
}
"""


def test_predict_measure_and_certify_the_exported_file(small_run: Path, small_config: Path, tmp_path: Path) -> None:
    model, profile = small_run / "bundle" / "model.onnx", small_config.with_name("device.profile.jsonl")
    (predicted,) = answer("predict", model, "--profile", profile)["models"]
    assert set(predicted) >= {"path", "latency_ms", "p50_ms", "lower_ms", "upper_ms", "memory_bytes", "lowering"}
    assert set(predicted["kernels"][0]) >= {"kind", "nodes", "latency_ms", "bound"}
    assert predicted["lower_ms"] < predicted["latency_ms"] < predicted["upper_ms"]
    looping = tmp_path / "looping.onnx"
    looping.write_bytes(onnx.parser.parse_model(LOOP).SerializeToString())
    (unbounded,) = answer("predict", looping, "--profile", profile)["models"]
    assert unbounded["upper_ms"] is unbounded["p50_upper_ms"] is None
    assert unbounded["unbounded"] == ["Loop"]
    said = hwnas("predict", looping, "--profile", profile).stdout
    assert "to –)" in said
    assert "What the bodies of Loop take is not known" in said
    (measured,) = answer("measure", model)["models"]
    assert set(measured) >= {"path", "latency_ms", "p50_ms", "p95_ms", "memory_bytes", "resident_bytes"}
    assert measured["memory_bytes"] == pytest.approx(predicted["memory_bytes"], rel=0.2)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for path in (small_run / "bundle").iterdir():
        (bundle / path.name).write_bytes(path.read_bytes())
    strange = error("certify", bundle, "--task", "digits", "--setting", "size=8", status=2)
    assert "task 'digits' has no setting 'size'" in strange["message"]
    assert "KEY=VALUE" in error("certify", bundle, "--task", "digits", "--setting", "size", status=2)["message"]
    certificate = answer("certify", bundle)
    assert certificate["notes"]
    assert certificate["schema"] == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed=1", "task 'digits' has no setting 'seed'"),
        ("on_event=1", "task 'digits' has no setting 'on_event'"),
        ("path='x'", "with --data"),
        ("flip='no'", "flip: Input should be a valid boolean, got 'no'"),
    ],
)
def test_what_is_no_setting_of_a_task_is_refused(tmp_path: Path, setting: str, message: str) -> None:
    assert message in error("certify", tmp_path, "--task", "digits", "--setting", setting, status=2)["message"]


def test_durations_have_one_unit() -> None:
    written = {None: None, "90": 90, "1.5": 1.5, "90s": 90, " 2m ": 120, "1e3": 1000, ".5m": 30}
    assert {text: seconds(text) for text in written} == written
    for text in ("500ms", "5sm", "5mm", "ss", "m", "", "0", "-3", "inf", "nan", "1.2.3", "1h", "1e999"):
        with pytest.raises(ValueError, match="written 90, 90s or 2m"):
            seconds(text)


def test_profile_for_a_model_then_predict_it(small_run: Path, tmp_path: Path) -> None:
    model, out = small_run / "bundle" / "model.onnx", tmp_path / "m.profile.jsonl"
    made = answer("profile", "--for", model, "--out", out, "--time-limit", "25s")
    assert made["timed"] > 8
    assert made["networks"] >= made["timed"]
    assert Path(made["predictor"]).exists()
    assert set(answer("profile", "--out", out, "--check", status=ANY)) == {"profile", "holds", "drift"}
    assert answer("predict", model, "--profile", out)["models"]


def test_names_in_a_model_are_only_shown(small_config: Path, small_run: Path, tmp_path: Path) -> None:
    model = onnx.load(small_run / "bundle" / "model.onnx")
    for node in model.graph.node:
        node.name = f"[/red]{node.name}\x1b[31m"
    onnx.save(model, tmp_path / "strange.onnx")
    shown = hwnas("predict", tmp_path / "strange.onnx", "--profile", small_config.with_name("device.profile.jsonl"))
    assert shown.returncode == 0, shown.stderr
    assert "[/red]" in shown.stdout
    assert "\\x1b" in shown.stdout
    assert "\x1b[31m" not in shown.stdout


ANY: Any = type("Any", (), {"__eq__": lambda *_: True, "__hash__": None})()


def test_an_interrupt_that_falls_into_a_destructor_comes_again() -> None:
    class Disturbed:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    def work() -> None:
        Disturbed()
        time.sleep(10)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
    try:
        with interrupts.repeated(), pytest.raises(KeyboardInterrupt):
            work()
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_says_that_the_same_command_resumes(small_config: Path, tmp_path: Path) -> None:
    config = small_config.with_name("interrupted.toml")
    config.write_text(small_config.read_text().replace('profile = "device.profile.jsonl"', ""))
    process = subprocess.Popen(
        [sys.executable, "-m", "hwnas.cli", "run", str(config), "--out", str(tmp_path / "run"), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # whoever runs the tests may ignore it
    )
    profile = tmp_path / "run" / ".partial-device.profile.jsonl"
    while not profile.exists() or profile.read_bytes().count(b"\n") < 3:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["error"]["kind"] == "Interrupted"
    assert "same command" in out
    assert "Traceback" not in err


def test_a_folder_that_cannot_be_written_is_a_clear_error(small_config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = error("run", small_config, "--out", tmp_path / "file" / "run", status=1)
    assert "file" in told["message"]
