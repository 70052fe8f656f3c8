"""Tables from a reference's PyTorch names to our variables, and back for gradients.

A table is a list of rules, one for each of our leaves. Applied to a state dict
it is strict: nothing of either side may be left over, and shapes must agree.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

State = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rule:
    """One of our leaves and the reference's arrays that it is made of.

    Attributes:
      leaf: path of the leaf, 'params/text/linear/kernel'.
      names: PyTorch names of the arrays.
      read: the arrays to the leaf.
      write: the leaf's gradient (or value, where it is made of one array or of
        a stack) to those of the arrays.
    """

    leaf: str
    names: tuple[str, ...]
    read: Callable[..., np.ndarray]
    write: Callable[[np.ndarray], Sequence[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Table:
    """All rules of a system or block.

    Attributes:
      rules: one for each leaf.
      constants: arrays of the reference that are settings of ours: name to the
        value that it must have.
      ignored: regexes of names without a counterpart.
      flax: our leaf to its path in a Flax file of the reference, where it is another.
    """

    rules: tuple[Rule, ...]
    constants: Mapping[str, float | np.ndarray] = dataclasses.field(
        default_factory=dict
    )
    ignored: tuple[str, ...] = ()
    flax: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def variables(self, state: State, template: Any) -> dict[str, Any]:
        """Our variables from a state dict.

        Args:
          state: PyTorch name to array.
          template: our variables, nested; only shapes and dtypes are read.

        Returns:
          A tree like template.

        Raises:
          ValueError: names that are missing, unknown or of another shape, or a
            constant of another value; all of them are listed.
        """
        leaves: dict[str, Any] = traverse_util.flatten_dict(template, sep="/")
        faults = self._name_faults(state) + self._leaf_faults(leaves)
        found = {}
        for rule in self.rules:
            if rule.leaf in leaves and all(name in state for name in rule.names):
                value = _read(rule, state)
                if value is None or value.shape != leaves[rule.leaf].shape:
                    faults.append(_shapes(rule, state, leaves[rule.leaf].shape))
                else:
                    found[rule.leaf] = value.astype(leaves[rule.leaf].dtype)
        if faults:
            raise ValueError(
                "the weights do not fit this model; check its hyperparameters:\n  "
                + "\n  ".join(faults)
            )
        return traverse_util.unflatten_dict(found, sep="/")

    def arrays(self, variables: Any) -> dict[str, np.ndarray]:
        """Gradients (or statistics) by PyTorch name from a tree like our variables."""
        leaves = traverse_util.flatten_dict(variables, sep="/")
        return {
            name: array
            for rule in self.rules
            if rule.leaf in leaves
            for name, array in zip(
                rule.names, rule.write(np.asarray(leaves[rule.leaf])), strict=True
            )
        }

    def _name_faults(self, state: State) -> list[str]:
        known = {name for rule in self.rules for name in rule.names}
        faults = [f"missing: {name}" for name in sorted(known - set(state))]
        for name in sorted(set(state) - known):
            if name in self.constants:
                if not np.allclose(state[name], self.constants[name]):
                    faults.append(
                        f"{name} is {state[name].tolist()}, but the model is set to "
                        f"{self.constants[name]}"
                    )
            elif not any(re.fullmatch(regex, name) for regex in self.ignored):
                faults.append(f"unknown: {name} {state[name].shape}")
        return faults

    def _leaf_faults(self, leaves: Mapping[str, Any]) -> list[str]:
        ruled = {rule.leaf for rule in self.rules}
        return [
            *(f"not filled: {path}" for path in sorted(set(leaves) - ruled)),
            *(f"not in the model: {path}" for path in sorted(ruled - set(leaves))),
        ]


def _read(rule: Rule, state: State) -> np.ndarray | None:
    try:
        return rule.read(*(state[name] for name in rule.names))
    except ValueError:  # Shapes that cannot be stacked, added or split into heads.
        return None


def _shapes(rule: Rule, state: State, shape: tuple[int, ...]) -> str:
    names = ", ".join(f"{name} {state[name].shape}" for name in rule.names)
    return f"shape: {names}, but {rule.leaf} is {shape}"


def copy(
    name: str,
    leaf: str,
    read: Callable[[np.ndarray], np.ndarray] = np.asarray,
    write: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Rule:
    """A leaf that is one array, rearranged."""
    return Rule(leaf, (name,), read, lambda leaf: (write(leaf),))


def reverse(name: str, leaf: str) -> Rule:
    """A kernel: PyTorch's [out, in] or [out, in, k] with the axes reversed."""
    return copy(name, leaf, np.transpose, np.transpose)


def zeros(leaf: str, shape: tuple[int, ...]) -> Rule:
    """A leaf that the reference's state dict does not hold: it starts at zero."""
    return Rule(leaf, (), lambda: np.zeros(shape, np.float32), lambda _: ())


def stack(layers: Iterable[Iterable[Rule]]) -> Iterable[Rule]:
    """Rules of equal layers joined: leaves with a leading axis [layers]."""

    def join(rules: tuple[Rule, ...]) -> Rule:
        (leaf,) = {rule.leaf for rule in rules}
        return Rule(
            leaf,
            tuple(name for rule in rules for name in rule.names),
            lambda *arrays: np.stack(
                [rule.read(array) for rule, array in zip(rules, arrays, strict=True)]
            ),
            lambda leaf: [
                rule.write(layer)[0] for rule, layer in zip(rules, leaf, strict=True)
            ],
        )

    return [join(rules) for rules in zip(*layers, strict=True)]
