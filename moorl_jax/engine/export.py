"""Export: a seed's greedy policy as a file that other programs read, checked to give the same actions as here.

policy.npz          arrays named as in PyTorch, of `Sequential(*layers)`; read by `numpy.load`
policy.safetensors  the same as a state dict of PyTorch, without pickle
policy.onnx         a graph from `observation`, (batch, size), to `action`, normalization included

How to use the first two, for observations of (n, size): actions = action_offset + action_scale net((observations -
observation_mean) / observation_std), where `layers` names the modules of the net in order, in the words of torch.nn.
"""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from moorl_jax.engine.policy import Policy
from moorl_jax.errors import MoorlError, NotAvailableError
from moorl_jax.nets import LAYER_NORMS
from moorl_jax.whole import whole

OBSERVATIONS = 256  #: random ones that a file is checked by
CLOSE = 1e-4  #: how far its actions, in [-1, 1], may lie from ours: other programs sum in another order
OPSET, IR = 20, 9  #: of ONNX: the first with GELU, and its file format

LINEAR, RELU, GELU, TANH, CLIP = "Linear", "ReLU()", "GELU(approximate='tanh')", "Tanh()", "Hardtanh()"
NORMALIZED = "LayerNorm"


class Exported(NamedTuple):
    """A policy as a list of layers."""

    arrays: dict[
        str, np.ndarray
    ]  #: of observations mean and std, of actions scale and offset, each layer's as 0.weight
    layers: tuple[str, ...]  #: in the words of torch.nn

    @classmethod
    def of(cls, policy: Policy, seed: int | None) -> "Exported":
        """Return the layers of a seed's policy; raise MoorlError where it is not one network."""
        if policy.task.pixels:
            raise MoorlError(f"{policy.task.name} shows images: policies of states alone are exported")
        network = policy.agent.network(policy.of(seed))
        params = jax.device_get(network.params)
        activation = RELU if network.activation == "relu" else GELU
        normalized = next((norm for norm in LAYER_NORMS.items() if f"{norm[1][0]}0" in params), None)
        modules: list[tuple[str, dict[str, np.ndarray]]] = []
        for number in range(sum("layer" in name for name in params)):
            if number:
                modules.append((activation, {}))
                if normalized:
                    place, (name, epsilon) = normalized
                    norm = params[f"{name}{number - 1}"]
                    module = f"{NORMALIZED}({len(norm['bias'])}, eps={epsilon})"
                    at = len(modules) - 1 if place == "before" else len(modules)
                    modules.insert(at, (module, {"weight": norm["scale"], "bias": norm["bias"]}))
            dense = params[f"layer{number}"]
            inputs, outputs = dense["kernel"].shape
            modules.append((f"{LINEAR}({inputs}, {outputs})", {"weight": dense["kernel"].T, "bias": dense["bias"]}))
        modules.append((TANH if network.squash == "tanh" else CLIP, {}))
        low, high = (policy.task.in_range(np.full(policy.task.action_size, end, np.float32)) for end in (-1, 1))
        half, middle = (high - low) / 2, (high + low) / 2
        arrays = {
            "observation_mean": policy.normalizer.mean,
            "observation_std": policy.normalizer.std,
            "action_scale": network.scale * half,
            "action_offset": middle,
        }
        for number, (_, of_module) in enumerate(modules):
            arrays |= {f"{number}.{name}": np.ascontiguousarray(array) for name, array in of_module.items()}
        return cls(arrays, tuple(module for module, _ in modules))

    def actions(self, observations: np.ndarray) -> np.ndarray:
        """Return the actions, (n, action size), for observations (n, size), by NumPy alone."""
        x = (observations - self.arrays["observation_mean"]) / self.arrays["observation_std"]
        for number, layer in enumerate(self.layers):
            if layer.startswith(LINEAR):
                x = x @ self.arrays[f"{number}.weight"].T + self.arrays[f"{number}.bias"]
            elif layer.startswith(NORMALIZED):
                centred = x - x.mean(axis=-1, keepdims=True)
                x = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _epsilon(layer))
                x = x * self.arrays[f"{number}.weight"] + self.arrays[f"{number}.bias"]
            else:
                x = _FUNCTIONS[layer](x)
        return self.arrays["action_offset"] + self.arrays["action_scale"] * x


def export(policy: Policy, path: Path, seed: int | None = None) -> float:
    """Write a seed's policy, the first one's unless given, and return how far its actions lie from ours at most.

    The suffix of `path` says the format. Raises MoorlError for another than FORMATS, for a policy that is not one
    network, and for one whose file would act otherwise, NotAvailableError where a package is missing; then nothing is
    written.
    """
    if path.suffix not in FORMATS:
        raise MoorlError(f"{path}: exports end in {', '.join(FORMATS)}")
    write, read = FORMATS[path.suffix]
    drawn = np.random.default_rng(0).standard_normal((OBSERVATIONS, *policy.task.observation_shape))
    observations = (policy.normalizer.mean + policy.normalizer.std * drawn).astype(np.float32)
    with whole(path) as partial:
        write(Exported.of(policy, seed), partial)
        apart = float(np.abs(read(partial)(observations) - policy(observations, seed)).max())
        if not apart <= CLOSE:
            raise MoorlError(
                f"{path} would act otherwise than {type(policy.agent).__name__}, by up to {apart:.2g}: its `network` "
                "must return what `greedy` computes"
            )
    return apart


def _write_npz(policy: Exported, path: Path) -> None:
    np.savez(path, allow_pickle=False, layers=np.array(policy.layers), **policy.arrays)


def _read_npz(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    layers = arrays.pop("layers").tolist()
    return Exported(arrays, tuple(layers)).actions


def _write_safetensors(policy: Exported, path: Path) -> None:
    layers = {"layers": json.dumps(policy.layers)}
    _library("safetensors.numpy", "safetensors").save_file(policy.arrays, path, metadata=layers)


def _read_safetensors(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    with _library("safetensors", "safetensors").safe_open(path, framework="numpy") as file:
        layers = json.loads(file.metadata()["layers"])
        return Exported({name: file.get_tensor(name) for name in file.keys()}, tuple(layers)).actions  # noqa: SIM118


def _write_onnx(policy: Exported, path: Path) -> None:
    onnx = _library("onnx", "onnx")
    node, kind = onnx.helper.make_node, onnx.TensorProto.FLOAT
    arrays = {name: array.astype(np.float32) for name, array in policy.arrays.items()}
    nodes = [
        node("Sub", ["observation", "observation_mean"], ["centred"]),
        node("Div", ["centred", "observation_std"], ["x0"]),
    ]
    for number, layer in enumerate(policy.layers):
        before, after = f"x{number}", f"x{number + 1}"
        parts = [before, f"{number}.weight", f"{number}.bias"]
        if layer.startswith(LINEAR):
            nodes.append(node("Gemm", parts, [after], transB=1))
        elif layer.startswith(NORMALIZED):
            nodes.append(node("LayerNormalization", parts, [after], epsilon=_epsilon(layer)))
        elif layer == GELU:
            nodes.append(node("Gelu", [before], [after], approximate="tanh"))
        elif layer == CLIP:
            arrays |= {"low": np.array(-1.0, np.float32), "high": np.array(1.0, np.float32)}
            nodes.append(node("Clip", [before, "low", "high"], [after]))
        else:
            nodes.append(node({RELU: "Relu", TANH: "Tanh"}[layer], [before], [after]))
    nodes.append(node("Mul", [f"x{len(policy.layers)}", "action_scale"], ["scaled"]))
    nodes.append(node("Add", ["scaled", "action_offset"], ["action"]))
    size, actions = len(arrays["observation_mean"]), len(arrays[f"{len(policy.layers) - 2}.bias"])
    graph = onnx.helper.make_graph(
        nodes,
        "policy",
        [onnx.helper.make_tensor_value_info("observation", kind, ["batch", size])],
        [onnx.helper.make_tensor_value_info("action", kind, ["batch", actions])],
        [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _read_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    session = _library("onnx.reference", "onnx").ReferenceEvaluator(str(path))
    return lambda observations: session.run(None, {"observation": observations})[0]


FORMATS: dict[str, tuple[Callable[[Exported, Path], None], Callable[[Path], Callable[[np.ndarray], np.ndarray]]]] = {
    ".npz": (_write_npz, _read_npz),
    ".safetensors": (_write_safetensors, _read_safetensors),
    ".onnx": (_write_onnx, _read_onnx),
}
"""By suffix: how a file is written, and how it is read back as a function from observations to actions."""

_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    RELU: lambda x: np.maximum(x, 0.0),
    GELU: lambda x: 0.5 * x * (1.0 + np.tanh((2.0 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
    TANH: np.tanh,
    CLIP: lambda x: np.clip(x, -1.0, 1.0),
}


def _epsilon(layer: str) -> float:
    return float(layer.rpartition("eps=")[2].rstrip(")"))


def _library(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise NotAvailableError(f"this format needs {extra}: pip install 'moorl_jax[{extra}]'") from error
