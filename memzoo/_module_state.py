"""Measure a map without leaving a trace in it: find what a map is made of, and put all of it back afterwards.

This is done once around a whole measurement and to everything that the map may change, where
``memzoo.dynamics.tracing.attributes`` isolates the attributes of a module at each evaluation in another type.
"""

import functools
import inspect
import operator
import types
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, MutableMapping, MutableSequence, MutableSet
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.parameter import is_lazy

from memzoo._generators import freeze_generator
from memzoo._known_layers import PLAIN, is_unchanging

FOREIGN = ("torch", "lightning", "pytorch_lightning", "lightning_fabric", "numpy", "builtins", "types")
"""Packages whose objects and functions hold no state of a map: trainers, data sets, operators."""
FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)
"""Types of functions that hold what they were made with."""
MOST = 20_000
"""Most objects that are looked at."""
LONGEST = 10_000
"""Longest list or table that is looked through: a longer one holds data."""
LARGEST = 2**22
"""Most numbers of a tensor outside of modules that is copied: a larger one holds data."""


class MapState:
    """What a map is made of, as it is now: modules, the tensors and tables that they hold, and those of its closures.

    Modules are found behind functions, ``functools.partial``, methods, objects that can be called, and containers.
    Parameters and buffers are copied, because a forward may change them in place in ways that torch does not count.

    Args:
        f: Self-map.
        known: Objects that an outer state holds already, by their ids.
        only_evaluated: Nothing but evaluations of ``f`` may change it, so that known layers need no copies.
    """

    def __init__(self, f: object, known: frozenset[int] = frozenset(), *, only_evaluated: bool = False) -> None:
        self.modules: list[nn.Module] = []
        """All modules that were found, sub-modules too."""
        self.ids: set[int] = set(known)
        """Ids of all objects that this state and the outer ones hold."""
        self.checked: list[object] = []
        """Maps that a measurement has checked since."""
        self._attributes: list[tuple[Any, dict[str, Any]]] = []
        self._modes: list[tuple[nn.Module, bool]] = []
        self._tables: list[tuple[Any, Any]] = []
        self._tensors: list[tuple[Tensor, Tensor]] = []
        self._gradients: list[tuple[Tensor, Tensor | None]] = []
        self._put_back: list[Callable[[], object]] = []
        """What puts arrays and random generators back."""
        self._inner: bool = bool(known)
        if only_evaluated and is_unchanging(f):
            self.modules += f.modules()
            self.ids.update(map(id, chain(self.modules, f.parameters(), f.buffers())))
        else:
            self._walk(f)

    def restore(self) -> None:
        """Put everything back as it was."""
        for holder, attributes in self._attributes:
            _restore_attributes(holder, attributes)
        for module, training in self._modes:
            if module.training != training:
                module.training = training
        for table, content in self._tables:
            restore_table(table, content)
        for tensor, copy in self._tensors:
            _restore_tensor(tensor, copy)
        for tensor, gradient in self._gradients:
            if tensor.grad is not gradient:
                tensor.grad = gradient
        for put_back in self._put_back:
            put_back()

    def _walk(self, f: object) -> None:
        """Visit everything that can be reached from ``f``, each object once."""
        waiting: deque[tuple[object, bool]] = deque([(f, False)])
        for _ in range(MOST):
            if not waiting:
                return
            value, owned = waiting.popleft()
            if id(value) in self.ids or isinstance(value, (str, int, float, type(None))):
                continue
            # Only what a module holds is its own: a list in which a function records its calls is left alone.
            owned = isinstance(value, nn.Module) or (owned and not isinstance(value, types.FunctionType))
            waiting.extend((part, owned) for part in self._visit(value, owned=owned))

    def _visit(self, value: object, *, owned: bool) -> Iterable[object]:
        """Keep the state of one object, and return the objects that it holds."""
        if isinstance(value, Tensor):
            self._keep_tensor(value, owned=owned)
            return ()
        if isinstance(value, nn.Module):
            return self._keep_module(value)
        if isinstance(value, (MutableMapping, MutableSequence, MutableSet, tuple)):
            return self._keep_table(value, owned=owned)
        self.ids.add(id(value))
        if isinstance(value, FUNCTIONS):
            return _list_captured(value)
        put_back = _copy_array(value) if owned and isinstance(value, np.ndarray) else freeze_generator(value)
        if put_back is not None:
            self._put_back.append(put_back)
            return ()
        if isinstance(value, (type, types.ModuleType)) or _is_foreign(type(value)):
            return ()
        if self._inner and type(value).__module__.startswith("memzoo."):  # made by the outer measurement, of its map
            return ()
        attributes = _read_attributes(value)
        if owned and attributes:
            self._attributes.append((value, attributes))
        return [*attributes.values(), type(value).__dict__.get("__call__")]

    def _keep_tensor(self, tensor: Tensor, *, owned: bool) -> None:
        """Copy a tensor; one without a shape has nothing to copy."""
        self.ids.add(id(tensor))
        if is_lazy(tensor) or not (owned or tensor.numel() <= LARGEST):
            return
        self._tensors.append((tensor, tensor.detach().clone()))
        if tensor.is_leaf and tensor.requires_grad:
            self._gradients.append((tensor, tensor.grad))

    def _keep_module(self, module: nn.Module) -> Iterable[object]:
        """Keep the tables and attributes of a module, its mode of training among them."""
        self.ids.add(id(module))
        self.modules.append(module)
        attributes = {name: value for name, value in vars(module).items() if name not in PLAIN}
        self._attributes.append((module, attributes))
        self._modes.append((module, module.training))  # that of a scripted module is no attribute in Python
        # Parameters, buffers, sub-modules and hooks; those of a scripted module are views without own content.
        tables = [table for name, table in vars(module).items() if name in PLAIN and isinstance(table, dict)]
        self._tables += [(table, dict(table)) for table in tables]
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False), *module.children()]
        hooks = [value for table in tables for value in table.values() if callable(value)]
        return [*own, *hooks, *attributes.values(), find_forward(module)]

    def _keep_table(self, table: Any, *, owned: bool) -> Iterable[object]:
        """Keep the content of a list, a set or a dict; a tuple cannot change, but what it holds can."""
        if isinstance(table, tuple):
            return table[:LONGEST]
        self.ids.add(id(table))
        if len(table) > LONGEST:
            return ()
        content = dict(table) if isinstance(table, MutableMapping) else list(table)
        if owned:
            self._tables.append((table, content))
        return list(content.values()) if isinstance(content, dict) else content


def find_forward(module: nn.Module) -> Any:
    """Find what the class of a module defines as its forward; the class of a scripted module computes it on access."""
    return inspect.getattr_static(type(module), "forward")


def _is_foreign(kind: Any) -> bool:
    """Tell whether a class or function belongs to a package that holds no state of a map."""
    return str(getattr(kind, "__module__", "")).split(".")[0] in FOREIGN


def _list_captured(function: Any) -> list[object]:
    """List what a function, a method or a partial application holds or reads."""
    if isinstance(function, functools.partial):
        return [function.func, *function.args, *function.keywords.values()]
    if isinstance(function, types.MethodType):
        return [function.__self__, function.__func__]
    if _is_foreign(function) and not function.__closure__:
        return []
    captured = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            captured.append(cell.cell_contents)
        except ValueError:  # the variable has no value yet
            continue
    return [*captured, *_list_globals_read(function)]


def _list_globals_read(function: types.FunctionType) -> Iterator[object]:
    """List the global variables that a function reads and that may hold state, and functions beside it."""
    if _is_foreign(function):
        return
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    for name in sorted(names & function.__globals__.keys()):
        value = function.__globals__[name]
        beside = getattr(value, "__module__", None) == function.__module__ and callable(value)
        if beside or isinstance(value, (nn.Module, Tensor, MutableMapping, MutableSequence, functools.partial)):
            yield value


def _copy_array(array: np.ndarray) -> Callable[[], object] | None:
    """Return a function that puts the content of an array of numbers back; None if it cannot change, or holds data."""
    if not array.flags.writeable or array.size > LARGEST or array.dtype.hasobject:
        return None
    return functools.partial(np.copyto, array, array.copy())


def _read_attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes of an object, those in slots among them."""
    slots = [name for kind in type(holder).__mro__ for name in _list_slots(kind)]
    return {name: getattr(holder, name) for name in slots if hasattr(holder, name)} | getattr(holder, "__dict__", {})


def _list_slots(kind: type) -> Iterable[str]:
    slots = kind.__dict__.get("__slots__", ())
    names = (slots,) if isinstance(slots, str) else tuple(slots)
    return [name for name in names if name not in ("__dict__", "__weakref__") and not name.startswith("__")]


def _restore_attributes(holder: Any, attributes: dict[str, Any]) -> None:
    """Put attributes back, and remove those that were added."""
    slots = {name for kind in type(holder).__mro__ for name in _list_slots(kind)}
    for name in slots:
        if name in attributes and getattr(holder, name, None) is not attributes[name]:
            object.__setattr__(holder, name, attributes[name])
        elif name not in attributes and hasattr(holder, name):
            object.__delattr__(holder, name)
    present = getattr(holder, "__dict__", {})
    is_module = isinstance(holder, nn.Module)
    for name in [name for name in present if name not in attributes and not (is_module and name in PLAIN)]:
        del present[name]
    for name, value in attributes.items():
        if name not in slots and present.get(name) is not value:
            present[name] = value


def restore_table(table: Any, content: Any) -> None:
    """Put the content of a list, a set or a dict back."""
    # This is done around each evaluation of a module, without a step of Python for each entry.
    same = len(table) == len(content) and all(map(operator.is_, table, content))
    if same and (not isinstance(content, dict) or all(map(operator.is_, table.values(), content.values()))):
        return
    if isinstance(table, dict):
        _restore_dict(table, content)
        return
    table.clear()
    if isinstance(table, MutableMapping):
        table.update(content)
    elif isinstance(table, MutableSet):
        for value in content:
            table.add(value)
    else:
        table.extend(content)


def _restore_dict(table: dict[Any, Any], content: dict[Any, Any]) -> None:
    """Put the content of a dict back, also of a class that refuses changes by its own methods, as configurations do."""
    # The methods of an OrderedDict keep its order, which those of dict do not know.
    own: Any = OrderedDict if isinstance(table, OrderedDict) else dict
    if list(table) != list(content):
        own.clear(table)
    for key, value in content.items():
        own.__setitem__(table, key, value)


def _restore_tensor(tensor: Tensor, copy: Tensor) -> None:
    """Write the copy back where the tensor has changed."""
    if _have_equal_bits(tensor, copy):
        return
    # Inference tensors may be written in inference mode alone; .data hides the writing from autograd.
    with torch.inference_mode(tensor.is_inference()), torch.no_grad():
        if tensor.shape == copy.shape and tensor.dtype == copy.dtype and tensor.layout == torch.strided:
            tensor.data.copy_(copy)
        else:
            tensor.data = copy


def _have_equal_bits(tensor: Tensor, copy: Tensor) -> bool:
    """Tell whether a tensor is as its copy; one that torch cannot compare, or that holds NaN, counts as changed."""
    if tensor.shape != copy.shape or tensor.dtype != copy.dtype or tensor.device != copy.device:
        return False
    try:
        return torch.equal(tensor.detach(), copy)
    except (RuntimeError, NotImplementedError):  # sparse and other special layouts
        return False


_STATES: ContextVar[tuple[MapState, ...]] = ContextVar("states of maps in measurement", default=())


@contextmanager
def keep_module_unchanged(f: object, *, only_evaluated: bool = False) -> Generator[MapState, None, None]:
    """Restore everything that evaluations of a map change in its modules: afterwards all is the same bit for bit.

    Restored are buffers and parameters that were changed in place or replaced, attributes (tensors that are kept,
    caches in lists and dicts, counters), gradients that were added, and the modes of training. Modules are also found
    behind a function, a ``functools.partial``, a method or an object that calls them. Within another measurement of
    the same map, nothing is done; nor to known layers where the map is ``only_evaluated``.

    Cost: a copy of all parameters and buffers.
    """
    outer = _STATES.get()
    known = frozenset().union(*(state.ids for state in outer))
    state = MapState(f, known, only_evaluated=only_evaluated)
    token = _STATES.set((*outer, state))
    try:
        yield state
    finally:
        _STATES.reset(token)
        state.restore()


def is_checked(f: object) -> bool:
    """Tell whether a measurement around this one has checked ``f``, or the maps that ``f`` was made of."""
    known = {id(checked) for state in _STATES.get() for checked in state.checked}
    return bool(known) and all(id(origin) in known for origin in _find_origins(f))


def list_measured_modules() -> list[nn.Module]:
    """List the modules of all maps that are being measured."""
    return [module for state in _STATES.get() for module in state.modules]


def mark_as_checked(f: object) -> None:
    """Record that ``f`` is checked, for measurements within the innermost one."""
    states = _STATES.get()
    if states:
        states[-1].checked += _find_origins(f)


def _find_origins(f: object) -> list[object]:
    """Find the maps that ``f`` was made of: ``f`` itself, unless a measurement made it, as a composition or a copy."""
    origins: list[object] = []
    waiting: list[object] = [f]
    seen: set[int] = set()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if _is_made_by_measurement(value):
            waiting += _list_captured(value) if isinstance(value, FUNCTIONS) else [*vars(value).values()]
            waiting += value.children() if isinstance(value, nn.Module) else []
        # A graph within a form that is quicker to evaluate is a trace of the map.
        elif value is f or (isinstance(value, (nn.Module, *FUNCTIONS)) and not isinstance(value, GraphModule)):
            origins.append(value)
    return origins


def _is_made_by_measurement(value: object) -> bool:
    """Tell whether a function or an object with attributes belongs to the folder of measurements."""
    owner = value if isinstance(value, types.FunctionType) else type(value)
    return str(owner.__module__).startswith("memzoo.dynamics.") and hasattr(value, "__dict__")
